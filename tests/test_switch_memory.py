"""Another model or size where memory does not allow two, or runs out."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from instrument.engine import loading, memory, switch
from instrument.state.patch import loads
from pipelines.codec import Chunk
from pipelines.recipes import HOUSE, sized
from pipelines.stream import Stream
from tests.playing import wait_until
from tests.switching import OTHER, Live
from tests.tiny import taehv, wan


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    yield Live(monkeypatch)


def test_without_memory_for_two_the_picture_is_held_meanwhile(live: Live) -> None:
    live.engine.switch.free = lambda device: 0
    live.params.set("loud.gain", 1.25)
    live.params.set("engine.model", "other", "osc")
    live.until_told("no memory for two systems: the picture is held until other 64x48 is loaded")
    assert set(live.chunks(1)) == {(64, 48)} and live.opened == ["other"]
    assert live.params["loud.gain"].base == 1.25


def test_without_memory_for_two_the_last_chunk_is_shown_before_its_decoder_goes(live: Live) -> None:
    live.engine.switch.free = lambda device: 0
    decode = live.engine.stream.decode

    def slow(chunk: Chunk) -> Iterator[np.ndarray]:
        time.sleep(0.2)  # of a thread of its own; the engine is at the switch meanwhile
        yield from decode(chunk)

    live.engine.stream.decode = slow
    live.params.set("engine.model", "other", "osc")
    end = time.monotonic() + 60
    while live.engine.stream.recipe.name != "other" and time.monotonic() < end:
        live.engine.play_chunk()  # and does not wait for its frames
    live.chunks(1)
    sizes = [(frame.shape[1], frame.shape[0]) for frame, _ in live.frames]
    assert sizes.count((96, 64)) % 4 == 0 and sizes == sorted(sizes, reverse=True) and not live.engine.fault


def test_without_memory_for_two_a_failing_one_gives_the_old_one_back(live: Live) -> None:
    live.engine.switch.free = lambda device: 0
    live.fault = torch.OutOfMemoryError("CUDA out of memory")
    live.params.set("loud.gain", 1.25)
    old = live.engine.stream
    live.params.set("engine.model", "other", "osc")
    live.until_told("tiny 96x64 is loaded again")
    assert live.opened == ["other", "tiny"] and live.engine.stream is not old
    assert next(old.model.parameters()).device.type == "meta"  # its memory is free
    assert set(live.chunks(2)) == {(96, 64)} and live.params["loud.gain"].base == 1.25


def test_with_nothing_left_to_play_it_tries_again_until_something_can(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "AGAIN", 0.1)
    live.engine.switch.free = lambda device: 0
    live.fault, live.lost = torch.OutOfMemoryError("CUDA out of memory"), True
    live.params.set("loud.gain", 1.25)
    thread = threading.Thread(target=live.engine.run)
    thread.start()
    try:
        live.params.set("engine.model", "other", "osc")
        assert wait_until(lambda: "nothing plays: tiny 96x64 cannot be loaded" in live.engine.fault)
        assert "choose a smaller model or size" in live.engine.fault and "tried again every" in live.engine.fault
        tried = len(live.opened)
        assert wait_until(lambda: len(live.opened) > tried + 1)
        live.params.set("engine.size", "64x48", "osc")  # the hands have the last word
        assert wait_until(lambda: "nothing plays: tiny 64x48" in live.engine.fault)
        live.lost = False
        assert wait_until(lambda: not live.engine.fault and live.frames[-1][0].shape[:2] == (48, 64))
        assert live.params["loud.gain"].base == 1.25 and live.params["engine.size"].base == "64x48"
    finally:
        live.engine.stop()
        thread.join()


@contextmanager
def nothing_plays(live: Live) -> Iterator[None]:
    """It plays by itself and has let go of its system for another; neither can be loaded until `live.lost` ends."""
    live.engine.switch.free = lambda device: 0
    live.fault, live.lost = OSError("the disk is gone"), True
    thread = threading.Thread(target=live.engine.run)
    thread.start()
    try:
        live.params.set("engine.model", "other", "osc")
        assert wait_until(lambda: "nothing plays: tiny 96x64" in live.engine.fault)
        yield
    finally:
        live.engine.stop()
        thread.join()


def test_a_patch_chosen_while_nothing_plays_is_what_comes_back(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "AGAIN", 0.05)
    second = loads("model: tiny\nprompt: a moon\nbends: [{name: b, lever: self.out.gain}]", name="second")
    live.engine.desk.set_list([live.engine.stage.patch, second])
    with nothing_plays(live):
        tried = len(live.opened)
        live.params.trigger("patch.next")
        assert wait_until(lambda: len(live.opened) > tried + 1)
        assert "now playing second" not in live.told
        live.lost = False
        assert wait_until(lambda: not live.engine.fault and "now playing tiny 96x64" in live.told)
        assert live.engine.stage.patch is second and "b.gain" in live.params and "loud.gain" not in live.params


def test_while_nothing_plays_no_change_of_patch_is_undone(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "AGAIN", 0.05)
    first, second = live.engine.stage.patch, loads("model: tiny\nprompt: a moon", name="second")
    live.engine.desk.set_list([first, second])
    live.params.trigger("patch.next")
    live.until_told("now playing second")
    with nothing_plays(live):
        live.params.trigger("undo")
        assert wait_until(lambda: "nothing to undo" in live.told)
        live.lost = False
        assert wait_until(lambda: not live.engine.fault and "now playing tiny 96x64" in live.told)
        assert live.engine.stage.patch is second and "now playing first, as it was left" not in live.told


def test_what_memory_is_needed() -> None:
    like = torch.empty(0, dtype=torch.float32)
    stream = Stream(wan(config=OTHER.config), taehv(), OTHER)
    kept = stream.cache.k.nbytes + stream.cache.v.nbytes
    assert memory.cache_bytes(OTHER, 4) == kept
    assert memory.needed(OTHER, like, True) == int(1.25 * kept) + memory.pass_bytes(OTHER, 4) + memory.RESERVE
    assert memory.needed(HOUSE, like, False) > memory.needed(HOUSE, like, True) + 30 * 2**20
    assert 0 < memory.free(torch.device("cpu")) < 2**45


MOVED = """
prompt: a moon
bends:
  - {name: a, lever: cross.map.transform}
  - {name: b, lever: cross.map.transform, scope: {tokens: moon}}
  - {name: c, lever: self.out.gain}
