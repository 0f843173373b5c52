"""Faults injected where they really happen, into a show that plays: a full disk, a camera that vanishes, an encoder
that fails, an encoder's process killed, bends that make no numbers, at random. Nothing else is disturbed: another
output has its frames evenly, the engine has no fault, and what failed comes back where it can.

A receiver that freezes is in test_ndi.py, memory that runs out in test_switch_memory.py, a disk full of events in
test_events.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from instrument.bench.toy import TOY, toy_system
from instrument.engine import loading
from instrument.mapping.rig import Rig
from instrument.outputs import movie, parse
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines.bends.lever import discover
from tests.playing import wait_until
from tests.test_guard import BROKEN

CALM = replace(TOY, fps=60.0, latent_limit=None)
PATCH = """
prompt: a red star
bends:
  - {name: good, lever: ffn.hidden.gain}
  - {name: bad, lever: ffn.break}
"""


class Stage:
    """A show of the toy model; its first output is watched."""

    def __init__(self) -> None:
        self.watched = parse("dummy?keep=2000")
        self.show = Show(toy_system(CALM), loads(PATCH, name="faults"), [self.watched], None, 1)
        self.show.start(Doors("127.0.0.1", None, None, (), False), Rig(self.show.params, None, "no such port"))
        assert wait_until(lambda: self.watched.count > 40)

    def stats(self, name: str):
        return next(each for each in self.show.outputs.stats() if each.name.startswith(name))

    def more(self, frames: int = 60) -> None:
        """Wait for so many more frames at the output that has no fault."""
        before = self.watched.count
        assert wait_until(lambda: self.watched.count >= before + frames)

    def assert_undisturbed(self, since: int) -> None:
        """No gap in the watched output that a busy machine does not make by itself, no fault, pictures that move."""
        frames = list(self.watched.frames)[-(self.watched.count - since) :]
        assert np.diff([at for at, _ in frames]).max() < 2.0
        assert len({frame.tobytes() for _, frame in frames}) > len(frames) / 20
        assert self.stats("dummy").errors == 0 and self.show.engine.fault == ""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    patch = pytest.MonkeyPatch()
    patch.setattr(loading, "discover", lambda: {**discover(), BROKEN.id: BROKEN})
    made = Stage()
    yield made
    made.show.close()
    patch.undo()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_disk_that_is_full(stage: Stage, disk: Path) -> None:
    since = stage.watched.count
    stage.show.outputs.add(parse(f"file:{disk}/take.mkv?lossless&size=320x240"))
    assert wait_until(lambda: "free space" in stage.stats("file").error), stage.stats("file")
    stage.more()
    stage.assert_undisturbed(since)
    assert any("free space" in text for text in stage.show.status()["warnings"])
    stage.show.outputs.remove(stage.stats("file").name)


def test_a_camera_that_vanishes_and_comes_back(stage: Stage) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    there, opened = [True], []

    class Device:
        def __init__(self, **given):
            if not there[0]:
                raise RuntimeError("/dev/video7: no such device")
            opened.append(given["width"])

        def device(self):
            return "/dev/video7"

        def native_fourcc(self):
            return None

        def send(self, pixels):
            if not there[0]:
                raise OSError(19, "No such device")

        def close(self):
            pass

    pyvirtualcam.register_backend("vanishing", Device)
    since = stage.watched.count
    stage.show.outputs.add(parse("camera?backend=vanishing"))
    assert wait_until(lambda: stage.stats("camera").sent > 20)
    there[0] = False
    assert wait_until(lambda: stage.stats("camera").errors >= 2 and "camera" in stage.stats("camera").error)
    stage.more()
    there[0] = True
    sent = stage.stats("camera").sent
    assert wait_until(lambda: stage.stats("camera").sent > sent + 20) and len(opened) >= 2
    stage.assert_undisturbed(since)
    stage.show.outputs.remove("camera")


def test_an_encoder_that_fails(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's encoder itself refuses, for it knows no such profile; then it does."""
    since = stage.watched.count
    monkeypatch.setitem(movie.RECIPES[".mkv"].options, "profile", "no such profile")
    stage.show.outputs.add(parse(f"file:{tmp_path}/take.mkv"))
    assert wait_until(lambda: stage.stats("file").errors >= 2)
    stage.more()
    monkeypatch.undo()
    sent = stage.stats("file").sent
    assert wait_until(lambda: stage.stats("file").sent > sent + 20)
    stage.assert_undisturbed(since)
    stage.show.outputs.remove(stage.stats("file").name)
    takes = [path for path in tmp_path.iterdir() if path.stat().st_size > 1000]
    with av.open(str(max(takes, key=lambda path: path.stat().st_size))) as take:
        assert len(list(take.decode(video=0))) > 10


def test_an_encoders_process_that_is_killed(stage: Stage) -> None:
    since = stage.watched.count
    stage.show.outputs.add(parse("stream:udp://127.0.0.1:9"))
    assert wait_until(lambda: stage.stats("stream").sent > 20)
    for child in psutil.Process().children():
        if "instrument.outputs.streamer" in child.cmdline():
            os.kill(child.pid, signal.SIGKILL)
    assert wait_until(lambda: stage.stats("stream").errors >= 1)
    sent = stage.stats("stream").sent
    assert wait_until(lambda: stage.stats("stream").sent > sent + 20)
    stage.assert_undisturbed(since)
    stage.show.outputs.remove(stage.stats("stream").name)


def test_bends_that_make_no_numbers_at_random(stage: Stage) -> None:
    since, chance, params = stage.watched.count, random.Random(5), stage.show.params
    for _ in range(25):
        params.set("bad.gain", chance.uniform(3, 8), "test")
        params.set("good.gain", chance.uniform(0, 8), "test")
        time.sleep(chance.uniform(0, 0.15))
    assert wait_until(lambda: stage.show.engine.guard.muted == ["bad"] or params["bad.gain"].base <= 4)
    params.set("bad.gain", 6.0, "test")
    params.set("good.gain", 2.0, "test")
    assert wait_until(lambda: stage.show.engine.guard.muted == ["bad"])
    stage.more()
    stage.assert_undisturbed(since)
    params.set("bad.gain", 1.0, "test")
    stage.more()
    assert stage.show.engine.guard.muted == [] and stage.show.engine.heard["bad.on"] is True
    frames = [frame for _, frame in list(stage.watched.frames)[-20:]]
    assert all(frame.std() > 1 for frame in frames)
