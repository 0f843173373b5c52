"""Moving pictures from a file, a camera or an address, one after another, at a stream's size and rate.

Read with PyAV; knows no tensors and no threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

CAMERA = "camera:"
_CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}  # FFmpeg's name of the system's own
_PATIENCE = (5.0, 2.0)  # seconds that an address may take to open, and to send a picture
_LONGEST_GAP = 1.0  # seconds between two pictures of a file; what claims more has broken times
_EARLY = 1e-4  # seconds by which a picture may be early for rounding


class VideoError(RuntimeError):
    """Moving pictures cannot be had; the text says from where and why."""


class Size(NamedTuple):
    """Of the pictures wanted, in pixels, and how many a second."""

    width: int
    height: int
    fps: float


def is_live(source: str) -> bool:
    """Whether pictures come by themselves and the newest counts, as from a camera or an address."""
    return source.startswith(CAMERA) or "://" in source


def pictures(source: str, size: Size) -> Iterator[np.ndarray]:
    """uint8 [H, W, 3] from the beginning to the end, `size.fps` for every second of the source: a slower one repeats
    pictures, a faster one loses some. Each covers the size, cut at the middle.

    Raises VideoError at once or on the way.
    """
    try:
        with _open(source) as container:
            if not container.streams.video:
                raise VideoError(f"{source} holds no pictures; give a video file")
            container.streams.video[0].thread_type = "AUTO"
            yield from _evenly(container.decode(video=0), size)
    except (av.FFmpegError, OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise VideoError(f"{source} cannot be read as video: {reason}") from None


def _open(source: str) -> av.container.InputContainer:
    if source.startswith(CAMERA):
        name = source.removeprefix(CAMERA) or "0"
        system = _CAMERAS.get(sys.platform, "v4l2")
        device = {"v4l2": f"/dev/video{name}" if name.isdecimal() else name, "dshow": f"video={name}"}.get(system, name)
        return av.open(device, format=system)
    if is_live(source):
        return av.open(source, timeout=_PATIENCE)
    if not Path(source).is_file():
        raise VideoError(f"there is no file {source}")
    return av.open(source)


def _evenly(frames: Iterator[av.VideoFrame], size: Size) -> Iterator[np.ndarray]:
    """Pictures at even times. A frame is shown until the next one's time; the last as long as the one before it."""
    made, began, at, gap = 0, None, 0.0, 1.0 / size.fps
    last: np.ndarray | None = None
    for frame in frames:
        time = frame.time if frame.time is not None else at + gap
        began = time if began is None else began
        step = time - began - at
        if last is not None and not 0 <= step <= _LONGEST_GAP:  # times that jump: go on as before
            began, step = time - at - gap, gap
        gap, at = step or gap, at + step
        while last is not None and made / size.fps < at - _EARLY:
            yield last
            made += 1
        last = _cover(frame, size)
    while last is not None and made / size.fps < at + gap - _EARLY:
        yield last
        made += 1


def _cover(frame: av.VideoFrame, size: Size) -> np.ndarray:
    """The middle of the frame, as large as the size."""
    scale = max(size.width / frame.width, size.height / frame.height)
    width, height = max(size.width, round(frame.width * scale)), max(size.height, round(frame.height * scale))
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    left, top = (width - size.width) // 2, (height - size.height) // 2
    return np.ascontiguousarray(picture[top : top + size.height, left : left + size.width])
