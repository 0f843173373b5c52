"""Another model or size while the show plays, beside the one that plays, and every way in which that can fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from instrument.engine import curtain, stage
from instrument.engine.curtain import Curtain
from instrument.engine.switch import Crossing
from instrument.mapping.rig import Rig
from instrument.outputs import parse
from instrument.parameters.params import ParamSet
from instrument.show import Doors, Show
from instrument.state.patch import PatchError, loads
from pipelines.checkpoint import LoadError
from pipelines.recipes import HOUSE, RECIPES, Recipe, sized
from pipelines.systems import System, open_system
from pipelines.text import Prompt
from tests.engine import Encoder
from tests.playing import wait_until
from tests.switching import OTHER, PATCH, Live, system
from tests.tiny import CONFIG, RECIPE


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
    live.params.set("engine.size", "banana", "osc")  # a wish, and no state
    saved = live.engine.desk._state()
    assert (saved.model, saved.pixels) == ("tiny", (128, 96))
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


# --- the whole show ---


def test_a_show_goes_on_over_a_change_of_size_and_of_model(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The house model at its size, then larger, then another network: outputs keep their size, the tree follows."""
    monkeypatch.setitem(RECIPES, "other", replace(OTHER, width=192, height=112))

    def open_one(row: Recipe) -> System:
        return open_system(row, torch.device("cpu"), torch.float32) if row.name == "house" else system(row)

    output = parse(f"dummy:{tmp_path}/frames.jsonl?keep=600")
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


def test_outputs_are_finished_without_waiting_for_a_model_that_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setitem(RECIPES, "other", OTHER)
    begun, go_on = threading.Event(), threading.Event()

    def load(row: Recipe) -> System:
        begun.set()
        assert go_on.wait(120)
        return system(row)

    output = parse(f"dummy:{tmp_path}/frames.jsonl")
    show = Show(system(RECIPE), loads("prompt: a red star", name="first"), [output], None, 1, load)
    show.start(Doors("127.0.0.1", None, None, (), False), Rig(show.params, show.notices.tell))
    closing = threading.Thread(target=show.close)
    try:
        assert wait_until(lambda: output.count > 3)
        show.params.set("engine.model", "other", "osc")
        assert begun.wait(60)
        closing.start()
        closing.join(60)
        assert not closing.is_alive() and not any(runner._thread.is_alive() for runner in show.outputs.runners)
        assert show.busy
    finally:
        go_on.set()
        closing.join(60)
    assert wait_until(lambda: not show.busy)


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
