"""An output that goes nowhere and remembers: for tests, and for watching a running program from outside.

With a path it also writes one JSON line per frame (number, seconds, size, mean colour, checksum), flushed at once, so
that another process can tell which pictures went out and when.
"""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from pathlib import Path
from typing import ClassVar, TextIO

import numpy as np

from .base import Output, OutputError

MOST = 256 * 2**20  # bytes of frames kept


class DummyOutput(Output):
    """Goes nowhere; `dummy:log.jsonl` writes a log.

    In Python `frames` are the last `keep` of them, 256 MiB at most: (seconds, frame)."""

    options: ClassVar = {"keep": int}

    def __init__(self, target: str = "", keep: int = 0) -> None:
        self.name = f"dummy:{target}" if target else "dummy"
        if not 0 <= keep <= 100_000:
            raise OutputError(self.name, f"cannot keep {keep} frames", "give 0 to 100000")
        self.frames: deque[tuple[float, np.ndarray]] = deque(maxlen=keep)
        self.opened: tuple[int, int, float] | None = None
        self.count = 0
        self._path = Path(target).expanduser() if target else None
        self._log: TextIO | None = None

    def open(self, width: int, height: int, fps: float) -> None:
        self.opened = (width, height, fps)
        if self._path is None:
            return
        try:
            self._log = self._path.open("a", encoding="utf-8")
        except OSError as error:
            problem = f"cannot write {self._path} ({error.strerror})"
            raise OutputError(self.name, problem, "name a file in a folder that exists") from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        at = time.monotonic() if at is None else at
        if self.frames.maxlen:
            self._keep(at, frame)
        self.count += 1
        if self._log is not None:
            line = {
                "n": self.count - 1,
                "t": round(at, 6),
                "size": [frame.shape[1], frame.shape[0]],
                "mean": [round(float(c), 3) for c in frame.mean(axis=(0, 1))],
                "crc": zlib.crc32(np.ascontiguousarray(frame)),
            }
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()

    def _keep(self, at: float, frame: np.ndarray) -> None:
        while self.frames and (len(self.frames) + 1) * frame.nbytes > MOST:
            self.frames.popleft()
        self.frames.append((at, frame.copy()))

    def close(self) -> None:
        self.opened = None
        if self._log is not None:
            self._log.close()
            self._log = None
