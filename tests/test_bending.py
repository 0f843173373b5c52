"""Bends that come and go while a tiny model plays."""

from __future__ import annotations

import time

import numpy as np
import pytest

from instrument.parameters.params import BadValue
from instrument.state import saving
from instrument.state.patch import dump, loads
from tests.engine import Playing
from tests.oscing import complaint

PATCH = """
version: 2
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: grain, lever: self.out.noise}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip, layers: [1, 2]}}
modulators: [{lfo: sine, period: 1000 s, to: words.gain, depth: 0.1}]
values: {words.gain: 2.0, grain.noise: 0.3, grain.motion: 0.5}
snapshots: {high: {words.gain: 5, loud.gain: 1.5}}
"""


class Stage(Playing):
    def __init__(self, text: str = PATCH) -> None:
        super().__init__(text)
        self.said: list[str] = []
        self.engine.tell = self.said.append

    def until(self, fact, chunks: int = 200) -> None:
        for _ in range(chunks):
            if fact():
                return
            self.chunks(1)
            time.sleep(0.005)
        raise AssertionError(self.said)

    def ask(self, id: str, words: str) -> None:
        """Wish, and play until it is carried out or refused."""
        before = len(self.said)
        self.params.set(id, words, "osc")
        self.until(lambda: len(self.said) > before)

    @property
    def bends(self) -> list[str]:
        return [bend.name for bend in self.engine.stream.bank.bends]


def test_a_bend_comes_and_everything_else_stays():
    stage = Stage()
    stage.params.set("words.gain", 3.0, "midi")
    stage.params.set("words.tokens", "purple", "midi")
    before = {p.id: (p.base, p.version) for p in stage.params if "." in p.id and p.group in ("words", "loud", "grain")}
    walks = stage.engine.stream.bank._groups[1]
    stage.ask("bend.add", "ffn.hidden.gain brush")
    assert stage.bends == ["loud", "grain", "words", "brush"] and stage.said == ["added bend brush"]
    assert {id: (stage.params[id].base, stage.params[id].version) for id in before} == before
    assert stage.params["brush.gain"].base == 1 and stage.params["brush.on"].base is True
    assert stage.params["bend.4.amount"].id == "brush.gain"
    assert stage.engine.stream.bank._groups[1] is walks  # noise in motion goes on
    assert stage.params["bend.add"].base == ""


def test_a_neutral_bend_that_comes_changes_no_pixel():
    frames = []
    for add in (False, True):
        stage = Stage()
        stage.engine.keep_picture_time(20)  # the modulator is where it is in the other
        stage.chunks(2)
        if add:
            stage.params.set("bend.add", "ffn.hidden.gain")
            stage.engine.bending.tick()
            stage.engine.bending.carry_out(stage.engine.stream, stage.engine.stage.ids)
            stage.engine.bending._job.result()
        frames.append(stage.chunks(3))
        assert ("ffn_hidden_gain" in stage.bends) is add
    assert np.array_equal(*frames)


def test_it_is_played_at_once_and_goes():
    stage = Stage()
    stage.ask("bend.add", "self.out.gain echo")
    plain = Stage()
    stage.params.set("echo.gain", 0.0, "osc")
    assert not np.array_equal(stage.chunks(1), plain.chunks(1))
    stage.ask("bend.remove", "echo")
    assert "echo" not in stage.bends and "echo.gain" not in stage.params and "bend.4.amount" not in stage.params


def test_a_copy_has_the_values_and_is_off():
    stage = Stage()
    stage.params.set("words.layers", [2, 3], "osc")
    stage.ask("bend.duplicate", "words")
    assert stage.bends == ["loud", "grain", "words", "words2"]
    for field in ("gain", "tokens", "layers.center", "layers.width"):
        assert stage.params[f"words2.{field}"].base == stage.params[f"words.{field}"].base
    assert stage.params["words2.on"].base is False
    assert stage.engine.stream.bank.bends[3].scope == stage.engine.stream.bank.bends[2].scope


def test_undo_brings_a_bend_back_with_its_values_and_its_place():
    stage = Stage()
    stage.params.set("grain.noise", 0.7, "osc")
    stage.ask("bend.remove", "grain")
    assert stage.bends == ["loud", "words"] and stage.params["bend.2.amount"].id == "words.gain"
    stage.params.trigger("undo")
    stage.until(lambda: "grain" in stage.bends)
    assert stage.bends == ["loud", "grain", "words"] and stage.params["grain.noise"].base == 0.7
    stage.params.trigger("redo")
    stage.until(lambda: "grain" not in stage.bends)
    stage.params.trigger("undo")
    stage.until(lambda: "grain" in stage.bends)
    stage.params.trigger("undo")  # the knob before it
    stage.until(lambda: stage.params["grain.noise"].base == 0.3)


