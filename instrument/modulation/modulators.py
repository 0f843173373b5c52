"""Modulators: what moves parameters by itself, in time with the clock, with other signals or with sound.

Each gives a signal (-1..1 or 0..1); times its depth it is added, in knob travel, to the bases of its targets, so that a
depth means the same on every parameter and what the hand set is never overwritten. All their settings are parameters
and may themselves be modulated, which is heard one tick later. Knows parameters and the clock; no ports, no sound card.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from instrument.modulation.clock import Clock
from instrument.modulation.modspec import KINDS, MOMENTS, ModulatorSpec, targets_of
from instrument.modulation.oscillators import Lfos, Now
from instrument.modulation.reading import reading
from instrument.modulation.voices import SILENCE, VOICES, Ear, Heard, Scene, Sources, Voice
from instrument.parameters.params import GLIDE, Parameter, ParamSet, suggest
from pipelines.spec import TextSpec, TriggerSpec, Value

_NEAR = 0.25  # beats after a jump that still count as on the beat
_UNMOVED = ("engine", "clock", "snapshot", "patch", "mapping")  # groups of parameters that change what plays, not how


def _unmoved(parameter: Parameter) -> bool:
    return parameter.group in _UNMOVED or parameter.id == GLIDE


def target_problem(id: str, params: ParamSet) -> str:
    """Why a modulator cannot move this parameter; empty if it can."""
    if id not in params:
        return f"no parameter '{id}'; {suggest(id, params.names())}"
    spec = params[id].spec
    if isinstance(spec, (TextSpec, TriggerSpec)):
        return f"{id} is a {'text' if isinstance(spec, TextSpec) else 'trigger'} and cannot be modulated"
    return f"{id} is heard as the hand set it and cannot be modulated" if _unmoved(params[id]) else ""


def event_problem(by: str, params: ParamSet) -> str:
    """Why nothing of this name can fire a modulator; empty if it can, or if nothing is named."""
    triggers = [parameter.id for parameter in params if isinstance(parameter.spec, TriggerSpec)]
    if not by or by in MOMENTS or by in triggers:
        return ""
    return f"nothing called '{by}' can fire; {suggest(by, [*MOMENTS, *triggers])}"


def problems_of(spec: ModulatorSpec, params: ParamSet, modulators: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a modulator speaks of that is not there, or cannot be moved or followed: the setting, and the remedy.
    `modulators` are the names of all there are."""
    modulators, sources = list(modulators), Sources(params)
    found = [("to", target_problem(id, params)) for id in targets_of(spec.to)]
    found += [(kind, sources.problem(of, modulators)) for kind in ("hold", "follow") if (of := getattr(spec, kind))]
    found.append(("by", event_problem(spec.by, params)))
    yield from ((field, problem) for field, problem in found if problem)


