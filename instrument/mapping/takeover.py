"""Takeover: how a knob with ends meets a value that is not where the knob stands.

Travels only, 0..1; knows nothing of parameters or MIDI. `jump` goes there at once. `pickup` waits until the hand comes
close to the value or passes it, however fast (a test of closeness alone lets a quick hand through). `scale` moves at
once but never jumps: the way that is left to the hand moves the value the way that is left to it, so that both reach
the end together.
"""

from __future__ import annotations

from typing import Literal

_NEAR = 3 / 128  # how close a knob must come to catch the value without passing it
_SAME = 1 / 256  # closer than a step of the knob


class Takeover:
    """The memory of one control at one value."""

    def __init__(self, how: Literal["jump", "pickup", "scale"]) -> None:
        self._how = how
        self._at: float | None = None  # where our last move left the value; None: the hand does not hold it

    def release(self) -> None:
        """The hand no longer holds the value: a page was turned, or the controller was away."""
        self._at = None

    def move(self, last: float | None, n: float, value: float, untouched: bool) -> float | None:
        """The new travel of the value, None to leave it.

        The control went from `last` (None: not known) to `n`; the value stands at `value`, `untouched` since our own
        last move.
        """
        if not untouched:
            self._at = None
        if self._how == "jump" or self._holds(last, n, value):
            self._at = n
        elif self._how == "pickup" or last is None:
            return None
        else:
            self._at = _scaled(last, n, value if self._at is None else self._at)
        return self._at

    def _holds(self, last: float | None, n: float, value: float) -> bool:
        """Whether the hand has the value: it had it, is close, or has just passed it."""
        if self._how == "pickup":
            if self._at is not None or abs(n - value) <= _NEAR:
                return True
            return last is not None and (last - value) * (n - value) < 0
        value = value if self._at is None else self._at
        return abs(n - value) <= _SAME or (last is not None and abs(last - value) <= _SAME)


def _scaled(last: float, n: float, value: float) -> float:
    """The share of the way that was left to the hand, taken of the way that is left to the value."""
    if n > last:
        return min(1.0, value + (n - last) / (1.0 - last) * (1.0 - value))
    if n < last:
        return max(0.0, value - (last - n) / last * value)
    return value