def test_a_modulator_waits_for_the_bend_it_moves():
    stage = Stage(PATCH.replace("to: words.gain", "to: [bend.3.amount, grain.noise]"))
    stage.params.set("lfo1.phase", 0.25)  # at its top
    stage.chunks(1)
    moved = stage.engine.heard["words.gain"]
    assert moved > stage.params["words.gain"].base
    stage.ask("bend.remove", "loud")  # what was third is second now
    stage.chunks(1)
    assert (
        stage.engine.heard["words.gain"] == pytest.approx(moved, rel=1e-4)
        and stage.params["lfo1.to"].base == "words.gain, grain.noise"
    )
    stage.ask("bend.remove", "words")
    assert stage.said[-1] == "removed bend words; lfo1 moved it, and will again when it is back"
    stage.chunks(1)
    gone = "lfo1: words.gain is gone, and left out; once it is back, all goes on as before"
    assert stage.engine.notices == [gone]
    assert stage.engine.heard["grain.noise"] > stage.params["grain.noise"].base  # the other target moves on
    stage.ask("bend.add", "self.map.gain words")  # another lever, the same name
    assert stage.said[-1] == "added bend words, which lfo1 moves"
    stage.chunks(1)
    assert stage.engine.notices == [] and stage.engine.heard["words.gain"] > stage.params["words.gain"].base
    assert len([line for line in stage.said if "lfo1" in line]) == 2


def test_a_modulator_comes_back_to_a_bend_that_undo_brings_back():
    stage = Stage()
    stage.params.set("lfo1.phase", 0.25)
    stage.chunks(1)
    moved = stage.engine.heard["words.gain"]
    stage.ask("bend.remove", "words")
    stage.params.trigger("undo")
    stage.until(lambda: "words" in stage.bends)
    stage.chunks(1)
    assert stage.engine.heard["words.gain"] == pytest.approx(moved, rel=1e-4) and stage.engine.notices == []


def test_solo_silences_the_others_and_no_switch_moves():
    stage, plain = Stage(), Stage(PATCH.replace("words.gain: 2.0", "words.gain: 1.0"))
    for each in (stage, plain):
        each.params.set("loud.gain", 1.4)
        each.params.set("grain.on", False)
    stage.params.set("loud.solo", True, "osc")
    plain.params.set("words.on", False)
    assert np.array_equal(stage.chunks(2), plain.chunks(2))
    assert stage.params["words.on"].base is True
    stage.params.set("loud.solo", False, "osc")
    assert not np.array_equal(stage.chunks(1), plain.chunks(1))


@pytest.mark.parametrize(
    ("id", "words", "answer"),
    [
        ("bend.add", "cross.map.gian", "did you mean 'cross.map.gain'?"),
        ("bend.add", "cross.map.gain words", "the name 'words' is taken"),
        ("bend.add", "cross.map.gain engine", "is taken"),
        ("bend.add", "cross.map.gain lfo1", "is taken"),
        ("bend.add", "cross.map.gain ../x", "is no name for a bend"),
        ("bend.add", "cross.map.gain two words", "is no name for a bend"),
        ("bend.remove", "wrods", "did you mean 'words'?"),
        ("bend.remove", "words grain", "no bend 'words grain'"),
        ("bend.duplicate", "nothing", "no bend 'nothing'"),
    ],
)
def test_what_cannot_be_is_answered_to_who_asked_and_nothing_changes(id, words, answer):
    stage = Stage()
    before, ids = stage.engine.stream.bank, stage.params.ids()
    with pytest.raises(BadValue, match=f"^{id}: ") as problem:
        stage.params.set(id, words, "page")
    assert answer in str(problem.value)
    assert answer in complaint(stage.params, id, *words.split())
    assert stage.params[id].base == ""
    stage.ask("bend.add", "ffn.in.gain late")  # and a good one right after works
    assert stage.said == ["added bend late"] and stage.params.ids()[: len(ids)] == ids
    assert stage.engine.stream.bank is not before


