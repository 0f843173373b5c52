"""Gives any output a picture of its own size and a rate of its own, in one place for all of them.

Nothing here knows which output it serves.
"""

from __future__ import annotations

import numpy as np

from .base import Output
from .fit import Fit, Fitter

LONGEST_HOLE = 10.0  # seconds; a longer pause is not filled with repeats, the output's time starts anew


class Adapted(Output):
    """An output behind its own size (or scale), fit, rate and mirror; what is None passes through.

    With a rate, live frames are repeated or skipped so that exactly `fps` go out per second of their time stamps.
    Frames without stamps (offline) are never repeated or skipped: the rate then only says how fast they play.
    """

    def __init__(
        self,
        output: Output,
        size: tuple[int, int] | None = None,
        fit: Fit = "letterbox",
        fps: float | None = None,
        scale: float = 1.0,
        mirror: bool = False,
    ) -> None:
        self.inner = output
        self.name = output.name
        self.wants_card = output.wants_card
        self._size, self._scale, self._fit, self._fps = size, scale, fit, fps
        self._mirror = mirror
        self._fitter: Fitter | None = None
        self._origin: float | None = None
        self._sent = 0

    @property
    def writing(self) -> str:
        return self.inner.writing

    def open(self, width: int, height: int, fps: float) -> None:
        width, height = self._size or (round(width * self._scale), round(height * self._scale))
        self._fitter = Fitter(width, height, self._fit)
        self._origin, self._sent = None, 0
        self.inner.open(width, height, self._fps or fps)

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        frame = self._fitter(frame)
        if self._mirror:
            frame = np.ascontiguousarray(frame[:, ::-1])
        if self._fps is None or at is None:
            self.inner.send(frame, at)
            return
        if self._origin is None or at - self._origin - self._sent / self._fps > LONGEST_HOLE:
            self._origin, self._sent = at, 0
        due = round((at - self._origin) * self._fps) + 1  # frames that should be out once this one is
        while self._sent < due:
            self.inner.send(frame, self._origin + self._sent / self._fps)
            self._sent += 1

    def close(self) -> None:
        self.inner.close()
