"""How fast the loop goes, and that it goes no faster than the picture should. Knows times and counts only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

LATE = 2.0  # times as long as a chunk takes: then one is late


@dataclass(frozen=True, slots=True)
class Timing:
    """Smoothed times of the loop, milliseconds, and the frames a second that it makes."""

    step_ms: float = 0.0
    chunk_ms: float = 0.0
    fps: float = 0.0
    chunks: int = 0


class PictureTime:
    """Seconds by the pictures `shown` so far, `rate` of them a second. Of a chunk that is refused at its end the time
    has passed: it never runs back."""

    def __init__(self, shown: Callable[[], float], rate: float) -> None:
        self._shown, self._rate, self._latest = shown, rate, 0.0

    def __call__(self) -> float:
        self._latest = max(self._latest, self._shown())
        return self._latest / self._rate


class Tempo:
    """Told of every chunk. `most` frames a second keep a fast machine at the model's own tempo; None: no bound."""

    def __init__(self, most: float | None) -> None:
        self.most = most
        self._timing = Timing()
        self._due = 0.0
        self._ended: float | None = None

    @property
    def timing(self) -> Timing:
        """As of now: where chunks fail, or one takes far longer than those before, the rate falls while none ends."""
        timing, ended = self._timing, self._ended
        silent = time.monotonic() - ended if ended is not None else 0.0
        if silent <= LATE * timing.chunk_ms / 1000:
            return timing
        return replace(timing, fps=timing.fps * timing.chunk_ms / 1000 / silent)

    def begin(self) -> None:
        """Play begins now."""
        self._due = time.monotonic()

    def keep(self, frames: int, stopping: threading.Event) -> None:
        """Wait where the machine is faster than the picture should be."""
        now = time.monotonic()
        if self.most is None:
            return
        self._due = max(self._due + frames / self.most, now - 1.0 / self.most)
        stopping.wait(max(0.0, self._due - now))

    def measure(self, step: float, frames: int) -> None:
        """Smooth the times of the last chunk, `step` seconds each denoising step; a chunk lasts from the end of the one
        before, waits included."""
        now, before = time.monotonic(), self._ended
        self._ended = now
        if not frames or before is None:  # nothing was shown before the first chunk
            return
        old, whole = self._timing, now - before
        share = 0.2 if old.chunks else 1.0

        def toward(before: float, after: float) -> float:
            return before + share * (after - before)

        self._timing = Timing(
            toward(old.step_ms, 1000 * step),
            toward(old.chunk_ms, 1000 * whole),
            toward(old.fps, frames / whole),
            old.chunks + 1,
        )
