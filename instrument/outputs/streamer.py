"""The process that encodes and sends one live stream; `stream.py` starts it and feeds it.

It is told url, size, fps, kbps, ffmpeg and settings, and ends when the frames end, or when the connection fails. It is
a program of its own (see `child.py`), and knows nothing of the show.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import av
from av.container import OutputContainer

from .child import STALL, frames
from .movie import FAILURES, Encoder, Recipe

MPEGTS = {"flush_packets": "1", "muxdelay": "0", "muxpreload": "0"}
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "rtmp": ("flv", {"flvflags": "no_duration_filesize", "flush_packets": "1"}),
    "rtmps": ("flv", {"flvflags": "no_duration_filesize", "flush_packets": "1"}),
    "rtsp": ("rtsp", {"rtsp_transport": "tcp", "muxdelay": "0"}),
    "udp": ("mpegts", {**MPEGTS, "pkt_size": "1316"}),
}


class CarrierLost(Exception):
    """The program that carries the stream gave up, and has said why."""


def recipe(kbps: int) -> Recipe:
    """H.264 for small delay: no frame waits for another, and no second takes more than `kbps`."""
    options = {"preset": "veryfast", "tune": "zerolatency", "bf": "0", "crf": "23"}
    return Recipe("libx264", "yuv420p", {**options, "maxrate": f"{kbps}k", "bufsize": f"{max(1, kbps // 2)}k"})


def connect(job: dict[str, Any]) -> tuple[OutputContainer, subprocess.Popen | None]:
    """A container that leads to the job's address, by way of the program `ffmpeg` with its `settings` where named."""
    if not job["ffmpeg"]:
        name, options = FORMATS[urlsplit(job["url"]).scheme]
        return av.open(job["url"], "w", format=name, options=options), None
    take = ["-fflags", "nobuffer", "-probesize", "32", "-analyzeduration", "0", "-f", "nut", "-i", "pipe:0"]
    give = ["-c", "copy", "-muxdelay", "0", "-muxpreload", "0", "-flush_packets", "1", "-f", "mpegts"]
    settings = [word for name, value in job["settings"].items() for word in (f"-{name}", value)]
    command = [job["ffmpeg"], "-loglevel", "error", *take, *give, *settings, job["url"]]
    # Not this process's own standard output, by whose end the show hears that it is gone.
    carrier = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
    return av.open(carrier.stdin, "w", format="nut", options={"flush_packets": "1"}), carrier


def play(job: dict[str, Any], source: BinaryIO) -> None:
    """Send frames until there are no more. Raises one of FAILURES or CarrierLost when the connection fails."""
    width, height = job["size"]
    container, carrier = connect(job)
    encoder = Encoder(container, recipe(job["kbps"]), (width, height), job["fps"])
    try:
        for picture, at in frames(source, width, height):
            encoder.write(picture, at)
        encoder.close()
    finally:
        if carrier is not None:
            carrier.stdin.close()
            if carrier.wait(STALL):
                raise CarrierLost


def main() -> int:
    source = sys.stdin.buffer
    try:
        play(json.loads(source.readline()), source)
    except (*FAILURES, ValueError, subprocess.TimeoutExpired) as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except CarrierLost:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
