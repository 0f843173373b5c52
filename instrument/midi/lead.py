"""Which of several ports tells the time: the first to speak, until it falls silent.

A sequencer's clock may come in by two ways at once, through its own port and the virtual one, or a controller may send
a clock too; ticks of both together would be a tempo that nobody plays. Knows no ports and no clock's insides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from instrument.midi.decode import ClockListener

SILENCE = (
    1.0  # seconds after its last tick in which a port keeps the lead; at 20 beats a minute ticks are 0.125 s apart
)


class Lead:
    """One clock with several ports to hear it from. `now` on any steady clock."""

    def __init__(self, clock: ClockListener, now: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._leader: str | None = None
        self._heard = 0.0

    def of(self, origin: str) -> ClockListener:
        """What the port called `origin` tells the time to."""
        return _Voice(self, origin)

    def hears(self, origin: str, ticks: bool) -> bool:
        """Whether this port is listened to now. A tick takes and keeps the lead; start, stop and position only obey
        it, so that a controller with transport keys alone takes it from nobody."""
        with self._lock:
            now = self._now()
            free = self._leader is None or now - self._heard > SILENCE
            if ticks and (free or self._leader == origin):
                self._leader, self._heard = origin, now
            return free or self._leader == origin


class _Voice:
    """One port's part of the clock: a ClockListener."""

    def __init__(self, lead: Lead, origin: str) -> None:
        self._lead, self._origin = lead, origin

    def tick(self, at: float) -> None:
        if self._lead.hears(self._origin, ticks=True):
            self._lead.clock.tick(at)

    def start(self, at: float) -> None:
        if self._lead.hears(self._origin, ticks=False):
            self._lead.clock.start(at)

    def stop(self, at: float) -> None:
        if self._lead.hears(self._origin, ticks=False):
            self._lead.clock.stop(at)

    def position(self, beats: float) -> None:
        if self._lead.hears(self._origin, ticks=False):
            self._lead.clock.position(beats)
