"""The thread that keeps a slow or broken output from holding up the others. Knows no output in particular."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .base import Output, OutputError
from .fit import Fitter

log = logging.getLogger(__name__)

BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each new attempt to open a failed output
SETTLED = 5.0  # seconds of sending after which an output that failed counts as well again
OPENING = 20.0  # seconds that opening may take, at first
STUCK = 5.0  # seconds that one frame may take until it is told of


@dataclass(frozen=True, slots=True)
class OutputStats:
    """How one output fares. `error` is the last failure, empty once frames have gone out again for a while, or that it
    takes nothing at all; `writing` the file that it writes now, if it does; `seconds` since it was opened last."""

    name: str
    sent: int = 0
    dropped: int = 0
    errors: int = 0
    error: str = ""
    writing: str = ""
    seconds: float = 0.0

    @property
    def told(self) -> str:
        """In a few words."""
        records = f" records {self.seconds:.0f} s into {self.writing}" if self.writing else ""
        return self.error or f"{self.name}{records or ' plays'}"


class OutputRunner:
    """Feeds one output from a thread of its own, through a short queue whose oldest frame drops when it is full.

    `send` never waits. Frames of another size than the output was opened for are fitted to it. When the output fails it
    is closed and opened again after a pause that grows; the frames of that time count as dropped. One that fails again
    and again after a few frames, as a stream to a server that is away does, is not called well in between.
    """

    def __init__(
        self,
        output: Output,
        depth: int = 3,
        back_off: tuple[float, ...] = BACK_OFF,
        settled: float = SETTLED,
        name: str = "",
    ) -> None:
        """`name`: what it is told and removed by, where the output's own is taken."""
        self.output, self.name = output, name or output.name
        self._depth = depth
        self._back_off, self._settled = back_off, settled
        self._queue: deque[tuple[np.ndarray, float]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._tried, self._given_up = threading.Event(), False
        self._opened = time.monotonic()
        self._since: float | None = None  # when what the output is at was begun
        self._refusal: OutputError | None = None
        self._stats = OutputStats(self.name)
        self._thread: threading.Thread | None = None

    def start(self, width: int, height: int, fps: float) -> None:
        """Open the output in its thread and wait for the result. Raises the OutputError of a refusal, or of one that
        takes too long; should it open after all, it is closed again."""
        self._thread = threading.Thread(
            target=self._run, args=(width, height, fps), name=f"output {self.name}", daemon=True
        )
        self._thread.start()
        if not self._tried.wait(OPENING):
            with self._ready:
                self._given_up = not self._tried.is_set()
            if self._given_up:
                remedy = "check what it needs (a device, a driver, a desktop) and add it again"
                raise OutputError(self.name, f"it did not open within {OPENING:g} s", remedy)
        if self._refusal is not None:
            self._thread.join()
            raise self._refusal

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        """Hand over a frame, shown at `at` seconds of `time.monotonic()` (None: now); returns at once."""
        with self._ready:
            if self._closing:
                return
            if len(self._queue) >= self._depth:
                self._queue.popleft()
                self._count(dropped=1)
            self._queue.append((frame, time.monotonic() if at is None else at))
            self._ready.notify()

    def finish(self) -> None:
        """Take no more frames, send what waits, and end; returns at once."""
        with self._ready:
            self._closing = True
            self._ready.notify()

    def close(self, timeout: float = 10.0) -> bool:
        """Send what waits, finish the output, end the thread. False if that took longer than `timeout` seconds."""
        self.finish()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("output %s: did not finish within %g s; left behind", self.name, timeout)
            return False
        return True

    def stats(self) -> OutputStats:
        since, now = self._since, time.monotonic()
        stats = replace(self._stats, writing=self.output.writing, seconds=round(now - self._opened, 1))
        if since is None or now - since < STUCK:
            return stats
        remedy = "is its receiver, device or disk there? Frames are dropped; take it away and add it again"
        return replace(stats, error=str(OutputError(self.name, f"has stood still for over {STUCK:g} s", remedy)))

    def _count(self, sent: int = 0, dropped: int = 0) -> None:
        self._stats = replace(self._stats, sent=self._stats.sent + sent, dropped=self._stats.dropped + dropped)

    def _run(self, width: int, height: int, fps: float) -> None:
        try:
            self.output.open(width, height, fps)
        except Exception as error:
            self._refusal = _as_output_error(self.name, error)
        with self._ready:
            self._tried.set()
        if self._refusal is not None:
            return
        if self._given_up:
            self._attempt(self.output.close)
            return
        failures, fit, self._opened = 0, Fitter(width, height), time.monotonic()
        while (item := self._next()) is not None:
            error = self._attempt(lambda item=item: self.output.send(fit(item[0]), item[1]))
            if error is None:
                well = failures > 0 and time.monotonic() - self._opened >= self._settled
                failures = 0 if well else failures
                with self._ready:
                    self._count(sent=1)
                    if well:
                        self._stats = replace(self._stats, error="")
                continue
            failures = self._recover(failures, lambda: self.output.open(width, height, fps))
            if failures < 0:
                return
            self._opened = time.monotonic()
        self._attempt(self.output.close)

    def _next(self) -> tuple[np.ndarray, float] | None:
        """The frame to send now; None once closing and everything has been sent."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None

    def _attempt(self, action: Callable[[], None]) -> Exception | None:
        """Do it; a failure is counted, kept for the status line and logged once per kind."""
        self._since = time.monotonic()
        try:
            action()
        except Exception as error:  # any output may fail in its own way; the show goes on
            text = str(_as_output_error(self.name, error))
            with self._ready:
                if text != self._stats.error:
                    log.warning("%s", text)
                self._stats = replace(self._stats, errors=self._stats.errors + 1, error=text)
            return error
        finally:
            self._since = None
        return None

    def _recover(self, failures: int, reopen: Callable[[], None]) -> int:
        """Close, wait, open again until it works; the new count of failures in a row, or -1 if closing came first."""
        self._attempt(self.output.close)
        while True:
            pause = self._back_off[min(failures, len(self._back_off) - 1)]
            failures += 1
            with self._ready:
                if self._ready.wait_for(lambda: self._closing, pause):
                    self._count(dropped=len(self._queue))
                    return -1
            if self._attempt(reopen) is None:
                return failures
            self._attempt(self.output.close)


def _as_output_error(name: str, error: Exception) -> OutputError:
    if isinstance(error, OutputError):
        return error
    words = " ".join(str(error).split())[:200]
    return OutputError(
        name,
        f"{type(error).__name__}: {words}",
        "it is opened again by itself; if it stays, take it away and add it anew",
    )
