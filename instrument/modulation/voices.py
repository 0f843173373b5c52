"""The modulators that keep a memory: envelopes, sample-and-hold, followers of signals and of sound.

Each turns what a tick offers (time, values, triggers, sound) into one signal. LFOs, which need no memory, are in
`oscillators`; who adds signals to parameters is in `modulators`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from instrument.modulation.envelopes import Gate, Times
from instrument.modulation.modspec import BEATS, CHANCE, FEATURES
from instrument.modulation.oscillators import Now, Phases, in_beats
from instrument.modulation.reading import Column
from instrument.modulation.waves import chance
from instrument.parameters.params import ParamSet, suggest
from instrument.parameters.values import travel_of
from pipelines.spec import Value

_SETTLED = 3.0  # time constants in which a one-pole goes 95 % of a jump


class Heard(NamedTuple):
    """What the audio input sounds like: each of FEATURES in 0..1, and how many onsets there have been."""

    features: Mapping[str, float]
    onsets: int


SILENCE = Heard(dict.fromkeys(FEATURES, 0.0), 0)


class Ear(Protocol):
    """An audio input."""

    def hear(self, now: float) -> Heard:
        """What sounds at `now` seconds. Must not wait."""
        ...


class Scene(NamedTuple):
    """All that a modulator may look at in one tick; `signals` are those of the tick before, by modulator."""

    now: Now
    values: Mapping[str, Value]
    fired: Sequence[str]  # triggers since the tick before, and beat, bar, onset
    heard: Heard
    signals: Mapping[str, float]


class Sources:
    """Finds the signal that a text names."""

    def __init__(self, params: ParamSet) -> None:
        self._params = params

    def problem(self, of: str, modulators: Iterable[str]) -> str:
        """Why there is no such signal; empty if there is."""
        known = [CHANCE, *modulators, *(f"audio.{feature}" for feature in FEATURES)]
        if not of or of in known or of in self._params:
            return ""
        return f"no signal '{of}'; {suggest(of, [*known, *self._params.names()])}"

    def read(self, of: str, scene: Scene) -> float:
        """A modulator's signal, a feature of the sound, or a parameter's knob travel; 0 where there is none."""
        if of in scene.signals:
            return scene.signals[of]
        if of.startswith("audio."):
            return scene.heard.features.get(of.removeprefix("audio."), 0.0)
        if of not in self._params:
            return 0.0
        parameter = self._params[of]
        return travel_of(parameter.spec, scene.values.get(parameter.id, parameter.base))


class Smooth:
    """A one-pole that rises and falls at its own paces."""

    def __init__(self) -> None:
        self._level: float | None = None

    def follow(self, target: float, elapsed: float, rise: float, fall: float) -> float:
        """The level `elapsed` seconds on; `rise` and `fall` are the seconds for 95 % of the way."""
        if self._level is None:
            self._level = target
        seconds = rise if target > self._level else fall
        if seconds <= 0:
            self._level = target
        else:
            self._level = target + (self._level - target) * math.exp(-elapsed * _SETTLED / seconds)
        return self._level


class Envelope:
    """AD or ADSR, from its gate, its trigger, or what its `by` names."""

    def __init__(self, name: str, params: ParamSet) -> None:
        self.name = name
        self._id = {
            field: f"{name}.{field}"
            for field in ("shape", "time", "attack", "decay", "sustain", "release", "gate", "fire", "by")
        }
        self._switch = params[self._id["gate"]]
        self._seen = self._switch.version
        self._gate = Gate()
        self._open = self._pulsed = False

    def signal(self, scene: Scene) -> float:
        """0..1."""
        values, now, id = scene.values, scene.now.time, self._id
        unit = scene.now.beat_seconds if values[id["time"]] == BEATS else 1.0
        attack, decay = values[id["attack"]] * unit, values[id["decay"]] * unit
        once = values[id["shape"]] == "ad"
        times = Times(attack, decay, 0.0 if once else values[id["sustain"]], values[id["release"]] * unit)
        self._listen(bool(values[id["gate"]]), times, now, once)
        if id["fire"] in scene.fired or (values[id["by"]] and values[id["by"]] in scene.fired):
            self._gate.open(now, self._gate.level(times, now))
            if not once:
                self._gate.close(now + attack + decay)  # long enough to be heard
        return self._gate.level(times, now)

    def _listen(self, is_open: bool, times: Times, now: float, once: bool) -> None:
        """Follow the gate; one opened and closed again since the last tick is open for this one."""
        touched = self._switch.version != self._seen
        self._seen = self._switch.version
        pulse = touched and is_open == self._open
        if (is_open and not self._open) or pulse:
            self._gate.open(now, self._gate.level(times, now))
        elif (self._pulsed or (self._open and not is_open)) and not once:
            self._gate.close(now)
        self._pulsed = pulse and not is_open
        self._open = is_open


class Hold:
    """Keeps the value a signal had at the last event, or at the last turn of its own phase."""

    def __init__(self, name: str, params: ParamSet, seed: int) -> None:
        self.name = name
        self._sources = Sources(params)
        self._id = {field: f"{name}.{field}" for field in ("of", "by", "fire")}
        self._rate, self._in_beats = Column([f"{name}.rate"], float), Column([f"{name}.time"], bool, in_beats)
        self._seeds = np.array([zlib.crc32(name.encode()) ^ seed], dtype=np.uint64)
        self._phases = Phases(1)
        self._cycle: int | None = None
        self._taken = 0
        self._level = 0.0

    def signal(self, scene: Scene) -> float:
        values, id = scene.values, self._id
        cycle = math.floor(self._phases.at(scene.now, self._rate(values), self._in_beats(values))[0])
        by = values[id["by"]]
        due = by in scene.fired if by else cycle != self._cycle
        if due or id["fire"] in scene.fired or self._cycle is None:
            self._level = self._sample(str(values[id["of"]]), cycle if not by else self._taken, scene)
            self._taken += 1
        self._cycle = cycle
        return self._level

    def _sample(self, of: str, number: int, scene: Scene) -> float:
        if of == CHANCE:
            return float(chance(np.array([float(number)]), self._seeds)[0])
        return self._sources.read(of, scene)


class Follow:
    """Another signal, smoothed."""

    def __init__(self, name: str, params: ParamSet) -> None:
        self.name = name
        self._sources = Sources(params)
        self._id = {field: f"{name}.{field}" for field in ("of", "rise", "fall")}
        self._smooth = Smooth()

    def signal(self, scene: Scene) -> float:
        values, id = scene.values, self._id
        target = self._sources.read(str(values[id["of"]]), scene)
        return self._smooth.follow(target, scene.now.elapsed, values[id["rise"]], values[id["fall"]])


class Sound:
    """A feature of the audio input, smoothed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._id = {field: f"{name}.{field}" for field in ("of", "gain", "rise", "fall")}
        self._smooth = Smooth()

    def signal(self, scene: Scene) -> float:
        """0..1."""
        values, id = scene.values, self._id
        target = min(1.0, scene.heard.features[values[id["of"]]] * values[id["gain"]])
        return self._smooth.follow(target, scene.now.elapsed, values[id["rise"]], values[id["fall"]])


class Voice(Protocol):
    """What plays one modulator."""

    name: str

    def signal(self, scene: Scene) -> float: ...


MakeVoice = Callable[[str, ParamSet, int], Voice]
VOICES: dict[str, MakeVoice] = {
    "envelope": lambda name, params, seed: Envelope(name, params),
    "hold": Hold,
    "follow": lambda name, params, seed: Follow(name, params),
    "audio": lambda name, params, seed: Sound(name),
}
