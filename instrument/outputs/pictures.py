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


def _write_whole(path: Path, data: bytes) -> None:
    """The file appears under its name only when it is complete, whatever happens on the way."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


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
        _write_whole(self.path.with_name(name), self._encode(frame))
        self._next += 1

    def close(self) -> None:
        """Every picture is complete already."""


class StillWriter:
    """Keeps the newest frame and writes it once, at the end."""

    def __init__(self, path: Path, encode: Encode) -> None:
        self.path = path
        self._encode = encode
        path.open("wb").close()  # a refusal should come now, not at the end
        self._frame: np.ndarray | None = None

    def write(self, frame: np.ndarray, at: float | None) -> None:
        self._frame = frame.copy()

    def close(self) -> None:
        if self._frame is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_bytes(self._encode(self._frame))
