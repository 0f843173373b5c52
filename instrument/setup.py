"""From the command line's words to what plays: patch, system, outputs."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import torch

from instrument import outputs
from instrument.engine.threads import model_threads
from instrument.mapping import mapping as mappings
from instrument.mapping.mapping import MappingError
from instrument.mapping.ownfile import UNDER, own_path
from instrument.outputs import Output
from instrument.parameters.params import BadValue, Parameter, ParamSet, suggest
from instrument.parameters.values import closest
from instrument.state import patch as patches
from instrument.state.patch import MOST_SEED, Patch
from instrument.yamlfile import FileError
from pipelines.files import with_decoder
from pipelines.quicken import make_stream, quickened
from pipelines.recipes import Recipe, recipe, sized
from pipelines.refusal import Refusal
from pipelines.spec import ControlSpec, Spec, TextSpec
from pipelines.stream import Stream
from pipelines.systems import SHAPES, Fit, System, TextPlace, open_system, pick_device, pick_dtype, random_system

COMPILED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attentionbender" / "compiled"
_PAIR = re.compile(r"\s*\[?\s*(-?\d+(?:\.\d+)?)\s*[-,\s]\s*(-?\d+(?:\.\d+)?)\s*\]?\s*")  # 4,11; 4-11; 4 11; [4, 11]
DEVICES = ("auto", "cpu", "cuda", "mps")


class UsageError(Refusal, ValueError):
    """Words on the command line that cannot be obeyed; the text says which and what would do."""


def cannot_write(option: str, path: object, problem: OSError) -> UsageError:
    """The refusal of a place where nothing can be written."""
    return UsageError(f"{option} {path}: cannot be written ({problem.strerror}); choose another place")


def open_patch(options: argparse.Namespace) -> Patch:
    """The patch asked for, a file or a name, with `--prompt` and `--seed` over it."""
    patch = patches.load(named(options.patch), options.patches_dir)
    if options.prompt is not None:
        patch.prompts = []
        patch.prompt = options.prompt
    if options.seed is not None:
        if not 0 <= options.seed <= MOST_SEED:
            raise UsageError(f"--seed {options.seed}: choose 0 to {MOST_SEED}")
        patch.seed = options.seed
    return patch


def named(text: str) -> str | Path:
    """A name as it stands, or a Path where the words point at a file."""
    return Path(text) if text.endswith((".yaml", ".yml")) or os.sep in text else text


def open_mappings(options: argparse.Namespace) -> tuple[list[str | Path], list[str]]:
    """The mappings to play, none of them broken, and what is to be told of them. A file that is not there yet is begun;
    where none is named, the player's own plays that learning has left, or the default one. Raises FileError."""
    folder = options.mappings_dir
    if not options.mapping:
        return _usual(own_path(folder), folder)
    told = []
    for which in map(named, options.mapping):
        if isinstance(which, Path) and not which.exists():
            told.append(_beginning(which, folder))
        else:
            mappings.load(which, folder)
    return [named(text) for text in options.mapping], told


def _usual(own: Path, folder: Path | None) -> tuple[list[str | Path], list[str]]:
    """What plays where nothing is named. A file of that name that is no mapping is somebody's, and stops no show."""
    if not own.is_file():
        return [UNDER], []
    try:
        mappings.load(own, folder)
    except FileError as problem:
        return [UNDER], [f"{problem}; the show plays without it"]
    return [own], []


def _beginning(path: Path, folder: Path | None) -> str:
    """What to say of a mapping that is not there yet. Raises MappingError where it looks like a slip of the pen."""
    if path.suffix not in (".yaml", ".yml"):
        raise MappingError(str(path), 0, "no such mapping; one that is to be begun is called NAME.yaml")
    if not path.parent.is_dir():
        raise MappingError(str(path), 0, f"there is no folder {path.parent}; make it first")
    if path.name == str(path) and path.stem in mappings.available(folder):
        raise MappingError(str(path), 0, f"no such file; did you mean '{path.stem}'?")
    near = closest(path.name, [file.name for file in path.parent.glob("*.y*ml")])
    return f"{path} is not there yet; learning begins it" + (f" (did you mean {path.parent / near}?)" if near else "")


def open_model(options: argparse.Namespace, patch: Patch, live: bool = True) -> System:
    """The model asked for, or the patch's, loaded. Not `live`: it comes out the same every time, see `opener`."""
    return opener(options, live)(wanted_recipe(options, patch))


def wanted_recipe(options: argparse.Namespace, patch: Patch) -> Recipe:
    """The row of the model asked for, or the patch's, at the size asked for, or the patch's."""
    wanted, size = recipe(options.model or patch.model), options.size or patch.pixels
    if options.decoder:
        wanted = with_decoder(wanted, options.decoder)
    try:
        return sized(wanted, *size) if size else wanted
    except ValueError as problem:
        raise UsageError(str(problem)) from None


