"""Another model or size while the show plays, and every way in which that, or a patch, can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from instrument.engine import curtain, memory, stage, switch
from instrument.engine.curtain import Curtain
from instrument.engine.engine import Engine
from instrument.engine.switch import Crossing
from instrument.mapping.rig import Rig
from instrument.outputs import parse
from instrument.parameters.params import ParamSet
from instrument.show import Doors, Show
from instrument.state.patch import PatchError, loads
from pipelines.checkpoint import LoadError
from pipelines.codec import Chunk
from pipelines.recipes import HOUSE, RECIPES, Recipe, sized
from pipelines.stream import Stream
from pipelines.systems import System, open_system
from pipelines.text import Prompt
from tests.playing import wait_until
from tests.test_engine import Encoder
from tests.tiny import CONFIG, RECIPE, taehv, wan

PATCH = """
model: tiny
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip, layers: [1, 2]}}
values: {words.gain: 2.0}
"""
OTHER = replace(RECIPE, name="other", config=replace(CONFIG, num_layers=5), width=64, height=48)


def system(row: Recipe) -> System:
    return System(row, wan(config=row.config), taehv(), Encoder())


class Live:
    """An engine on the tiny model that can open two others, played by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str = PATCH) -> None:
        monkeypatch.setitem(RECIPES, "tiny", RECIPE)
        monkeypatch.setitem(RECIPES, "other", OTHER)
        self.opened: list[str] = []
        self.told: list[str] = []
        self.frames: list[tuple[np.ndarray, object]] = []
        self.fault: Exception | None = None
        self.encoder: type[Encoder] = Encoder  # of the others
        self.lost = False  # whether what played cannot be loaded again either
        self.params = ParamSet(notices=self.told.append)
        made = system(RECIPE)
        stream = Stream(made.model, made.decoder, RECIPE, seed=3)
        self.engine = Engine(stream, made.encoder, self.params, lambda frame, stamp: self.frames.append((frame, stamp)))
        self.engine.tell = self.told.append
        self.engine.switch.play(made, self.open)
        self.engine.switch.free = lambda device: 2**40
        self.engine.load(loads(text, name="first"))
        self.chunks(2)

    def open(self, row: Recipe) -> System:
        self.opened.append(row.name)
        if self.fault is not None and (row.name != "tiny" or self.lost):
            raise self.fault
        return replace(system(row), encoder=self.encoder())

    def chunks(self, count: int) -> list[tuple[int, int]]:
        """Play; the sizes of the frames."""
        before = len(self.frames)
        for _ in range(count):
            self.engine.play_chunk()
        self.engine.finish()
        return [(frame.shape[1], frame.shape[0]) for frame, _ in self.frames[before:]]

    def until_told(self, text: str) -> None:
        end = time.monotonic() + 60
        while not any(text in line for line in self.told) and time.monotonic() < end:
            self.chunks(1)
            time.sleep(0.01)
        assert any(text in line for line in self.told), self.told


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    yield Live(monkeypatch)


def test_another_size_comes_on_beside_the_one_that_plays(live: Live) -> None:
    live.params.set("loud.gain", 1.5)
    live.params.set("engine.size", "128x96", "osc")
    live.until_told("now playing tiny 128x96")
    assert set(live.chunks(2)) == {(128, 96)} and live.opened == []  # the same weights
    assert {(f.shape[1], f.shape[0]) for f, _ in live.frames} == {(96, 64), (128, 96)}  # it played on until then
    assert live.params["loud.gain"].base == 1.5 and live.params["words.gain"].base == 2.0
    assert live.params["engine.size"].base == "128x96" and live.params["engine.model"].base == "tiny"
    assert isinstance(next(stamp for frame, stamp in live.frames if frame.shape[1] == 128), Crossing)
    live.params.set("loud.gain", 3.0)
    live.chunks(1)
    assert live.engine.heard["loud.gain"] == 3.0


def test_another_model_has_the_parameters_of_its_own_network(live: Live) -> None:
    structure = live.params.structure
    live.params.set("engine.model", "other", "page")
    live.until_told("now playing other 64x48")
    assert live.opened == ["other"] and set(live.chunks(1)) == {(64, 48)}
    assert live.params["words.layers.center"].spec.hi == 4 and live.params["words.layers.center"].base == 1.5
    assert live.params.structure > structure  # by which the page and OSCQuery see that the tree is another
    live.params.set("engine.model", "tiny")
    live.until_told("now playing tiny 96x64")
    assert set(live.chunks(1)) == {(96, 64)} and live.params["words.layers.center"].spec.hi == 2


