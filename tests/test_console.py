"""The console: clock, snapshots, morphs and undo by their parameters and triggers, as the engine calls it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.engine.console import Console
from instrument.modulation.clock import INTERNAL, MIDI
from instrument.modulation.modspec import ModulatorSpec, named, parameters_of
from instrument.parameters.answers import Asked
from instrument.parameters.params import ParamSet
from instrument.parameters.values import clamped, fits
from instrument.state.snapshots import Snapshot
from pipelines.spec import ChoiceSpec, ControlSpec, TextSpec, TriggerSpec

GAIN = ControlSpec(0, 8, 1, warp="cubed")
SNAPSHOTS = {
    1: Snapshot("low", {"a": 0.0, "mode": "x", "words": "ice", "x.center": 2.0}),
    2: Snapshot("high", {"a": 8.0, "mode": "y", "words": "fire", "x.center": 8.0}),
    3: Snapshot("only b", {"b": 1.0}),
}


class Show:
    """A console, and time that passes when it is told to."""

    def __init__(self, *lines: dict) -> None:
        self.told: list[str] = []
        self.params = ParamSet(lambda text: None)
        self.console = Console(self.params, self.told.append)
        self.params.add("a", GAIN)
        self.params.add("b", ControlSpec(-1, 1, 0))
        self.params.add("x.center", ControlSpec(0, 10, 5))
        self.params.add("mode", ChoiceSpec(("x", "y"), "x"))
        self.params.add("words", TextSpec("ice"))
        specs = [ModulatorSpec.model_validate(line) for line in lines]
        for id, spec in parameters_of(specs).items():
            self.params.add(id, spec)
        self.console.load(named(specs), dict(SNAPSHOTS))
        self.now = 100.0
        self.tick()

    def tick(self, seconds: float = 0.0) -> dict:
        self.now += seconds
        for event in self.params.drain_timed():
            self.console.obey(event.id, self.now, event.origin)
        self.console.tick(self.now)
        return self.params.tick(self.now)

    def press(self, id: str) -> dict:
        self.params.trigger(id, "midi")
        return self.tick()


def test_a_snapshot_is_recalled_at_once():
    show = Show()
    heard = show.press("snapshot.2.recall")
    assert (heard["a"], heard["mode"], heard["words"], heard["x.center"], heard["b"]) == (8, "y", "fire", 8, 0)
    assert show.params["a"].origin == "snapshot"
    show.params.set("snapshot.goto", 3, "midi")
    assert show.tick()["b"] == 1 and show.tick()["a"] == 8
    show.params.set("snapshot.goto", 0)
    heard = show.tick()
    assert (heard["a"], heard["b"], heard["mode"], heard["x.center"]) == (1, 0, "x", 5)


def test_goto_recalls_the_same_snapshot_again_and_shows_what_was_recalled_elsewhere():
    show = Show()
    show.params.set("a", 5)
    show.params.set("snapshot.goto", 0, "osc")
    assert show.tick()["a"] == 1, "the file's own state, which no hand had chosen before"
    show.press("snapshot.2.recall")
    assert show.params["snapshot.goto"].base == 2
    show.params.set("a", 5)
    assert show.tick()["a"] == 5
    show.params.set("snapshot.goto", 2, "osc")
    assert show.tick()["a"] == 8


def test_what_was_stored_is_there_when_the_set_comes_back_to_its_patch():
    show = Show()
    of_this_patch = show.console.snapshots
    show.params.set("a", 3.25)
    show.press("snapshot.5.store")
    show.console.load({}, {})
    show.press("snapshot.5.recall")
    assert show.told[-1] == "snapshot 5 is empty; store it first"
    show.console.load({}, of_this_patch)
    show.params.set("a", 0)
    assert show.press("snapshot.5.recall")["a"] == 3.25


def test_an_empty_slot_says_so_until_something_is_stored_there():
    show = Show({"lfo": "square", "to": "a", "depth": 1})
    show.press("snapshot.5.recall")
    assert show.told == ["snapshot 5 is empty; store it first"]
    show.params.set("a", 3.25)
    show.press("snapshot.5.store")
    assert show.params.heard("a") == 8  # modulated, but stored is what the hand set
    show.params.set("a", 0)
    show.press("snapshot.5.recall")
    assert show.params["a"].base == 3.25 and "stored snapshot 5" in show.told


def test_what_is_stored_over_a_snapshot_is_taken_back_and_made_again():
    show = Show()
    show.params.set("a", 3.25, "midi")
    show.press("snapshot.2.store")
    show.press("snapshot.5.store")
    stored = show.console.snapshots[2]
    assert stored.values["a"] == 3.25 and 5 in show.console.snapshots
    show.press("undo")
    assert 5 not in show.console.snapshots and show.told[-1] == "snapshot 5 is empty again"
    show.press("undo")
    assert show.console.snapshots == SNAPSHOTS and show.params["a"].base == 3.25
    show.press("undo")
    assert show.params["a"].base == 1
    show.press("redo")
    show.press("redo")
    assert show.console.snapshots == {**SNAPSHOTS, 2: stored} and show.params["a"].base == 3.25


def test_a_recall_can_take_its_time_and_the_hand_has_the_last_word():
    show = Show()
    show.params.set("morph.seconds", 2)
    show.tick()
    show.press("snapshot.2.recall")
    seconds = show.params["morph.seconds"].base
    half = show.tick(seconds / 2)
    assert half["a"] == pytest.approx(GAIN.map((0.5 + 1) / 2)) and half["mode"] == "y"
    show.params.set("x.center", 0, "osc")
    done = show.tick(seconds)
    assert done["a"] == 8 and done["words"] == "fire" and done["x.center"] == 0


@pytest.mark.parametrize(("position", "a", "mode"), [(0, 0, "x"), (0.5, 1, "y"), (0.49, None, "x"), (1, 8, "y")])
def test_the_fader_goes_between_any_two(position, a, mode):
    show = Show()
    show.params.set("morph.from", 1)
    show.params.set("morph.to", 2)
    show.params.set("morph.position", 0.7)
    show.tick()
    show.params.set("morph.position", position)
    heard = show.tick()
    assert heard["mode"] == mode and (a is None or heard["a"] == pytest.approx(a)) and heard["b"] == 0
    assert heard["x.center"] == pytest.approx(2 + 6 * position)


def test_the_fader_from_the_file_to_a_snapshot_that_names_little():
    show = Show()
    show.params.set("a", 5)
    show.params.set("morph.to", 3)
    show.params.set("morph.position", 0.5)
    heard = show.tick()
    assert heard["b"] == pytest.approx(0.5) and heard["a"] == 5


def test_the_square_of_four():
    show = Show()
    show.params.set("morph.corners", "0 1 2 3")
    for x, y, a, b in ((1, 0, 0, 0), (0, 1, 8, 0), (1, 1, 1, 1), (0, 0, 1, 0)):
        show.params.set("morph.x", x)
        show.params.set("morph.y", y)
        heard = show.tick()
        assert (heard["a"], heard["b"]) == (a, b)
    show.params.set("morph.x", 0.5)
    assert show.tick()["a"] == pytest.approx(GAIN.map(0.25))
    show.params.set("morph.corners", "1 2")
    show.tick()
    assert show.told == ["morph.corners cannot be '1 2'; write four numbers such as 1 2 3 4"]


@pytest.mark.parametrize(
    ("id", "value"),
    [
        ("morph.position", 1),
        ("morph.from", 1),
        ("morph.to", 2),
        ("morph.corners", "1 2 3 0"),
        ("morph.x", 1),
        ("morph.y", 0),
    ],
)
def test_a_fader_sent_where_it_stands_brings_its_state_back(id, value):
    show = Show()
    square = [("morph.corners", "1 2 3 0"), ("morph.y", 0), ("morph.x", 1)]
    for each, at in [("morph.from", 1), ("morph.to", 2), ("morph.position", 1), *square]:
        show.params.set(each, at)
        show.tick()
    show.params.set("a", 5)
    assert show.tick()["a"] == 5, "a hand that moves another knob is left alone"
    show.params.set(id, value, "osc")
    assert show.tick()["a"] == 8
    show.params.set("a", 5)
    assert show.tick()["a"] == 5


def test_corners_that_cannot_be_are_told_to_each_who_sends_them():
    show = Show()
    for hand in ("osc:one", "osc:two"):
        show.params.set("morph.corners", "1 2", hand)
        show.tick()
    _, words = show.params.answers.since(0)
    assert [origin for origin, _, _ in words] == ["osc:one", "osc:two"]


def test_a_modulator_may_move_the_fader():
    show = Show({"lfo": "saw", "polarity": "up", "rate": 1, "to": "morph.position", "depth": 1})
    show.params.set("morph.from", 1)
    show.params.set("morph.to", 2)
    for _ in range(3):
        show.tick(0.25)
    assert show.tick()["x.center"] == pytest.approx(2 + 6 * 0.75)
    assert show.params["morph.position"].base == 0


def test_undo_and_redo_by_trigger():
    show = Show()
    for n in range(5):
        show.params.set("a", n, "osc")
    show.press("snapshot.2.recall")
    assert show.press("undo")["a"] == 4 and show.press("undo")["a"] == 1
    show.press("undo")
    assert show.told == ["nothing to undo"]
    assert show.press("redo")["a"] == 4 and show.press("redo")["mode"] == "y"
    show.press("redo")
    assert show.told[-1] == "nothing to redo"


def test_a_whole_morph_is_one_change():
    show = Show()
    show.params.set("morph.seconds", 1)
    show.press("snapshot.2.recall")
    for _ in range(30):
        show.tick(0.05)
    assert show.params["a"].base == 8
    heard = show.press("undo")
    assert (heard["a"], heard["mode"], heard["x.center"]) == (1, "x", 5)
    show.tick(1)
    assert show.params["a"].base == 1  # and the morph does not take it back


@pytest.mark.parametrize(("quantise", "wait"), [("beat", 0.5), ("bar", 2.0)])
def test_recalls_wait_for_the_beat_or_bar(quantise, wait):
    show = Show()
    show.params.set("clock.quantise", quantise)
    show.tick(0.1)  # beat 200.2
    assert show.press("snapshot.1.recall")["a"] == 1
    show.press("snapshot.2.recall")  # the last wish counts
    assert show.tick(wait - 0.15)["a"] == 1
    assert show.tick(0.06)["a"] == 8
    show.params.set("snapshot.goto", 1)
    assert show.tick()["a"] == 8 and show.tick(wait)["a"] == 0


def test_nothing_waits_for_a_clock_that_stands():
    show = Show()
    show.params.set("clock.quantise", "bar")
    show.params.set("clock.source", MIDI)
    show.tick(0.1)
    show.press("snapshot.1.recall")
    show.console.clock.stop(show.now)
    assert show.tick()["a"] == 0
    assert show.press("snapshot.2.recall")["a"] == 8


def test_nothing_waits_for_a_beat_that_a_jump_took_away():
    show = Show()
    show.params.set("clock.quantise", "bar")
    show.tick(0.1)
    show.press("snapshot.1.recall")
    show.params.set("clock.source", MIDI)
    show.tick()
    show.console.clock.position(0.0)
    show.console.clock.start(show.now)
    assert show.tick()["a"] == 0


def test_tempo_by_hand_by_tap_and_from_midi():
    show, clock = Show(), None
    clock = show.console.clock
    show.params.set("clock.tempo", 90, "osc")
    show.tick()
    assert clock.tempo == 90
    for _ in range(4):
        show.tick(0.75)
        show.press("clock.tap")
    assert clock.tempo == pytest.approx(80) and show.params["clock.tempo"].base == pytest.approx(80)
    assert show.params["clock.tempo"].origin == INTERNAL
    show.tick(0.3)
    show.press("clock.downbeat")
    assert clock.moment(show.now).bar_phase == 0
    show.params.set("clock.bar", 3)
    show.params.set("clock.source", MIDI)
    show.tick()
    clock.position(0.0)
    clock.start(show.now)
    for tick in range(96):
        clock.tick(show.now + tick * 60 / 140 / 24)
    show.tick(96 * 60 / 140 / 24)
    assert show.params["clock.tempo"].base == pytest.approx(140) and show.params["clock.tempo"].origin == MIDI
    assert clock.moment(show.now).bar == 1


def test_link_that_is_not_installed_is_said_and_the_clock_goes_on(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aalink", None)
    show = Show()
    show.params.set("clock.source", "link")
    show.tick()
    show.tick(0.5)
    assert "attentionbender[link]" in show.told[0] and show.params["clock.source"].base == INTERNAL
    assert show.console.clock.source == INTERNAL and show.console.clock.running


def test_another_patch_takes_everything_with_it():
    show = Show()
    show.params.set("morph.seconds", 5)
    show.params.set("a", 2)
    show.press("snapshot.2.recall")
    show.params.set("clock.quantise", "bar")
    show.tick()
    show.press("snapshot.1.recall")
    show.console.load({}, {})
    show.params.set("a", 2)
    heard = show.tick(10)
    assert heard["a"] == 2 and not show.console.history.redo()
    show.press("snapshot.1.recall")
    show.tick(5)
    assert show.told == ["snapshot 1 is empty; store it first"]


def test_a_patch_that_waits_for_the_bar_outlives_one_that_was_wished_for_before():
    show, done = Show(), []
    show.params.set("clock.quantise", "bar")
    show.tick()
    show.console.on_time("patch", lambda: done.append("next"), Asked("patch.next", "osc:one"))
    show.params.set("snapshot.goto", 1, "osc:two")
    show.tick()
    show.console.load({}, {})
    show.tick(60)
    assert done == ["next"]
    assert [words[:2] for words in show.params.answers.since(0)[1]] == [
        ("osc:two", "snapshot 1: overtaken by another patch")
    ]


def test_calm_ends_what_moves_by_itself():
    show = Show({"lfo": "square", "to": "a", "depth": 1}, {"lfo": "square", "to": "b", "depth": 1})
    show.params.set_glide("x.center", 5000)
    show.params.set("x.center", 0)
    assert show.tick(0.01)["x.center"] > 0
    show.params.set("morph.seconds", 5)
    show.press("snapshot.1.recall")
    pressed = show.params.changed(2**62)[0]
    show.params.set("lfo2.on", False)
    show.params.set("lfo2.on", True)  # after panic: the hand has the last word
    show.console.calm(pressed)
    heard = show.tick(1)
    assert heard["a"] == show.params["a"].base and heard["b"] == 1 and heard["x.center"] == show.params["x.center"].base


def test_triggers_of_others_are_left_to_them():
    show = Show()
    assert not show.console.obey("patch.next", 1.0) and show.console.obey("undo", 1.0)


MOVES = st.lists(
    st.tuples(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from(["", "0 1 2 3", "lfo1", "a, b", "x" * 50])),
    max_size=60,
)


@given(MOVES)
def test_whatever_is_touched_in_whatever_order_every_tick_is_legal(moves):
    show = Show(
        {"lfo": "walk", "to": "a, morph.position, lfo2.rate", "depth": 1},
        {"lfo": "square", "period": "1 beat", "to": "lfo1.depth, x.center, mode"},
        {"envelope": "adsr", "by": "beat", "to": "b"},
        {"hold": "lfo1", "by": "undo", "to": "morph.x, master.glide"},
        {"follow": "a", "to": "hold1.depth"},
    )
    show.params.set("clock.source", "internal")
    for pick, travel, words in moves:
        parameter = show.params[show.params.ids()[pick % len(show.params)]]
        if parameter.id == "clock.source":
            continue  # Link would go out into the network
        if isinstance(parameter.spec, TriggerSpec):
            show.params.trigger(parameter.id, "osc")
        elif isinstance(parameter.spec, TextSpec):
            show.params.set(parameter.id, words, "osc")
        else:
            show.params.set_normalised(parameter.id, travel, "osc")
        heard = show.tick(travel)
        for each in show.params:
            if not isinstance(each.spec, TriggerSpec):
                assert clamped(each.spec, fits(each.spec, heard[each.id])) == heard[each.id], each.id
                assert clamped(each.spec, fits(each.spec, each.base)) == each.base, each.id
