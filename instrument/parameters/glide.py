"""Glides: numbers that follow a jump of their knob smoothly, so that a 7-bit knob does not step.

A one-pole low-pass in knob travel: fast at first, then ever slower, at the same pace over the whole of any curve. The
last thousandth of the travel is a jump, so that a glide ends exactly on its target; a jump over the whole travel ends
after the time given, a smaller one earlier. Knows specs and travel, not who set what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from pipelines.spec import ControlSpec, Value

END = 1e-3  # travel left at which the target is taken


class _Glide(NamedTuple):
    spec: ControlSpec
    travel: float
    ms: float


class Glides:
    """What glides now, by id. Its owner sees to it that one thread calls at a time."""

    def __init__(self) -> None:
        self._gliding: dict[str, _Glide] = {}
        self._ticked: float | None = None

    def __len__(self) -> int:
        return len(self._gliding)

    def begin(self, id: str, spec: ControlSpec, jump: tuple[float, float], ms: float) -> None:
        """The value jumped from one number to another; before the first `advance` there is nothing to glide from."""
        if ms <= 0 or self._ticked is None:
            self._gliding.pop(id, None)
            return
        under_way = self._gliding.get(id)
        self._gliding[id] = _Glide(spec, under_way.travel if under_way else spec.unmap(jump[0]), ms)

    def advance(self, now: float, targets: Mapping[str, Value]) -> dict[str, float]:
        """Travel at `now`, by id, of all that still glides toward `targets`; who has arrived is left out."""
        elapsed = max(0.0, now - self._ticked) if self._ticked is not None else 0.0
        self._ticked = now
        if not self._gliding:
            return {}
        for id, glide in list(self._gliding.items()):
            target = glide.spec.unmap(targets[id])
            left = (glide.travel - target) * math.exp(elapsed * 1000 * math.log(END) / glide.ms)
            if abs(left) <= END:
                del self._gliding[id]
            else:
                self._gliding[id] = glide._replace(travel=target + left)
        return {id: glide.travel for id, glide in self._gliding.items()}

    def end(self, id: str) -> None:
        """`id` stands where it was set, at once."""
        self._gliding.pop(id, None)

    def clear(self) -> None:
        """All stand where they were set, at once."""
        self._gliding.clear()
