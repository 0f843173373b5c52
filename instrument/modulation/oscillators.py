"""The turning modulators: LFOs, all of a patch computed at once, and the phases they turn on.

With a steady rate a phase is a pure function of time (in beats: of the position in the music, so that it stays locked
to the bars); where the rate changes, it goes on from where it stands. Knows no parameters' meaning, only their values.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from instrument.modulation.modspec import BEATS, points
from instrument.modulation.reading import Column, reading
from instrument.modulation.waves import DRAWN, WAVES, Floats, Words, drawn
from pipelines.spec import Value


class Now(NamedTuple):
    """One tick: seconds, seconds since the tick before, beats, how often beats have jumped, and seconds a beat."""

    time: float
    elapsed: float
    beat: float
    jumps: int
    beat_seconds: float


def in_beats(time: Value) -> bool:
    """Whether a modulator's `time` counts in beats, not in seconds."""
    return time == BEATS


class Phases:
    """The phase of several things that turn, each at its own rate, in seconds or beats."""

    def __init__(self, count: int) -> None:
        self._from = np.zeros(count)  # the place, in seconds or beats, ...
        self._phase = np.zeros(count)  # ... at which each stood at this phase
        self._rates = np.zeros(count)
        self._beats = np.zeros(count, dtype=bool)
        self._jumps = 0
        self._begun = np.zeros(count, dtype=bool)
        self._fresh = True  # whether there may be some that have not begun

    def at(self, now: Now, rates: Floats, beats: np.ndarray) -> Floats:
        """Cycles since each began; those in beats began at the start of the music, the others at the first tick."""
        place = np.where(beats, now.beat, now.time)
        if self._fresh:
            self._begin(now, rates, beats)
        if rates is not self._rates or beats is not self._beats:
            turned = (rates != self._rates) | (beats != self._beats)
            before = np.where(self._beats, now.beat, now.time)
            stands = self._phase + (before - self._from) * self._rates
            self._phase = np.where(turned, stands, self._phase)
            self._from = np.where(turned, place, self._from)
        if now.jumps != self._jumps:
            self._jumps = now.jumps
            self._from = np.where(beats, 0.0, self._from)
            self._phase = np.where(beats, 0.0, self._phase)
        self._rates, self._beats = rates, beats
        return self._phase + (place - self._from) * rates

    def _begin(self, now: Now, rates: Floats, beats: np.ndarray) -> None:
        """Those that have not turned yet."""
        fresh = ~self._begun
        self._from[fresh] = np.where(beats, 0.0, now.time)[fresh]
        self._rates, self._beats = np.where(fresh, rates, self._rates), np.where(fresh, beats, self._beats)
        if fresh.all():
            self._jumps = now.jumps
        self._begun = np.ones(len(fresh), dtype=bool)
        self._fresh = False

    def go_on(self, places: Sequence[int], before: Phases, at: Sequence[int]) -> None:
        """These go on from where others stood in `before`, in the same order."""
        self._jumps = before._jumps
        for name in ("_from", "_phase", "_rates", "_beats", "_begun"):
            getattr(self, name)[list(places)] = getattr(before, name)[list(at)]

    def restart(self, index: int, now: Now) -> None:
        """This one's cycle begins now."""
        self._from[index] = now.beat if self._beats[index] else now.time
        self._phase[index] = 0.0


class Lfos:
    """Every LFO of a patch. `names` are the modulators'; their parameters are read from the values heard."""

    def __init__(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        self.names = tuple(names)
        ids = {
            field: [f"{name}.{field}" for name in names]
            for field in ("shape", "rate", "time", "phase", "width", "polarity", "table")
        }
        self._rates, self._offsets, self._widths = (Column(ids[field], float) for field in ("rate", "phase", "width"))
        self._in_beats = Column(ids["time"], bool, in_beats)
        self._up = Column(ids["polarity"], bool, lambda polarity: polarity == "up")
        self._read_shapes, self._tables_of = reading(ids["shape"]), ids["table"]
        own = [zlib.crc32(name.encode()) ^ seed for name, seed in zip(names, seeds, strict=True)]
        self._seeds = np.array(own, dtype=np.uint64)
        self._phases = Phases(len(names))
        self._restarts = {f"{name}.restart": index for index, name in enumerate(names)}
        self._shapes: tuple[Value, ...] = ()
        self._groups: list[tuple[str, np.ndarray, Words]] = []  # a shape, who has it, their seeds
        self._tables = {index: [-1.0, 1.0] for index in range(len(names))}
        self._drawn = [""] * len(names)
        self.problems: dict[str, str] = {}

    def go_on(self, before: Lfos) -> None:
        """Those that played in `before` too turn on from where they stand there."""
        shared = [(here, before.names.index(name)) for here, name in enumerate(self.names) if name in before.names]
        self._phases.go_on([here for here, _ in shared], before._phases, [there for _, there in shared])
        for here, there in shared:
            self._tables[here], self._drawn[here] = before._tables[there], before._drawn[there]
        self.problems = {name: text for name, text in before.problems.items() if name in self.names}

    def signals(self, now: Now, values: Mapping[str, Value], fired: Sequence[str]) -> list[float]:
        """-1..1 of each, or 0..1 where its polarity is up."""
        phases = self._phases.at(now, self._rates(values), self._in_beats(values))
        for id in fired:
            if id in self._restarts:
                self._phases.restart(self._restarts[id], now)
                phases[self._restarts[id]] = 0.0
        out = self._waves(phases + self._offsets(values), self._widths(values), values)
        return np.where(self._up(values), (out + 1) / 2, out).tolist()

    def _waves(self, phases: Floats, widths: Floats, values: Mapping[str, Value]) -> Floats:
        shapes = self._read_shapes(values)
        if shapes != self._shapes:
            self._shapes = shapes
            places = {shape: [index for index, own in enumerate(shapes) if own == shape] for shape in shapes}
            chosen = [(str(shape), np.array(indices)) for shape, indices in places.items()]
            self._groups = [(shape, indices, self._seeds[indices]) for shape, indices in chosen]
        out = np.empty(len(phases))
        for shape, chosen, seeds in self._groups:
            if shape == DRAWN:
                for index in chosen.tolist():
                    out[index] = drawn(float(phases[index]), self._table(index, str(values[self._tables_of[index]])))
            else:
                out[chosen] = WAVES[shape](phases[chosen], widths[chosen], seeds)
        return out

    def _table(self, index: int, text: str) -> list[float]:
        """The drawn cycle; one that cannot be read leaves the last one in place."""
        if text != self._drawn[index]:
            self._drawn[index] = text
            self.problems.pop(self.names[index], None)
            try:
                self._tables[index] = points(text)
            except ValueError as problem:
                self.problems[self.names[index]] = f"{self.names[index]}.table: {problem}"
        return self._tables[index]
