"""Learn a binding: wait for a touched control, work out what it is, and write it into a mapping file.

The file keeps its comments, order and layout. Where the touches come from is up to the caller: `listening` takes them
from the MIDI ports, a test from a list.
"""

from __future__ import annotations

import io
import os
import queue
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from instrument import yamlfile
from instrument.mapping import TARGET, Binding, MappingError, Touch, loads
from instrument.midi import Api, MidiInput, why_none
from instrument.params import ParamSet, UnknownParameter
from pipelines.spec import SwitchSpec, TriggerSpec

WINDOW = 0.3  # seconds of touches after the first
_FINGER = 8  # the most steps an endless knob is taken to make in one message

Heard = tuple[float, Touch | None]  # seconds on any clock; None: nothing happened


class LearnError(ValueError):
    """Nothing could be learnt; the text says why and what to do."""


@dataclass(frozen=True)
class Control:
    """What was touched. kind: knob, endless, button, pad or wheel; `relative` is the encoding of an endless knob."""

    kind: str
    source: tuple[str, int | str]
    channel: int
    relative: str | None = None

    def __str__(self) -> str:
        name, key = self.source
        encoding = f" ({self.relative})" if self.relative else ""
        return f"{self.kind}{encoding}: {name}{'' if name == 'pitch' else f' {key}'} on channel {self.channel}"


def collect(heard: Iterable[Heard], timeout: float = 30.0, window: float = WINDOW) -> list[Touch]:
    """Every touch within `window` seconds of the first. Raises LearnError after `timeout` seconds without any."""
    touches: list[Touch] = []
    start = first = None
    for now, touch in heard:
        start = now if start is None else start
        if touch is not None:
            first = now if first is None else first
            touches.append(touch)
        if first is not None and now - first >= window:
            return touches
        if first is None and now - start >= timeout:
            break
    if not touches:
        raise LearnError(f"no control was touched within {timeout:g} s; is the controller plugged in and listed?")
    return touches


def classify(touches: list[Touch]) -> Control:
    """The control that was touched most, and its kind.

    Of two CCs 32 apart that move together the lower is meant: they are the coarse and fine half of one fader. An
    endless knob should have been turned to the left, slowly; its encoding shows then.
    """
    counts = Counter((t.kind, t.key, t.channel) for t in touches if t.kind != "osc")
    if not counts:
        raise LearnError("no MIDI control was touched; move one knob or press one pad")
    kind, key, channel = counts.most_common(1)[0][0]
    if kind == "cc" and 32 <= key < 64 and counts.get(("cc", key - 32, channel), 0) >= counts["cc", key, channel] / 2:
        key -= 32
    if kind == "note":
        return Control("pad", (kind, key), channel)
    if kind == "pitch":
        return Control("wheel", (kind, key), channel)
    values = [int(t.value) for t in touches if (t.kind, t.key, t.channel) == (kind, key, channel)]
    relative = encoding(values)
    if relative:
        return Control("endless", (kind, key), channel, relative)
    button = set(values) <= {0, 127} and len(values) <= 4
    return Control("button" if button else "knob", (kind, key), channel)


def encoding(values: list[int]) -> str | None:
    """How an endless knob codes its steps, told from its messages; None for a knob with ends.

    A knob with ends never sends one value twice in a row; an endless one sends little else.
    """
    if len(values) < 3 or not any(a == b for a, b in pairwise(values)):
        return None
    if all(0 < v <= _FINGER for v in values):
        return "signed2"  # turned left as asked, so small numbers are steps to the left
    if all(0 < v <= _FINGER or v >= 128 - _FINGER for v in values):
        return "twos"
    if all(64 - _FINGER <= v < 64 or 64 < v <= 64 + _FINGER for v in values):
        return "offset" if min(values) < 64 else "signed"
    if all(0 < v <= _FINGER or 64 < v <= 64 + _FINGER for v in values):
        return "signed" if values[0] > 64 else "signed2"
    return None


def binding_for(control: Control, target: str, params: ParamSet | None = None) -> dict[str, Any]:
    """The line of the mapping, as plain data. With `params`, triggers and switches get what suits them.

    Raises UnknownParameter for a target that is in neither `params` nor a pattern.
    """
    spec = None
    if params is not None and "*" not in target:
        if target not in params:
            raise UnknownParameter(target, params.names())
        spec = params[target].spec
    name, key = control.source
    line: dict[str, Any] = {name: True if name == "pitch" else key, "channel": control.channel}
    if isinstance(spec, TriggerSpec):
        return {**line, "trigger": target}
    line["to"] = target
    if control.relative:
        line["relative"] = control.relative
    elif control.kind == "knob" and not isinstance(spec, SwitchSpec):
        line["takeover"] = "pickup"
    elif isinstance(spec, SwitchSpec) and control.kind in ("pad", "button"):
        line["mode"] = "toggle"
    elif control.kind == "button":
        line["mode"] = "gate"
    return line