"""


def test_matrices_of_moved_maps_are_counted() -> None:
    patch, like = loads(MOVED), torch.empty(0)
    playing = Stream(wan(config=OTHER.config), taehv(), OTHER)
    before = memory.needed(OTHER, like, True)
    bank = playing.make_bank(loading.bends_of(patch, OTHER.config))
    matrices = sum(layer.points["cross.map"][0].folded["moves"].nbytes for layer in bank.layers)
    counted = memory.bank_bytes([patch], OTHER, 4)
    assert matrices <= counted < 2 * matrices
    assert memory.needed(OTHER, like, True, [patch]) >= before + counted
    assert memory.bank_bytes([patch, patch], sized(HOUSE, 1024, 1024), 4) > 2 * 12 * 2 * 4 * 4096**2


def test_a_size_too_large_for_a_patchs_matrices_is_refused_without_a_pause(live: Live) -> None:
    live.engine.load(loads("model: tiny\n" + MOVED, name="moved"))
    live.engine.switch.free = lambda device: memory.needed(sized(OTHER, 1920, 1088), torch.empty(0), True)
    live.params.set("engine.size", "1920x1088", "osc")
    live.until_told("at most 4096 patches a frame; choose a smaller picture")
    assert not any("picture is held" in line for line in live.told), live.told


PEAK = """
import re, sys, torch
from instrument.engine import memory
from pipelines.codec import Chunk
from pipelines.recipes import HOUSE, sized
from pipelines.stream import Stream
from pipelines.systems import open_system
from pipelines.text import speak
def peak():  # of this program: getrusage counts what its parent held before, too
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
torch.set_num_threads(1)
system = open_system(HOUSE, torch.device("cpu"), torch.float32)
said = speak([system.encoder.encode("a red star")], [1.0])
def play(row, past):
    stream = Stream(system.model, system.decoder, row, memory=getattr(torch, sys.argv[1]), record=False)
    stream.read_prompt(said)
    stream.past_weight, stream.cache.end, stream._position = past, row.window, row.window
    stream.cache.k.zero_(), stream.cache.v.zero_()
    steps = stream.denoise()
    next(steps), next(steps)  # one pass over a full cache
    steps.close()
    list(stream.decode(Chunk(torch.randn(1, 16, 1, *stream.latent_size), True)))