def test_a_patch_for_another_model_or_size_brings_it_along(live: Live) -> None:
    second = loads("model: other\nprompt: a moon\nbends: [{name: b, lever: self.out.gain, scope: {layers: [4, 4]}}]")
    third = loads("model: other\nsize: 96x64\nprompt: a moon")
    first = live.engine.stage.patch
    live.engine.sound_check([first, second, third])
    live.params.trigger("patch.next")
    live.until_told("now playing other 64x48")
    live.chunks(1)
    assert "b.gain" in live.params and "loud.gain" not in live.params
    assert live.params["prompt.text"].base == "a moon" and live.params["patch.goto"].base == 2
    live.params.trigger("patch.next")
    live.until_told("now playing other 96x64")
    live.params.set("patch.goto", 1)
    live.until_told("now playing tiny")
    assert live.params["words.gain"].base == 2.0


def test_a_set_list_is_tried_against_models_that_do_not_play_yet(live: Live) -> None:
    with pytest.raises(PatchError, match=r"layers .* lie beyond this model's 0-4"):
        live.engine.sound_check([loads("model: other\nbends: [{name: b, lever: self.out.gain, scope: {layers: 9}}]")])
    with pytest.raises(PatchError, match="no model 'othr'; did you mean 'other'"):
        live.engine.sound_check([loads("model: othr")])


# --- the set list ---

SECOND = """
model: tiny
prompts: [{text: a moon, weight: 1}, {text: a green star, weight: 0.5}]
bends: [{name: far, lever: self.out.gain, scope: {layers: [2, 2]}}]
snapshots: {low: {far.gain: 0.5}}
"""
WIDE = "model: tiny\nprompt: a hill\nbends: [{name: wide, lever: self.map.gain, scope: {heads: 3}}]"


class Choosy(Encoder):
    """Another model's encoder, which cannot read everything."""

    def encode(self, text: str) -> Prompt:
        if "green" in text:
            raise ValueError("no such letters")
        return super().encode(text)


def songs(live: Live, *texts: str) -> None:
    made = [loads(text, name=f"song{number}") for number, text in enumerate(texts, 2)]
    live.engine.sound_check([live.engine.stage.patch, *made])