def write(path: Path, line: dict[str, Any], device: str = "") -> bool:
    """Add a binding to a mapping file, making the file if need be; False if the same one stood there already.

    Raises MappingError, with the file untouched, if the file is not a mapping to begin with or cannot be written.
    """
    text = yamlfile.read_text(path, MappingError) if path.exists() else ""
    if Binding.model_validate(line) in loads(text, str(path)).bindings:
        return False
    data = yamlfile.round_trip().load(text)
    kept = text if data is None else ""  # nothing but comments
    if data is None:
        data = CommentedMap(device=device)
    if data.get("bindings") is None:
        data["bindings"] = CommentedSeq()
    item = CommentedMap(line)
    item.fa.set_flow_style()
    data["bindings"].append(item)
    out = io.StringIO()
    yamlfile.round_trip().dump(data, out)
    loads(kept + out.getvalue(), str(path))
    _replace(path, kept + out.getvalue())
    return True


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except OSError as problem:
        raise MappingError(str(path), 0, f"cannot be written: {problem.strerror}") from None


def device_of(origin: str) -> str:
    """`midi:nanoKONTROL2:nanoKONTROL2 _ CTRL 20:0` -> `nanoKONTROL2`: what a mapping should call the device."""
    name = origin.removeprefix("midi:").split(":")[0]
    return re.sub(r"[*\s]+", " ", name).strip()


def learn(
    path: Path,
    target: str,
    heard: Iterable[Heard],
    params: ParamSet | None = None,
    device: Callable[[], str] = str,
    timeout: float = 30.0,
) -> tuple[Control, dict[str, Any]]:
    """Wait for a control, bind it to `target` in the mapping at `path`; returns what it is and the line written.

    `device()` is asked for the controller's name when the file is new. Raises UnknownParameter at once if `params`
    has no such target, LearnError, or MappingError (then the file is untouched).
    """
    if not TARGET.fullmatch(target):
        raise LearnError(f"'{target}' is not a parameter id such as petals.gain")
    if params is not None and "*" not in target and target not in params:
        raise UnknownParameter(target, params.names())
    control = classify(collect(heard, timeout))
    line = binding_for(control, target, params)
    write(path, line, device())
    return control, line


class Ear:
    """A listener that queues what it hears; iterate it for `learn`. `device()` is the controller heard last."""

    def __init__(self) -> None:
        self._heard: queue.SimpleQueue[tuple[float, Touch]] = queue.SimpleQueue()
        self._origin = ""

    def handle(self, touch: Touch, origin: str = "") -> None:
        self._origin = origin
        self._heard.put((time.monotonic(), touch))

    def counts(self, touch: Touch) -> bool:
        return True

    def device(self) -> str:
        return device_of(self._origin)

    def __iter__(self) -> Iterator[Heard]:
        while True:
            try:
                yield self._heard.get(timeout=0.02)
            except queue.Empty:
                yield time.monotonic(), None


@contextmanager
def listening(pattern: str = "", api: Api | None = None, notices: Callable[[str], None] | None = None) -> Iterator[Ear]:
    """The touches of every MIDI port that `pattern` means: `with listening() as ear: learn(path, id, ear, ...)`.

    Raises LearnError on a machine without MIDI.
    """
    ear = Ear()
    midi = MidiInput(pattern, ear, notices, name="bender learn", api=api, virtual=False)
    midi.start()
    try:
        if midi.status()["api"] is None:
            raise LearnError(why_none())
        yield ear
    finally:
        midi.close()


def learn_from_port(
    path: Path,
    target: str,
    pattern: str = "",
    timeout: float = 30.0,
    params: ParamSet | None = None,
    api: Api | None = None,
) -> str:
    """`learn` from the ports that `pattern` means; returns a line to show. Raises as `learn` and `listening` do."""
    with listening(pattern, api) as ear:
        control, line = learn(path, target, ear, params, ear.device, timeout)
    words = ", ".join(f"{key}: {value}" for key, value in line.items())
    return f"{control}; wrote {{{words}}} to {path}"
