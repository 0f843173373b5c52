"""A chunk that comes apart: it stays out of the cache, there is a picture again at once, and the bend that did it is
found and mute until it is touched."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.engine import guard, loading
from instrument.engine.guard import smallest
from instrument.state.patch import loads
from pipelines.bends.fold import Product
from pipelines.bends.lever import Lever, discover, lever
from pipelines.guard import FULL, fault_of, saturation
from pipelines.recipes import HOUSE
from pipelines.spec import ControlSpec
from pipelines.stream import Stream
from pipelines.systems import open_system
from tests.engine import Playing
from tests.playing import wait_until
from tests.tiny import RECIPE, stream

DEADLY = 4.0  # the gain from which the lever below breaks everything


def broken(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Pass everything on, or, from a gain on, nothing that is a number."""
    return torch.where(gain[0, 0] > DEADLY, float("nan"), x)


def throwing(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Pass everything on, or, from a gain on, reach beyond the end of a tensor."""
    return x if gain[0, 0] <= DEADLY else x + gain[9]


BROKEN = lever("break", at={"ffn": "ffn.out"}, fold=Product("gain"), amounts={"gain": ControlSpec(0, 8, 1)})(broken)[0]

THROWS = lever("throw", at={"ffn": "ffn.out"}, fold=Product("gain"), amounts={"gain": ControlSpec(0, 8, 1)})(throwing)[
    0
]

PATCH = """
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: a, lever: ffn.hidden.gain}
  - {name: bad, lever: ffn.break}
  - {name: c, lever: cross.map.gain, scope: {tokens: tulip}}
  - {name: d, lever: self.out.noise}
values: {a.gain: 1.5, c.gain: 2.0, d.noise: 0.2}
"""


@pytest.fixture
def levers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The levers that break things among the others."""
    every: dict[str, Lever] = {**discover(), BROKEN.id: BROKEN, THROWS.id: THROWS}
    monkeypatch.setattr(loading, "discover", lambda: every)


def finite(frames: np.ndarray) -> bool:
    return frames.std() > 1


def search(playing: Playing, told: list[str]) -> None:
    """Play on until the search has said something."""
    before, end = len(told), time.monotonic() + 60
    while len(told) == before and time.monotonic() < end:
        playing.engine.play_chunk()
        time.sleep(0.02)
    playing.engine.finish()


def test_what_counts_as_come_apart() -> None:
    x = torch.randn(1, 16, 1, 8, 12)
    assert fault_of(x, 4.0)() == "" and fault_of(x, None)() == ""
    x[0, 0, 0, 0, 0] = float("nan")
    assert fault_of(x, 4.0)() == "not finite"
    x[0, 0, 0, 0, 0] = float("inf")
    assert fault_of(x, 4.0)() == "not finite"
    x = torch.randn(1, 16, 1, 8, 12)
    part = x.flatten()[: round(FULL * x.numel()) + 1]
    part.fill_(-4.0)
    assert saturation(x, 4.0) > FULL and fault_of(x, 4.0)() == "saturated" and fault_of(x, None)() == ""
    assert fault_of(torch.full((2, 3), 4.0).bfloat16(), 4.0)() == "saturated"


def test_a_saturated_chunk_never_enters_the_cache() -> None:
    playing = stream(recipe=replace(RECIPE, latent_limit=0.05))
    for _ in playing.denoise():
        pass
    assert playing.finish() is None and playing.fault == "saturated"
    assert playing.cache.end == 0 and "saturated" in playing.notice


def test_the_bend_at_fault_is_found_named_and_mute_until_touched(levers: None) -> None:
    playing, told = Playing(PATCH), []
    playing.engine.tell = told.append
    playing.chunks(2)
    playing.params.set("bad.gain", 6.0)
    shown = len(playing.frames)
    playing.engine.play_chunk()
    playing.engine.finish()
    assert len(playing.frames) == shown  # the last good frame is held
    assert playing.engine.stream.cache.end == 0
    assert finite(playing.chunks(1))  # at once, whatever the knobs say
    assert playing.engine.guard.muted
    search(playing, told)
    assert told == ["bad made a chunk come apart: mute until touched"]
    assert playing.engine.guard.muted == ["bad"]
    assert any("bad is mute" in notice for notice in playing.engine.notices)
    playing.chunks(1)
    assert playing.engine.heard["bad.on"] is False and playing.engine.heard["a.on"] is True
    assert playing.params["bad.gain"].base == 6.0 and playing.params["bad.on"].base is True  # as the hand has set it
    playing.params.set("bad.gain", 2.0)
    assert finite(playing.chunks(1))
    assert playing.engine.guard.muted == [] and not playing.engine.guard.notices


