"""Envelopes: from a gate to a level 0..1, in straight lines; pure functions of the time since the gate opened."""

from __future__ import annotations

import math
from typing import NamedTuple


class Times(NamedTuple):
    """Seconds, but `sustain`, which is a level 0..1. An AD envelope is one whose sustain is 0."""

    attack: float
    decay: float
    sustain: float
    release: float


def adsr(times: Times, elapsed: float, held: float = math.inf, start: float = 0.0) -> float:
    """The level `elapsed` seconds after the gate opened; it was open for `held` seconds, `inf` while it still is.

    The attack climbs from `start`, so that a gate which opens again before the end does not click.
    """
    if elapsed <= held:
        return _open(times, elapsed, start)
    left = _open(times, held, start)
    if times.release <= 0:
        return 0.0
    return left * max(0.0, 1.0 - (elapsed - held) / times.release)


def _open(times: Times, elapsed: float, start: float) -> float:
    if elapsed < times.attack:
        return start + (1.0 - start) * elapsed / times.attack
    since = elapsed - times.attack
    if since < times.decay:
        return 1.0 + (times.sustain - 1.0) * since / times.decay
    return times.sustain


class Gate:
    """One envelope's memory: when its gate opened and closed, and from which level it set out."""

    def __init__(self) -> None:
        self._opened: float | None = None
        self._closed = math.inf
        self._start = 0.0

    def open(self, at: float, level: float) -> None:
        """Set out again from the level reached."""
        self._opened, self._closed, self._start = at, math.inf, level

    def close(self, at: float) -> None:
        self._closed = min(self._closed, at)

    def level(self, times: Times, now: float) -> float:
        """0 before the first gate. Times may change while it sounds."""
        if self._opened is None:
            return 0.0
        return adsr(times, max(0.0, now - self._opened), max(0.0, self._closed - self._opened), self._start)
