"""MIDI clock without its jitter: where the ticks are, judged from many of them.

Ticks come late by a few milliseconds, each by another amount, sometimes several at once, and some never come. A
straight line is fitted through the last two beats of them by least squares: with a scatter of 1.5 ms the period is
known to about 0.1 %, and ticks that come with the blocks of a sound driver shake it little. One that comes more than
half a period late waits, in doubt, until the next ones tell what it means: one in time, that it was held up; as late as
it, that others were lost; later still, that the tempo has changed, and the old ticks are let go. What was lost before
the line was known is counted once it is. Knows only times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

from instrument.modulation.lostticks import bent, in_blocks, lost, recounted

PER_BEAT = 24
_MOST = 2 * PER_BEAT
_FEWEST = 6  # to fit a line at all
_PAUSE = 1.0  # seconds without a tick: what comes then is a new beginning
_TOGETHER = 0.003  # seconds from tick to tick that no tempo has: they were held up and let go at once
_ASIDE = 6  # ticks in a row on one side before the tempo is said to have changed
_SCATTER = 0.15  # of a period that a tick may be off without meaning anything...
_LEAST_SCATTER = 0.015  # ...and seconds, however short the period: drivers deliver ticks with blocks of sound
# What follows is in periods, or in ticks:
_DOUBT = 0.5  # late by so much a tick may be the next one
_DOUBTS = 12  # that wait at most
_CLEAR = 0.3  # the scatter up to which a tick can be told from the next
_LEAST = 0.1  # the scatter that there may always be, as while the tempo changes slowly
_UNEVEN = 1.25  # from the earliest tick to the latest, by their times, which no blocks of sound make
_NEAR = 0.25  # that most of the first ticks may be off whole ones
_AGO = 8 * PER_BEAT  # that a line is followed back at most


class Tick(NamedTuple):
    number: int
    at: float  # seconds


class Line(NamedTuple):
    """At `at` seconds the clock stands at `ticks`, and `period` seconds pass from tick to tick."""

    at: float
    ticks: float
    period: float

    def late(self, tick: Tick) -> float:
        """How long after its time this one came, in periods."""
        return (tick.at - self.at) / self.period - (tick.number - self.ticks)

    def scatter(self, ticks: Collection[Tick]) -> float:
        """How far from their times these came, in periods."""
        return math.sqrt(sum(self.late(tick) ** 2 for tick in ticks) / (len(ticks) - 2))


class TickFilter:
    """Fed with the times of ticks, tells the line through them."""

    def __init__(self) -> None:
        self._next = 0
        self._last = 0.0  # seconds
        self._forget()

    def start(self, ticks: int) -> None:
        """The next tick is number `ticks`, and may come after any pause."""
        self._forget()
        self._next = ticks

    def tick(self, at: float) -> Line | None:
        """One more tick, at `at` seconds; None until there are enough of them."""
        if self._seen and not 0 <= at - self._last <= _PAUSE:
            self._forget()
        tick = Tick(self._next, at)
        self._next += 1
        if self._line is not None:
            self._watch(self._line, tick)
        else:
            self._seen.append(tick)
            if len(self._seen) >= _FEWEST:
                self._line = _fit(self._seen)
            self._unsure = list(self._seen)
        self._last = at
        return self._line

    def _forget(self) -> None:
        self._keep([])
        self._unsure: list[Tick] = []  # the first beat since no line was well known
        self._line: Line | None = None
        self._late = False  # whether the last tick was off the line that way

    def _keep(self, ticks: Iterable[Tick]) -> None:
        self._seen: deque[Tick] = deque(ticks, maxlen=_MOST)
        self._doubted: list[Tick] = []  # after those
        self._aside = 0  # ticks in a row off the line, late positive

    def _watch(self, line: Line, tick: Tick) -> None:
        """Take one more; a tick in doubt is taken later."""
        late = line.late(tick)
        self._compare(line, tick, late)
        if 0 < len(self._unsure) < PER_BEAT:
            self._unsure.append(tick)
        scatter = line.scatter(self._seen)
        self._doubted.append(tick)
        if self._clear(line, scatter) and late > _DOUBT - (scatter if len(self._doubted) > 1 else 0.0):
            gone = self._gone(line, scatter)
            if gone is None or (not gone and self._aside < _ASIDE and len(self._doubted) < _DOUBTS):
                return
            self._count(gone)
        self._seen.extend(self._doubted)
        self._doubted = []
        if abs(self._aside) >= _ASIDE:
            self._keep(list(self._seen)[-_ASIDE:])
            self._unsure = self._unsure or list(self._seen)
        self._line = _fit(self._seen) or line
        self._recount(self._line)
        self._look_back(self._line)

    def _compare(self, line: Line, tick: Tick, late: float) -> None:
        """Count ticks in a row on one side. Of those that were held up and come at once only the last, which waited
        least, is kept; and they are no agreement."""
        allowed = max(_SCATTER, _LEAST_SCATTER / line.period)
        side = (late > allowed) - (late < -allowed)
        at_once, self._late = self._late and tick.at - self._last < _TOGETHER, side > 0
        if at_once:
            (self._doubted or self._seen).pop()
        else:
            self._aside = self._aside + side if side and self._aside * side >= 0 else side

    def _clear(self, line: Line, scatter: float) -> bool:
        """Whether a tick can be told from the next."""
        return len(self._seen) >= PER_BEAT and scatter <= _CLEAR and not in_blocks(line.period, len(self._seen))

    def _gone(self, line: Line, scatter: float) -> list[int] | None:
        """How many ticks were lost before each that is in doubt; None while that cannot be told."""
        before = [line.late(tick) for tick in list(self._seen)[-_FEWEST:]]
        late = [line.late(tick) for tick in self._doubted]
        return lost(before, late, max(scatter, _LEAST), len(late) < _DOUBTS)

    def _count(self, gone: list[int]) -> None:
        """Number the ticks in doubt anew."""
        if gone:
            self._doubted = [Tick(tick.number + n, tick.at) for tick, n in zip(self._doubted, gone, strict=True)]
            self._next += gone[-1]
            self._aside = 0

    def _recount(self, line: Line) -> None:
        """Number the ticks anew where losses alone can explain how unevenly they come."""
        late = [line.late(tick) for tick in self._seen]
        if len(late) < PER_BEAT or max(late) - min(late) < _UNEVEN:
            return
        times = [tick.at for tick in self._seen]
        anew = recounted(self._seen[0].number, times, _CLEAR / 2)
        ticks = deque((Tick(number, at) for number, at in zip(anew, times, strict=True)), maxlen=_MOST)
        told, ended = _fit(ticks), anew[-1] - anew[-3] == 2  # or the tempo may be another by now
        if ended and told is not None and 2 * told.scatter(ticks) < bent(late):
            self._seen, self._next, self._line = ticks, anew[-1] + 1, told

    def _look_back(self, line: Line) -> None:
        """Once the line is well known: where it comes from, since ticks were lost before it was known, too."""
        if not self._unsure or len(self._seen) < _MOST or not self._clear(line, line.scatter(self._seen)):
            return
        early = [-line.late(tick) for tick in self._unsure]
        if sum(abs(each - round(each)) < _NEAR for each in early) < 0.8 * len(early):
            self._unsure = self._unsure if self._next - self._unsure[0].number < _AGO else []
            return
        gone, self._unsure = max(0, *(round(each) for each in early[:3])), []
        self._seen = deque((Tick(tick.number + gone, tick.at) for tick in self._seen), maxlen=_MOST)
        self._next += gone
        self._line = Line(line.at, line.ticks + gone, line.period)


def _fit(seen: Collection[Tick]) -> Line | None:
    """Least squares, time over tick; None where the ticks came at once."""
    count = len(seen)
    mean_tick = sum(tick for tick, _ in seen) / count
    mean_at = sum(at for _, at in seen) / count
    spread = sum((tick - mean_tick) ** 2 for tick, _ in seen)
    period = sum((tick - mean_tick) * (at - mean_at) for tick, at in seen) / spread
    if period < _TOGETHER:
        return None
    *_, (newest, _) = seen
    return Line(mean_at + (newest - mean_tick) * period, float(newest), period)
