"""Which of many complaints are made: a storm of bad messages must not become a storm of answers and log lines.

Knows nothing of what they are about.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable

_REMEMBERED = 1024


class Complaints:
    """Which of many complaints are made: `most` in any second on the clock, of them half to any one, and none twice
    while it is fresh."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._to: Counter[str] = Counter()  # made this second
        self._second = 0
        self._used = 0
        self._missed = 0
        self._fresh: dict[Hashable, float] = {}

    def allows(self, about: Hashable, quiet: float = 0.0, to: str = "") -> bool:
        """Whether to make it now; the same again only after `quiet` seconds. `to`: who is told, if it is anyone."""
        now = time.monotonic()
        if int(now) != self._second:
            self._second, self._used = int(now), 0
            self._to.clear()
        if now < self._fresh.get(about, 0.0) or self._used >= self._most or (to and self._to[to] >= self._most // 2):
            self._missed += 1
            return False
        self._used += 1
        self._to[to] += 1
        if len(self._fresh) >= _REMEMBERED:
            self._fresh.clear()
        self._fresh[about] = now + quiet
        return True

    def take_missed(self) -> int:
        """How many were not made since the last call."""
        missed, self._missed = self._missed, 0
        return missed
