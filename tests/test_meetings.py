"""Where the engine's parts meet: bends that come and go, patches, systems that are loading, rollback, the guard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from instrument.engine import guard, loading
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch, loads
from instrument.state.rewording import with_bend, without_bend
from pipelines.bends.lever import discover
from pipelines.recipes import RECIPES, Recipe
from pipelines.stream import Stream
from pipelines.systems import System
from tests.engine import Encoder
from tests.playing import wait_until
from tests.switching import PATCH, Live
from tests.test_guard import BROKEN
from tests.test_replay import Recorder
from tests.tiny import RECIPE, taehv, wan

SECOND = "model: tiny\nprompt: a moon\nbends: [{name: b, lever: self.out.gain}]"
AWAY = "model: other\nprompt: a moon\nbends: [{name: far, lever: self.out.gain}]"


class Slow(Live):
    """Opens another system only when it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.opening = threading.Event(), threading.Event()
        super().__init__(monkeypatch)

    def open(self, row: Recipe) -> System:
        self.opening.set()
        assert self.go.wait(60)
        return super().open(row)

    def until(self, fact) -> None:
        assert wait_until(lambda: self.chunks(1) and fact()), self.told

    @property
    def bends(self) -> list[str]:
        return [bend.name for bend in self.engine.stream.bank.bends]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    live = Slow(monkeypatch)
    yield live
    live.go.set()


# --- while a system is loading ---


def test_bends_that_come_and_go_while_a_system_is_loading_are_as_wished_on_it(slow: Slow) -> None:
    slow.params.set("engine.model", "other", "osc")
    slow.until(slow.opening.is_set)
    slow.params.set("bend.add", "ffn.hidden.gain brush", "osc")
    slow.until(lambda: "brush" in slow.bends)
    slow.params.set("brush.gain", 3.0, "osc")
    slow.params.set("bend.remove", "words", "osc")
    slow.until(lambda: "words" not in slow.bends)
    slow.go.set()
    slow.until_told("now playing other")
    slow.chunks(1)
    assert slow.bends == ["loud", "brush"] and "words.gain" not in slow.params
    assert slow.engine.heard["brush.gain"] == 3.0
    slow.params.set("bend.add", "ffn.in.gain more", "osc")  # and it goes on there
    slow.until(lambda: slow.bends == ["loud", "brush", "more"])


def test_a_patch_chosen_while_another_size_is_loading_is_what_plays_there(slow: Slow) -> None:
    slow.engine.sound_check([slow.engine.stage.patch, loads(SECOND, name="second")])
    slow.params.set("engine.model", "other", "osc")
    slow.until(slow.opening.is_set)
    slow.params.trigger("patch.next")
    slow.until(lambda: slow.bends == ["b"])
    slow.params.set("b.gain", 1.5, "osc")
    slow.go.set()
    slow.until_told("now playing other")
    slow.chunks(1)
    assert slow.bends == ["b"] and slow.engine.heard["b.gain"] == 1.5 and "loud.gain" not in slow.params


def test_a_patch_that_is_still_loading_does_not_overtake_one_chosen_after_it(slow: Slow) -> None:
    slow.engine.sound_check([slow.engine.stage.patch, loads(AWAY, name="away"), loads(SECOND, name="second")])
    slow.params.set("patch.goto", 2, "osc")
    slow.until(slow.opening.is_set)
    slow.params.set("patch.goto", 3, "osc")
    slow.until(lambda: slow.bends == ["b"])
    slow.go.set()
    slow.until(lambda: slow.engine.switch._loading is None)
    slow.chunks(3)
    assert slow.bends == ["b"] and slow.engine.stream.recipe.name == "tiny" and slow.params["patch.goto"].base == 3


# --- what goes along to another system ---


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    return Live(monkeypatch)


def test_all_layers_and_the_models_own_steps_are_those_of_the_other_model(live: Live) -> None:
    RECIPES["other"] = replace(RECIPES["other"], steps=(1000.0, 500.0))
    assert live.params["loud.layers.width"].base == 2
    live.params.set("engine.model", "other", "osc")
    live.until_told("now playing other")
    live.chunks(1)
    assert (live.params["loud.layers.center"].base, live.params["loud.layers.width"].base) == (2, 4)
    assert (live.params["words.layers.center"].base, live.params["words.layers.width"].base) == (1.5, 1)
    assert live.params["engine.steps"].base == live.engine.stream.steps_now == 2
    live.params.set("engine.steps", 4, "osc")  # twice its own
    live.params.set("engine.model", "tiny", "osc")
    live.until_told("now playing tiny")
    live.chunks(1)
    assert live.engine.stream.steps_now == 4 and live.params["loud.layers.width"].base == 2


