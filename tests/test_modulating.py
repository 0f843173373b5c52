"""Modulators that come and go while a tiny model plays."""

from __future__ import annotations

import json

import pytest

from instrument.modulation.modspec import KINDS, described, named, read_line
from instrument.parameters.params import BadValue
from instrument.state import saving
from instrument.state.patch import dump, loads
from tests.oscing import complaint
from tests.test_bending import Stage as Bare

PATCH = """
version: 2
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip, layers: [1, 2]}}
modulators:
  - {lfo: sine, rate: 0.1, to: words.gain, depth: 0.1}
  - {lfo: saw, rate: 0.02, to: loud.gain, depth: 0}
  - {follow: lfo1, rise: 9 s, fall: 9 s}
snapshots: {high: {words.gain: 5, lfo1.depth: 0.2}}
"""


class Stage(Bare):
    def __init__(self, text: str = PATCH) -> None:
        super().__init__(text)
        self.now = 100.0
        self.engine.clock = lambda: self.now

    def listen(self, seconds: float = 0.0) -> dict:
        """One step's worth of listening, later; what is heard."""
        self.now += seconds
        self.engine._listen()
        return self.engine.heard

    def ask(self, id: str, words: str) -> None:
        self.params.set(id, words, "osc")
        self.listen()

    @property
    def there(self) -> list[str]:
        assert set(self.engine.console.rack.names) == set(named(self.engine.desk.playing.modulators))
        return list(self.engine.console.rack.kinds)

    def saved(self):
        state = saving.as_patch(self.engine.desk.playing, self.params, self.engine.console.snapshots)
        return loads(dump(state))


def test_one_comes_is_heard_at_once_and_the_others_go_on():
    stage, other = Stage(), Stage()
    for each in (stage, other):
        each.listen()
        each.listen(3)
    stage.ask("modulator.add", "lfo: square, to: loud.gain, depth: 0.25, name: beats")
    assert stage.there == ["lfo1", "lfo2", "follow1", "beats"] and stage.said == ["added modulator beats"]
    assert stage.params["beats.depth"].base == 0.25 and stage.params["beats.depth"].group == "beats"
    assert stage.params["modulator.add"].base == ""
    heard, before = stage.listen(), other.listen()
    assert heard["loud.gain"] > before["loud.gain"] == 1
    assert stage.engine.console.rack.signals.items() >= other.engine.console.rack.signals.items()
    assert heard["words.gain"] == before["words.gain"]
    heard, before = stage.listen(2.5), other.listen(2.5)  # also where they are some time later
    assert heard["words.gain"] == before["words.gain"] and heard["words.gain"] != 1
    assert stage.engine.console.rack.signals.items() >= other.engine.console.rack.signals.items()
    assert stage.chunks(1).shape[0] > 0


def test_names_are_given_and_stay_when_another_goes():
    stage = Stage()
    stage.ask("modulator.remove", "lfo1")
    assert stage.there == ["lfo2", "follow1"] and "lfo1.depth" not in stage.params
    assert "lfo1" in "".join(stage.engine.notices)  # what followed it has nothing to follow
    stage.ask("modulator.add", "{lfo: walk, to: [loud.gain, words.gain]}")
    assert stage.there == ["lfo2", "follow1", "lfo1"]
    assert [spec.name for spec in stage.saved().modulators] == ["lfo2", "follow1", "lfo1"]
    again = Stage(dump(stage.saved()))
    assert again.there == ["lfo2", "follow1", "lfo1"] and again.params["lfo1.to"].base == "loud.gain, words.gain"


def test_what_is_saved_after_one_went_loads_and_speaks_of_it_no_more():
    stage = Stage()
    stage.ask("modulator.remove", "lfo1")
    saved = stage.saved()
    assert saved.modulators[1].follow == "" and saved.snapshots == {"high": {"words.gain": 5}}
    assert Stage(dump(saved)).engine.notices == []


def test_undo_brings_one_back_as_it_was_and_redo_takes_it_away():
    stage = Stage()
    stage.params.set("lfo1.depth", 0.7, "osc")
    before = stage.engine.desk.playing
    stage.ask("modulator.remove", "lfo1")
    stage.params.trigger("undo")
    stage.listen()
    stage.listen()
    assert stage.there == ["lfo1", "lfo2", "follow1"] and stage.params["lfo1.depth"].base == 0.7
    assert stage.engine.desk.playing == before and stage.saved().modulators[2].follow == "lfo1"
    stage.params.trigger("redo")
    stage.listen()
    stage.listen()
    assert stage.there == ["lfo2", "follow1"]
    for _ in range(2):  # the removal, then the knob before it
        stage.params.trigger("undo")
        stage.listen()
        stage.listen()
    assert stage.params["lfo1.depth"].base == 0.1
    stage.ask("modulator.add", "lfo: sine, name: new")
    stage.params.trigger("undo")
    stage.listen()
    stage.listen()
    assert "new" not in stage.there and "new.on" not in stage.params


def test_a_copy_has_the_values_and_is_off():
    stage = Stage()
    stage.params.set("lfo1.rate", 3.0, "osc")
    stage.ask("modulator.duplicate", "lfo1")
    stage.ask("modulator.duplicate", "lfo1 wobble")
    assert stage.there == ["lfo1", "wobble", "lfo", "lfo2", "follow1"]
    assert stage.params["wobble.rate"].base == 3.0 and stage.params["wobble.on"].base is False


