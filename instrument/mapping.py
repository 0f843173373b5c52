"""A mapping: which knob, pad, bend wheel or foreign OSC address moves which parameter, as a YAML file.

A `Mapping` turns a `Touch` into `params.set` and `params.trigger` calls. It knows nothing of ports, sockets or bytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from instrument import yamlfile
from instrument.link import Link
from instrument.params import BadValue, ParamSet, UnknownParameter, suggest
from instrument.yamlfile import Document, FileError, Strict
from pipelines.spec import TriggerSpec, Warp

log = logging.getLogger(__name__)

TARGET = re.compile(r"[A-Za-z0-9_*]+(\.[A-Za-z0-9_*]+)*")
_POSITION = re.compile(r"bend\.(\d+)\.")


class MappingError(FileError):
    """A mapping cannot be used; the text names file, line and remedy."""


class Touch(NamedTuple):
    """One thing a hand did.

    kind `cc`: key 0..127, value 0..127. `note`: key 0..127, value = velocity, 0 when let go. `pitch`: key 0, value
    -8192..8191. `osc`: key = the address, value = its argument, 0..1 or text. MIDI channels count from 1; 0 = none.
    """

    kind: str
    key: int | str
    value: float | str
    channel: int = 0

    @property
    def travel(self) -> float:
        """Where the control stands, 0..1; text counts as 1."""
        if isinstance(self.value, str):
            return 1.0
        if self.kind == "pitch":
            return (self.value + 8192) / 16383
        return min(max(self.value if self.kind == "osc" else self.value / 127, 0.0), 1.0)


def _ends(value: Any) -> Any:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    if not numbers or value[0] == value[1]:
        raise ValueError("write two different numbers, [lo, hi], in the parameter's units")
    return tuple(value)


def _relative(value: Any) -> Any:
    return "twos" if value is True else value


Seven = Annotated[int, Field(ge=0, le=127)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ends = Annotated[tuple[Finite, Finite], BeforeValidator(_ends)]
Relative = Literal["twos", "offset", "signed", "signed2"]


class Binding(Strict):
    """One line: one source (cc, note, pitch or osc) to one target (`to`, which may hold *, or `trigger`).

    `range` is in the parameter's units and may run backwards; without it the parameter's own. `curve` replaces the
    parameter's own. `takeover: pickup` waits until the control passes the value. `mode` makes the source a button.
    """

    cc: Seven | None = None
    note: Seven | None = None
    pitch: Literal[True] | None = None
    osc: str | None = None
    channel: Annotated[int, Field(ge=1, le=16)] | None = None
    to: str | None = None
    trigger: str | None = None
    range: Ends | None = None
    curve: Warp | None = None
    invert: bool = False
    takeover: Literal["jump", "pickup"] = "jump"
    relative: Annotated[Relative, BeforeValidator(_relative)] | None = None
    mode: Literal["gate", "toggle", "trigger"] | None = None

    @field_validator("to", "trigger")
    @classmethod
    def _is_id(cls, id: str | None) -> str | None:
        if id is not None and not TARGET.fullmatch(id):
            raise ValueError(f"'{id}' is not a parameter id such as petals.gain or *.gain")
        return id

    @field_validator("osc")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(r"/[^\s#*,?\[\]{}]+", address):
            raise ValueError(f"'{address}' is not one OSC address such as /1/fader1")
        return address

    @model_validator(mode="after")
    def _one_source_one_target(self) -> Binding:
        if sum(source is not None for source in (self.cc, self.note, self.pitch, self.osc)) != 1:
            raise ValueError("give exactly one source: cc, note, pitch or osc")
        if (self.to is None) == (self.trigger is None):
            raise ValueError("give exactly one target: to: <parameter id>, or trigger: <trigger id>")
        return self

    @model_validator(mode="after")
    def _options_fit_together(self) -> Binding:
        button = self.mode is not None or self.note is not None or self.trigger is not None
        if self.osc is not None and self.channel is not None:
            raise ValueError("an osc source has no channel; remove it")
        if self.relative and (self.cc is None or self.mode or self.trigger):
            raise ValueError("relative is for an endless knob: a cc with 'to' and without mode")
        if self.takeover == "pickup" and (self.relative or button):
            raise ValueError("takeover: pickup is for faders and knobs with ends; remove it here")
        if self.trigger is not None and (self.range or self.curve or self.mode):
            raise ValueError("a trigger has no range, curve or mode; use 'to' for a parameter with a value")
        if self.curve == "exponential" and self.range and min(self.range) <= 0:
            raise ValueError("an exponential curve needs a range above 0")
        return self

    @property
    def source(self) -> tuple[str, int | str]:
        """(kind, key) as in a Touch."""
        for kind in ("cc", "note", "osc"):
            if getattr(self, kind) is not None:
                return kind, getattr(self, kind)
        return "pitch", 0

    @property
    def counts(self) -> bool:
        """Whether every message matters, not only the last one."""
        return bool(self.relative or self.mode or self.trigger or self.note is not None)


class MappingFile(Strict):
    """The file. `device` is part of the name of a MIDI port (* allowed); empty for any."""

    version: Literal[1] = 1
    device: str = ""
    description: str = ""
    bindings: list[Binding] = Field(default_factory=list)

    _document: Document | None = PrivateAttr(None)

    def where(self, index: int) -> str:
        """`file:line` of a binding."""
        if self._document is None:
            return f"mapping: binding {index + 1}"
        return f"{self._document.file}:{self._document.line(('bindings', index))}"


def load(which: str | Path, folder: Path | None = None) -> MappingFile:
    """Read a mapping: a Path is a file; a str is a name in `folder`, else among the mappings that ship.

    Raises MappingError with file, line and remedy.
    """
    file = yamlfile.find(which, folder, "mappings")
    if file is None:
        advice = suggest(str(which), available(folder))
        raise MappingError(str(which), 0, f"no such mapping{f' in {folder}' if folder else ''}; {advice}")
    return loads(yamlfile.read_text(file, MappingError), str(file))


def loads(text: str, file: str = "mapping") -> MappingFile:
    """YAML text -> MappingFile; `file` is what errors call it. Raises MappingError."""
    document = yamlfile.parse(text, file, MappingError)
    made = yamlfile.check(MappingFile, document, MappingError)
    made._document = document
    return made


def available(folder: Path | None = None) -> list[str]:
    """Names that `load` finds."""
    return yamlfile.names(folder, "mappings")


class Mapping:
    """A MappingFile at work on a ParamSet. May be called from several threads.

    A binding whose target does not exist is told about once, through `notices` (default: the log), and does nothing;
    it works as soon as a patch brings the parameter.
    """

    def __init__(self, file: MappingFile, params: ParamSet, notices: Callable[[str], None] | None = None) -> None:
        self.file = file
        self._params = params
        self._notices = notices or log.warning
        self._told: set[tuple[int, str]] = set()
        self._links: dict[int, list[Link]] = {}
        self._structure = -1
        self._bindings: dict[tuple[str, int | str], list[int]] = {}
        for index, binding in enumerate(file.bindings):
            self._bindings.setdefault(binding.source, []).append(index)

    @property
    def device(self) -> str:
        return self.file.device

    @property
    def addresses(self) -> list[str]:
        """OSC addresses that this mapping answers to."""
        return [key for kind, key in self._bindings if kind == "osc"]

    def answers(self, address: str) -> bool:
        """Whether an OSC address is a source here."""
        return ("osc", address) in self._bindings

    def counts(self, touch: Touch) -> bool:
        """Whether each such message matters (buttons, endless knobs), so that none may be left out."""
        found = (self.file.bindings[i] for i in self._bindings.get((touch.kind, touch.key), ()))
        return any(binding.counts or self._fires(binding) for binding in found)

    def _fires(self, binding: Binding) -> bool:
        to = binding.to or ""
        return to in self._params and isinstance(self._params[to].spec, TriggerSpec)

    def handle(self, touch: Touch, origin: str = "") -> bool:
        """Apply one touch; True if any binding listens to it. Never raises for a bad value or a missing target."""
        heard = False
        for index in self._bindings.get((touch.kind, touch.key), ()):
            binding = self.file.bindings[index]
            if binding.channel in (None, touch.channel):
                heard = True
                self._apply(index, touch, origin)
        return heard

    def _apply(self, index: int, touch: Touch, origin: str) -> None:
        problems: dict[str, str] = {}  # what it is about -> the words; each is told once
        with self._params.together():
            for link in self._linked(index, problems):
                try:
                    link.take(self._params, touch, origin)
                except (BadValue, UnknownParameter) as problem:
                    problems[link.id] = str(problem)
        for about, problem in problems.items():
            self._tell(index, about, problem)

    def _linked(self, index: int, problems: dict[str, str]) -> list[Link]:
        """The links of a binding, made anew whenever parameters have come or gone."""
        if self._structure != self._params.structure:
            self._links.clear()
            self._structure = self._params.structure
        if index not in self._links:
            self._links[index] = self._make(self.file.bindings[index], problems)
        elif not self._links[index]:
            self._make(self.file.bindings[index], problems)
        return self._links[index]

    def _make(self, binding: Binding, problems: dict[str, str]) -> list[Link]:
        target = binding.to or binding.trigger or ""
        if "*" in target:
            found = [p for p in self._params if fnmatchcase(p.id, target)]
            found = [p for p in found if isinstance(p.spec, TriggerSpec) == (binding.trigger is not None)]
        else:
            found = [self._params[target]] if target in self._params else []
        if not found:
            problems["missing"] = self._missing(target)
        elif binding.trigger is not None and not isinstance(found[0].spec, TriggerSpec):
            problems["type"] = f"{found[0].id} is not a trigger; write 'to: {target}'"
            found = []
        return [Link(binding, parameter) for parameter in found]

    def _missing(self, target: str) -> str:
        position = _POSITION.match(target)
        if position:
            return f"'{target}': this patch has no such bend or amount"
        if "*" in target:
            return f"no parameter matches '{target}'"
        return str(UnknownParameter(target, self._params.names()))

    def _tell(self, index: int, about: str, problem: str) -> None:
        if (index, about) not in self._told:
            self._told.add((index, about))
            kind, key = self.file.bindings[index].source
            source = kind if kind == "pitch" else f"{kind} {key}"
            self._notices(f"{self.file.where(index)}: {source} does nothing: {problem}")
