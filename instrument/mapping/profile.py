"""A device profile: what a controller has, what its controls send, how its lights are lit, where it all lies.

Names of controls are what mappings use, so that a mapping made for one controller plays another. One YAML file for each
controller, in `mappings/devices`. This file knows nothing of parameters or ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import mido
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from instrument import yamlfile
from instrument.parameters.params import suggest
from instrument.yamlfile import Document, FileError, Strict

CONTROL = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
FOLDER = "devices"
_MOST = 400  # controls of one device
_SPAN = re.compile(r"(\d+)\s*-\s*(\d+)")

Relative = Literal["twos", "offset", "signed", "signed2"]
Kind = Literal["fader", "knob", "encoder", "button", "pad", "wheel", "strip", "pedal"]
BUTTONS = ("button", "pad", "pedal")


class ProfileError(FileError):
    """A device profile cannot be used; the text names file, line and remedy."""


def whole_numbers(value: Any, most: int = 127) -> tuple[int, ...]:
    """8, "0-7", "3-0" or a list of those -> every number meant, in order. Raises ValueError."""
    found: list[int] = []
    for item in value if isinstance(value, (list, tuple)) else [value]:
        span = _SPAN.fullmatch(item.strip()) if isinstance(item, str) else None
        if span:
            first, last = int(span[1]), int(span[2])
            _in_reach(max(first, last), most)
            found += range(first, last + 1) if first <= last else range(first, last - 1, -1)
        elif isinstance(item, int) and not isinstance(item, bool):
            _in_reach(item, most)
            found.append(item)
        else:
            raise ValueError(f"should be a whole number, a range such as 0-7 or a list of them, not {item!r}")
    if not found or len(found) > _MOST:
        raise ValueError(f"should be at least one and at most {_MOST} numbers")
    return tuple(found)


def _in_reach(number: int, most: int) -> None:
    if number > most:
        raise ValueError(f"should be less than or equal to {most}, not {number}")
    if number < 0:
        raise ValueError(f"should be greater than or equal to 0, not {number}")


def _channels(value: Any) -> tuple[int, ...]:
    found = whole_numbers(value, 16)
    if 0 in found:
        raise ValueError("should be greater than or equal to 1, not 0")
    return found


def _pair(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2 or not all(type(end) in (int, float) for end in value):
        raise ValueError("write two numbers, [across, down]")
    return tuple(value)


def _message(value: Any) -> tuple[int, ...]:
    """[0xF0, ..., 0xF7] or the same as text of hexadecimal bytes -> one whole MIDI message."""
    try:
        data = list(bytes.fromhex(value)) if isinstance(value, str) else value
        mido.Message.from_bytes(data)
    except (ValueError, TypeError, IndexError) as problem:
        raise ValueError(f"write the bytes of one MIDI message, such as F0 7E 7F 06 01 F7 ({problem})") from None
    return tuple(data)


def _relative(value: Any) -> Any:
    return "twos" if value is True else value


Numbers = Annotated[tuple[int, ...], BeforeValidator(whole_numbers)]
FourteenBits = Annotated[tuple[int, ...], BeforeValidator(lambda value: whole_numbers(value, 16383))]
Coarse = Annotated[tuple[int, ...], BeforeValidator(lambda value: whole_numbers(value, 31))]
Channels = Annotated[tuple[int, ...], BeforeValidator(_channels)]
Encoding = Annotated[Relative, BeforeValidator(_relative)]
Seven = Annotated[int, Field(ge=0, le=127)]
Place = Annotated[tuple[float, float], BeforeValidator(_pair)]
Message = Annotated[tuple[int, ...], BeforeValidator(_message)]


class Led(Strict):
    """How a control shows a value. Without a number of its own it is lit at the control's.

    `value` sends where the parameter stands, from `range[0]` to `range[1]`; `switch` sends `on` or `off`; a trigger
    that is there to be pressed shows `ready`. `motor` is a fader that moves by itself.
    """

    cc: Numbers | None = None
    note: Numbers | None = None
    pitch: Literal[True] | None = None
    channel: Channels | None = None
    shows: Literal["value", "switch"] | None = None
    range: tuple[Seven, Seven] = (0, 127)
    off: Seven = 0
    on: Seven = 127
    ready: Seven | None = None
    motor: bool = False

    @model_validator(mode="after")
    def _one_number(self) -> Led:
        if sum(number is not None for number in (self.cc, self.note, self.pitch)) > 1:
            raise ValueError("give at most one of cc, note and pitch")
        return self


class Control(Strict):
    """One control, or a row or grid of like ones: `name: fader, cc: 0-7` is fader.1 to fader.8.

    `at`, `size` and `step` (from one of a row to the next; by default its size) are [across, down] on the drawing, in
    units of a button; a row turns after `columns`. In `label` {n} is the place in the row.
    """

    name: str
    kind: Kind = "knob"
    cc: Numbers | None = None
    cc14: Coarse | None = None
    note: Numbers | None = None
    pitch: Literal[True] | None = None
    pressure: Literal[True] | None = None
    nrpn: FourteenBits | None = None
    channel: Channels | None = None
    relative: Encoding | None = None
    notches: Annotated[int, Field(ge=1, le=4096)] = 128
    led: Led | None = None
    at: Place = (0.0, 0.0)
    size: Place = (1.0, 1.0)
    step: Place | None = None
    columns: Annotated[int, Field(ge=1)] = 100
    label: str = ""

    @field_validator("name")
    @classmethod
    def _word(cls, name: str) -> str:
        if not CONTROL.fullmatch(name):
            raise ValueError(f"'{name}' should be words of letters, digits and _, such as fader or play")
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Control:
        if sum(getattr(self, kind) is not None for kind in SOURCES) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}")
        if self.relative and self.cc is None:
            raise ValueError("relative is for an endless knob that sends a cc")
        return self

    @property
    def source(self) -> tuple[str, tuple[int, ...]]:
        kind = next(kind for kind in SOURCES if getattr(self, kind) is not None)
        return kind, (0,) if kind in ("pitch", "pressure") else getattr(self, kind)


SOURCES = ("cc", "cc14", "note", "pitch", "pressure", "nrpn")


@dataclass(frozen=True)
class Light:
    """What one control is lit with: the message is (kind, key, channel), the rest as in Led."""

    kind: str
    key: int
    channel: int
    led: Led
    shows: str

    def message(self, value: int) -> list[int]:
        """`value` 0..127, or 0..16383 for a pitch bend (a motor fader)."""
        status = {"cc": 0xB0, "note": 0x90, "pitch": 0xE0}[self.kind] | (self.channel - 1)
        if self.kind == "pitch":
            return [status, value & 127, value >> 7]
        return [status, self.key, value]


@dataclass(frozen=True)
class Part:
    """One control of a device; `number` is its place in its row, from 1, and 0 for a single one."""

    name: str
    number: int
    kind: str
    source: tuple[str, int]
    channel: int | None
    relative: str | None
    notches: int
    light: Light | None
    box: tuple[float, float, float, float]  # across, down, width, height
    label: str

    @property
    def is_button(self) -> bool:
        return self.kind in BUTTONS


class Profile(Strict):
    """The file. `device` is part of the name of its MIDI port; `hello` and `bye` are sent when it comes and goes."""

    version: Literal[1] = 1
    name: str
    device: str = ""
    status: str = ""
    description: str = ""
    channel: Annotated[int, Field(ge=1, le=16)] | None = None
    hello: list[Message] = Field(default_factory=list)
    bye: list[Message] = Field(default_factory=list)
    controls: list[Control] = Field(default_factory=list)

    _document: Document | None = PrivateAttr(None)
    _parts: dict[str, Part] = PrivateAttr(default_factory=dict)

    @property
    def parts(self) -> dict[str, Part]:
        """Every control by its name, in the order of the file."""
        return self._parts

    def find(self, name: str) -> list[Part]:
        """The controls meant by `play` or `fader.{n}`; raises ValueError with a suggestion."""
        if "{n}" in name:
            pattern = re.compile(re.escape(name).replace(re.escape("{n}"), r"\d+"))
            found = [part for part in self._parts.values() if pattern.fullmatch(part.name)]
        else:
            found = [self._parts[name]] if name in self._parts else []
        if not found:
            rows = dict.fromkeys(re.sub(r"\.\d+$", ".{n}", each) for each in self._parts)
            raise ValueError(f"{self.name} has no control '{name}'; {suggest(name, [*rows, *self._parts])}")
        return found

    def part_of(self, kind: str, key: int | str, channel: int) -> Part | None:
        """The control that sends this message."""
        for part in self._parts.values():
            if part.source == (kind, key) and part.channel in (None, channel):
                return part
        return None


def _row(control: Control, default: int | None) -> Iterator[Part]:
    kind, keys = control.source
    channels = control.channel or ((default,) if default else (None,))
    count = max(len(keys), len(channels))
    for index in range(count):
        key, channel = keys[index % len(keys)], channels[index % len(channels)]
        across, down = index % control.columns, index // control.columns
        (x, y), (width, height), step = control.at, control.size, control.step or control.size
        yield Part(
            name=f"{control.name}.{index + 1}" if count > 1 else control.name,
            number=index + 1 if count > 1 else 0,
            kind=control.kind,
            source=(kind, key),
            channel=channel,
            relative=control.relative,
            notches=control.notches,
            light=_light(control, index, (kind, key), channel or 1),
            box=(x + across * step[0], y + down * step[1], width, height),
            label=control.label.replace("{n}", str(index + 1)),
        )


def _light(control: Control, index: int, source: tuple[str, int], channel: int) -> Light | None:
    led = control.led
    if led is None:
        return None
    own = next((kind for kind in ("cc", "note", "pitch") if getattr(led, kind) is not None), None)
    kind, key = source
    if own is not None:
        numbers = (0,) if own == "pitch" else getattr(led, own)
        kind, key = own, numbers[index % len(numbers)]
    if led.channel is not None:
        channel = led.channel[index % len(led.channel)]
    shows = led.shows or ("switch" if control.kind in BUTTONS else "value")
    return Light(kind, key, channel, led, shows) if kind in ("cc", "note", "pitch") else None


def load(which: str, folder: Path | None = None) -> tuple[Profile, Path | None]:
    """A profile by its name, from `folder` or those that ship; and its file, where that can be watched.

    Raises ProfileError with file, line and remedy.
    """
    file = yamlfile.find(f"{FOLDER}/{which}", folder, "mappings")
    if file is None:
        raise ProfileError(which, 0, f"no such device profile; {suggest(which, available(folder))}")
    return loads(yamlfile.read_text(file, ProfileError), str(file)), file if isinstance(file, Path) else None


def loads(text: str, file: str = "profile") -> Profile:
    """YAML text -> Profile; `file` is what errors call it. Raises ProfileError."""
    document = yamlfile.parse(text, file, ProfileError)
    made = yamlfile.check(Profile, document, ProfileError)
    made._document = document
    for index, control in enumerate(made.controls):
        for part in _row(control, made.channel):
            line = document.line(("controls", index))
            if part.name in made._parts:
                raise ProfileError(file, line, f"two controls are called '{part.name}'; give each its own name")
            if len(made._parts) >= _MOST:
                raise ProfileError(file, line, f"a device has at most {_MOST} controls")
            made._parts[part.name] = part
    return made


def available(folder: Path | None = None) -> list[str]:
    """Names that `load` finds."""
    prefix = f"{FOLDER}/"
    return [name.removeprefix(prefix) for name in yamlfile.names(folder, "mappings") if name.startswith(prefix)]
