"""One line of a mapping: what it may say, and the concrete bindings that it stands for.

A line names a source (a control of the device profile, or a raw message), a target, and how one moves the other. Rows
(`fader.{n}`, `cc: 0-7`) and pages are unrolled here, so that whoever plays meets plain bindings only. Knows no
parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from instrument.mapping.profile import Coarse, Encoding, FourteenBits, Led, Light, Numbers, Profile
from instrument.parameters.params import suggest
from instrument.yamlfile import Strict
from pipelines.spec import Warp

TARGET = re.compile(r"[A-Za-z0-9_*]+(\.[A-Za-z0-9_*]+)*")
ROW = re.compile(r"\{n(?:([+-]\d+)(p?))?\}")  # {n}, {n+8}, {n-1}, and {n+8p}: eight more on each page
_RAW = re.compile(r"(cc|note) (\d+)")
_FLAGS = ("pitch", "pressure")  # sources of which a channel has one
SOURCES = ("control", "cc", "cc14", "note", "pitch", "pressure", "poly", "program", "nrpn", "rpn", "mmc", "osc")
Takeover = Literal["jump", "pickup", "scale"]
Mode = Literal["gate", "toggle", "momentary", "velocity", "trigger"]


def _ends(value: Any) -> Any:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    if not numbers or value[0] == value[1]:
        raise ValueError("write two different numbers, [lo, hi], in the parameter's units")
    return tuple(value)


def _programs(value: Any) -> Any:
    return "0-127" if value in ("all", "any") else value


def _many(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if not items or any(isinstance(item, bool) or not isinstance(item, (int, str)) for item in items):
        raise ValueError("write a name or number, or a list of them")
    return tuple(items)


Finite = Annotated[float, Field(allow_inf_nan=False)]
Ends = Annotated[tuple[Finite, Finite], BeforeValidator(_ends)]
Many = Annotated[tuple[int | str, ...], BeforeValidator(_many)]


class Binding(Strict):
    """One line: one source to one target (`to`, which may hold *, or `trigger`, or `go` to another page).

    `range` is in the parameter's units and may run backwards; without it the parameter's own. `curve` replaces the
    parameter's own. `mode` makes the source a button. `page` and `when` say when the line holds at all.
    """

    control: str | None = None
    cc: Numbers | None = None
    cc14: Coarse | None = None
    note: Numbers | None = None
    pitch: Literal[True] | None = None
    pressure: Literal[True] | None = None
    poly: Numbers | None = None
    program: Annotated[Numbers, BeforeValidator(_programs)] | None = None
    nrpn: FourteenBits | None = None
    rpn: FourteenBits | None = None
    mmc: Literal["stop", "play", "forward", "rewind", "record", "pause"] | None = None
    osc: str | None = None
    channel: Annotated[int, Field(ge=1, le=16)] | None = None
    device: str | None = None
    to: str | None = None
    trigger: str | None = None
    go: int | str | None = None
    range: Ends | None = None
    curve: Warp | None = None
    invert: bool = False
    takeover: Takeover = "jump"
    relative: Encoding | None = None
    notches: Annotated[int, Field(ge=1, le=4096)] | None = None
    acceleration: Annotated[float, Field(ge=1, le=32)] = 1.0
    mode: Mode | None = None
    feedback: Led | bool | None = None
    page: Many | None = None
    when: Many | None = None

    @field_validator("to", "trigger")
    @classmethod
    def _is_id(cls, id: str | None) -> str | None:
        if id is not None and not TARGET.fullmatch(ROW.sub("1", id)):
            raise ValueError(f"'{id}' is not a parameter id such as petals.gain, *.gain or bend.{{n}}.amount")
        return id

    @field_validator("osc")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(r"/[^\s#*,?\[\]{}]+", address):
            raise ValueError(f"'{address}' is not one OSC address such as /1/fader1")
        return address

    @model_validator(mode="after")
    def _one_source_one_target(self) -> Binding:
        if sum(getattr(self, source) is not None for source in SOURCES) != 1:
            raise ValueError(f"give exactly one source: {', '.join(SOURCES[:-1])} or {SOURCES[-1]}")
        if sum(target is not None for target in (self.to, self.trigger, self.go)) != 1:
            raise ValueError("give exactly one target: to: <parameter id>, trigger: <trigger id>, or go: <page>")
        return self

    @model_validator(mode="after")
    def _options_fit_the_source(self) -> Binding:
        button = self.mode is not None or self.note is not None or self.trigger is not None or self.go is not None
        if self.osc is not None and (self.channel is not None or self.device is not None):
            raise ValueError("an osc source has no channel and no device; remove it")
        if self.relative and ((self.cc is None and self.control is None) or self.mode or button):
            raise ValueError("relative is for an endless knob: a cc with 'to' and without mode")
        if self.takeover != "jump" and (self.relative or button):
            raise ValueError(f"takeover: {self.takeover} is for faders and knobs with ends; remove it here")
        if isinstance(self.feedback, Led) or self.feedback:
            own = self.feedback if isinstance(self.feedback, Led) else Led()
            numbered = any(number is not None for number in (own.cc, own.note, own.pitch))
            if not numbered and not any(getattr(self, kind) is not None for kind in ("control", *_LIT)):
                raise ValueError("feedback here needs the message that lights the control: feedback: {note: 8}")
        return self

    @model_validator(mode="after")
    def _options_fit_the_target(self) -> Binding:
        if self.to is None and (self.range or self.curve or self.mode):
            raise ValueError("a trigger has no range, curve or mode; use 'to' for a parameter with a value")
        if self.curve == "exponential" and self.range and min(self.range) <= 0:
            raise ValueError("an exponential curve needs a range above 0")
        if ROW.search(self.to or self.trigger or "") and not self._is_row:
            raise ValueError("{n} needs a row as its source: control: fader.{n}, or cc: 0-7")
        return self

    @property
    def _is_row(self) -> bool:
        source = next(source for source in SOURCES if getattr(self, source) is not None)
        value = getattr(self, source)
        return "{n}" in value if source == "control" else isinstance(value, tuple)

    @property
    def target(self) -> str | None:
        return self.to or self.trigger


_LIT = ("cc", "note", "pitch")  # sources that can be lit with the message they send


@dataclass(frozen=True, eq=False)
class Bound:
    """A binding of one control to one target; `index` is the line it comes from. No two are equal.

    `pages` None: on every page. `when`: the controls that must be held, as (kind, key, channel or None).
    """

    index: int
    binding: Binding
    kind: str
    key: int | str
    channel: int | None
    target: str | None
    name: str = ""
    button: bool = False
    relative: str | None = None
    notches: int = 128
    light: Light | None = None
    pages: frozenset[int] | None = None
    when: tuple[tuple[str, int, int | None], ...] = ()

    @property
    def source(self) -> tuple[str, int | str]:
        return self.kind, self.key

    @property
    def counts(self) -> bool:
        """Whether every message matters, not only the last one."""
        binding = self.binding
        return bool(self.button or self.relative or binding.trigger or binding.go is not None)

    @property
    def takeover(self) -> Takeover:
        """Of a control that turns out to be a button or an endless knob there is nothing to take over."""
        return "jump" if self.button or self.relative else self.binding.takeover

    @property
    def words(self) -> str:
        """The source, for people."""
        return self.name or (self.kind if self.kind in _FLAGS else f"{self.kind} {self.key}")


def unroll(index: int, binding: Binding, profile: Profile | None, pages: tuple[str, ...]) -> Iterator[Bound]:
    """Every plain binding that a line stands for; raises ValueError naming what does not exist."""
    where = None if binding.page is None else frozenset(_page(page, pages) for page in binding.page)
    when = tuple(_held(item, profile) for item in binding.when or ())
    if isinstance(binding.go, int) or binding.go not in (None, "next", "previous"):
        _page(binding.go, pages)
    elif binding.go is not None and not pages:
        raise ValueError("go needs pages: list them at the top, such as pages: [amounts, layers]")
    turning = any(match[2] for match in ROW.finditer(binding.target or ""))
    for source in _sources(binding, profile):
        number = source.pop("number")
        for page in range(max(1, len(pages))) if turning else (None,):
            here = where if page is None else frozenset({page}) & (where or frozenset({page}))
            if here is None or here:
                target = None if binding.target is None else numbered(binding.target, number, page or 0)
                yield Bound(index, binding, target=target, pages=here, when=when, **source)


def numbered(target: str, number: int, page: int) -> str:
    """`bend.{n+8p}.amount` for control `number` (from 1) on `page` (from 0)."""

    def replace(match: re.Match[str]) -> str:
        more = int(match[1] or 0) * (page if match[2] else 1)
        return str(number + more)

    return ROW.sub(replace, target)


def _page(page: int | str, pages: tuple[str, ...]) -> int:
    if isinstance(page, int) and 1 <= page <= len(pages):
        return page - 1
    if page in pages:
        return pages.index(page)
    there = suggest(str(page), pages) if pages else "list the pages at the top, such as pages: [amounts, layers]"
    raise ValueError(f"no page '{page}'; {there}")


def _held(item: int | str, profile: Profile | None) -> tuple[str, int, int | None]:
    raw = _RAW.fullmatch(str(item))
    if raw:
        return raw[1], int(raw[2]), None
    if profile is None:
        raise ValueError(f"when: '{item}' should be a message such as note 98; names need a profile")
    (part, *_) = profile.find(str(item))
    return *part.source, part.channel


def _sources(binding: Binding, profile: Profile | None) -> Iterator[dict[str, Any]]:
    """What sends, as keywords of a Bound, and which of its row it is."""
    if binding.control is not None:
        if profile is None:
            raise ValueError(f"control: {binding.control} needs a profile: name one at the top of the file")
        for place, part in enumerate(profile.find(binding.control), 1):
            kind, key = part.source
            button = part.is_button or binding.mode is not None
            light = _light(binding, kind, key, place - 1, binding.channel or part.channel) or part.light
            yield {
                "kind": kind,
                "key": key,
                "channel": binding.channel or part.channel,
                "number": part.number or place,
                "name": part.name,
                "button": button,
                "relative": None if button else binding.relative or part.relative,
                "notches": binding.notches or part.notches,
                "light": None if binding.feedback is False else light,
            }
        return
    kind = next(source for source in SOURCES if getattr(binding, source) is not None)
    value = getattr(binding, kind)
    for place, key in enumerate(value if isinstance(value, tuple) else (0 if kind in _FLAGS else value,), 1):
        yield {
            "kind": kind,
            "key": key,
            "channel": binding.channel,
            "number": place,
            "button": kind == "note" or binding.mode is not None,
            "relative": binding.relative,
            "notches": binding.notches or 128,
            "light": _light(binding, kind, key, place - 1, binding.channel),
        }


def _light(binding: Binding, kind: str, key: int | str, place: int, channel: int | None) -> Light | None:
    """The light that the line itself asks for."""
    if not binding.feedback:
        return None
    led = binding.feedback if isinstance(binding.feedback, Led) else Led()
    own = next((kind for kind in _LIT if getattr(led, kind) is not None), None)
    if own is not None:
        numbers = (0,) if own == "pitch" else getattr(led, own)
        kind, key = own, numbers[place % len(numbers)]
    if kind not in _LIT:
        return None
    if led.channel is not None:
        channel = led.channel[place % len(led.channel)]
    button = binding.mode is not None or binding.note is not None or binding.to is None
    return Light(kind, int(key), channel or 1, led, led.shows or ("switch" if button else "value"))
