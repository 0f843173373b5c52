"""Frames to know again: of one colour, or with their number in blocks of pixels, so that it outlives a lossy codec."""

from __future__ import annotations

import numpy as np

BLOCK, BITS = 16, 12


def flat(r: int, g: int, b: int, width: int = 64, height: int = 32) -> np.ndarray:
    """uint8 [height, width, 3]"""
    return np.full((height, width, 3), (r, g, b), np.uint8)


def stamped(number: int, width: int = 256, height: int = 144) -> np.ndarray:
    """uint8 [height, width, 3]: a slope of colour under the number, in twelve black or white blocks along the top."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 200, width)[None]
    frame[..., 1] = np.linspace(0, 200, height)[:, None]
    frame[..., 2] = 90
    for bit in range(BITS):
        frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    return frame


def number_in(frame: np.ndarray) -> int:
    """The number read back from the middles of the blocks."""
    middle = BLOCK // 2
    return sum(
        1 << bit
        for bit in range(BITS)
        if frame[middle - 3 : middle + 3, bit * BLOCK + 5 : bit * BLOCK + 11].mean() > 125
    )