def test_a_bend_whose_lever_throws_is_found_named_and_mute_until_touched(levers: None) -> None:
    playing, told = Playing(PATCH.replace("ffn.break", "ffn.throw")), []
    engine, params, shown = playing.engine, playing.params, playing.frames
    engine.tell = told.append
    playing.chunks(1)
    show = threading.Thread(target=engine.run)
    show.start()
    try:
        params.set("bad.gain", 6.0)
        assert wait_until(lambda: told) and engine.guard.muted == ["bad"]
        assert told == [
            "bad made a chunk come apart (ffn.throw: IndexError in test_guard.py, line "
            f"{throwing.__code__.co_firstlineno + 2}: index 9 is out of bounds for dimension 0 with size 1): "
            "mute until touched"
        ]
        before = len(shown)
        assert wait_until(lambda: len(shown) > before + 8) and not engine.fault  # with the knob where it is
        assert params["bad.gain"].base == 6.0 and engine.heard["bad.on"] is False and engine.heard["a.on"] is True
        params.set("bad.gain", 2.0)
        assert wait_until(lambda: engine.guard.muted == [] and engine.heard["bad.gain"] == 2.0)
        before = len(shown)
        assert wait_until(lambda: len(shown) > before + 8) and not engine.fault
    finally:
        engine.stop()
        show.join()
    assert finite(np.stack(shown))


def test_a_touch_during_the_search_already_counts(levers: None) -> None:
    playing, told = Playing(PATCH), []
    playing.engine.tell = told.append
    playing.params.set("bad.gain", 6.0)
    playing.engine.play_chunk()
    playing.params.set("bad.gain", 1.5)
    search(playing, told)
    playing.chunks(1)
    assert told and playing.engine.guard.muted == []


def test_panic_and_another_patch_bring_everything_back(levers: None) -> None:
    playing, told = Playing(PATCH), []
    playing.engine.tell = told.append
    playing.params.set("bad.gain", 6.0)
    playing.engine.play_chunk()
    search(playing, told)
    assert playing.engine.guard.muted == ["bad"]
    playing.params.trigger("panic")
    assert finite(playing.chunks(1)) and playing.engine.guard.muted == []
    playing.params.set("bad.gain", 6.0)
    playing.engine.play_chunk()
    playing.engine.load(loads("prompt: a moon\nbends: [{name: b, lever: self.out.gain}]"))
    assert finite(playing.chunks(2)) and playing.engine.guard.muted == []


