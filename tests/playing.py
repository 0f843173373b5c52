"""`bender play` as a process of its own, watched from outside: what it prints, what it shows, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from instrument.outputs.testcard import draw_card

SIZE = (64, 48)
PATCH = """
version: 1
prompt: a purple tulip swaying over a dark sea
seed: 7
bends:
  - {name: words, lever: cross.map.gain}
  - {name: loud, lever: ffn.out.gain}
"""
QUICK = ("--size", f"{SIZE[0]}x{SIZE[1]}", "--threads", "1", "--plain")  # plain: the same bits in every process
CARD = zlib.crc32(draw_card(*SIZE))
PATIENCE = 60.0  # seconds; a machine under test may stand still for a while

SENDER = """
import sys
from math import inf, nan
from pythonosc.udp_client import SimpleUDPClient
client = SimpleUDPClient("127.0.0.1", int(sys.argv[1]))
for address, *values in eval(sys.stdin.read()):
    client.send_message(address, values)
"""


def bender(*arguments: object, program: tuple[str, ...] = ("-m", "instrument")) -> list[str]:
    return [sys.executable, *program, *map(str, arguments)]


def wait_until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `true` returns once it is true, or at the end of the time."""
    end = time.monotonic() + seconds
    while not (result := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return result


def crcs(log: Path) -> list[tuple[float, int]]:
    """(seconds, checksum) of every line a dummy output has finished, without the test card."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    frames = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(frame["t"], frame["crc"]) for frame in frames if frame["crc"] != CARD]


def distinct(frames: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """Without those that only repeat the one before: a frame is held where the next one is late."""
    kept: list[tuple[float, int]] = []
    for frame in frames:
        if not kept or frame[1] != kept[-1][1]:
            kept.append(frame)
    return kept


class Playing:
    """A show that plays the small patch above from its seed; leave the `with` block and it ends."""

    def __init__(self, folder: Path, *arguments: object, program: tuple[str, ...] = ("-m", "instrument")) -> None:
        """`program`: what python runs, if it is not the instrument as it is."""
        patch = folder / "small.yaml"
        patch.write_text(PATCH)
        self.log, self._errors = folder / "frames.jsonl", folder / "stderr.txt"
        self.printed: list[dict[str, Any]] = []
        ports = ("--osc-port", 0, "--page-port", 0)
        outputs = ("--out", f"dummy:{self.log}")
        words = ("play", "--json", "--patch", patch, *QUICK, *ports, *outputs, *arguments)
        command = bender(*words, program=program)
        self.began = time.monotonic()
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.printed.append(json.loads(line))

    def __enter__(self) -> Playing:
        assert wait_until(lambda: self.printed or self.process.poll() is not None)
        assert self.process.poll() is None, self.errors
        return self

    def __exit__(self, *fault: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def sheet(self) -> dict[str, Any]:
        return self.printed[0]

    @property
    def osc_port(self) -> int:
        return int(self.sheet["osc"].rpartition(":")[2])

    @property
    def page_port(self) -> int:
        return int(self.sheet["page"].rstrip("/").rpartition(":")[2])

    def status(self) -> dict[str, Any]:
        """The newest status it printed; empty before the first."""
        return next((line for line in reversed(self.printed) if line["event"] == "status"), {})

    def notices(self) -> list[str]:
        return [line["text"] for line in self.printed if line["event"] == "notice"]

    def frames(self) -> list[tuple[float, int]]:
        """(seconds, checksum) of the frames shown so far, held ones once."""
        return distinct(crcs(self.log))

    def plays_on(self, more: int = 12) -> bool:
        """Whether so many more frames come."""
        before = len(self.frames())
        return bool(wait_until(lambda: len(self.frames()) >= before + more or self.process.poll() is not None)) and (
            self.process.poll() is None
        )

    def send(self, *messages: tuple[object, ...]) -> None:
        """OSC from a process of its own; each message is (address, values...)."""
        command = [sys.executable, "-c", SENDER, str(self.osc_port)]
        subprocess.run(command, input=repr(messages), text=True, check=True, timeout=PATIENCE)

    def values(self) -> dict[str, Any]:
        """id -> value, as the page hears them."""
        with urllib.request.urlopen(f"{self.sheet['page']}api/params", timeout=PATIENCE) as answer:
            return {row["id"]: row["value"] for row in json.load(answer)}

    def end(self, number: int) -> tuple[int, float]:
        """Send a signal; the exit status, and the seconds it took."""
        start = time.monotonic()
        os.kill(self.process.pid, number)
        status = self.process.wait(PATIENCE)
        self._reader.join()
        return status, time.monotonic() - start


def reference(folder: Path, seconds: float) -> list[int]:
    """Checksums of every frame the small patch makes from its seed when nobody touches it, in order."""
    patch, log = folder / "small.yaml", folder / "reference.jsonl"
    patch.write_text(PATCH)
    command = bender("render", "--patch", patch, *QUICK, "--seconds", seconds, "--out", f"dummy:{log}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=2 * PATIENCE)
    return [crc for _, crc in crcs(log)]
