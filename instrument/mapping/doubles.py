"""One touch that comes in by two ways: a controller whose ports mirror each other, or one that is seen through a bridge
or passed on by another program as well. A toggle that heard both would stand where it stood.

Of two ports that say the same within a moment the second is not heard. Each message of one port answers for one of the
other, so that rolls and spun knobs stay as fast as they are. Two units of one model, called the same but for a number,
are both heard. Knows origins and touches; no ports, no mappings.
"""

from __future__ import annotations

import re
from collections import deque

from instrument.parameters.touch import Touch

MOMENT = 0.03  # seconds that the longer way may take: two audio buffers of another program
KEPT = 0.2  # seconds: one port may be read so much later than another that spoke at the same time
_UNIT = re.compile(r" #\d+$")  # of several that are called the same


class Doubles:
    """What one mapping has just heard, and from whom."""

    def __init__(self) -> None:
        self._lately: deque[tuple[float, Touch]] = deque()
        self._heard: dict[Touch, deque[tuple[float, set[str]]]] = {}

    def again(self, touch: Touch, origin: str, at: float) -> bool:
        """Whether another port has said the same just now; `at` in seconds, on any steady clock."""
        port = _UNIT.sub("", origin)
        while self._lately and self._lately[0][0] < at - KEPT:
            self._forget(self._lately.popleft()[1])
        for said, ports in self._heard.get(touch, ()):
            if port not in ports and abs(at - said) <= MOMENT:
                ports.add(port)
                return True
        self._heard.setdefault(touch, deque()).append((at, {port}))
        self._lately.append((at, touch))
        return False

    def _forget(self, touch: Touch) -> None:
        """The oldest of its kind."""
        told = self._heard[touch]
        told.popleft()
        if not told:
            del self._heard[touch]
