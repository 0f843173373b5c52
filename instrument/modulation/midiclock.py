"""MIDI clock without its jitter: where the ticks are, judged from many of them.

Ticks come late by a few milliseconds, each by another amount, and sometimes several at once. A straight line is fitted
through the last two beats of them by least squares: with a scatter of 1.5 ms the period is known to about 0.1 %, and
ticks that come with the blocks of a sound driver shake it little. A change of tempo shows as several ticks in a row on
one side of the line, and the old ones are let go. Knows only times.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

PER_BEAT = 24
_MOST = 2 * PER_BEAT
_FEWEST = 6  # to fit a line at all
_LOST = 1.0  # seconds without a tick: what comes then is a new beginning
_TOGETHER = 0.003  # seconds from tick to tick that no tempo has: they were held up and let go at once
_STALL = 0.2  # seconds late that no block of sound makes a tick
_ASIDE = 6  # ticks in a row on one side before the tempo is said to have changed
_SCATTER = 0.15  # of a period that a tick may be off without meaning anything...
_LEAST_SCATTER = 0.015  # ...and seconds, however short the period: drivers deliver ticks with blocks of sound


class Line(NamedTuple):
    """At `at` seconds the clock stands at `ticks`, and `period` seconds pass from tick to tick."""

    at: float
    ticks: float
    period: float


class TickFilter:
    """Fed with the times of ticks, tells the line through them."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_MOST)  # (tick, seconds)
        self._next = 0
        self._line: Line | None = None
        self._aside = 0  # ticks in a row off the line, late positive
        self._late = 0.0  # seconds that the last tick was off the line
        self._stalled = False  # whether it came at once with others that a stall held up

    def start(self, ticks: int) -> None:
        """The next tick is number `ticks`, and may come after any pause."""
        self._forget()
        self._next = ticks

    def tick(self, at: float) -> Line | None:
        """One more tick, at `at` seconds; None until there are enough of them."""
        if self._seen and not 0 <= at - self._seen[-1][1] <= _LOST:
            self._forget()
        elif self._line is not None:
            self._watch(at)
        self._seen.append((self._next, at))
        self._next += 1
        if len(self._seen) < _FEWEST or self._stalled:
            return self._line
        self._line = _fit(self._seen) or self._line
        return self._line

    def _forget(self) -> None:
        self._seen.clear()
        self._line, self._aside, self._late, self._stalled = None, 0, 0.0, False

    def _watch(self, at: float) -> None:
        """Let old ticks go once the newest agree that they tell of another tempo. A gap is no lost tick: a stall on the
        way, after which the late ones come at once, is far more likely than a message that never comes. Of those only
        the last, which waited least, is kept; and they are no agreement. Where the first of them came later than blocks
        of sound do, none is kept, and the line goes on as it was before them."""
        line = self._line
        off = at - (line.at + (self._next - line.ticks) * line.period)
        allowed = max(_SCATTER * line.period, _LEAST_SCATTER)
        side = (off > allowed) - (off < -allowed)
        let_go = self._late > allowed and at - self._seen[-1][1] < _TOGETHER
        if let_go or self._stalled:
            self._seen.pop()
        if let_go and not self._stalled and self._late > _STALL:
            self._line = _fit(self._seen) or line  # which the first of them has bent
            self._stalled = True
        self._stalled, self._late = self._stalled and let_go, off
        if let_go:
            return
        self._aside = self._aside + side if side and self._aside * side >= 0 else side
        if abs(self._aside) >= _ASIDE:
            self._seen = deque(list(self._seen)[1 - _ASIDE :], maxlen=_MOST)
            self._aside = 0


def _fit(seen: deque[tuple[int, float]]) -> Line | None:
    """Least squares, time over tick; None where the ticks came at once."""
    count = len(seen)
    mean_tick = sum(tick for tick, _ in seen) / count
    mean_at = sum(at for _, at in seen) / count
    spread = sum((tick - mean_tick) ** 2 for tick, _ in seen)
    period = sum((tick - mean_tick) * (at - mean_at) for tick, at in seen) / spread
    if period < _TOGETHER:
        return None
    newest = seen[-1][0]
    return Line(mean_at + (newest - mean_tick) * period, float(newest), period)
