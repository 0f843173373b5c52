"""Ticks that never came: told by those after them, which keep the old pace, whole periods late.

One late tick says nothing, since one that was only held up is as late. Nor do gaps of two periods, one after the other:
so does a clock whose tempo was halved. Knows no times, only how late ticks came, in periods.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np

MOST = 6  # that may be lost in one gap; a longer one is a pause
_PRICE = 4.0  # squares of the scatter that every loss must be worth
_SURE = 3.0  # squares of the scatter by which one explanation must be worse than the other
_BLOCKS = (  # seconds between which ticks are held: of sound, of pictures, of a timer
    *(samples / rate for rate in (44_100, 48_000) for samples in (512, 1024, 2048)),
    *(1 / often for often in (30, 60, 64, 100)),
)
_PRECISE = 0.004  # of a period, that it is known to
_LIGHTEST = 1e-6  # of what a loss would change: less is nothing but rounding
_FITS = 6.0  # squares of the scatter that ticks may be off whole periods, on the whole


def lost(before: Sequence[float], late: Sequence[float], scatter: float, patient: bool) -> list[int] | None:
    """How many ticks were lost before each of `late`, which came after `before`, which came in time, give or take
    `scatter`. Empty if none were; None, if `patient`, while that cannot be told."""
    square = scatter**2
    steps = _steps(late, _PRICE * square)
    off = sum((each - step) ** 2 for each, step in zip(late, steps, strict=True))
    if steps[-1] == 0 or steps[-1] not in steps[:-1] or off > _FITS * square * len(late):
        return []
    changes = sum(after > earlier for earlier, after in pairwise([0, *steps]))
    better = _turned(before, late) - sum(each * each for each in before) - off - _PRICE * square * (changes - 1)
    if patient and abs(better) < _SURE * square:
        return None
    return steps if better > 0 else []


def _steps(late: Sequence[float], price: float) -> list[int]:
    """The whole numbers nearest to these that never fall, where each climb must be worth its price."""
    ways: list[tuple[float, list[int]]] = [(0.0, [])]  # the cheapest to each number
    for each in late:
        stays, ways = ways, []
        for number in range(min(len(stays) + MOST, math.ceil(max(late)) + 1)):
            below = [(cost + price, way) for cost, way in stays[max(0, number - MOST) : number]]
            cost, way = min([*below, *stays[number : number + 1]])
            ways.append((cost + (each - number) ** 2, [*way, number]))
    return min(ways)[1]


def _turned(before: Sequence[float], late: Sequence[float]) -> float:
    """The squares that are left if the tempo turned somewhere in `before`, at the best place, to the best tempo."""
    ticks = [*before, *late]
    squares = sum(each * each for each in ticks)
    told = []
    for turn in range(len(before)):
        since = ticks[turn + 1 :]
        along = sum(place * each for place, each in enumerate(since, 1))
        told.append(along * along / sum(place * place for place in range(1, len(since) + 1)))
    return squares - max(told)


def recounted(first: int, times: Sequence[float], scatter: float) -> list[int]:
    """The numbers of ticks from the `first` on, where ones lost among them explain when they came: by their gaps, and
    then what makes them straighter, until nothing does more than `scatter`, in periods, may."""
    new, x = _by_gaps(first, times), [at - sum(times) / len(times) for at in times]
    spread = sum(each * each for each in x)
    while True:
        mean = sum(new) / len(new)
        pace = sum(at * number for at, number in zip(x, new, strict=True)) / spread
        ahead = [number - mean - pace * at for at, number in zip(x, new, strict=True)]
        gaps = [after - before for before, after in pairwise(new)]
        gain, place, gone = max(_gains(ahead, x, spread, gaps), default=(0.0, 0, 0))
        if gain < 2 * _PRICE * scatter**2:
            return new
        new[place:] = [number + gone for number in new[place:]]


def _by_gaps(first: int, times: Sequence[float]) -> list[int]:
    gaps = [after - before for before, after in pairwise(times)]
    middle = statistics.median(gaps) or math.inf
    return list(accumulate((min(1 + MOST, max(1, round(gap / middle))) for gap in gaps), initial=first))


def _gains(
    ahead: Sequence[float], x: Sequence[float], spread: float, gaps: Sequence[int]
) -> Iterator[tuple[float, int, int]]:
    """For every place but the ends: squares that go if ticks are lost before it, the place, and how many; fewer than 0
    if it were too many. `ahead` are the numbers against a straight line through them, `x` the times against their mean,
    `spread` the sum of its squares, `gaps` the numbers' steps."""
    count, tail, since = len(x), 0.0, 0.0
    for place in range(count - 1, 1, -1):
        tail += ahead[place]
        since += x[place]
        after = count - place
        weight = after - after * after / count - since * since / spread
        if after > 1 and weight > _LIGHTEST:
            gone = min(MOST, max(1 - gaps[place - 1], round(-tail / weight)))
            yield -gone * (2 * tail + gone * weight), place, gone


def bent(late: Sequence[float]) -> float:
    """How far ticks so late are from the best parabola, in periods: what a slowly changing tempo does not explain."""
    places = np.arange(len(late))
    off = np.polynomial.Polynomial.fit(places, late, 2)(places) - late
    return float(np.sqrt(np.sum(off * off) / (len(late) - 3)))


def in_blocks(period: float, ticks: int) -> bool:
    """Whether so many ticks, `period` seconds apart, may be slower ones that a sound driver delivers with its blocks,
    or a program with its pictures: where one of those passes without a tick, it looks as if a tick was lost."""
    return any(-_PRECISE < period / block - 1 < 1 / ticks + _PRECISE for block in _BLOCKS)
