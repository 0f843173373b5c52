"""A modulator as a patch writes it, and the parameters that come of it.

`{lfo: sine, period: 8 beats, to: petals.gain, depth: 0.5}`: exactly one kind, where it acts, how deep, and the kind's
own settings, each of which becomes a parameter (`lfo1.depth`, `lfo1.rate`, ...). Knows no time and no other parameter.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Container, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, model_validator

from instrument import yamlfile
from instrument.modulation.waves import DRAWN, WAVES
from instrument.parameters.values import shorten
from instrument.yamlfile import Strict
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, TriggerSpec

SHAPES = (*WAVES, DRAWN)
MOMENTARY = (".gate",)  # ends of ids that tell of a held note, and are no state to be saved
FEATURES = ("level", "bass", "low", "mid", "high", "onset", "centroid", "pitch")  # what an audio source is heard as
SECONDS, BEATS = "seconds", "beats"
MOMENTS = ("beat", "bar", "onset")  # what may fire, besides any trigger
CHANCE = "random"  # what a `hold` may sample besides signals
OWN_WORDS = (CHANCE, *MOMENTS, *(f"audio.{feature}" for feature in FEATURES))  # names in a line that are no ids
MOST_POINTS = 256  # of a drawn table

_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:/\s*(\d+)\s*)?(s|ms|seconds?|beats?)?\s*")
_RATE = ControlSpec(0.001, 50, 1, warp="exponential", doc="cycles a second, or a beat")
_LONG = {"hi": 60.0, "warp": "cubed"}
_EXAMPLE = "write it as in a patch, for example lfo: sine, period: 8 beats, to: petals.gain, depth: 0.3"


class Duration(NamedTuple):
    """So many seconds, or beats."""

    length: float
    beats: bool


def duration(text: str) -> Duration:
    """`8 beats`, `1/4 beat`, `2 s`, `500 ms`; ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    count, parts = (float(match[1]), float(match[2] or 1)) if match else (math.inf, 1.0)
    if not math.isfinite(count) or not 0 < parts < math.inf:
        raise ValueError(f"'{shorten(text)}' is not a duration; write for example 8 beats, 2 s or 500 ms")
    unit = match[3] or "s"
    return Duration(count / parts / (1000 if unit == "ms" else 1), unit.startswith("beat"))


def _duration_text(value: Any) -> Any:
    """A duration as text; a bare number is seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("write a duration, for example 8 beats, 2 s or 500 ms")
    text = value if isinstance(value, str) else f"{value!r} s"
    duration(text)
    return text


def _targets(value: Any) -> Any:
    """One id or several -> ids joined by commas."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise ValueError("write a parameter's id such as petals.gain, or a list of them")
    return ", ".join(items)


def points(text: str) -> list[float]:
    """A drawn table: 2 to 256 numbers in -1..1, apart by spaces or commas; ValueError otherwise."""
    try:
        found = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not 2 <= len(found) <= MOST_POINTS or not all(-1 <= point <= 1 for point in found):
        raise ValueError(f"a table is 2 to {MOST_POINTS} numbers from -1 to 1")
    return found


def _table(value: Any) -> Any:
    text = " ".join(repr(item) for item in value) if isinstance(value, list) else value
    if not isinstance(text, str):
        raise ValueError(f"a table is 2 to {MOST_POINTS} numbers from -1 to 1")
    points(text)
    return text


Time = Annotated[str, BeforeValidator(_duration_text)]
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Depth = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]

# Which settings belong to which kind, besides name, to, depth and on.
_SETTINGS = {
    "lfo": {"period", "rate", "phase", "width", "polarity", "table", "seed"},
    "envelope": {"attack", "decay", "sustain", "release", "by"},
    "hold": {"period", "rate", "by", "seed"},
    "follow": {"rise", "fall"},
    "audio": {"rise", "fall", "gain"},
}
KINDS = tuple(_SETTINGS)
_DOCS = {
    "lfo": "a wave that goes round and round",
    "envelope": "up and down again, from a note, a pad, or what fires it",
    "hold": "takes the value of something at every turn, and keeps it",
    "follow": "another signal or parameter, smoothed",
    "audio": "what the sound that comes in is like",
}
_FIRST = {"hold": CHANCE, "follow": "audio.level"}  # what stands after a kind that names something, to begin with
_COMMON = {"name", "to", "depth", "on"}
_LISTS = ("to", "table")  # settings of several values


