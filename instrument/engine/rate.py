"""How many frames a second a source makes, told from the moments its frames arrive, bursts or not.

Pure arithmetic on times handed in: no clock, no threads.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

WINDOW = 2.5  # seconds looked back; for slow sources three bursts
SHORTEST_SPAN = 0.25  # seconds of frames before the first estimate is trusted
PAUSE = 1.0  # a gap at least this long, four times any other, is a pause of the source and not its pace
MOST_FRAMES = 512


class ArrivalRate:
    """Frames per second of a source that delivers in bursts of any size.

    A burst starts after a gap longer than half the typical one (gaps weighted by their length, so that the many short
    gaps within bursts count little). The rate is the frames from the first start to the last, over that time: whole
    bursts only, so it does not wobble with the phase.
    """

    def __init__(self) -> None:
        self.fps: float | None = None
        self.burst = 1  # frames in the largest recent burst
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=MOST_FRAMES)  # (time, gap before it)

    def push(self, now: float) -> bool:
        """A frame arrived at `now` seconds; returns whether it starts a burst."""
        gap = now - self._arrivals[-1][0] if self._arrivals else math.inf
        self._arrivals.append((now, gap))
        pause = self._pause()
        if pause is not None and self._is_over(pause, now):
            self._forget(pause)
            pause = None
        gaps = self._gaps(pause)
        self._forget_old(now - max(WINDOW, 3 * max(gaps, default=0.0)))
        limit = 0.5 * _typical(gaps)
        if pause is None:
            self._measure([n for n, (_, before) in enumerate(self._arrivals) if before > limit])
        return gap > limit

    def _gaps(self, without: int | None) -> list[float]:
        return [gap for n, (_, gap) in enumerate(self._arrivals) if n != without and gap != math.inf]

    def _pause(self) -> int | None:
        """Where the source seems to have paused: the one gap far longer than all others."""
        longest = max(range(len(self._arrivals)), key=lambda n: self._finite(n))
        gap = self._finite(longest)
        if gap < PAUSE or any(self._finite(n) > gap / 4 for n in range(len(self._arrivals)) if n != longest):
            return None
        return longest

    def _finite(self, n: int) -> float:
        gap = self._arrivals[n][1]
        return 0.0 if gap == math.inf else gap

    def _is_over(self, pause: int, now: float) -> bool:
        """Whether it was a pause and not the first gap of a slower pace: frames have come again for long enough."""
        at, gap = self._arrivals[pause]
        return now - at > min(max(gap / 2, 1.0), 3.0)

    def _forget(self, count: int) -> None:
        """Drop the first `count` arrivals; the one then first counts as the start of a burst."""
        for _ in range(count):
            self._arrivals.popleft()
        self._arrivals[0] = (self._arrivals[0][0], math.inf)

    def _forget_old(self, before: float) -> None:
        while len(self._arrivals) > 1 and self._arrivals[0][0] < before:
            self._arrivals.popleft()

    def _measure(self, starts: list[int]) -> None:
        if len(starts) < 2:
            return
        span = self._arrivals[starts[-1]][0] - self._arrivals[starts[0]][0]
        if span >= SHORTEST_SPAN:
            self.burst = max(after - before for before, after in pairwise(starts))
            self.fps = (starts[-1] - starts[0]) / span


def _typical(gaps: list[float]) -> float:
    """The gap that a random moment falls in, on average."""
    total = sum(gaps)
    return sum(gap * gap for gap in gaps) / total if total > 0 else 0.0