def test_searches_nobody_waits_for_any_more_are_never_begun(levers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their thread also loads models."""
    playing, told, free, begun = Playing(PATCH), [], threading.Event(), []
    playing.engine.tell = told.append
    real = guard.culprits
    monkeypatch.setattr(guard, "culprits", lambda *given: begun.append(given) or real(*given))
    playing.engine.beside.submit(free.wait, 60)
    for _ in range(5):
        playing.params.set("bad.gain", 6.0)
        playing.engine.play_chunk()
        assert playing.engine.guard.muted
        playing.params.trigger("panic")
        assert finite(playing.chunks(1)) and playing.engine.guard.muted == []
    playing.params.set("bad.gain", 6.0)
    playing.engine.play_chunk()
    free.set()
    search(playing, told)
    assert told == ["bad made a chunk come apart: mute until touched"] and len(begun) == 1


def test_a_search_under_way_is_given_up(levers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    playing, begun, go_on, tried = Playing(PATCH), threading.Event(), threading.Event(), []
    real = guard.private

    def held(scene: guard.Scene) -> Stream:
        begun.set()
        assert go_on.wait(60)
        made = real(scene)
        made.denoise = lambda: tried.append(made) or Stream.denoise(made)
        return made

    monkeypatch.setattr(guard, "private", held)
    playing.params.set("bad.gain", 6.0)
    playing.engine.play_chunk()
    assert begun.wait(60)
    playing.params.trigger("panic")
    playing.chunks(1)
    go_on.set()
    playing.engine.beside.submit(int).result(60)
    assert not tried


def test_a_model_that_is_broken_itself_is_told_apart() -> None:
    playing, told = Playing(), []
    playing.engine.tell = told.append
    playing.chunks(1)
    weight = playing.engine.stream.model.head.head.weight
    good = weight.clone()
    weight.fill_(float("nan"))
    search(playing, told)
    assert told == ["a chunk came apart, and does so without any bend: the model or its prompt is at fault"]
    weight.copy_(good)
    assert finite(playing.chunks(2))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 30), data=st.data())
def test_the_fewest_that_fail_together_are_found(count: int, data: st.DataObject) -> None:
    names = [f"b{n}" for n in range(count)]
    guilty = set(data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
    asked = []

    def fails(chosen):
        asked.append(chosen)
        return guilty <= set(chosen)

    assert set(smallest(names, fails)) == guilty
    if len(guilty) == 1:
        assert len(asked) <= 2 * count.bit_length() + 1


# --- recovery: every lever, at every end ---


def ends(found: Lever) -> list[tuple[str, float]]:
    specs = ((name, spec) for name, spec in found.amounts.items() if isinstance(spec, ControlSpec))
    return [(name, end) for name, spec in specs for end in (spec.lo, spec.hi) if end != spec.default]


@pytest.mark.parametrize("id", discover())
def test_a_picture_comes_back_within_two_chunks_of_any_value(id: str) -> None:
    playing = Playing(f"prompt: a moon\nbends: [{{name: b, lever: {id}}}]")
    for name, end in ends(discover()[id]):
        playing.params.set(f"b.{name}", end)
        for _ in range(2):
            playing.engine.play_chunk()
        playing.engine.finish()
        before = len(playing.frames)
        playing.params.set(f"b.{name}", discover()[id].amounts[name].default)
        for _ in range(2):
            playing.engine.play_chunk()
        playing.engine.finish()
        assert len(playing.frames) - before >= 4 and finite(np.stack(playing.frames[-4:])), (name, end)
        assert playing.engine.stream.fault == ""


def test_with_every_lever_at_its_far_end_at_once_the_engine_plays_on() -> None:
    bends = "\n".join(f"  - {{name: b{n}, lever: {id}}}" for n, id in enumerate(discover()))
    playing = Playing(f"prompt: a moon\nbends:\n{bends}")
    for parameter in playing.params:
        if parameter.group.startswith("b") and isinstance(parameter.spec, ControlSpec):
            playing.params.set(parameter.id, parameter.spec.hi)
    for _ in range(3):
        playing.engine.play_chunk()
    playing.params.trigger("panic")
    assert finite(playing.chunks(2))


@lru_cache(maxsize=1)
def house() -> Stream:
    system = open_system(HOUSE, torch.device("cpu"), torch.float32)
    made = Stream(system.model, system.decoder, HOUSE, seed=5)
    made.read_prompt(system.encoder.encode("a red star spinning above city lights"))
    return made


def test_the_real_models_latents_are_far_from_saturated() -> None:
    playing = house()
    for _ in range(3):
        for _ in playing.denoise():
            pass
        assert saturation(playing._latents, HOUSE.latent_limit) < FULL / 20
        playing.commit()


# --- panic, in steps ---


def test_panic_ends_the_chunk_under_way_at_its_next_step() -> None:
    playing = Playing()
    playing.params.set("loud.gain", 8.0)
    playing.chunks(2)
    steps: list[tuple[float, int]] = []
    real = playing.engine.stream._forward

    def counted(x, timestep, place, step, bias):
        steps.append((float(playing.engine.heard["loud.gain"]), place.start))
        if len(steps) == 2:
            playing.params.trigger("panic")  # while the second step runs
        return real(x, timestep, place, step, bias)

    playing.engine.stream._forward = counted
    frames = playing.chunks(1)
    count = playing.engine.stream.steps
    assert [gain for gain, _ in steps] == [8.0, 8.0] + [1.0] * count
    assert [start for _, start in steps] == [2, 2] + [0] * count  # with an empty cache
    assert frames.shape[0] == 4 and playing.engine.stream.cache.end == 1


def test_a_panic_button_that_sticks_does_not_stop_the_picture() -> None:
    playing, going = Playing(), threading.Event()

    def press() -> None:
        while not going.wait(0.0005):
            playing.params.trigger("panic")

    thread = threading.Thread(target=press)
    thread.start()
    try:
        assert playing.chunks(3).shape[0] == 12
    finally:
        going.set()
        thread.join()


def test_no_trigger_beside_panic_is_lost() -> None:
    playing = Playing("prompt: a moon\nbends: [{name: b, lever: self.out.gain}]\nsnapshots: {one: {b.gain: 3}}")
    playing.chunks(1)
    real = playing.engine.stream._forward

    def pressed(*given):
        playing.engine.stream._forward = real
        playing.params.trigger("panic")
        playing.params.trigger("snapshot.1.recall")
        playing.params.trigger("cache.reset")
        return real(*given)

    playing.engine.stream._forward = pressed
    playing.chunks(1)
    assert playing.params["b.gain"].base == 3 and playing.engine.stream.cache.end == 1
    playing.chunks(1)
    assert playing.engine.stream.cache.end == 1  # reset waited for the next chunk