@pytest.mark.parametrize("room", [2**40, 0], ids=["beside", "in its place"])
def test_the_set_list_is_made_ready_on_another_model(live: Live, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    songs(live, SECOND)
    live.engine.switch.free = lambda device: room
    live.params.set("engine.model", "other", "osc")
    live.until_told("now playing other")
    asked = live.engine.stage.encoder.asked
    assert {"a purple tulip swaying", "a moon", "a green star"} <= set(asked)
    before = len(asked)
    monkeypatch.setattr(stage, "prepare", lambda *given: 1 / 0)  # it would take time between two chunks
    live.params.trigger("patch.next")
    live.until_told("now playing song2")
    live.chunks(1)
    assert live.params["far.layers.center"].spec.hi == 4 and len(asked) == before
    assert [bend.name for bend in live.engine.stream.bank.bends] == ["far"]
    live.params.trigger("patch.previous")
    live.until_told("now playing first")


def test_a_song_that_another_model_cannot_play_is_told_of_and_the_others_play(live: Live) -> None:
    songs(live, SECOND, WIDE)
    live.encoder = Choosy
    RECIPES["other"] = replace(OTHER, config=replace(OTHER.config, num_heads=2))
    live.params.set("engine.model", "other", "osc")
    live.until_told("now playing other")
    told = "\n".join(live.told)
    assert "song2 cannot be made ready (ValueError: no such letters)" in told and "head 3 does not exist" in told
    live.params.set("patch.goto", 2)
    live.until_told("now playing song2")  # its first prompt plays; the other voice is told of as long as it is wanted
    live.chunks(2)
    assert live.engine.prompt.text == "a moon"
    assert any("'a green star' cannot be encoded (ValueError: no such letters)" in line for line in live.engine.notices)
    refused = len(live.told)
    live.params.set("patch.goto", 3)
    live.until_told("head 3 does not exist")
    live.chunks(2)
    assert len(live.told) > refused and live.params["patch.goto"].base == 2 and not live.engine.fault


@pytest.mark.parametrize("room", [2**40, 0], ids=["beside", "in its place"])
def test_what_was_stored_in_the_set_lists_snapshots_is_there_on_another_model(live: Live, room: int) -> None:
    songs(live, SECOND)
    live.params.trigger("patch.next")
    live.until_told("now playing song2")
    live.params.set("far.gain", 3.0)
    live.params.trigger("snapshot.5.store")
    live.params.trigger("patch.previous")
    live.until_told("now playing first")
    live.engine.switch.free = lambda device: room
    live.params.set("engine.model", "other", "osc")
    live.until_told("now playing other")
    live.told.clear()
    live.params.trigger("patch.next")
    live.until_told("now playing song2")
    live.params.trigger("snapshot.5.recall")
    live.chunks(1)
    assert live.params["far.gain"].base == 3.0 and live.engine.console.snapshots[1].name == "low"


def test_a_prompt_that_came_while_a_model_was_loaded_is_not_waited_for(live: Live) -> None:
    """The one that was set before is said by the new one meanwhile, or for good where it cannot read the other."""
    opened, go = live.engine.switch.open_system, threading.Event()

    def slow(row: Recipe) -> System:
        assert go.wait(30)
        return opened(row)

    live.encoder, live.engine.switch.open_system = Choosy, slow
    live.params.set("engine.model", "other", "osc")
    live.chunks(2)
    live.params.set("prompt.text", "a green moon", "osc")
    live.chunks(1)
    go.set()
    live.until_told("now playing other")
    live.chunks(2)
    assert live.engine.prompt.text == "a purple tulip swaying" and not live.engine.fault
    assert any("'a green moon' cannot be encoded" in line for line in live.engine.notices)
    live.params.set("prompt.text", "a red moon", "osc")
    live.chunks(2)
    assert live.engine.prompt.text == "a red moon"
    assert not any("cannot be encoded" in line for line in live.engine.notices)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("id", "value", "reason"),
    [
        ("engine.model", "tinny", "no model 'tinny'; did you mean 'tiny'"),
        ("engine.size", "wide", "engine.size cannot be 'wide'; write for example 384x224"),
        ("engine.size", "100x64", "multiples of 16"),
        ("engine.size", "9600x9600", "choose a smaller one"),
    ],
)
def test_what_cannot_be_is_refused_and_shown_as_it_is(live: Live, id: str, value: str, reason: str) -> None:
    live.params.set(id, value, "osc")
    live.until_told(reason)
    assert set(live.chunks(1)) == {(96, 64)}
    assert live.params["engine.model"].base == "tiny" and live.params["engine.size"].base == "96x64"


@pytest.mark.parametrize(
    "fault",
    [LoadError("other: 3 files are missing"), torch.OutOfMemoryError("CUDA out of memory"), MemoryError("none left")],
)
def test_a_switch_that_fails_leaves_everything_as_it_was(live: Live, fault: Exception) -> None:
    live.fault = fault
    live.params.set("loud.gain", 2.5)
    bank, seen = live.engine.stream.bank, live.engine.stream.cache.end
    live.params.set("engine.model", "other", "osc")
    live.until_told(str(fault))
    assert "what plays goes on" in live.told[-1]
    assert set(live.chunks(1)) == {(96, 64)} and live.engine.stream.bank is bank
    assert live.engine.stream.cache.end > seen and live.params["loud.gain"].base == 2.5
    assert live.params["engine.model"].base == "tiny" and not live.engine.fault


def test_a_patch_that_does_not_fit_the_other_model_leaves_everything_as_it_was(live: Live) -> None:
    live.engine.load(loads(PATCH.replace("layers: [1, 2]", "heads: 3"), name="first"))
    narrow = replace(OTHER, name="other", config=replace(CONFIG, num_heads=2))
    RECIPES["other"] = narrow
    live.params.set("engine.model", "other", "osc")
    live.until_told("head 3 does not exist")
    assert set(live.chunks(1)) == {(96, 64)}


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


