"""Being told at once that a value has changed, without asking again and again and without cost in a storm.

An alarm rings once, at the next change, and must be set again: whoever was told has things to do first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable


class Alarms:
    """Any thread may set, drop and ring them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: dict[Hashable, Callable[[], None]] = {}

    def __bool__(self) -> bool:
        return bool(self._set)

    def set(self, key: Hashable, ring: Callable[[], None]) -> None:
        """Call `ring` at the next change, from whatever thread makes it; it must not wait. One for each key."""
        with self._lock:
            self._set[key] = ring

    def drop(self, key: Hashable) -> None:
        """Harmless where it has rung already."""
        with self._lock:
            self._set.pop(key, None)

    def ring(self) -> None:
        """Something has changed."""
        with self._lock:
            due, self._set = self._set, {}
        for ring in due.values():
            ring()
