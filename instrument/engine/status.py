"""What the player should know: the start-up sheet, one status line that keeps itself current, and latency.

Collects numbers from the parts that play; measures only the way from a knob to a sent frame itself.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

REMEMBERED = 200  # latencies kept for the percentiles
NOTICE_SECONDS = 6.0  # how long a passing notice stays in the status line


class Latency:
    """Knob to frame: from the moment a parameter changed until the first frame computed with it was sent."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def sent(self, stamp: object, at: float) -> None:
        """A frame left at `at`; `stamp` is when the oldest change in it was made, if it carries one."""
        if isinstance(stamp, float):
            with self._lock:
                self._seen.append(at - stamp)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen.clear()

    def __len__(self) -> int:
        return len(self._seen)

    def percentile_ms(self, share: float) -> float | None:
        """The latency that `share` of recent changes stayed within; None before the first."""
        with self._lock:
            seen = sorted(self._seen)
        return round(1000 * seen[min(int(share * len(seen)), len(seen) - 1)], 1) if seen else None


@dataclass(frozen=True)
class Pace:
    """How long one chunk takes, in seconds: all of it, each denoising step, writing the cache at its end, decoding
    (beside that and the next chunk), and from one frame to the next."""

    chunk: float
    step: float
    commit: float
    decode: float
    frame: float

    def expected_ms(self, steps: int, frames: int) -> float:
        """Knob to frame on average. A turn is heard before the next denoising step, or where none is left before the
        next chunk's first; then the chunk is finished and decoded, and its first frame waits behind one other."""
        period = self._period(frames)
        until_denoised = self.chunk - self.commit + period / 2 - (steps - 1) * self.step
        return 1000 * (until_denoised + self.decode + max(self.frame, period / frames))

    def worst_ms(self, steps: int, frames: int) -> float:
        """The same for a turn just after a chunk's last step began."""
        period = self._period(frames)
        until_denoised = self.chunk - self.commit + period - (steps - 1) * self.step
        return 1000 * (until_denoised + self.decode + max(self.frame, period / frames))

    def target_ms(self, frames: int) -> float:
        """What is aimed at for 95 of 100 turns: a chunk, its decoding, and a frame of pacing."""
        period = self._period(frames)
        return 1000 * (period + self.decode + max(self.frame, period / frames))

    def _period(self, frames: int) -> float:
        """Seconds from one chunk to the next."""
        return max(self.chunk, self.decode, frames * self.frame)


class Notices(logging.Handler):
    """One-line messages from any thread: shown once each for a while. The same again while the last is still shown is
    shown for longer, and not told anew."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._recent: deque[tuple[float, str]] = deque(maxlen=20)
        self._new: deque[str] = deque(maxlen=100)
        self.also: Callable[[str], None] = lambda text: None  # told of every new one; must not wait

    def tell(self, text: str) -> None:
        text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
        now = time.monotonic()
        with self.lock:
            at, newest = self._recent[-1] if self._recent else (now, None)
            again = text == newest and now - at < NOTICE_SECONDS
            if again:
                self._recent[-1] = now, text
            else:
                self._recent.append((now, text))
        if not again:
            self._new.append(text)
            self.also(text)

    def emit(self, record: logging.LogRecord) -> None:
        """A log line, with the fault that it tells of in short."""
        fault = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() + (f": {type(fault).__name__}: {fault}" if fault else "")
        self.tell(text)

    def current(self) -> list[str]:
        limit = time.monotonic() - NOTICE_SECONDS
        return [text for at, text in self._recent.copy() if at > limit]  # others append meanwhile

    def take_new(self) -> list[str]:
        """Messages not yet printed."""
        taken = []
        while self._new:
            taken.append(self._new.popleft())
        return taken


class StatusLine:
    """Prints notices as they come, and below them one line that rewrites itself (JSON lines with `as_json`)."""

    def __init__(
        self, read: Callable[[], dict[str, Any]], notices: Notices, as_json: bool, out: TextIO | None = None
    ) -> None:
        """`out`: standard output where None."""
        self._read, self._notices, self._json, self._out = read, notices, as_json, out or sys.stdout
        self._rewrites = self._out.isatty() and not as_json
        self._gone = False

    def sheet(self, facts: dict[str, Any]) -> None:
        """The start-up sheet: one fact a line."""
        if self._json:
            self._print(json.dumps({"event": "start", **facts}))
            return
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            values = value if isinstance(value, list) else [value]
            for i, item in enumerate(values):
                self._print(f"  {name if i == 0 else '':<{width}}  {item}")

    def refresh(self) -> None:
        status = self._read()
        self._print_notices()
        if self._json:
            self._print(json.dumps({"event": "status", **status}))
        elif self._rewrites:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be rewritten
            self._write("\r\x1b[2K" + describe(status)[:width])

    def close(self) -> None:
        """Leave the line as it is; what was told meanwhile stands below it."""
        if self._rewrites:
            self._write("\n")
        self._print_notices()

    def _print_notices(self) -> None:
        for text in self._notices.take_new():
            self._print(json.dumps({"event": "notice", "text": text}) if self._json else f"! {text}")

    def _print(self, text: str) -> None:
        self._write(("\r\x1b[2K" if self._rewrites else "") + text + "\n")

    def _write(self, text: str) -> None:
        """The show goes on when the terminal, or the program that read along, is gone, or cannot show a letter."""
        if self._gone:
            return
        encoding = self._out.encoding or "utf-8"
        try:
            self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._out.flush()
        except (OSError, ValueError):  # ValueError: closed
            self._gone = True


def describe(status: dict[str, Any]) -> str:
    """The status as one line of text."""
    latency = status["latency_ms"]
    parts = [
        f"{status['fps']:.1f} fps made",
        f"{status['fps_sent']:.1f} sent",
        f"step {status['step_ms']:.0f} ms",
        "latency -" if latency is None else f"latency {latency:.0f} ms, p95 {status['latency_p95_ms']:.0f}",
        f"cache {status['cache']}",
        f"midi {', '.join(status['midi']) or 'none'}",
    ]
    warnings = status["warnings"]
    return " | ".join([*parts, *(["! " + warnings[0]] if warnings else [])])