play(HOUSE, 1.0)
row, before = sized(HOUSE, 640, 352), peak()
play(row, 0.5)
print(peak() - before, memory.needed(row, torch.empty(0, dtype=getattr(torch, sys.argv[1])), True) - memory.RESERVE)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts bytes as Linux does")
@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
def test_a_real_system_stays_within_what_is_needed_even_without_the_reserve(kept: str) -> None:
    command = [sys.executable, "-c", PEAK, kept]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    taken, needed = map(int, done.stdout.split())
    assert needed / 4 < taken < needed


# --- patches that fail ---


def test_a_patch_for_which_there_is_no_memory_leaves_everything_as_it_was(live: Live) -> None:
    def no_memory(*given, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    second = loads("model: tiny\nprompt: a moon\nbends: [{name: b, lever: self.out.gain}]", name="second")
    live.engine.desk.set_list([live.engine.stage.patch, second])
    live.params.set("loud.gain", 2.25)
    live.engine.stream.make_bank = no_memory
    end = live.engine.stream.cache.end
    live.params.trigger("patch.next")
    live.until_told("second cannot be played (OutOfMemoryError: CUDA out of memory")
    assert live.params["loud.gain"].base == 2.25 and live.engine.stream.cache.end > end


def test_a_patch_that_runs_out_of_memory_in_its_first_chunk_gives_way_to_the_one_before(live: Live) -> None:
    real, greedy = live.engine.stream._forward, []

    def forward(x, timestep, place, step, bias):
        if live.engine.stage.patch.name == "second":
            greedy.append(step)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(x, timestep, place, step, bias)

    live.engine.stream._forward = forward
    second = loads("model: tiny\nprompt: a moon\nbends: [{name: b, lever: self.out.gain}]", name="second")
    live.engine.desk.set_list([live.engine.stage.patch, second])
    thread = threading.Thread(target=live.engine.run)
    thread.start()
    try:
        live.params.trigger("patch.next")
        assert wait_until(lambda: greedy and any("what played before goes on" in line for line in live.told))
        shown = len(live.frames)
        assert wait_until(lambda: len(live.frames) > shown + 8 and not live.engine.fault)
    finally:
        live.engine.stop()
        thread.join()
    assert "second cannot be played (OutOfMemoryError: CUDA out of memory)" in live.told[-1] and greedy == [0]
    assert live.engine.stage.patch.name == "first" and "loud.gain" in live.params and "b.gain" not in live.params


LIMITED = """
import resource, sys, time, torch
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from tests.switching import *
mp = pytest.MonkeyPatch()
live = Live(mp)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20,) * 2)
live.params.set("engine.size", "1920x1088", "osc")
live.until_told("what plays goes on")
assert set(live.chunks(2)) == {(96, 64)}, live.told
print(live.told[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_memory_that_really_runs_out_leaves_the_show_playing() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tiny 1920x1088 cannot be played" in done.stdout and "memory" in done.stdout
