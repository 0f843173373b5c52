"""Nothing of a system is left once another has come on, or once the show has ended: however it was played."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from instrument import commands
from instrument.__main__ import main
from instrument.bench.toy import TOY, Words, toy_system
from instrument.engine.inside import Inside
from instrument.mapping.rig import Rig
from instrument.outputs import parse
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines import replay
from pipelines.offload import stream_blocks
from pipelines.recipes import RECIPES, Recipe
from pipelines.systems import System
from tests import tiny
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

    made: ClassVar[list[weakref.ref]] = []

    def __init__(self, forward: replay.Forward, x: torch.Tensor, t: torch.Tensor) -> None:
        self._forward, self._x, self._t, self._out = forward, x.clone(), t.clone(), forward(x, t)
        self.made.append(weakref.ref(self))

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self._x.copy_(x)
        self._t.copy_(t)
        return self._out.copy_(self._forward(self._x, self._t))


def plain(row: Recipe) -> System:
    return toy_system(row)


class SlowWords(Words):
    """Asked in a thread of its own."""

    quick = False


def recorded(row: Recipe) -> System:
    return replace(toy_system(row), recorded=True, encoder=SlowWords())


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
    made.engine.watch(str(clip(tmp_path)))
    made.start(Doors("127.0.0.1", 0, 0, (), False, "local", tmp_path), Rig(made.params))
    shows = [made]
    del made
    try:
        yield shows
    finally:
        for each in shows:
            each.close()


def clip(folder: Path) -> Path:
    """Moving pictures to start from."""
    output = parse(f"file:{folder}/clip.mkv")
    output.open(64, 48, 24)
    for shade in range(40):
        output.send(np.full((48, 64, 3), 6 * shade, np.uint8))
    output.close()
    return output.path


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
    params.set("video.strength", 0.6, "osc")
    params.set("prompt.time", 0.2, "osc")
    params.set("prompt.text", "a tulip", "osc")
    params.set("bend.add", "cross.value.gain more", "osc")
    until(show, lambda: "more.gain" in params)
    params.set("bend.remove", "loud", "osc")
    until(show, lambda: "loud.gain" not in params)
    params.trigger("undo")
    until(show, lambda: "loud.gain" in params)
    until(show, lambda: show.engine.video._last is not None)
    for number, name in ((2, "song1"), (1, "song0")):
        params.set("patch.goto", number, "osc")
        until(show, lambda name=name: show.engine.stage.patch.name == name)
    on(show, 6)


def until(show: Show, true: Callable[[], object]) -> None:
    assert wait_until(true), show.status()


def left(watched: dict[str, weakref.ref], seconds: float = 10) -> list[str]:
    """What is still there after a while: a thread may be at the end of something."""

    def there() -> list[str]:
        return [name for name, ref in watched.items() if ref() is not None]

    wait_until(lambda: not there(), seconds)
    return there()


@contextmanager
def no_collector() -> Iterator[None]:
    """What goes here goes because nobody holds it: a card's memory does not wait for the collector of cycles."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_after_a_switch_nothing_is_left_of_what_played(show: list[Show]) -> None:
    lived(show[0])
    watched = {**parts(show[0]), **{f"recording {n}": ref for n, ref in enumerate(Recording.made)}}
    with no_collector():
        play_other(show[0])
        if show[0].engine.switch.open_system is compiled:
            gc.collect()  # torch's compiled modules hold themselves
        assert left(watched) == []


def test_after_a_change_of_size_only_the_weights_are_left(show: list[Show]) -> None:
    lived(show[0])
    watched = parts(show[0])
    kept = {"model", "weights", "decoder", "encoder"}
    with no_collector():
        show[0].params.set("engine.size", "96x64", "osc")
        until(show[0], lambda: show[0].system.recipe.width == 96)
        on(show[0], 3)
        assert left({name: ref for name, ref in watched.items() if name not in kept}) == []
        assert set(left({name: watched[name] for name in kept}, 0)) == kept