def opener(options: argparse.Namespace, live: bool = True) -> Callable[[Recipe], System]:
    """What loads the system of a recipe, on the device asked for. `--weights` are those of the first model alone.

    Where it is not `live`, a CPU computes the model as it is: which layers are rounded for speed depends on what the
    machine measures at that moment, and so would every bit of the picture.
    """
    if options.device.partition(":")[0] not in DEVICES:
        raise UsageError(f"--device {options.device}: {suggest(options.device, DEVICES)}")
    try:
        device = pick_device(options.device)
    except (ValueError, RuntimeError) as problem:
        raise UsageError(str(problem)) from None
    torch.set_num_threads(model_threads(options.threads))  # so that what is measured is what will play
    first: list[str] = []
    plain = options.plain or not (live or device.type == "cuda")

    def open_one(row: Recipe) -> System:
        first.append(row.name)
        weights = options.weights if row.name == first[0] else None
        if options.decoder and row.parts != "own":
            row = with_decoder(row, options.decoder)
        system = open_system(row, device, pick_dtype(device), weights, options.models_dir, fit_of(options))
        return system if plain else quickened(system, COMPILED)

    return open_one


def fit_of(options: argparse.Namespace) -> Fit:
    """How the system is to be made to fit this machine."""
    if options.text_encoder not in get_args(TextPlace):
        raise UsageError(f"--text-encoder {options.text_encoder}: {suggest(options.text_encoder, get_args(TextPlace))}")
    return Fit(options.quantize, options.offload, options.text_encoder)


def open_stream(options: argparse.Namespace) -> Stream:
    """A stream to be timed, with a prompt."""
    patch = open_patch(options)
    system = open_bench(options, patch)
    stream = make_stream(system, patch.seed)
    stream.read_prompt(system.encoder.encode(patch.prompt))
    return stream


def open_bench(options: argparse.Namespace, patch: Patch) -> System:
    """The system to be timed: the patch's model, or with `--random` one of a real system's shape."""
    if options.random is None:
        return open_model(options, patch)
    if options.random not in SHAPES:
        raise UsageError(f"--random {options.random}: {suggest(options.random, list(SHAPES))}")
    recipe, device = SHAPES[options.random], pick_device(options.device)
    recipe = with_decoder(recipe, options.decoder) if options.decoder else recipe
    recipe = sized(recipe, *options.size) if options.size else recipe
    return random_system(recipe, device, pick_dtype(device), fit=fit_of(options))


def open_outputs(specs: Iterable[str], overwrite: bool = False) -> list[Output]:
    """Outputs from their specs, not yet open; a bare file name is a file. `overwrite` replaces files of that name."""
    return [outputs.parse(_spec(spec, overwrite)) for spec in specs]


def _spec(spec: str, overwrite: bool) -> str:
    head, _, query = spec.partition("?")
    if ":" not in head and "." in head:
        spec = f"file:{spec}"
    if not overwrite or not spec.startswith("file:"):
        return spec
    return f"{spec}&overwrite" if query else f"{spec}?overwrite"


def set_first_values(params: ParamSet, assignments: Iterable[str]) -> None:
    """`id=value` words into parameters."""
    for word in assignments:
        id, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"--set {word}: write it as ID=VALUE, for example petals.gain=2")
        if params.is_range(id):
            params.set(id, _range(id, params[f"{id}.center"].spec, text), "command line")
        else:
            params.set(id, _value(params[id], text) if id in params else text, "command line")


def _range(id: str, spec: Spec, text: str) -> tuple[float, float]:
    """Both ends out of 4,11 or 4-11 or 4 11, in brackets or not. As with `_value`, beyond the range is a mistake."""
    found = _PAIR.fullmatch(text)
    if found is None:
        raise BadValue(f"{id} cannot be '{text}'; write its two ends, {id}={spec.lo:g},{spec.hi:g}")
    ends = float(found[1]), float(found[2])
    if not all(spec.lo <= end <= spec.hi for end in ends):
        raise BadValue(f"{id} cannot be {text}; give two from {spec.lo:g} to {spec.hi:g}")
    return ends


def _value(parameter: Parameter, text: str) -> float | str:
    """The text as the parameter wants it. Unlike a hand on a knob, a typed number beyond the range is a mistake."""
    spec = parameter.spec
    if isinstance(spec, TextSpec):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if isinstance(spec, ControlSpec) and not math.isnan(number) and not spec.lo <= number <= spec.hi:
        raise BadValue(f"{parameter.id} cannot be {text}; give {spec.lo:g} to {spec.hi:g}")
    return number
