"""Ableton Link: tempo and beat shared with other programs on the network, through the optional package aalink.

aalink is GPLv3; it is imported only when Link is chosen, in a thread of its own with its own event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from instrument.modulation.clock import Clock

if TYPE_CHECKING:
    from aalink import Link

_EVERY = 0.02  # seconds between looks at the session


class LinkMissing(RuntimeError):
    """Link cannot be used here; the text says what to install."""


class AbletonLink:
    """Steers a clock from the Link session while started."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._asked: float | None = None
        self.peers = 0

    def start(self) -> None:
        """Join the session, with the clock's tempo if nobody else is there. Raises LinkMissing."""
        if self._thread is not None:
            return
        try:
            from aalink import Link
        except ImportError:
            raise LinkMissing('Ableton Link needs aalink: pip install "attentionbender[link]"') from None
        self._stopping.clear()
        self._asked = None
        self._thread = threading.Thread(target=self._run, args=(Link,), name="link", daemon=True)
        self._thread.start()

    def set_tempo(self, tempo: float) -> None:
        """Propose a tempo to the session."""
        self._asked = float(tempo)

    def close(self) -> None:
        """Leave the session."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            self.peers = 0

    def _run(self, make: type[Link]) -> None:
        asyncio.run(self._stay(make))

    async def _stay(self, make: type[Link]) -> None:
        link = make(self._clock.tempo)
        link.enabled = True
        try:
            while not self._stopping.is_set():
                asked, self._asked = self._asked, None
                if asked is not None:
                    link.tempo = asked
                link.quantum = self._clock.beats_a_bar  # what is shared is the place in the bar, not the count of beats
                self.peers = link.num_peers
                self._clock.steer(link.beat, link.tempo, time.monotonic())
                await asyncio.sleep(_EVERY)
        finally:
            link.enabled = False
