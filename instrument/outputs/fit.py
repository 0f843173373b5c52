"""Scales pictures to a size: the one place for it. Knows nothing of outputs."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

Fit = Literal["letterbox", "crop", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)


def as_fit(text: str) -> Fit:
    """The fit of that name. Raises ValueError saying which there are."""
    if text in FITS:
        return text
    raise ValueError(f"one of {', '.join(FITS)}")


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