class Rack:
    """The modulators of the patch that plays. Give it to `ParamSet.modulate`; all else is for the engine's thread."""

    def __init__(self, params: ParamSet, clock: Clock) -> None:
        self.ear: Ear | None = None
        self._params, self._clock = params, clock
        self._sources = Sources(params)
        self._time: float | None = None
        self._heard: Heard = SILENCE
        self._listened: float | None = None
        self._beat, self._bar, self._jumps, self._onsets = 0.0, 0, clock.jumps, 0
        self._fired: list[str] = []
        self.load({})

    def load(self, specs: Mapping[str, ModulatorSpec]) -> None:
        """Play these instead, from their beginning; their parameters must be there already."""
        with self._params.together():
            self._lfos, self._voices, self._signals = Lfos((), ()), [], {}
            self._had: set[str] = set()  # ids that were there when they were aimed at
            self.change(specs)

    def change(self, specs: Mapping[str, ModulatorSpec]) -> None:
        """Play these; those that play already go on from where they stand."""
        kinds = {kind: [name for name, spec in specs.items() if spec.kind == kind] for kind in KINDS}
        with self._params.together():
            lfos, there = self._lfos, {voice.name: voice for voice in self._voices}
            self._lfos = Lfos(kinds["lfo"], [specs[name].seed for name in kinds["lfo"]])
            self._lfos.go_on(lfos)
            self._voices: list[Voice] = [
                there.get(name) or make(name, self._params, specs[name].seed)
                for kind, make in VOICES.items()
                for name in kinds[kind]
            ]
            self._deaf = kinds["audio"]
            self.kinds = {name: spec.kind for name, spec in specs.items()}
            self.names = (*self._lfos.names, *(voice.name for voice in self._voices))
            self._on, self._depths = (reading([f"{name}.{field}" for name in self.names]) for field in ("on", "depth"))
            self._texts = [f"{name}.to" for name in self.names] + [
                id for name in self.names for id in (f"{name}.of", f"{name}.by") if id in self._params
            ]
            self._read_texts, self._read = reading(self._texts), ()
            self._edges: list[list[str]] = []
            self._structure = -1
            self._signals = {name: self._signals.get(name, 0.0) for name in self.names}
            self._problems: list[str] = []
            self._listening = list(self._deaf)

    def listen(self, now: float) -> None:
        """Hear what sounds at `now`. Done before the tick, it does not happen under the parameters' lock."""
        self._heard = self.ear.hear(now) if self.ear is not None else SILENCE
        self._listened = now

    def fire(self, id: str) -> None:
        """A trigger was fired; the next tick acts on it."""
        self._fired.append(id)

    @property
    def signals(self) -> dict[str, float]:
        """What each gave at the last tick, before its depth."""
        return self._signals

    @property
    def problems(self) -> list[str]:
        """What the player should know: targets and sources that are not there, tables that cannot be read."""
        deaf = [f"{self._listening[0]} hears nothing; start with --audio"] if self._listening and not self.ear else []
        return [*self._problems, *self._lfos.problems.values(), *deaf]

    def __call__(self, now: float, values: Mapping[str, Value]) -> dict[str, float]:
        """What to add to each target, in knob travel, at `now`."""
        scene = self._look(now, values)
        if not self.names:
            return {}
        signals = self._lfos.signals(scene.now, values, scene.fired) if self._lfos.names else []
        signals += [voice.signal(scene) for voice in self._voices]
        texts = self._read_texts(values)
        if texts != self._read or self._structure != self._params.structure:
            self._aim(texts)
        self._signals = dict(zip(self.names, signals, strict=True))
        return self._sum(signals, values)

    def _look(self, now: float, values: Mapping[str, Value]) -> Scene:
        elapsed = max(0.0, now - self._time) if self._time is not None else 0.0
        self._time = now
        moment = self._clock.moment(now)
        if self._listened != now:
            self.listen(now)
        heard = self._heard
        fired, self._fired = self._fired, []
        if heard.onsets > self._onsets:
            fired.append("onset")
        jumps = self._clock.jumps
        near = _NEAR if jumps != self._jumps else 0.0  # a jump onto a beat is that beat
        if math.floor(moment.beat) > math.floor(self._beat) or moment.beat_phase < near:
            fired.append("beat")
        if moment.bar > self._bar or (moment.beat_phase < near and moment.bar_phase <= moment.beat_phase):
            fired.append("bar")
        self._beat, self._bar, self._jumps, self._onsets = moment.beat, moment.bar, jumps, heard.onsets
        instant = Now(now, elapsed, moment.beat, jumps, 60 / moment.tempo)
        return Scene(instant, values, fired, heard, self._signals)

    def _sum(self, signals: Sequence[float], values: Mapping[str, Value]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for signal, on, depth, targets in zip(
            signals, self._on(values), self._depths(values), self._edges, strict=True
        ):
            amount = signal * depth if on else 0.0
            for id in targets:
                sums[id] = sums.get(id, 0.0) + amount
        return sums

    def _aim(self, texts: tuple[Value, ...]) -> None:
        """Find targets and sources anew: a text was changed, or parameters came or went."""
        self._read, self._structure = texts, self._params.structure
        self._edges, self._problems, self._listening = [], [], list(self._deaf)
        count = len(self.names)
        for name, text in zip(self.names, texts[:count], strict=True):
            wrong = {id: self._gone(id) or target_problem(id, self._params) for id in targets_of(str(text))}
            self._edges.append([self._params[id].id for id, problem in wrong.items() if not problem])  # aliases too
            self._had.update(id for id, problem in wrong.items() if not problem)
            self._problems += [f"{name}: {problem}" for problem in wrong.values() if problem]
        for id, text in zip(self._texts[count:], texts[count:], strict=True):
            if text == "onset" or str(text).startswith("audio."):
                self._listening.append(id.rpartition(".")[0])
            if id.endswith(".by"):
                problem = event_problem(str(text), self._params)
            elif id.removesuffix(".of") in self._deaf:
                problem = ""
            else:
                problem = self._sources.problem(str(text), self.names)
                problem = problem and (self._gone(str(text)) or problem)
                self._had.update([] if problem else [str(text)])
            if problem:
                self._problems.append(f"{id}: {problem}")

    def _gone(self, id: str) -> str:
        """What became of a parameter that was there, as a bend that was taken away takes its own along; empty if it is
        there, or never was."""
        if id in self._params or id not in self._had:
            return ""
        return f"{id} is gone, and left out; once it is back, all goes on as before"

    def aimed_at(self, begins: str) -> list[str]:
        """The modulators that have targets whose ids begin so, whether those are there or not."""
        texts = {name: str(self._params[f"{name}.to"].base) for name in self.names}
        return [name for name, text in texts.items() if any(id.startswith(begins) for id in targets_of(text))]

    def name_targets(self) -> None:
        """Targets that are aimed at by an alias, such as a bend's place, are named by their ids from now on, since what
        an alias stands for may be about to change."""
        for name in self.names:
            told = targets_of(str(self._params[f"{name}.to"].base))
            named = [self._params[id].id if id in self._params else id for id in told]
            if named != told:
                self._params.set(f"{name}.to", ", ".join(named), "modulators")
