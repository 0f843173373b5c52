"""The shapes of an LFO: pure functions of the phase, so that the same moment always sounds the same.

Phase is counted in cycles and grows without end; values lie in -1..1. Randomness is a hash of seed and cycle, not a
generator's state: a run can be repeated, entered anywhere, or rendered later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

DRAWN = "table"
_OCTAVES = 3  # of the walk
_ENDS = np.array([0.0, 1.0])[:, None, None]  # of a cell
_OWN = np.arange(_OCTAVES, dtype=np.uint64)[:, None]  # what each of them adds to the seed
_FASTER = 2.0 ** np.arange(_OCTAVES)[:, None]  # than the walk's own rate
_LOUDEST = 2 - 0.5 ** (_OCTAVES - 1)  # that they can be together
# Of `chance`; made once, since numpy takes longer to make one than to multiply by it:
_CELL, _SEED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SPARE = np.uint64(11)  # bits that a float does not hold


def sine(phase: Floats, width: Floats, seeds: Words) -> Floats:
    return np.sin(2 * np.pi * phase)


def triangle(phase: Floats, width: Floats, seeds: Words) -> Floats:
    """Rising for `width` of the cycle, falling for the rest; at phase 0 it passes 0 upwards, as the sine does."""
    rise = np.minimum(np.maximum(width, 1e-6), 1 - 1e-6)
    place = (phase + rise / 2) % 1.0
    return np.where(place < rise, 2 * place / rise - 1, 1 - 2 * (place - rise) / (1 - rise))


def saw(phase: Floats, width: Floats, seeds: Words) -> Floats:
    """From -1 up to 1, then down at once. A negative depth turns it round."""
    return 2 * (phase % 1.0) - 1


def square(phase: Floats, width: Floats, seeds: Words) -> Floats:
    """1 for `width` of the cycle, then -1."""
    return np.where(phase % 1.0 < width, 1.0, -1.0)


def random(phase: Floats, width: Floats, seeds: Words) -> Floats:
    """A new value every cycle, held for the cycle: sample and hold of noise."""
    return chance(np.floor(phase), seeds)


def walk(phase: Floats, width: Floats, seeds: Words) -> Floats:
    """A smooth wander that never leaves -1..1: noise at one, two and four points a cycle, each half as strong as the
    one before (value noise, as in procedural pictures), rather than a sum of steps, which would drift off."""
    places = phase * _FASTER  # octaves by phases
    cells = np.floor(places)
    here, there = chance(cells + _ENDS, seeds + _OWN)
    part = places - cells
    waves = (here + (there - here) * part * part * (3 - 2 * part)) / _FASTER
    return waves.sum(axis=0) / _LOUDEST


def drawn(phase: float, table: Sequence[float]) -> float:
    """Straight lines between the points of one drawn cycle, the last joined to the first."""
    place = phase % 1.0 * len(table)
    index = int(place)
    here, there = table[index % len(table)], table[(index + 1) % len(table)]
    return here + (there - here) * (place - index)


def chance(cell: Floats, seeds: Words) -> Floats:
    """Evenly spread values in -1..1, one for every whole number and seed: the finaliser of SplitMix64 (Steele, Lea and
    Flood 2014) over both."""
    word = cell.astype(np.int64).astype(np.uint64) * _CELL + seeds * _SEED
    word = (word ^ (word >> _SHIFTS[0])) * _FACTORS[0]
    word = (word ^ (word >> _SHIFTS[1])) * _FACTORS[1]
    word ^= word >> _SHIFTS[2]
    return (word >> _SPARE).astype(np.float64) / 2.0**52 - 1.0


Wave = Callable[[Floats, Floats, Words], Floats]
WAVES: dict[str, Wave] = {
    "sine": sine,
    "triangle": triangle,
    "saw": saw,
    "square": square,
    "random": random,
    "walk": walk,
}