def test_after_the_end_nothing_is_left_of_the_show(show: list[Show]) -> None:
    lived(show[0])
    watched = {**parts(show[0]), "engine": weakref.ref(show[0].engine), "show": weakref.ref(show[0])}
    show.pop().close()
    gc.collect()
    assert left(watched) == []
    assert not {thread.name for thread in threading.enumerate()} & {"engine", "pacer", "outputs", "osc", "surface"}


def test_what_a_failed_switch_had_loaded_is_let_go(show: list[Show], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure holds the frames it went through, and those what they had made."""
    loaded: list[weakref.ref] = []
    opened = show[0].engine.switch.open_system

    def refusing(row: Recipe) -> System:
        system = opened(row)
        loaded.append(weakref.ref(system.model))
        monkeypatch.setattr(system.encoder, "encode", lambda text: 1 / 0)
        return system

    show[0].engine.switch.open_system = refusing
    gc.disable()
    try:
        show[0].params.set("engine.model", "other", "osc")
        until(show[0], lambda: any("ZeroDivisionError" in line for line in show[0].status()["warnings"]))
        monkeypatch.undo()
        on(show[0], 2)
        assert left({"model": loaded[0]}) == [] and show[0].system.recipe.name == "toy"
    finally:
        gc.enable()


def test_without_memory_for_two_everything_is_free_before_the_other_is_loaded(show: list[Show]) -> None:
    lived(show[0])
    watched = {name: ref for name, ref in parts(show[0]).items() if name in ("keys", "weights", "text")}
    watched |= {f"recording {n}": ref for n, ref in enumerate(Recording.made)}
    opened, seen = show[0].engine.switch.open_system, []

    def looking(row: Recipe) -> System:
        seen.append(left(watched, 0))
        return opened(row)

    show[0].engine.switch.open_system, show[0].engine.switch.free = looking, lambda device: 0
    play_other(show[0])
    assert seen == [[]]


def test_streamed_blocks_are_let_go_with_their_memory() -> None:
    stream = tiny.stream()
    stream_blocks(stream.model, torch.device("cpu"), 1)
    tiny.play(stream, 2)
    blocks = stream.model.blocks
    watched = {f"home {n}": weakref.ref(home) for n, home in enumerate(blocks._homes)}
    watched |= {f"place {n}": weakref.ref(place.memory) for n, place in enumerate(blocks._places)}
    del blocks
    assert len(left(watched, 0)) == 4
    stream.let_go()
    assert left(watched, 0) == [] and stream.bank.bends == () and stream.grid.height == 4


def test_the_command_holds_nothing_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(RECIPES, "toy", TOY)
    monkeypatch.setitem(RECIPES, "other", OTHER)
    monkeypatch.setattr(commands, "opener", lambda options: plain)
    shows: list[Show] = []
    found: list[list[str]] = []

    class Seen(Show):
        def start(self, doors: Doors, rig: Rig) -> None:
            shows.append(self)
            super().start(doors, rig)

    def watch(*around: object) -> None:
        """In the middle of the show."""
        watched = parts(shows[0])
        play_other(shows[0])
        gc.collect()
        found.append(left(watched))

    monkeypatch.setattr(commands, "Show", Seen)
    monkeypatch.setattr(commands, "watch", watch)
    song = tmp_path / "song.yaml"
    song.write_text(SONGS[0])
    ports = ["--osc-port", "0", "--page-port", "0", "--no-mdns"]
    assert main(["play", "--patch", str(song), "--json", "--out", "dummy", *ports]) == 0
    assert found == [[]]


def play_other(show: Show) -> None:
    show.params.set("engine.model", "other", "osc")
    until(show, lambda: show.system.recipe.name == "other")
    on(show, 3)


def on(show: Show, chunks: int) -> None:
    """Play so many more."""
    end = show.engine.timing.chunks + chunks
    until(show, lambda: show.engine.timing.chunks >= end)
