"""Frames that come in bursts, sent on evenly: the model makes a chunk at a time, a screen wants a steady beat.

A small buffer is played at the rate the source sustains. The rate follows slowly, and a little faster or slower than
the source as long as more or fewer frames wait than needed. When nothing waits the last frame is held; when too much
waits the oldest is dropped, and the next bears its stamp. Where the output is faster than the source, frames are
repeated, or cross-faded into the next. Before the first frame a test card goes out. Knows nothing of models, nor of
outputs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from instrument.outputs.testcard import CARD, draw_card

from .rate import ArrivalRate

log = logging.getLogger(__name__)

Send = Callable[[np.ndarray, object], None]

FIRST_RATE = 12.0  # frames per second until the source's own rate is known
SLEW = 0.25  # how fast the rate may change: share of itself per second
FILL = 0.15  # how far below the source's rate it may go to fill the buffer
DRAIN = 0.3  # how far above, to drain it: waiting is worse
SETTLE = 2.0  # seconds in which a surplus or lack is evened out
LOCK = 0.04  # a set rate this near the source's plays every frame once
MARGIN = (0.5, 6.0)  # frames to have left when the next burst comes: least, most
LONGEST = 0.3  # seconds that the margin may come to, so that a slow source is not made late as well; or one frame
CALM = 12.0  # seconds until a margin widened by a hiccup has shrunk back to a third
LEAST_ROOM, MOST_ROOM = 8, 64  # frames the buffer holds: three bursts, within these
NAP = 0.05  # longest sleep before looking whether to close, seconds


@dataclass(frozen=True, slots=True)
class PacerStats:
    """Over the last few seconds. `jitter_ms`: 95 % of the steps between frames are this near the even step."""

    fps_in: float
    fps_out: float
    jitter_ms: float
    buffered: int
    latency_ms: float  # median time a frame waited here
    held: int  # times the last frame was shown again for lack of a new one, in all
    dropped: int  # frames never shown, in all
    error: str  # the last failure to send, empty if none


class Pacer:
    """Plays pushed frames to `send(frame, stamp)` from its own thread.

    `fps` None follows the source; a number is a fixed output rate, at which frames are repeated or skipped as needed;
    with `fade` those in between are mixed of their neighbours. Both may be set at any time. `on_sent(stamp, at)` is
    told of every new frame after it was sent, `at` on `clock`.
    `card` is the picture before the first frame. `send` is called again with the same frame while there is no new one.
    """

    def __init__(
        self,
        send: Send,
        fps: float | None = None,
        *,
        card: np.ndarray | None = None,
        on_sent: Callable[[object, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.fps = fps
        self.fade = False
        self._send, self._on_sent = send, on_sent
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._buffer: deque[tuple[np.ndarray, object, float]] = deque()
        self._owed: object = None  # the stamp of a frame that was dropped, for the next
        self._shown: tuple[np.ndarray, object] = (draw_card(512, 288) if card is None else card, CARD)
        self._arrivals = ArrivalRate()
        self._rate = self._target = FIRST_RATE
        self._measured = False
        self._margin = 1.0
        self._surplus = 0.0  # frames left at the start of the last burst, beyond the margin
        self._credit = 0.0
        self._due = self._stepped = clock()
        self._starving = False
        self._held = self._dropped = 0
        self._error = ""
        self._steps: deque[tuple[float, float]] = deque(maxlen=240)  # (time sent, the even step then)
        self._waits: deque[float] = deque(maxlen=120)
        self._closing = False
        self._thread: threading.Thread | None = None

    # --- the engine's side ---

    def push(self, frame: np.ndarray, stamp: object = None) -> None:
        """Hand over a frame, uint8 [H, W, 3], which must not be written to afterwards. Never waits."""
        now = self._clock()
        with self._lock:
            if self._arrivals.push(now):
                self._steer(now)
            self._buffer.append((frame, stamp, now))
            while len(self._buffer) > self._room():
                self._owed = self._next()[1]
                self._dropped += 1

    def _room(self) -> int:
        return min(max(3 * self._arrivals.burst, LEAST_ROOM), MOST_ROOM) if self._measured else MOST_ROOM

    def _steer(self, now: float) -> None:
        """At the start of a burst: aim at the source's rate, corrected by what is left of the burst before."""
        source = self._arrivals.fps
        if source is None:
            return
        left = len(self._buffer) + max(0.0, self._due - now) * self._rate
        self._surplus = left - self._margin
        correction = self._surplus / SETTLE
        self._target = source + min(max(correction, -FILL * source), DRAIN * source)
        if not self._measured:
            self._measured, self._rate = True, source

    # --- the clocked side ---

    def start(self) -> None:
        """Begin to send, the test card first."""
        self._due = self._stepped = self._clock()
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sending; frames still waiting are not shown."""
        with self._lock:
            self._closing = True
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            now = self._clock()
            if now >= self._due:
                self.step(now)
            else:
                self._sleep(min(self._due - now, NAP))

    def step(self, now: float) -> float:
        """Send what is due at `now` seconds; returns when the next is due. Called by the thread, or by a test."""
        with self._lock:
            self._slew(now)
            fresh = self._take()
            (frame, stamp), ahead = self._shown, self._ahead()
            period = 1.0 / (self.fps or self._rate)
            late = now - self._due
            self._due = self._due + period if late < period else now + period
            self._steps.append((now, period))
        self._emit(mix(frame, *ahead) if ahead else frame, stamp, fresh)
        return self._due

    def _slew(self, now: float) -> None:
        passed, self._stepped = now - self._stepped, now
        most = SLEW * self._rate * passed
        self._rate += min(max(self._target - self._rate, -most), most)
        self._margin += (MARGIN[0] - self._margin) * min(1.0, passed / CALM)

    def _advance(self) -> float:
        """Frames of the source per frame sent."""
        source = self._arrivals.fps
        if self.fps is None or source is None:
            return 1.0
        locked = abs(source / self.fps - 1.0) < LOCK and self._surplus < 2 * self._arrivals.burst
        return 1.0 if locked else self._rate / self.fps

    def _take(self) -> bool:
        """Move on in the buffer by what is due; whether there is a new frame to show."""
        advance = self._advance()
        self._credit += advance
        taken = 0
        while self._credit >= 1.0 and self._buffer:
            self._owed = self._shown[1] if taken else self._owed  # that one is not shown after all
            frame, stamp, pushed = self._next()
            self._shown = (frame, stamp)
            self._credit -= 1.0
            taken += 1
        self._dropped += max(0, taken - 1)
        if taken:
            self._waits.append(self._stepped - pushed)
        if self._credit >= 1.0:  # wanted one and there was none
            self._starve(advance)
        elif taken:
            self._starving = False
        return taken > 0

    def _next(self) -> tuple[np.ndarray, object, float]:
        """The oldest that waits; with the stamp of one before it that is never shown, if that is owed yet."""
        frame, stamp, pushed = self._buffer.popleft()
        owed, self._owed = self._owed, None
        return frame, stamp if owed is None else owed, pushed

    def _ahead(self) -> tuple[np.ndarray, float] | None:
        """With `fade`, the next frame and how far on the way to it time is; None where the frame is shown as it is."""
        if not self.fade or self.fps is None or self._shown[1] is CARD or not self._buffer or not 0 < self._credit < 1:
            return None
        return self._buffer[0][0], self._credit

    def _starve(self, advance: float) -> None:
        self._credit = max(0.0, 1.0 - advance)  # the next frame to come is shown at once, none is skipped to catch up
        if self._shown[1] is CARD:
            return
        self._held += 1
        if not self._starving:
            self._starving = True
            self._margin = min(self._margin + 0.5, MARGIN[1], max(1.0, LONGEST * self._rate))

    def _emit(self, frame: np.ndarray, stamp: object, fresh: bool) -> None:
        try:
            self._send(frame, stamp)
            if fresh and self._on_sent is not None:
                self._on_sent(stamp, self._clock())
        except Exception as error:  # the beat goes on whatever `send` does
            text = f"{type(error).__name__}: {error}"
            if text != self._error:
                log.exception("a frame could not be sent")
            self._error = text

    def stats(self) -> PacerStats:
        with self._lock:
            now = self._clock()
            steps = [step for step in self._steps if now - step[0] < 5.0]
            return PacerStats(
                fps_in=self._arrivals.fps or 0.0,
                fps_out=(len(steps) - 1) / (steps[-1][0] - steps[0][0]) if len(steps) > 1 else 0.0,
                jitter_ms=1000 * _jitter(steps),
                buffered=len(self._buffer),
                latency_ms=1000 * float(np.median(self._waits)) if self._waits else 0.0,
                held=self._held,
                dropped=self._dropped,
                error=self._error,
            )


def mix(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """uint8 [H, W, 3]: (1 - share) of one and share of the other, to a 256th; one where their sizes differ."""
    weight = round(256 * share)
    if one.shape != other.shape or weight == 0:
        return one
    wide = one.astype(np.uint16)
    wide *= 256 - weight
    wide += other.astype(np.uint16) * np.uint16(weight)
    wide >>= 8
    return wide.astype(np.uint8)


def _jitter(steps: list[tuple[float, float]]) -> float:
    """The 95th percentile of the distance of each step from the even step, seconds."""
    off = [abs(b[0] - a[0] - a[1]) for a, b in pairwise(steps)]
    return float(np.percentile(off, 95)) if off else 0.0