def test_what_was_stored_and_set_goes_along_to_another_size(live: Live) -> None:
    live.params.set("words.gain", 4.0, "osc")
    live.params.set("engine.seed", 77, "osc")
    live.params.set("loud.solo", True, "osc")
    live.params.set("clock.tempo", 90, "osc")
    live.params.trigger("snapshot.3.store")
    live.chunks(1)
    live.params.set("engine.size", "128x96", "osc")
    live.until_told("now playing tiny 128x96")
    live.chunks(1)
    assert live.params["engine.seed"].base == 77 and live.params["loud.solo"].base is True
    assert live.params["clock.tempo"].base == 90
    live.params.set("words.gain", 1.0, "osc")
    live.params.trigger("snapshot.3.recall")
    live.chunks(1)
    assert live.params["words.gain"].base == 4.0
    live.params.set("snapshot.goto", 0, "osc")  # as the file has it, not as it was when the size changed
    live.chunks(1)
    assert live.params["words.gain"].base == 2.0


def test_no_prompt_is_encoded_in_the_loop_when_another_system_comes_on(live: Live) -> None:
    made = []

    class Watched(Encoder):
        def encode(self, text):
            made.append((text, threading.current_thread()))
            return super().encode(text)

    live.engine.switch.open_system = lambda row: System(row, wan(config=row.config), taehv(), Watched())
    live.params.set("prompt.2.text", "a yellow sun", "osc")
    live.params.set("prompt.2.weight", 0.5, "osc")
    live.chunks(1)
    live.params.set("engine.model", "other", "osc")
    live.until_told("now playing other")
    live.chunks(2)
    assert {text for text, _ in made} == {"a purple tulip swaying", "a yellow sun"}
    assert threading.main_thread() not in {thread for _, thread in made}
    said = len(made)
    live.params.set("engine.size", "128x96", "osc")
    live.until_told("now playing other 128x96")
    live.chunks(2)
    assert all(thread is not threading.main_thread() for _, thread in made[said:])


def test_a_patch_whose_system_fails_may_be_wished_again(live: Live) -> None:
    live.engine.sound_check([live.engine.stage.patch, loads(AWAY, name="away")])
    live.fault = MemoryError("none left")
    live.params.set("patch.goto", 2, "osc")
    live.until_told("none left")
    assert live.params["patch.goto"].base == 1
    live.fault = None
    live.params.set("patch.goto", 2, "osc")
    live.until_told("now playing other")


# --- rollback ---


def fail_when(live: Live, fact) -> None:
    """Let the next chunk fail where the fact holds."""
    real = live.engine.stream._forward

    def forward(*given):
        if fact():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    live.engine.stream._forward = forward


def fail_once(live: Live) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        for _ in range(200):
            live.chunks(1)
    live.engine._survive(caught.value)


def test_a_patch_that_fails_gives_way_to_the_one_before_as_the_hands_had_set_it(live: Live) -> None:
    live.params.set("words.gain", 4.5, "osc")
    live.params.set("engine.seed", 12, "osc")
    live.engine.sound_check([live.engine.stage.patch, loads(SECOND, name="second")])
    live.chunks(1)
    fail_when(live, lambda: live.engine.stage.patch.name == "second")
    live.params.set("words.gain", 5.5, "osc")
    live.params.trigger("patch.next")
    fail_once(live)
    live.chunks(1)
    assert live.engine.heard["words.gain"] == 5.5 and live.params["engine.seed"].base == 12


def test_a_bend_that_fails_goes_and_nothing_else_does(live: Live) -> None:
    live.params.set("words.gain", 4.5, "osc")
    live.params.trigger("snapshot.2.store")
    live.chunks(1)
    fail_when(live, lambda: len(live.engine.stream.bank.bends) == 3)
    live.params.set("bend.add", "ffn.hidden.gain brush", "osc")
    fail_once(live)
    live.chunks(1)
    assert [bend.name for bend in live.engine.stream.bank.bends] == ["loud", "words"]
    assert live.engine.heard["words.gain"] == 4.5 and 2 in live.engine.console.snapshots
    assert "brush.gain" not in live.params


