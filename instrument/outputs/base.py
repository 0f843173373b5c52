"""What an output is, and the thread that keeps a slow or broken one from holding up the others.

An output takes frames (uint8 [H, W, 3], RGB, C-contiguous) and carries them out of the program. This file knows nothing
of any particular output, of the engine or of pacing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

log = logging.getLogger(__name__)

BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each new attempt to open a failed output


class OutputError(RuntimeError):
    """An output cannot do its work. The text names the output, what is wrong, and the remedy."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"output {name}: {problem}; {remedy}")
        self.name = name


class Output:
    """One way out for frames. A subclass is one file and one row in `outputs.KINDS`.

    All methods are called from one thread, in the order open, send..., close; after a failure the same object may be
    closed and opened again. `options` declares what may follow the `?` in a spec: name -> function from text to value;
    those values reach the constructor as keyword arguments.
    """

    name: str = "output"
    options: ClassVar[dict[str, Callable[[str], Any]]] = {}
    wants_card: bool = True  # whether the test card shown before the first picture goes out here too

    def open(self, width: int, height: int, fps: float) -> None:
        """Get ready for frames of this size at about this rate. Raises OutputError."""

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        """Take one frame, to be shown at `at` seconds on a steady clock; None: frames are 1/fps apart.

        Raises OutputError. The array must not be kept or written to after this returns, unless copied.
        """

    def close(self) -> None:
        """Finish and let go of everything. Harmless when not open."""


def even(frame: np.ndarray) -> np.ndarray:
    """The frame less its last row or column where those are odd in number, as 4:2:0 pictures need."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.ascontiguousarray(frame[: height - height % 2, : width - width % 2])


@dataclass(frozen=True, slots=True)
class OutputStats:
    """How one output fares. `error` is the last failure while it lasts, empty once frames go out again."""

    name: str
    sent: int = 0
    dropped: int = 0
    errors: int = 0
    error: str = ""


class OutputRunner:
    """Feeds one output from a thread of its own, through a short queue whose oldest frame drops when it is full.

    `send` never waits. When the output fails it is closed and opened again after a pause that grows; the frames of that
    time count as dropped.
    """

    def __init__(self, output: Output, depth: int = 3, back_off: tuple[float, ...] = BACK_OFF) -> None:
        self.output = output
        self._depth = depth
        self._back_off = back_off
        self._queue: deque[tuple[np.ndarray, float]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._tried = threading.Event()
        self._refusal: OutputError | None = None
        self._stats = OutputStats(output.name)
        self._thread: threading.Thread | None = None

    def start(self, width: int, height: int, fps: float) -> None:
        """Open the output in its thread and wait for the result. Raises the OutputError of a refusal."""
        self._thread = threading.Thread(
            target=self._run, args=(width, height, fps), name=f"output {self.output.name}", daemon=True
        )
        self._thread.start()
        self._tried.wait()
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

    def close(self, timeout: float = 10.0) -> bool:
        """Send what waits, finish the output, end the thread. False if that took longer than `timeout` seconds."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("output %s: did not finish within %g s; left behind", self.output.name, timeout)
            return False
        return True

    def stats(self) -> OutputStats:
        return self._stats

    def _count(self, sent: int = 0, dropped: int = 0) -> None:
        stats = self._stats
        error = "" if sent else stats.error
        self._stats = replace(stats, sent=stats.sent + sent, dropped=stats.dropped + dropped, error=error)

    def _run(self, width: int, height: int, fps: float) -> None:
        try:
            self.output.open(width, height, fps)
        except Exception as error:
            self._refusal = _as_output_error(self.output.name, error)
        self._tried.set()
        if self._refusal is not None:
            return
        failures = 0
        while (item := self._next()) is not None:
            error = self._attempt(lambda item=item: self.output.send(*item))
            if error is None:
                failures = 0
                with self._ready:
                    self._count(sent=1)
                continue
            failures = self._recover(failures, lambda: self.output.open(width, height, fps))
            if failures < 0:
                return
        self._attempt(self.output.close)

    def _next(self) -> tuple[np.ndarray, float] | None:
        """The frame to send now; None once closing and everything has been sent."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None

    def _attempt(self, action: Callable[[], None]) -> Exception | None:
        """Do it; a failure is counted, kept for the status line and logged once per kind."""
        try:
            action()
        except Exception as error:  # any output may fail in its own way; the show goes on
            text = str(_as_output_error(self.output.name, error))
            with self._ready:
                if text != self._stats.error:
                    log.warning("%s", text)
                self._stats = replace(self._stats, errors=self._stats.errors + 1, error=text)
            return error
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
    return OutputError(
        name, f"{type(error).__name__}: {error}", "it is opened again by itself; if it stays, restart it"
    )
