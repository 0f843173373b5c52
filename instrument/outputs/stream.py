"""A live stream to a server or to a listening program, over SRT, RTMP, RTSP or MPEG-TS on UDP.

    stream:rtmp://host/app/key      to a streaming service or server (also rtmps)
    stream:rtsp://host:8554/bender  published to an RTSP server
    stream:srt://host:9000          to a listener; needs the program `ffmpeg`, as PyAV's wheels have no SRT
    stream:udp://host:1234          MPEG-TS to one machine, or to a multicast group

The encoder and the connection live in a process of their own (`streamer.py`): FFmpeg holds Python's lock while it
connects, so in this one a server that does not answer would stop the whole show. That process is thrown away and made
anew whenever the connection is lost; the runner paces the attempts. This file knows nothing of codecs.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from typing import ClassVar
from urllib.parse import urlsplit

import numpy as np

from .base import Output, OutputError

SCHEMES = ("srt", "rtmp", "rtmps", "rtsp", "udp")
STALL = 10.0  # seconds without one frame taken until the connection is given up; also the time a server has to answer
FAREWELL = 3.0  # seconds to send the last frames and say goodbye
STAMP = struct.Struct("<d")  # seconds before each frame's bytes
KBPS = (100, 200_000)


class StreamOutput(Output):
    """`stream:rtmp://127.0.0.1/live/bender?kbps=4000`; for SRT also `latency` in ms, `streamid`, `passphrase`.

    In the address, %3F stands for a question mark. A server that is away when this opens is no refusal: the frames that
    come fail until it is there.
    """

    options: ClassVar = {"kbps": int, "latency": int, "streamid": str, "passphrase": str}

    def __init__(
        self, target: str, kbps: int = 6000, latency: int = 120, streamid: str = "", passphrase: str = ""
    ) -> None:
        """`kbps`: the most the stream may take. Raises OutputError for an address or a number that cannot be."""
        self._url = target.replace("%3F", "?").replace("%3f", "?")
        parts = urlsplit(self._url)
        self._place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # the rest may hold a secret key
        self.name = f"stream:{self._place}"
        if parts.scheme not in SCHEMES or not parts.netloc:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise OutputError(f"stream:{target}", "needs an address", f"begin it with one of {known}")
        if not KBPS[0] <= kbps <= KBPS[1]:
            raise OutputError(self.name, f"kbps {kbps} is out of range", f"give {KBPS[0]} to {KBPS[1]}")
        if passphrase and not 10 <= len(passphrase) <= 79:
            raise OutputError(self.name, "the passphrase cannot be used", "give one of 10 to 79 letters")
        self._scheme, self._kbps = parts.scheme, kbps
        self._srt = {"mode": "caller", "transtype": "live", "latency": str(1000 * latency)}  # FFmpeg's unit is 1 us
        for name, value in (("srt_streamid", streamid), ("passphrase", passphrase)):
            if value:
                self._srt[name] = value
        self._process: subprocess.Popen | None = None
        self._words = None  # what the process says when it fails
        self._order = b""  # what the process is told before its first frame

    def open(self, width: int, height: int, fps: float) -> None:
        ffmpeg = shutil.which("ffmpeg") if self._scheme == "srt" else ""
        if ffmpeg is None:
            raise OutputError(
                self.name, "SRT needs the program 'ffmpeg'", "install FFmpeg (on Debian: sudo apt install ffmpeg)"
            )
        job = {"url": self._url, "size": [width, height], "fps": fps, "kbps": self._kbps}
        job.update(ffmpeg=ffmpeg, settings=self._srt if ffmpeg else {})
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended, closed with it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "instrument.outputs.streamer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._words,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C is for the show, which then ends this in good order
        )
        self._order = json.dumps(job).encode() + b"\n"

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        """Raises OutputError when the connection is lost, or when nothing was taken for STALL seconds."""
        at = time.monotonic() if at is None else at
        self._write(self._order + STAMP.pack(at))
        self._order = b""
        self._write(memoryview(np.ascontiguousarray(frame)).cast("B"))

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._feed(memoryview(data))
        except OSError as error:
            self._end()
            raise OutputError(self.name, self._reason(), "it connects again by itself; is the receiver up?") from error

    def _feed(self, data: memoryview) -> None:
        """All of `data` into the process. Raises OSError when it has ended or takes nothing."""
        pipe = self._process.stdin
        if os.name == "nt":  # pipes cannot be waited for there; a write that hangs holds up this output alone
            while data:
                data = data[pipe.write(data) :]
            return
        os.set_blocking(pipe.fileno(), False)
        while data:
            if not select.select([], [pipe], [], STALL)[1]:
                self._process.kill()
                raise TimeoutError
            data = data[pipe.write(data) or 0 :]

    def _reason(self) -> str:
        """Why the process ended, in its own words, without the address and what it may hold."""
        self._words.seek(0)
        said = self._words.read().decode(errors="replace").replace(self._url, self._place).split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), f"nothing was taken for {STALL:g} s")

    def close(self) -> None:
        if self._process is not None:
            self._end()
            self._words.close()
            self._process = None

    def _end(self) -> None:
        """No more frames: the process sends what it has and ends, or is ended."""
        try:
            self._process.stdin.close()
            self._process.wait(FAREWELL)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