def test_the_last_wish_counts(live: Live) -> None:
    live.params.set("engine.model", "other", "osc")
    live.chunks(1)
    live.params.set("engine.size", "128x96", "osc")
    live.until_told("128x96")
    for _ in range(50):
        live.chunks(1)
        if live.engine.stream.recipe.width == 128:
            break
        time.sleep(0.05)
    assert live.engine.stream.recipe.name == "tiny" and live.engine.stream.recipe.width == 128


def test_the_last_wish_counts_when_it_is_for_what_plays(live: Live) -> None:
    live.params.set("engine.size", "128x96", "osc")
    live.chunks(1)
    live.params.set("engine.size", "96x64", "osc")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert set(live.chunks(1)) == {(96, 64)}
    assert live.params["engine.size"].base == "96x64"


def test_a_refusal_does_not_swallow_another_wish(live: Live) -> None:
    live.params.set("engine.model", "tinny", "osc")
    live.params.set("engine.size", "128x96", "osc")  # before the engine has looked
    live.until_told("now playing tiny 128x96")
    assert any("did you mean 'tiny'" in line for line in live.told)


def test_what_memory_is_needed() -> None:
    like = torch.empty(0, dtype=torch.float32)
    stream = Stream(wan(config=OTHER.config), taehv(), OTHER)
    kept = stream.cache.k.nbytes + stream.cache.v.nbytes
    assert memory.cache_bytes(OTHER, 4) == kept
    assert memory.needed(OTHER, like, True) == int(1.25 * kept) + memory.RESERVE
    assert memory.needed(HOUSE, like, False) > memory.needed(HOUSE, like, True) + 30 * 2**20
    assert 0 < memory.free(torch.device("cpu")) < 2**45


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


# --- the whole show ---


def test_a_show_goes_on_over_a_change_of_size_and_of_model(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The house model at its size, then larger, then another network: outputs keep their size, the tree follows."""
    monkeypatch.setitem(RECIPES, "other", replace(OTHER, width=192, height=112))

    def open_one(row: Recipe) -> System:
        return open_system(row, torch.device("cpu"), torch.float32) if row.name == "house" else system(row)

    output = parse(f"dummy:{tmp_path}/frames.jsonl")
    patch = loads("prompt: a red star\nbends: [{name: loud, lever: ffn.out.gain}]", name="first")
    show = Show(open_one(sized(HOUSE, 128, 80)), patch, [output], None, 1, open_one)
    show.params.set("engine.fade", 0.2)
    show.start(Doors("127.0.0.1", None, None, (), False), Rig(show.params, show.notices.tell))
    try:
        assert wait_until(lambda: show.engine.timing.chunks > 3)
        assert wait_until(lambda: output.count > 10)
        for id, value, size in (("engine.size", "192x112", "192x112"), ("engine.model", "other", "192x112")):
            structure = show.params.structure
            show.params.set(id, value, "osc")
            assert wait_until(lambda size=size, id=id, value=value: show.params[id].base == value)
            assert wait_until(lambda structure=structure: show.params.structure > structure), show.status()
            sent = output.count
            assert wait_until(lambda sent=sent: output.count > sent + 20)
            facts = show.facts()
            assert facts["picture"].startswith(size)
        assert facts["model"].startswith("other")
        assert {tuple(frame.shape) for _, frame in output.frames} == {(80, 128, 3)}
        assert show.engine.fault == ""
    finally:
        show.close()
    lines = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    gaps = np.diff([line["t"] for line in lines])
    assert gaps.max() < 5 and {tuple(line["size"]) for line in lines} == {(128, 80)}


def test_the_curtain_fades_from_the_held_picture() -> None:
    params, now = ParamSet(), [0.0]
    curtain.declare(params)
    hung = Curtain(params, lambda: now[0])
    hung(np.full((4, 6, 3), 200, np.uint8))
    crossing = Crossing(2.0)
    means = []
    for now[0] in (0.0, 1.0, 1.5, 2.0, 3.0):
        hung.cross(crossing, crossing.seconds)
        means.append(int(hung(np.zeros((8, 12, 3), np.uint8))[4, 6, 0]))
    assert means == [200, 100, 50, 0, 0]
    hung.cross(Crossing(0.0), 0.0)
    assert hung(np.full((4, 6, 3), 7, np.uint8)).max() == 7


LIMITED = """
import resource, sys, time, torch
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from tests.test_switch import *
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
