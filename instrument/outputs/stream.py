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

import shutil
import time
from typing import ClassVar
from urllib.parse import urlsplit

import numpy as np

from .base import Output, OutputError
from .child import Child, ChildError

SCHEMES = ("srt", "rtmp", "rtmps", "rtsp", "udp")
KBPS = (100, 200_000)
LATENCY = (0, 10_000)  # ms


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
        if not LATENCY[0] <= latency <= LATENCY[1]:
            raise OutputError(self.name, f"latency {latency} is out of range", f"give {LATENCY[0]} to {LATENCY[1]} ms")
        if passphrase and not 10 <= len(passphrase) <= 79:
            raise OutputError(self.name, "the passphrase cannot be used", "give one of 10 to 79 letters")
        self._scheme, self._kbps = parts.scheme, kbps
        self._srt = {"mode": "caller", "transtype": "live", "latency": str(1000 * latency)}  # FFmpeg's unit is 1 us
        for name, value in (("srt_streamid", streamid), ("passphrase", passphrase)):
            if value:
                self._srt[name] = value
        self._child: Child | None = None

    def open(self, width: int, height: int, fps: float) -> None:
        ffmpeg = shutil.which("ffmpeg") if self._scheme == "srt" else ""
        if ffmpeg is None:
            raise OutputError(
                self.name, "SRT needs the program 'ffmpeg'", "install FFmpeg (on Debian: sudo apt install ffmpeg)"
            )
        job = {"url": self._url, "size": [width, height], "fps": fps, "kbps": self._kbps}
        job.update(ffmpeg=ffmpeg, settings=self._srt if ffmpeg else {})
        self._child = Child("instrument.outputs.streamer", job)

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        """Raises OutputError when the connection is lost, or when nothing was taken for a while."""
        try:
            self._child.send(frame, time.monotonic() if at is None else at)
        except ChildError as error:
            reason = str(error).replace(self._url, self._place)
            raise OutputError(self.name, reason, "it connects again by itself; is the receiver up?") from error

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