def test_a_wish_may_speak_of_one_made_just_before():
    stage = Stage()
    wishes = [("add", "ffn.in.gain one"), ("duplicate", "one two"), ("remove", "one"), ("remove", "words")]
    wishes.append(("add", "self.map.gain words"))  # a name that is free by then
    for what, words in wishes:
        stage.params.set(f"bend.{what}", words, "osc")
    stage.until(lambda: len(stage.said) == len(wishes))
    assert stage.bends == ["loud", "grain", "two", "words"] and "words.tokens" not in stage.params


def test_a_storm_is_bounded():
    stage = Stage()
    with pytest.raises(BadValue, match=r"wishes wait already; send 'ffn\.in\.gain' again in a moment"):
        for _ in range(100):
            stage.params.set("bend.add", "ffn.in.gain", "osc")
    stage.until(lambda: stage.bends[-1] == "ffn_in_gain32")


def test_several_wishes_are_carried_out_in_turn():
    stage = Stage()
    for words in ("ffn.in.gain one", "ffn.in.gain two", "ffn.in.gain three"):
        stage.params.set("bend.add", words, "osc")
        stage.engine.bending.tick()
    stage.until(lambda: len(stage.bends) == 6)
    assert stage.bends[3:] == ["one", "two", "three"]


def test_another_patch_in_between_does_not_lose_the_wish():
    stage = Stage()
    stage.params.set("bend.add", "ffn.in.gain late", "osc")
    stage.engine.bending.tick()
    stage.engine.bending.carry_out(stage.engine.stream, stage.engine.stage.ids)
    stage.engine.bending._job.exception()  # it is ready
    stage.engine.load(loads(PATCH.replace("loud", "soft")))
    stage.until(lambda: "late" in stage.bends)
    assert stage.bends == ["soft", "grain", "words", "late"]


def test_loading_a_patch_takes_all_that_came():
    stage = Stage()
    stage.ask("bend.add", "ffn.in.gain later")
    stage.engine.load(loads(PATCH))
    assert "later.gain" not in stage.params and "later.solo" not in stage.params
    assert stage.bends == ["loud", "grain", "words"]


def test_what_is_saved_has_the_bends_there_are_and_loads():
    stage = Stage()
    stage.ask("bend.add", "ffn.hidden.gain brush")
    stage.params.set("brush.gain", 3.0, "osc")
    stage.ask("bend.remove", "words")  # a snapshot and a modulator speak of it
    state = saving.as_patch(stage.engine.desk.playing, stage.params, stage.engine.console.snapshots)
    again = Stage(dump(state))
    assert again.bends == ["loud", "grain", "brush"] and again.params["brush.gain"].base == 3.0
    assert dict(again.engine.console.snapshots[1].values) == {"loud.gain": 1.5}


def test_a_modulator_that_spoke_of_a_bend_speaks_of_it_again_after_undo():
    lines = "[{lfo: sine, to: words.gain}, {follow: words.gain, to: loud.gain}, {hold: lfo1, to: grain.noise}]"
    stage = Stage(PATCH.replace("[{lfo: sine, period: 1000 s, to: words.gain, depth: 0.1}]", lines))

    def saved():
        return loads(dump(saving.as_patch(stage.engine.desk.playing, stage.params, stage.engine.console.snapshots)))

    stage.ask("bend.remove", "words")
    Stage(dump(saved()))  # it loads, though a follower has lost what it follows
    assert [(m.to, m.follow) for m in saved().modulators] == [("", None), ("loud.gain", ""), ("grain.noise", None)]
    stage.params.trigger("undo")
    stage.until(lambda: "words" in stage.bends)
    assert [m.to for m in saved().modulators] == ["words.gain", "loud.gain", "grain.noise"]
    assert saved().modulators[1].follow == "words.gain"


def test_a_snapshot_taken_with_a_new_bend_morphs_it():
    stage = Stage()
    stage.ask("bend.add", "ffn.hidden.gain brush")
    stage.params.set("brush.gain", 4.0, "osc")
    stage.params.trigger("snapshot.2.store")
    stage.chunks(1)
    stage.params.set("morph.to", 2)
    stage.params.set("morph.position", 0.001)
    stage.chunks(1)
    assert stage.params["brush.gain"].base == pytest.approx(1.0, abs=0.1)  # as it came
    stage.params.set("morph.position", 1)
    stage.chunks(1)
    assert stage.params["brush.gain"].base == 4.0
