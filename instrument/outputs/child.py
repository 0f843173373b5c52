"""A process that takes frames on its standard input, for outputs whose library must not run in this one.

What it is told first is one line of JSON; every frame is eight bytes of time stamp and the RGB bytes. When it fails it
says why on standard error, in one line. Knows nothing of what the process does.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

STALL = 10.0  # seconds without one byte taken until the process is given up
FAREWELL = 3.0  # seconds it has to finish and end
STAMP = struct.Struct("<d")


class ChildError(RuntimeError):
    """The process ended, or takes nothing more; the text is its own last word, or says so."""


class Child:
    """One run of `python -m module`. `send` waits until the frame is taken; to be used from one thread."""

    def __init__(self, module: str, job: dict[str, Any]) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended, closed with it
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C is for the show, which then ends this in good order
        )
        self._answered, self._ready = threading.Event(), False
        threading.Thread(target=self._listen, name=f"{module} answers", daemon=True).start()
        self._first = json.dumps(job).encode() + b"\n"

    def _listen(self) -> None:
        """Its one line on standard output says that it is ready; the end of it, that it will never be."""
        with self.process.stdout as answers:
            self._ready = bool(answers.readline())
            self._answered.set()
            while answers.read(4096):
                pass

    def wait_ready(self) -> None:
        """Wait for the word that it is. Raises ChildError."""
        self._write(b"")
        if not self._answered.wait(STALL) or not self._ready:
            raise self._failure()

    def send(self, frame: np.ndarray, at: float) -> None:
        """frame: uint8 [H, W, 3], shown at `at` seconds. Raises ChildError."""
        self._write(STAMP.pack(at))
        self._write(memoryview(np.ascontiguousarray(frame)).cast("B"))

    def _write(self, data: bytes | memoryview) -> None:
        first, self._first = self._first, b""
        try:
            self._feed(memoryview(first))
            self._feed(memoryview(data))
        except OSError as error:
            raise self._failure() from error

    def _feed(self, data: memoryview) -> None:
        """All of `data` into the process. Raises OSError when it has ended or takes nothing."""
        pipe = self.process.stdin
        if os.name == "nt":  # pipes cannot be waited for there; a write that hangs holds up this output alone
            while data:
                data = data[pipe.write(data) :]
            return
        os.set_blocking(pipe.fileno(), False)
        while data:
            if not select.select([], [pipe], [], STALL)[1]:
                self.process.kill()
                raise TimeoutError
            data = data[pipe.write(data) or 0 :]

    def _failure(self) -> ChildError:
        self._end()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").split("\n")
        said = (line.strip() for line in reversed(lines) if line.strip())
        return ChildError(next(said, f"nothing was taken for {STALL:g} s"))

    def close(self) -> None:
        """No more frames: it sends or shows what it has and ends, or is ended."""
        self._end()
        self._words.close()

    def _end(self) -> None:
        try:
            self.process.stdin.close()
            self.process.wait(FAREWELL)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def frames(source: BinaryIO, width: int, height: int) -> Iterator[tuple[np.ndarray, float]]:
    """On the other side: every frame (uint8 [height, width, 3]) with its time, until there are no more."""
    size = STAMP.size + width * height * 3
    while len(data := source.read(size)) == size:
        yield np.frombuffer(data, np.uint8, offset=STAMP.size).reshape(height, width, 3), STAMP.unpack_from(data)[0]


class Newest:
    """The newest frame that came in, for whoever comes for it; `over` when there will be no more."""

    def __init__(self, source: BinaryIO, size: tuple[int, int]) -> None:
        self._frames: deque[np.ndarray] = deque(maxlen=1)
        self._ended = False
        threading.Thread(target=self._read, args=(source, *size), daemon=True).start()

    def _read(self, source: BinaryIO, width: int, height: int) -> None:
        for frame, _ in frames(source, width, height):
            self._frames.append(frame)
        self._ended = True

    def take(self) -> np.ndarray | None:
        """uint8 [H, W, 3]; None where no new one has come."""
        return self._frames.pop() if self._frames else None

    @property
    def over(self) -> bool:
        return self._ended and not self._frames
