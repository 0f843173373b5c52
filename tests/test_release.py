"""Nothing of a system is left once another has come on, or once the show has ended: however it was played."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from instrument.bench.toy import TOY, toy_system
from instrument.engine.inside import Inside
from instrument.mapping.rig import Rig
from instrument.outputs import parse
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines import replay
from pipelines.recipes import RECIPES, Recipe
from pipelines.stream import Stream
from pipelines.systems import System
from tests.playing import wait_until

OTHER = replace(TOY, name="other", config=replace(TOY.config, num_layers=2), width=96, height=64)
SONGS = [
    """
model: toy
prompt: a red star over city lights
prompt_list: [a moon, a tulip]
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: star, layers: [0, 1]}}
modulators: [{lfo: sine, period: 2 beats, to: words.gain, depth: 0.2}]
snapshots: {one: {words.gain: 2}, two: {loud.gain: 1.5}}
""",
    "model: toy\nprompt: a moon\nbends: [{name: grain, lever: self.out.noise}]",
]


class Recording:
    """Stands in for a CUDA graph: it has inputs and a result of its own, and what it was made from."""

    made: list[weakref.ref] = []

    def __init__(self, forward: replay.Forward, x: torch.Tensor, t: torch.Tensor) -> None:
        self._forward, self._x, self._t, self._out = forward, x.clone(), t.clone(), forward(x, t)
        self.made.append(weakref.ref(self))

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self._x.copy_(x)
        self._t.copy_(t)
        return self._out.copy_(self._forward(self._x, self._t))


def plain(row: Recipe) -> System:
    return toy_system(row)


def recorded(row: Recipe) -> System:
    return replace(toy_system(row), recorded=True)


def compiled(row: Recipe) -> System:
    system = toy_system(row)
    for block in system.model.blocks:
        block.compile(dynamic=False, backend="eager")
    return system


@pytest.fixture(params=[plain, recorded, compiled], ids=lambda form: form.__name__)
def show(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Show]]:
    """A show that plays, in a list that may be emptied."""
    monkeypatch.setattr(replay, "_captured", lambda: Recording)
    monkeypatch.setitem(RECIPES, "toy", TOY)
    monkeypatch.setitem(RECIPES, "other", OTHER)
    Recording.made.clear()
    songs = [loads(text, name=f"song{number}") for number, text in enumerate(SONGS)]
    made = Show(request.param(TOY), songs[0], [parse("dummy?keep=2")], None, 1, request.param)
    made.engine.switch.free = lambda device: 2**40
    made.engine.sound_check(songs)
    made.start(Doors("127.0.0.1", 0, 0, (), False, "local", tmp_path), Rig(made.params))
    shows = [made]
    del made
    try:
        yield shows
    finally:
        for each in shows:
            each.close()


def parts(show: Show) -> dict[str, weakref.ref]:
    """Everything large that a system and its stream are made of."""
    system, stream = show.system, show.engine.stream
    found = {
        "system": system,
        "stream": stream,
        "passes": stream._passes,
        "cache": stream.cache,
        "keys": stream.cache.k,
        "bank": stream.bank,
        "model": system.model,
        "weights": system.model.blocks[0].ffn[0].weight,
        "decoder": system.decoder,
        "encoder": system.encoder,
        "text": stream._speech.text.k[0],
        "latents": stream._past,
    }
    return {name: weakref.ref(part) for name, part in found.items()}


def lived(show: Show) -> None:
    """All that a player does and that may hold on to a system."""
    params = show.params
    until(show, lambda: show.engine.timing.chunks > 6)
    inside = Inside(show.engine, dict)
    for step in (0, None):
        inside.ask("map", 0, step, None)
        inside.ask("neurons", 0, step, 8)
    params.set("prompt.time", 0.2, "osc")
    params.set("prompt.text", "a tulip", "osc")
    params.set("bend.add", "cross.value.gain more", "osc")
    until(show, lambda: "more.gain" in params)
    params.set("bend.remove", "loud", "osc")
    until(show, lambda: "loud.gain" not in params)
    params.trigger("undo")
    until(show, lambda: "loud.gain" in params)
    for number, name in ((2, "song1"), (1, "song0")):
        params.set("patch.goto", number, "osc")
        until(show, lambda name=name: show.engine.stage.patch.name == name)
    chunks = show.engine.timing.chunks
    until(show, lambda: show.engine.timing.chunks > chunks + 6)


def until(show: Show, true: Callable[[], object]) -> None:
    assert wait_until(true), show.status()


def gone(watched: dict[str, weakref.ref]) -> list[str]:
    """What is still there after a while: a thread may be at the end of something."""

    def left() -> list[str]:
        gc.collect()
        return [name for name, ref in watched.items() if ref() is not None]

    wait_until(lambda: not left(), 10)
    return left()


def test_after_a_switch_nothing_is_left_of_what_played(show: list[Show]) -> None:
    lived(show[0])
    watched = {**parts(show[0]), **{f"recording {n}": ref for n, ref in enumerate(Recording.made)}}
    show[0].params.set("engine.model", "other", "osc")
    until(show[0], lambda: show[0].system.recipe.name == "other")
    chunks = show[0].engine.timing.chunks
    until(show[0], lambda: show[0].engine.timing.chunks > chunks + 2)
    assert gone(watched) == []
