"""Frames into picture files: a numbered sequence, or one still. Knows png and jpg; nothing of movies or queues."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg

from pipelines import whole

Encode = Callable[[np.ndarray], bytes]


def encode_png(frame: np.ndarray) -> bytes:
    """frame: uint8 [H, W, 3] -> a PNG file's bytes, bit for bit the frame."""
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = frame.shape[1], frame.shape[0], "rgb24"
    context.time_base = Fraction(1, 25)
    context.options = {"compression_level": "1", "pred": "up"}  # speed before size
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def jpeg_encoder(quality: int) -> Encode:
    """An encoder to JPEG of `quality` 1..100."""
    return lambda frame: simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", "420")


ENCODERS: dict[str, Callable[[int], Encode]] = {
    ".png": lambda quality: encode_png,
    ".jpg": jpeg_encoder,
    ".jpeg": jpeg_encoder,
}


class SequenceWriter:
    """One file per frame; the run of `#` in the name is the number, going on after the highest there, or from 0."""

    def __init__(self, pattern: Path, encode: Encode, overwrite: bool) -> None:
        self.path = pattern
        self._encode = encode
        if not os.access(pattern.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(pattern.parent))
        run = re.search(r"#+", pattern.stem)
        self._before, self._after = pattern.name[: run.start()], pattern.name[run.end() :]
        self._digits = run.end() - run.start()
        self._next = 0 if overwrite else self._first_free()

    def _first_free(self) -> int:
        shape = re.compile(re.escape(self._before) + r"(\d+)" + re.escape(self._after))
        taken = [int(m[1]) for entry in os.scandir(self.path.parent) if (m := shape.fullmatch(entry.name))]
        return max(taken, default=-1) + 1

    def write(self, frame: np.ndarray, at: float | None) -> None:
        name = f"{self._before}{self._next:0{self._digits}d}{self._after}"
        whole.write(self.path.with_name(name), self._encode(frame), durable=False)  # a live show cannot wait for it
        self._next += 1

    def close(self) -> None:
        """Every picture is complete already."""


class StillWriter:
    """Keeps the newest frame and writes it once, at the end; an earlier picture there stays until then."""

    def __init__(self, path: Path, encode: Encode) -> None:
        self.path = path
        self._encode = encode
        self._place = whole.place_of(path)
        self._new = not self._place.exists()
        self._place.open("ab").close()  # takes the name; a refusal should come now, not at the end
        self._frame: np.ndarray | None = None

    def write(self, frame: np.ndarray, at: float | None) -> None:
        self._frame = frame.copy()

    def close(self) -> None:
        try:
            if self._frame is not None:
                whole.write(self._place, self._encode(self._frame))
                self._new = False
        finally:
            if self._new:
                self._place.unlink(missing_ok=True)
