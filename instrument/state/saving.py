"""The playing state as a patch, and a patch into a folder: never over another file, never outside.

Knows patches, parameters and files; not the engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from instrument.modulation.modspec import OWN_WORDS, ModulatorSpec, named, reworded
from instrument.parameters.params import ParamSet
from instrument.state import patch as patches
from instrument.state.patch import AUTOSAVES, VOICE_TEXTS, VOICE_WEIGHTS, Patch, Voice
from instrument.state.snapshots import Snapshot
from pipelines import whole
from pipelines.spec import Value

MOST_FILES = 1000  # in the folder; a button that sticks must not fill the disk
_LONGEST = 64
_RECOVERED = "recovered"  # what an autosave is called when it is saved: its own name is not for keeps
_SEED = "engine.seed"


class SaveError(OSError):
    """A patch cannot be saved; the text says why and what would do."""


def as_patch(
    playing: Patch, params: ParamSet, snapshots: Mapping[int, Snapshot], system: tuple[str, str] = ("", "")
) -> Patch:
    """The patch that, loaded, plays what is set now, on the model and at the size that play: `system`, where they are
    known. Values that are a parameter's own default are left out; settings that belong to the show and not to the
    picture (`clock.tempo`, ...) are kept where the loaded file had them."""
    with params.together():
        own = {*VOICE_TEXTS, *VOICE_WEIGHTS}
        kept = {p.id: p.base for p in params if p.kept and p.id not in own and p.base != p.spec.default}
        also = {params[id].id: params[id].base for id in playing.values if id in params and not params[id].kept}
        voices, seed = _voices(params), int(params[_SEED].base)
    return playing.model_copy(
        update={
            "model": system[0] or playing.model,
            "size": system[1] or playing.size,
            "prompt": voices[0].text,
            "prompts": voices if len(voices) > 1 or voices[0].weight != 1 else [],
            "seed": seed,
            "video": playing.video_source,
            "bends": [bend.model_copy(update={"values": {}}) for bend in playing.bends],
            "values": {**also, **kept},
            "glide": {id: ms for id, ms in playing.glide.items() if id in params or params.is_range(id)},
            "modulators": _aimed(playing.modulators, params),
            "snapshots": {snapshots[slot].name: _there(snapshots[slot], params) for slot in sorted(snapshots)},
        }
    )


def _voices(params: ParamSet) -> list[Voice]:
    """The prompts that are set, up to the last that has a text or a weight."""
    ids = zip(VOICE_TEXTS, VOICE_WEIGHTS, strict=True)
    pairs = [(str(params[text].base), float(params[weight].base)) for text, weight in ids]
    while len(pairs) > 1 and pairs[-1] == ("", 0.0):
        pairs.pop()
    return [Voice(text=text, weight=weight) for text, weight in pairs]


def _there(snapshot: Snapshot, params: ParamSet) -> dict[str, Value]:
    """What it holds of parameters that still exist: its bends may have gone while the patch played."""
    return {id: value for id, value in snapshot.values.items() if id in params}


def _aimed(specs: list[ModulatorSpec], params: ParamSet) -> list[ModulatorSpec]:
    """The modulators, speaking of nothing but what still exists."""
    others = {*OWN_WORDS, *named(specs)}
    return [reworded(spec, lambda id: id if id in params or id in others else None) for spec in specs]


def safe_name(text: str) -> str:
    """A file's name without its ending, whatever was asked for: letters, digits, _ and -, at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:_LONGEST].strip("-") or "untitled"


def save(patch: Patch, folder: Path, name: str) -> Path:
    """Write it as NAME.yaml into `folder`, or as NAME-2.yaml, ... where there is one already; the file.

    Raises SaveError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sum(1 for file in folder.iterdir() if file.suffix == ".yaml" and file.stem not in AUTOSAVES) >= MOST_FILES:
            raise SaveError(f"{folder} holds {MOST_FILES} patches already; move some away")
        text, plain = patches.dump(patch), safe_name(name)
        plain = _RECOVERED if plain.lower() in AUTOSAVES else plain
        numbers = range(1, MOST_FILES + 1)
        names = (folder / f"{plain}{f'-{number}' if number > 1 else ''}.yaml" for number in numbers)
        file = whole.write_new(names, text.encode())
    except SaveError:
        raise
    except OSError as problem:
        raise SaveError(f"{folder}: the patch cannot be saved: {problem.strerror or problem}") from None
    if file is None:
        raise SaveError(f"{folder} has no free name like {plain}; set patch.name to another")
    return file
