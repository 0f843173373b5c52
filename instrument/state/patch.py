"""A patch: what to play, as a YAML file: model, prompts, bends with their scopes, values, modulators and snapshots.

Only the form is checked here; whether a lever exists or a value's parameter does is known to whoever builds the
bank and the parameters, who can raise `patch.error(...)` with the same file and line. No torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from instrument import yamlfile
from instrument.modulation.modspec import ModulatorSpec, named
from instrument.parameters.params import LONGEST_TEXT, BadValue, ParamSet, UnknownParameter, suggest
from instrument.parameters.values import tamed
from instrument.state.migrate import VERSION, migrated
from instrument.typed import size_of
from instrument.yamlfile import Document, FileError, Strict
from pipelines.bends.scope import ALL, index_ranges

MOST_SEED = 99999
VOICES = 4  # prompts that sound at once; these parameters hold them
VOICE_TEXTS = ("prompt.text", *(f"prompt.{number}.text" for number in range(2, VOICES + 1)))
VOICE_WEIGHTS = tuple(f"prompt.{number}.weight" for number in range(1, VOICES + 1))
MOST_PROMPTS = 128  # in a list to go along
MOST_SNAPSHOTS = 128  # as many as a program change can name
LONGEST_GLIDE = 60_000.0  # milliseconds
AUTOSAVE, AUTOSAVE_BEFORE = AUTOSAVES = ("autosave", "autosave-before")  # files that come by themselves
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class PatchError(FileError):
    """A patch cannot be used; the text names file, line and remedy."""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(tamed(value))


def _pair(value: Any) -> Any:
    """[lo, hi], a single number, or text such as 8-19 -> (lo, hi)."""
    if isinstance(value, str):
        found = index_ranges(value, "range")
        if len(found) != 1:
            raise ValueError(f"'{value}' should be one range, such as [8, 19]")
        return found[0]
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2 or not all(_number(end) for end in ends):
        raise ValueError("write [lo, hi] or a single number")
    if ends[0] > ends[1]:
        raise ValueError(f"[{ends[0]}, {ends[1]}] runs backwards; write [{ends[1]}, {ends[0]}]")
    return tuple(ends)


def _range_text(value: Any) -> Any:
    """Text ranges, a number, or a list of either -> one normalised text; 'all' -> None."""
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, bool) or not isinstance(item, (int, str)) for item in items):
        raise ValueError("write ranges as text, such as 0-1023, 4096-5119")
    text = ", ".join(str(item) for item in items)
    if text.strip().lower() == ALL:
        return None
    found = index_ranges(text, "range")
    return ", ".join(str(lo) if lo == hi else f"{lo}-{hi}" for lo, hi in found) or None


def _words(value: Any) -> Any:
    """One phrase stays text, several become a list of text; numbers are token indices and become text too."""
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, bool) or not isinstance(item, (int, str)) for item in items):
        raise ValueError("write a word or phrase of the prompt, a list of them, 'prompt' or 'all'")
    items = [str(item).strip() for item in items]
    if not all(items):
        raise ValueError("a word is empty; write a word of the prompt, 'prompt' or 'all'")
    return items if isinstance(value, list) else items[0]


def _voice(value: Any) -> Any:
    """A prompt by itself is one of full weight."""
    return {"text": value} if isinstance(value, str) else value


def _playable(value: Any) -> Any:
    if isinstance(value, (bool, str)) or _number(value):
        return value
    if isinstance(value, list) and len(value) == 2 and all(_number(end) for end in value):
        return tuple(value)
    raise ValueError("write a number, on or off, text, or [lo, hi] for a range")


def _pixels(value: Any) -> Any:
    if not isinstance(value, str) or (value and size_of(value) is None):
        raise ValueError(f"'{value}' is not a size; write for example 384x224")
    return value


Size = Annotated[str, BeforeValidator(_pixels)]
Pair = Annotated[tuple[float, float], BeforeValidator(_pair)]
RangeText = Annotated[str | None, BeforeValidator(_range_text)]
Words = Annotated[str | list[str], BeforeValidator(_words)]
Playable = Annotated[Any, BeforeValidator(_playable)]  # float | bool | str | (lo, hi)
Finite = Annotated[float, Field(allow_inf_nan=False)]


Glide = Annotated[Finite, Field(ge=0, le=LONGEST_GLIDE)]


class Band(Strict):
    """A window over the hidden width of the feed-forward, all three in 0..1."""

    center: Annotated[Finite, Field(ge=0, le=1)] = 0.5
    width: Annotated[Finite, Field(ge=0, le=1)] = 1.0
    feather: Annotated[Finite, Field(ge=0, le=1)] = 0.0


class Scope(Strict):
    """When and where a bend acts; None means everywhere. Ends of ranges are inclusive and counted from 0."""

    steps: Pair | None = None
    layers: Pair | None = None
    feather: Annotated[Finite, Field(ge=0)] = 0.0
    tokens: Words = "all"
    neurons: RangeText = None
    band: Band | None = None
    heads: RangeText = None

    @model_validator(mode="after")
    def _one_way_to_say_neurons(self) -> Scope:
        if self.neurons is not None and self.band is not None:
            raise ValueError("give either neurons or band, not both")
        return self


class BendSpec(Strict):
    """One named use of a lever. Its `values` are ids without the bend's name: {gain: 2.0}."""

    name: str
    lever: str
    scope: Scope = Scope()
    persist: Literal["transient", "cache"] = "cache"
    renormalize: bool = False  # rows of the attention map keep their sum
    values: dict[str, Playable] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _identifier(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' should be one word of letters, digits and _, such as petals")
        return name


class Voice(Strict):
    """One of several prompts that sound together, and how much of the whole is its."""

    text: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    weight: Annotated[Finite, Field(ge=0, le=1)] = 1.0


class Patch(Strict):
    """A whole patch; `name` is the file's name without its ending. Its fields may be set, and are checked then too.

    `prompt` is always the first prompt, also where the file gives several, or only a list to go along.
    """

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    version: int = VERSION
    model: str = "house"
    size: Size = ""  # of the picture; empty: as it is
    description: str = ""
    prompt: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    prompts: Annotated[list[Annotated[Voice, BeforeValidator(_voice)]], Field(max_length=VOICES)] = Field(
        default_factory=list
    )
    prompt_list: Annotated[list[Annotated[str, Field(max_length=LONGEST_TEXT)]], Field(max_length=MOST_PROMPTS)] = (
        Field(default_factory=list)
    )
    video: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""  # what pictures come in from
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    bends: list[BendSpec] = Field(default_factory=list)
    values: dict[str, Playable] = Field(default_factory=dict)
    glide: dict[str, Glide] = Field(default_factory=dict)  # id -> ms
    modulators: list[ModulatorSpec] = Field(default_factory=list)
    snapshots: dict[str, dict[str, Playable]] = Field(default_factory=dict)

    _name: str = PrivateAttr("untitled")
    _document: Document | None = PrivateAttr(None)

    @field_validator("bends")
    @classmethod
    def _unique(cls, bends: list[BendSpec]) -> list[BendSpec]:
        seen = [bend.name for bend in bends]
        for name in seen:
            if seen.count(name) > 1:
                raise ValueError(f"two bends are called '{name}'; give each its own name")
        return bends

    @field_validator("modulators")
    @classmethod
    def _tell_apart(cls, modulators: list[ModulatorSpec]) -> list[ModulatorSpec]:
        named(modulators)
        return modulators

    @field_validator("snapshots", mode="before")
    @classmethod
    def _slots(cls, snapshots: Any) -> Any:
        if not isinstance(snapshots, dict):
            return snapshots
        if len(snapshots) > MOST_SNAPSHOTS:
            raise ValueError(f"there are {len(snapshots)}; at most {MOST_SNAPSHOTS} are kept")
        seen: dict[int, Any] = {}
        for name in snapshots:
            if not str(name).isdecimal():
                continue
            slot = int(name)
            if not 1 <= slot <= MOST_SNAPSHOTS:
                raise ValueError(f"'{name}' is no slot; they are 1 to {MOST_SNAPSHOTS}, or give it a name")
            if slot in seen:
                raise ValueError(f"'{seen[slot]}' and '{name}' are one slot; give one of them another number")
            seen[slot] = name
        return {str(name): {} if values is None else values for name, values in snapshots.items()}

    @model_validator(mode="after")
    def _first_prompt(self) -> Patch:
        first = self.prompts[0].text if self.prompts else self.prompt or next(iter(self.prompt_list), "")
        if self.prompt not in ("", first):
            raise ValueError("there are prompt and prompts; give one of them")
        self.__dict__["prompt"] = first  # not as an assignment, which would be checked again
        return self

    @model_validator(mode="after")
    def _one_owner_of_a_name(self) -> Patch:
        bends = {bend.name for bend in self.bends}
        for name in named(self.modulators):
            if name in bends:
                raise ValueError(f"a bend and a modulator are both called '{name}'; give one another name")
        return self

    @property
    def name(self) -> str:
        return self._name

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The prompts that sound together at first; one, unless the patch gives several."""
        return tuple(self.prompts) or (Voice(text=self.prompt),)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """The size it wants; None where any will do."""
        return size_of(self.size)

    @property
    def file(self) -> str:
        """The file it was read from; empty if it was not."""
        return self._document.file if self._document is not None else ""

    @property
    def video_source(self) -> str:
        """The video in: a file, found from where the patch lies, or a camera or address as it stands."""
        if not self.video or ":" in self.video[2:] or not self.file:  # the colon of a drive is no address's
            return self.video
        return str(Path(self.file).parent / self.video)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patch) and self.model_dump() == other.model_dump()

    def all_values(self) -> dict[str, Any]:
        """Full id -> value: first what stands in the bends, then the patch's own `values` over it."""
        inside = {f"{bend.name}.{key}": value for bend in self.bends for key, value in bend.values.items()}
        return {**inside, **self.values}

    def error(self, problem: str, *path: str | int) -> PatchError:
        """A PatchError that points at a place of the file: `raise patch.error("no lever ...", "bends", 0, "lever")`."""
        if self._document is None:
            return PatchError(self._name, 0, problem)
        return PatchError(self._document.file, self._document.line(path), problem)


def load(which: str | Path, folder: Path | None = None) -> Patch:
    """Read a patch: a Path is a file; a str is a name in `folder`, else among the patches that ship.

    Raises PatchError with file, line and remedy.
    """
    file = yamlfile.find(which, folder, "patches")
    if file is None:
        advice = suggest(str(which), available(folder))
        raise PatchError(str(which), 0, f"no such patch{f' in {folder}' if folder else ''}; {advice}")
    return loads(yamlfile.read_text(file, PatchError), str(file), name=file.name.removesuffix(".yaml"))


def loads(text: str, file: str = "patch", name: str = "untitled") -> Patch:
    """YAML text -> Patch; `file` is what errors call it. Raises PatchError."""
    document = yamlfile.parse(text, file, PatchError)
    if isinstance(document.data, dict):
        try:
            document = replace(document, data=migrated(document.data))
        except ValueError as problem:
            raise PatchError(file, document.line(("version",)), str(problem)) from None
    patch = yamlfile.check(Patch, document, PatchError)
    patch._name, patch._document = name, document
    return patch


def available(folder: Path | None = None) -> list[str]:
    """Names that `load` finds, but for what was kept by itself."""
    return [name for name in yamlfile.names(folder, "patches") if name not in AUTOSAVES]


def dump(patch: Patch) -> str:
    """Patch -> YAML text that loads as an equal patch; what is at its default is left out."""
    data = {"version": patch.version, "model": patch.model, "prompt": patch.prompt}
    data |= patch.model_dump(mode="json", exclude_defaults=True)
    if patch.prompts:
        del data["prompt"]
    return yamlfile.dump(data)


def set_values(patch: Patch, params: ParamSet, origin: str = "patch") -> None:
    """Every value and glide of the patch into `params`. Raises PatchError naming the line of the first that does not
    fit."""
    for id, ms in patch.glide.items():
        try:
            params.set_glide(id, ms)
        except (UnknownParameter, BadValue) as problem:
            raise patch.error(str(problem), "glide", id) from None
    for id, value in patch.all_values().items():
        try:
            params.set(id, value, origin)
        except (UnknownParameter, BadValue) as problem:
            raise patch.error(str(problem), *_where(patch, id)) from None


def _where(patch: Patch, id: str) -> tuple[str | int, ...]:
    if id in patch.values:
        return ("values", id)
    bend, _, key = id.partition(".")
    index = [b.name for b in patch.bends].index(bend)
    return ("bends", index, "values", key)