class ModulatorSpec(Strict):
    """One line under `modulators`. Depth is in knob travel: 1 moves its target over all of it."""

    lfo: Literal[SHAPES] | None = None
    envelope: Literal["ad", "adsr"] | None = None
    hold: str | None = None  # what it samples
    follow: str | None = None  # what it follows
    audio: Literal[FEATURES] | None = None
    name: str | None = None
    to: Annotated[str, BeforeValidator(_targets)] = ""
    depth: Depth = 0.5
    on: bool = True
    period: Time | None = None
    rate: Annotated[float, Field(ge=_RATE.lo, le=_RATE.hi, allow_inf_nan=False)] | None = None
    phase: Unit = 0.0
    width: Unit = 0.5
    polarity: Literal["both", "up"] = "both"
    table: Annotated[str, BeforeValidator(_table)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    attack: Time = "10 ms"
    decay: Time = "300 ms"
    sustain: Unit = 0.5
    release: Time = "300 ms"
    by: str = ""
    rise: Time = "10 ms"
    fall: Time = "200 ms"
    gain: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _lists_have_brackets(cls, data: Any) -> Any:
        """In one line YAML takes the second of `to: a.b, c.d` for a key of its own, without a value."""
        listed: dict[str, list[Any]] = {}
        last = None
        for key, value in data.items() if isinstance(data, dict) else ():
            if key in cls.model_fields or value is not None:
                last = key
            elif last in _LISTS:
                first = data[last] if isinstance(data[last], list) else [data[last]]
                listed.setdefault(last, first).append(key)
        for key, items in listed.items():
            raise ValueError(f"several need brackets: write {key}: [{', '.join(map(str, items))}]")
        return data

    @model_validator(mode="after")
    def _one_kind(self) -> ModulatorSpec:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one kind: {', '.join(KINDS)}; {_EXAMPLE}")
        fitting = {kinds[0], *_COMMON, *_SETTINGS[kinds[0]]}
        for key in sorted(self.model_fields_set - fitting):
            if getattr(self, key) is not None:
                raise ValueError(f"'{key}' is no setting of {kinds[0]}; it has: {', '.join(sorted(fitting))}")
        return self

    @model_validator(mode="after")
    def _settings_fit_together(self) -> ModulatorSpec:
        if self.name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            raise ValueError(f"name '{self.name}' should be one word of letters, digits and _, such as wobble")
        if self.period is not None and self.rate is not None:
            raise ValueError("give either period or rate, not both")
        if self.period is not None:
            length = duration(self.period).length
            if not 1 / _RATE.hi <= length <= 1 / _RATE.lo:
                raise ValueError(f"period '{self.period}' should be {1 / _RATE.hi:g} to {1 / _RATE.lo:g} s or beats")
        if self.lfo == DRAWN and self.table is None:
            raise ValueError("lfo: table needs its points, for example table: [-1, 0, 1, 0.5]")
        parts = [duration(part) for part in (self.attack, self.decay, self.release)]
        written = [part for part, key in zip(parts, ("attack", "decay", "release"), strict=True) if self._says(key)]
        if len({part.beats for part in written}) > 1:
            raise ValueError("attack, decay and release should all be in beats, or all in seconds")
        for text in (self.attack, self.decay, self.release, self.rise, self.fall):
            if duration(text).length > _LONG["hi"]:
                raise ValueError(f"'{text}' is longer than {_LONG['hi']:g} s or beats")
        if any(duration(text).beats for text in (self.rise, self.fall)):
            raise ValueError("rise and fall are in seconds, for example 200 ms")
        return self

    def _says(self, key: str) -> bool:
        return key in self.model_fields_set

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def in_beats(self) -> bool:
        """Whether its times are in beats: where the file says so."""
        texts = [self.period] if self.period else [getattr(self, key) for key in ("attack", "decay", "release")]
        return any(duration(text).beats for text in texts)

    def parameters(self) -> dict[str, Spec]:
        """Its parameters, without its name in front, each with what the file says as its default."""
        return {
            "on": SwitchSpec(self.on, "off: it adds nothing"),
            "depth": ControlSpec(-1, 1, self.depth, doc="how far it moves its target, in knob travel"),
            "to": TextSpec(self.to, "ids it moves, separated by commas"),
            **_OWN[self.kind](self),
        }


def _pace(spec: ModulatorSpec) -> dict[str, Spec]:
    rate = spec.rate if spec.rate is not None else 1.0
    if spec.period is not None:
        rate = min(max(1.0 / duration(spec.period).length, _RATE.lo), _RATE.hi)
    return {
        "rate": ControlSpec(_RATE.lo, _RATE.hi, rate, _RATE.warp, doc=_RATE.doc),
        "time": _time(spec),
    }


def _time(spec: ModulatorSpec) -> ChoiceSpec:
    return ChoiceSpec((SECONDS, BEATS), BEATS if spec.in_beats() else SECONDS, "what its times are counted in")


def _lfo(spec: ModulatorSpec) -> dict[str, Spec]:
    return {
        "shape": ChoiceSpec(SHAPES, spec.lfo, "the wave"),
        **_pace(spec),
        "phase": ControlSpec(0, 1, spec.phase, doc="where in the cycle it starts"),
        "width": ControlSpec(0, 1, spec.width, doc="share of the cycle a square is up, a triangle rises"),
        "polarity": ChoiceSpec(("both", "up"), spec.polarity, "around its target's base, or only up from it"),
        "table": TextSpec(spec.table or "-1 1", "the drawn cycle: 2 to 256 numbers from -1 to 1"),
        "restart": TriggerSpec("its cycle begins now"),
    }


def _envelope(spec: ModulatorSpec) -> dict[str, Spec]:
    def length(text: str, doc: str) -> ControlSpec:
        return ControlSpec(0, _LONG["hi"], duration(text).length, _LONG["warp"], doc=f"{doc}, in seconds or beats")

    return {
        "shape": ChoiceSpec(("ad", "adsr"), spec.envelope, "ad: up and down again; adsr: holds while its gate is open"),
        "time": _time(spec),
        "attack": length(spec.attack, "time up"),
        "decay": length(spec.decay, "time down to sustain, or to nothing"),
        "sustain": ControlSpec(0, 1, spec.sustain, doc="level while the gate is open"),
        "release": length(spec.release, "time to nothing after the gate closed"),
        "gate": SwitchSpec(False, "open while a note or pad is held"),
        "fire": TriggerSpec("the gate opens for a moment"),
        "by": TextSpec(spec.by, "what else fires it: beat, bar, onset, or a trigger's id"),
    }


def _hold(spec: ModulatorSpec) -> dict[str, Spec]:
    return {
        "of": TextSpec(spec.hold, "what it samples: random, a modulator, audio.level, a parameter's id"),
        **_pace(spec),
        "by": TextSpec(spec.by, "what makes it sample instead of its rate: beat, bar, onset, or a trigger's id"),
        "fire": TriggerSpec("samples now"),
    }


def _smooth(spec: ModulatorSpec) -> dict[str, Spec]:
    def time(text: str, doc: str) -> ControlSpec:
        return ControlSpec(0, _LONG["hi"], duration(text).length, _LONG["warp"], "s", doc=doc)

    return {"rise": time(spec.rise, "time to follow upwards"), "fall": time(spec.fall, "time to follow downwards")}


def _follow(spec: ModulatorSpec) -> dict[str, Spec]:
    return {
        "of": TextSpec(spec.follow, "what it follows: a modulator, audio.level, a parameter's id"),
        **_smooth(spec),
    }


def _audio(spec: ModulatorSpec) -> dict[str, Spec]:
    return {
        "of": ChoiceSpec(FEATURES, spec.audio, "what is heard of the audio input"),
        "gain": ControlSpec(0, 10, spec.gain, warp="cubed", doc="times what is heard, before 1 is the most"),
        **_smooth(spec),
    }


_OWN = {"lfo": _lfo, "envelope": _envelope, "hold": _hold, "follow": _follow, "audio": _audio}
_SHORT = {"lfo": "lfo", "envelope": "env", "hold": "hold", "follow": "follow", "audio": "audio"}


def named(specs: Sequence[ModulatorSpec]) -> dict[str, ModulatorSpec]:
    """Modulators by name, in the order of the file; one without a name is called by its kind and its number among
    them: lfo1, env1, hold1, follow1, audio1. ValueError where two share a name."""
    found: dict[str, ModulatorSpec] = {}
    counts = dict.fromkeys(KINDS, 0)
    for spec in specs:
        counts[spec.kind] += 1
        name = spec.name or f"{_SHORT[spec.kind]}{counts[spec.kind]}"
        if name in found:
            raise ValueError(f"two modulators are called '{name}'; give each its own name")
        found[name] = spec
    return found


def parameters_of(specs: Sequence[ModulatorSpec]) -> dict[str, Spec]:
    """Every parameter of these modulators, by id."""
    return {id: spec for name, each in named(specs).items() for id, spec in own_parameters(name, each).items()}


def own_parameters(name: str, spec: ModulatorSpec) -> dict[str, Spec]:
    """Every parameter of one modulator of this name, by id."""
    return {f"{name}.{field}": made for field, made in spec.parameters().items()}


def read_line(text: str) -> ModulatorSpec:
    """A modulator written as in a patch, with or without its braces: `lfo: sine, period: 8 beats, to: petals.gain`.

    Raises ValueError that names the setting, what it cannot be, and the remedy.
    """
    line = text.strip()
    if ":" not in line:
        raise ValueError(f"'{shorten(line)}' is no modulator; {_EXAMPLE}")
    try:
        document = yamlfile.parse(line if line.startswith("{") else f"{{{line}}}", "line", yamlfile.FileError)
        return yamlfile.check(ModulatorSpec, document, yamlfile.FileError)
    except yamlfile.FileError as problem:
        if problem.problem.startswith("not valid YAML"):
            raise ValueError(f"'{shorten(line)}' is no modulator; {_EXAMPLE}") from None
        raise ValueError(problem.problem) from None


def described() -> list[dict[str, Any]]:
    """Every kind there is, JSON-ready, for who asks a player for a new one: its name, what it does, and what stands
    after its name: one of `options`, or where there are none the name of a signal or parameter, `first` to begin with.
    A drawn wave is none of them: it needs its points, and any LFO can be set to it later."""
    found = []
    for kind in KINDS:
        parts = get_args(ModulatorSpec.model_fields[kind].annotation)
        options = [option for part in parts for option in get_args(part) if option != DRAWN]
        found.append({"kind": kind, "doc": _DOCS[kind], "options": options, "first": _FIRST.get(kind, "")})
    return found


def free_name(kind: str, taken: Container[str]) -> str:
    """A name for one more modulator of a kind: lfo1, lfo2, ..."""
    return next(name for number in itertools.count(1) if (name := f"{_SHORT[kind]}{number}") not in taken)


def reworded(spec: ModulatorSpec, again: Callable[[str], str | None]) -> ModulatorSpec:
    """The modulator with every name it speaks of (targets, what it samples, follows or is fired by) as `again` has it;
    None: there is nothing of that name any more, and it is not spoken of."""
    targets = [new for id in targets_of(spec.to) if (new := again(id)) is not None]
    changed = {} if targets == targets_of(spec.to) else {"to": ", ".join(targets)}
    for field in ("hold", "follow", "by"):
        name = getattr(spec, field)
        if name and again(name) != name:
            changed[field] = again(name) or ""
    return spec.model_copy(update=changed) if changed else spec


def targets_of(text: str) -> list[str]:
    """Ids in a `to`, apart by commas."""
    return [id for id in (part.strip() for part in text.split(",")) if id]
