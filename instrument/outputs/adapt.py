"""Gives any output a picture of its own size and a rate of its own, in one place for all of them.

`Adapted` wraps an output; `Fitter` is the picture part alone. Nothing here knows which output it serves.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from .base import Output

Fit = Literal["letterbox", "crop", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)
LONGEST_HOLE = 10.0  # seconds; a longer pause is not filled with repeats, the output's time starts anew


class Fitter:
    """Scales frames to `width` x `height`: letterbox keeps the whole picture, crop fills all, stretch does both."""

    def __init__(self, width: int, height: int, fit: Fit = "letterbox") -> None:
        self.size = (width, height)
        self._fit = fit
        self._scaler = VideoReformatter()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """frame: uint8 [h, w, 3] -> uint8 [height, width, 3]; the same array when the size fits already."""
        width, height = self.size
        high, wide = frame.shape[:2]
        if (wide, high) == self.size:
            return frame
        if self._fit == "stretch":
            return self._scale(frame, width, height)
        if self._fit == "crop":
            scale = max(width / wide, height / high)
            part_w, part_h = min(wide, round(width / scale)), min(high, round(height / scale))
            left, top = (wide - part_w) // 2, (high - part_h) // 2
            return self._scale(frame[top : top + part_h, left : left + part_w], width, height)
        scale = min(width / wide, height / high)
        inner_w, inner_h = max(1, min(width, round(wide * scale))), max(1, min(height, round(high * scale)))
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        out = np.zeros((height, width, 3), np.uint8)
        out[top : top + inner_h, left : left + inner_w] = self._scale(frame, inner_w, inner_h)
        return out

    def _scale(self, frame: np.ndarray, width: int, height: int) -> np.ndarray:
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        smaller = width * height < picture.width * picture.height
        how = Interpolation.AREA if smaller else Interpolation.BICUBIC
        return self._scaler.reformat(picture, width, height, "rgb24", interpolation=how).to_ndarray()


class Adapted(Output):
    """An output behind its own size, fit and rate; what is None passes through unchanged.

    With a rate, live frames are repeated or skipped so that exactly `fps` go out per second of their time stamps.
    Frames without stamps (offline) are never repeated or skipped: the rate then only says how fast they play.
    """

    def __init__(
        self, output: Output, size: tuple[int, int] | None = None, fit: Fit = "letterbox", fps: float | None = None
    ) -> None:
        self.inner = output
        self.name = output.name
        self.wants_card = output.wants_card
        self._size, self._fit, self._fps = size, fit, fps
        self._fitter: Fitter | None = None
        self._origin: float | None = None
        self._sent = 0

    def open(self, width: int, height: int, fps: float) -> None:
        width, height = self._size or (width, height)
        self._fitter = Fitter(width, height, self._fit)
        self._origin, self._sent = None, 0
        self.inner.open(width, height, self._fps or fps)

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        frame = self._fitter(frame)
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