def test_a_bend_for_which_there_is_no_memory_stops_nothing(live: Live) -> None:
    def no_memory(*given, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    live.engine.stream.make_bank = no_memory
    end = live.engine.stream.cache.end
    live.params.set("bend.add", "ffn.hidden.gain brush", "osc")
    live.until_told("the bends stay as they are (OutOfMemoryError: CUDA out of memory)")
    assert live.engine.stream.cache.end > end and not live.engine.fault


# --- the guard ---


def broken(monkeypatch: pytest.MonkeyPatch) -> Live:
    every = {**discover(), BROKEN.id: BROKEN}
    monkeypatch.setattr(loading, "discover", lambda: every)
    live = Live(monkeypatch, PATCH.replace("bends:", "bends:\n  - {name: bad, lever: ffn.break}"))
    live.params.set("bad.gain", 6.0, "osc")
    return live


def test_a_mute_bend_that_is_taken_away_is_not_spoken_of_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    live = broken(monkeypatch)
    live.until_told("bad made a chunk come apart")
    live.params.set("bend.remove", "bad", "osc")
    live.until_told("removed bend bad")
    live.chunks(1)
    assert live.engine.guard.muted == [] and not live.engine.guard.notices


def test_a_chunk_is_played_again_in_as_many_steps_and_with_as_much_past(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    real = guard.private

    def private(scene):
        tried.append(real(scene))
        return tried[-1]

    monkeypatch.setattr(guard, "private", private)
    live = broken(monkeypatch)
    live.params.set("engine.steps", 1, "osc")
    live.params.set("cache.past", 0.5, "osc")
    live.params.set("cache.mode", "restart", "osc")
    live.until_told("bad made a chunk come apart")
    assert (tried[0].steps_now, tried[0].past_weight, tried[0].past_mode) == (1, 0.5, "restart")


# --- recorded passes ---


def recorded(patches: list[Patch]) -> tuple[Engine, Recorder]:
    recorder = Recorder()
    playing = Stream(wan(), taehv(), RECIPE, seed=3, record=recorder)
    engine = Engine(playing, Encoder(), ParamSet(), lambda frame, stamp: None)
    engine.load(patches[0])
    engine.sound_check(patches)
    return engine, recorder


def test_the_set_list_is_recorded_before_the_show() -> None:
    patches = [loads(text.replace("model: tiny", "model: house"), name="p") for text in (PATCH, SECOND)]
    engine, recorder = recorded(patches)
    before = recorder.recorded
    assert before == 4  # each patch, with the past's weight turned down too
    assert engine.stream.cache.end == 0
    engine.load(patches[1])
    for _ in range(8):
        engine.play_chunk()
    engine.finish()
    full = recorder.recorded
    for _ in range(4):
        engine.play_chunk()
    engine.finish()
    assert recorder.recorded == full and recorder.played > 0


# --- a patch whose bends came and went ---


def test_what_a_patch_says_of_bends_by_place_means_the_same_ones_after_one_has_gone() -> None:
    text = PATCH.replace("values: {", "glide: {bend.2.gain: 50}\nvalues: {bend.1.on: false, ")
    patch = loads(
        f"{text}modulators: [{{lfo: sine, to: 'loud.gain, bend.2.amount'}}]\nsnapshots: {{a: {{loud.gain: 2}}}}"
    )
    gone = without_bend(patch, 0)
    assert gone.values == {"words.gain": 2.0} and gone.glide == {"bend.1.gain": 50} and gone.snapshots == {"a": {}}
    assert gone.modulators[0].to == "bend.1.amount"
    back = with_bend(gone, patch.bends[0], 0)
    assert back.bends == patch.bends and back.glide == patch.glide and back.modulators[0].to == "bend.2.amount"
    assert without_bend(patch, 1).values == {"bend.1.on": False}
    last = with_bend(patch, patch.bends[0].model_copy(update={"name": "more"}), 2)
    assert last.values == patch.values and last.glide == patch.glide


def test_a_patch_that_fails_gives_way_to_one_from_which_a_bend_has_gone(live: Live) -> None:
    live.params.set("bend.remove", "words", "osc")
    live.until_told("removed bend words")
    live.chunks(1)
    live.engine.desk.set_list([live.engine.stage.patch, loads(SECOND, name="second")])
    fail_when(live, lambda: live.engine.stage.patch.name == "second")
    live.params.trigger("patch.next")
    fail_once(live)
    live.chunks(1)
    assert [bend.name for bend in live.engine.stream.bank.bends] == ["loud"] and "words.gain" not in live.params
