"""Triggers that were fired and not heard yet: counted, in order, and bounded, so that no storm of them costs a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from operator import itemgetter

from instrument.parameters.parameter import Fired

MOST = 64  # firings of one trigger that wait; a hand does not come near it within a step


class Triggers:
    """Waiting events, each trigger's apart. Not to be used by two threads at once: its ParamSet holds the lock."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[int, Fired]]] = {}  # with the place of each in the order of all
        self._count = 0

    def fire(self, event: Fired, once: bool) -> bool:
        """One more. `once`: it stands for those of the same trigger that wait. False where too many waited, and the
        oldest of them had to go."""
        waiting = self._waiting.setdefault(event.id, deque(maxlen=1 if once else MOST))
        full = not once and len(waiting) == MOST
        self._count += 1
        waiting.append((self._count, event))
        return not full

    def drain(self, but: Container[str]) -> list[Fired]:
        """All that wait, in the order they were fired; those of `but` wait on, at no cost."""
        taken = [id for id in self._waiting if id not in but]
        events = [event for id in taken for event in self._waiting.pop(id)]
        return [event for _, event in sorted(events, key=itemgetter(0))]