@pytest.mark.parametrize(
    ("id", "words", "answer"),
    [
        ("modulator.add", "lfo: sinus", "lfo: should be 'sine', 'triangle'"),
        ("modulator.add", "lfo: sinus", "not 'sinus'"),
        ("modulator.add", "lfo: sine, to: words.gian", "did you mean 'words.gain'?"),
        ("modulator.add", "lfo: sine, to: prompt.text", "prompt.text is a text"),
        ("modulator.add", "lfo: sine, depth: 7", "depth: should be less than or equal to 1, not 7"),
        ("modulator.add", "lfo: sine, dept: 1", "did you mean 'depth'?"),
        ("modulator.add", "lfo: sine, to: words.gain, loud.gain", "write to: [words.gain, loud.gain]"),
        ("modulator.add", "lfo: sine, name: words", "the name 'words' is taken"),
        ("modulator.add", "lfo: sine, name: panic", "the name 'panic' is taken"),
        ("modulator.add", "lfo: sine, name: ../x", "should be one word"),
        ("modulator.add", "follow: lof1", "follow: no signal 'lof1'; did you mean 'lfo1'?"),
        ("modulator.add", "envelope: ad, by: tuesday", "by: nothing called 'tuesday' can fire"),
        ("modulator.add", "to: words.gain", "give exactly one kind: lfo, envelope"),
        ("modulator.add", "sine", "for example lfo: sine, period: 8 beats"),
        ("modulator.add", "{lfo: sine", "for example lfo: sine, period: 8 beats"),
        ("modulator.remove", "lfo7", "no modulator 'lfo7'; did you mean 'lfo"),
        ("modulator.duplicate", "lfo1 two words", "'two words' is no name for a modulator"),
    ],
)
def test_what_cannot_be_is_answered_to_who_asked_and_nothing_changes(id, words, answer):
    stage = Stage()
    patch, ids = stage.engine.desk.playing, stage.params.ids()
    with pytest.raises(BadValue, match=f"^{id}: ") as problem:
        stage.params.set(id, words, "osc")
    assert answer in str(problem.value)
    assert answer in complaint(stage.params, id, words)
    stage.listen()
    assert stage.engine.desk.playing is patch and stage.params.ids() == ids
    stage.ask("modulator.add", "lfo: sine")  # and a good one right after works
    assert "lfo3" in stage.there


def test_it_may_speak_of_itself_and_of_the_others():
    stage = Stage()
    stage.ask("modulator.add", "lfo: sine, to: lfo3.rate, depth: 0.1")
    stage.ask("modulator.add", "hold: lfo3, to: lfo1.depth, by: bar")
    assert stage.there[-2:] == ["lfo3", "hold1"] and stage.engine.notices == []


def test_wishes_that_meet_in_one_step_are_all_carried_out_in_order():
    stage = Stage()
    for number in range(5):
        stage.params.set("modulator.add", f"lfo: sine, name: m{number}", "osc")
    stage.params.set("modulator.add", "lfo: sine, name: m4", "page")  # which is taken by then
    stage.params.set("modulator.remove", "lfo2", "page")
    stage.listen()
    assert stage.there == ["lfo1", "follow1", *(f"m{number}" for number in range(5))]
    assert stage.said[5] == "the name 'm4' is taken; choose another"


def test_a_storm_is_bounded():
    stage = Stage()
    with pytest.raises(BadValue, match="wishes are waiting already"):
        for _ in range(100):
            stage.params.set("modulator.add", "lfo: sine", "osc")
    stage.listen()
    while len(stage.engine.desk.playing.modulators) < 64:
        stage.ask("modulator.add", "lfo: sine")
    with pytest.raises(BadValue, match="there are 64 modulators already; remove one first"):
        stage.params.set("modulator.add", "lfo: sine", "osc")


def test_a_bend_that_comes_meanwhile_and_a_modulator_do_not_lose_each_other():
    stage = Stage()
    stage.params.set("bend.add", "ffn.in.gain late", "osc")
    stage.engine.bending.tick()
    stage.engine.bending.carry_out(stage.engine.stream, stage.engine.stage.ids)
    stage.engine.bending._job.exception()  # it is ready
    stage.ask("modulator.add", "lfo: sine, to: words.gain, name: meanwhile")
    stage.until(lambda: "late" in stage.bends)
    assert "meanwhile" in stage.there and [bend.name for bend in stage.saved().bends][-1] == "late"
    stage.engine.load(loads(PATCH))
    assert stage.there == ["lfo1", "lfo2", "follow1"] and "meanwhile.on" not in stage.params


def test_a_snapshot_taken_with_a_new_one_recalls_it():
    stage = Stage()
    stage.ask("modulator.add", "lfo: sine, to: words.gain, name: new, depth: 0.2")
    stage.params.trigger("snapshot.2.store")
    stage.listen()
    stage.params.set("new.depth", -1.0, "osc")
    stage.params.trigger("snapshot.2.recall")
    stage.listen()
    assert stage.params["new.depth"].base == 0.2


def test_every_kind_that_is_offered_can_be_added_as_the_page_does_it():
    stage = Stage()
    offered = described()
    assert [kind["kind"] for kind in offered] == list(KINDS)
    for kind in offered:
        for what in kind["options"] or [kind["first"]]:
            stage.ask("modulator.add", json.dumps({kind["kind"]: what, "to": "words.gain", "depth": 0.3}))
            assert stage.said[-1].startswith("added modulator") and len(kind["doc"]) > 10
            stage.ask("modulator.remove", stage.there[-1])
    assert len(stage.said) == 2 * sum(len(kind["options"] or [1]) for kind in offered)


def test_a_line_is_the_patchs():
    line = "{hold: random, period: 1/4 beat, to: [a.b, c.d], depth: -0.1}"
    spec = loads(f"modulators: [{line}]").modulators[0]
    assert read_line(line) == read_line(f"  {line[1:-1]} ") == spec
