"""Undo of a change of patch: what was played comes back as it was left."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from instrument.state.patch import loads
from tests.engine import Playing

FIRST = """
version: 2
prompt: a purple tulip swaying
seed: 3
bends: [{name: loud, lever: ffn.out.gain}]
modulators: [{lfo: sine, period: 1000 s, to: loud.gain, depth: 0, name: wave}]
snapshots: {calm: {loud.gain: 0.5}}
"""
SECOND = """
version: 2
prompt: a green moon
seed: 4
bends: [{name: words, lever: cross.map.gain}]
"""


class Show(Playing):
    def __init__(self) -> None:
        super().__init__(FIRST)
        self.said: list[str] = []
        self.engine.tell = self.said.append
        self.engine.sound_check([loads(FIRST, "first.yaml", "first"), loads(SECOND, "second.yaml", "second")])
        self.ask("patch.goto", 1)

    def ask(self, id: str, value: object = 1) -> None:
        self.params.set(id, value, "osc")
        for _ in range(2):
            self.engine.play_chunk()
        self.engine.finish()

    def until(self, fact) -> None:
        for _ in range(20):
            self.engine.play_chunk()
            if fact():
                self.engine.finish()
                return
        raise AssertionError(f"did not happen; {self.said}")

    @property
    def name(self) -> str:
        return self.engine.desk.playing.name

    def bases(self) -> dict[str, object]:
        return {each.id: each.base for each in self.params if each.kept}


@pytest.fixture
def show() -> Show:
    made = Show()
    yield made
    made.engine.desk.close()
    made.engine.bending.close()


def test_what_was_played_comes_back_as_it_was_left_and_the_other_again(show: Show) -> None:
    show.params.set("bend.add", "self.out.gain echo", "osc")
    show.until(lambda: "echo.gain" in show.params)
    show.params.set("loud.gain", 3.0, "osc")
    show.params.set("echo.gain", 2.0, "osc")
    show.params.set("prompt.text", "a blue star", "osc")
    show.params.set("snapshot.2.store", 1, "osc")
    show.until(lambda: 2 in show.engine.console.snapshots)
    left = show.bases()
    show.ask("patch.next")
    assert show.name == "second" and "echo.gain" not in show.params
    other = show.bases()
    show.params.set("words.gain", 5.0, "osc")
    show.ask("undo")
    assert show.name == "second" and show.bases() == other, "the latest change first"
    show.ask("undo")
    assert show.name == "first" and show.bases() == left and show.params["patch.goto"].base == 1
    assert sorted(show.engine.console.snapshots) == [1, 2]
    assert [bend.name for bend in show.engine.stream.bank.bends] == ["loud", "echo"]
    assert show.said[-1] == "now playing first, as it was left"
    show.ask("undo")
    assert show.said[-1] == "nothing to undo" and show.bases() == left
    show.ask("redo")
    assert show.name == "second" and show.bases() == other
    show.ask("undo")
    assert show.bases() == left
    show.params.set("loud.gain", 1.5, "osc")
    show.ask("redo")
    assert show.name == "first", "another change ends redo"


def test_a_reload_is_undone(show: Show, tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FIRST)
    show.engine.desk.folder = tmp_path
    show.params.set("patch.load", "mine", "osc")
    show.until(lambda: show.name == "mine")
    show.params.set("loud.gain", 3.0, "osc")
    show.params.set("patch.reload", 1, "osc")
    show.until(lambda: show.params["loud.gain"].base == 1.0)
    show.ask("undo")
    assert show.params["loud.gain"].base == 3.0


def test_undo_and_redo_between_two_chunks_leave_what_plays(show: Show) -> None:
    show.ask("patch.next")
    show.params.set("undo", 1, "osc")
    show.params.set("redo", 1, "osc")
    show.engine.play_chunk()
    assert show.name == "second"
    show.ask("undo")
    assert show.name == "first"


def test_what_comes_back_looks_as_it_did(show: Show) -> None:
    show.params.set("loud.gain", 2.0, "osc")
    show.params.set("cache.reset", 1, "osc")
    show.params.set("engine.reseed", 1, "osc")
    pictures = show.chunks(2)
    show.ask("patch.next")
    show.ask("undo")
    show.params.set("cache.reset", 1, "osc")
    show.params.set("engine.reseed", 1, "osc")
    assert np.array_equal(show.chunks(2), pictures)


def test_what_is_left_holds_no_bank(show: Show) -> None:
    show.params.set("bend.add", "self.out.gain echo", "osc")
    show.until(lambda: "echo.gain" in show.params)
    bank = weakref.ref(show.engine.stream.bank)
    show.ask("patch.next")
    show.chunks(2)
    gc.collect()
    assert bank() is None
    show.ask("undo")
    assert show.name == "first" and "echo.gain" in show.params


def test_a_patch_that_cannot_be_played_costs_no_undo(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    show.params.set("loud.gain", 3.0, "osc")

    def fails(*given: object) -> None:
        monkeypatch.undo()
        raise MemoryError

    monkeypatch.setattr(show.engine.desk, "played", fails)
    show.ask("patch.next")
    assert show.name == "first" and "what plays goes on" in show.said[-1]
    show.ask("undo")
    assert show.params["loud.gain"].base == 1.0
