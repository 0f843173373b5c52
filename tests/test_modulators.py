"""Modulators at work on parameters: base plus modulation, clamped, in time, and never over what the hand set."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.modulation.clock import Clock
from instrument.modulation.modspec import FEATURES, ModulatorSpec, named, parameters_of
from instrument.modulation.modulators import Rack
from instrument.modulation.voices import Heard
from instrument.parameters.params import ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

GAIN = ControlSpec(0, 8, 1, warp="cubed")


class Playing:
    """Parameters, a clock at 120 and the modulators of some lines."""

    def __init__(self, *lines: dict) -> None:
        self.params, self.clock = ParamSet(lambda text: None), Clock(120)
        self.params.add("a", GAIN)
        self.params.add("b", ControlSpec(-1, 1, 0))
        self.params.add("count", ControlSpec(0, 10, 5, step=1))
        self.params.add("on", SwitchSpec())
        self.params.add("mode", ChoiceSpec(("x", "y", "z"), "x"))
        self.params.add("words", TextSpec("ice"))
        self.params.add("panic", TriggerSpec())
        self.params.add("master.glide", ControlSpec(0, 1000, 0), group="master")
        self.params.add("engine.seed", ControlSpec(0, 9, 0), group="engine")
        specs = [ModulatorSpec.model_validate(line) for line in lines]
        for id, spec in parameters_of(specs).items():
            self.params.add(id, spec)
        self.rack = Rack(self.params, self.clock)
        self.rack.load(named(specs))
        self.params.modulate(self.rack)

    def __getitem__(self, now: float) -> dict:
        return self.params.tick(now)

    def travel(self, now: float, id: str = "b") -> float:
        return self.params[id].spec.unmap(self[now][id])


def test_an_lfo_adds_to_the_base_in_knob_travel_and_leaves_it_alone():
    playing = Playing({"lfo": "sine", "rate": 1, "to": "a", "depth": 0.25})
    assert playing[10.0]["a"] == 1.0  # sine of phase 0
    assert playing[10.25]["a"] == pytest.approx(GAIN.map(0.75))
    assert playing[10.75]["a"] == pytest.approx(GAIN.map(0.25))
    assert playing.params["a"].base == 1.0 and playing.params["a"].origin == ""
    assert playing.params.moving() == {"a": playing.params.heard("a")}
    assert playing.rack.signals == {"lfo1": pytest.approx(-1)}


@given(
    base=st.floats(0, 1),
    depths=st.lists(st.floats(-1, 1), min_size=1, max_size=4),
    now=st.floats(0, 100),
    shape=st.sampled_from(["sine", "triangle", "saw", "square", "random", "walk"]),
)
def test_the_sum_of_all_is_clamped_and_the_base_stays(base, depths, now, shape):
    playing = Playing(*({"lfo": shape, "to": "a, count", "depth": depth} for depth in depths))
    playing.params.set_normalised("a", base)
    kept = playing.params["a"].base
    playing[0.0]
    heard = playing[now]
    total = sum(s * d for s, d in zip(playing.rack.signals.values(), depths, strict=True))
    assert playing.params["a"].base == kept and 0 <= heard["a"] <= 8
    expected = GAIN.map(min(max(GAIN.unmap(kept) + total, 0), 1))
    assert heard["a"] == pytest.approx(expected, abs=1e-6)
    assert type(heard["count"]) is int and 0 <= heard["count"] <= 10


def test_depth_nothing_or_off_is_the_base_bit_for_bit():
    playing = Playing({"lfo": "square", "to": "a", "depth": 0})
    playing.params.set("a", 3.3)
    assert playing[0.1]["a"] == 3.3
    playing.params.set("lfo1.depth", 0.5)
    assert playing[0.1]["a"] != 3.3
    playing.params.set("lfo1.on", False)
    assert playing[0.1]["a"] == 3.3 and playing.params.moving() == {}


def test_switches_and_choices_are_moved_too():
    playing = Playing({"lfo": "square", "polarity": "up", "to": "on, mode", "depth": 1})
    assert (playing[0.0]["on"], playing[0.0]["mode"]) == (True, "z")
    assert (playing[0.6]["on"], playing[0.6]["mode"]) == (False, "x")


def test_an_lfo_in_beats_is_locked_to_the_music():
    playing = Playing({"lfo": "saw", "period": "4 beats", "to": "b", "depth": 1})
    for now in (0.5, 1.0, 1.75, 31.0):
        playing[now]
        assert playing.rack.signals["lfo1"] == pytest.approx(2 * (now * 2 / 4 % 1) - 1)
    playing.clock.downbeat(31.2)  # the bar line moves to here
    playing[31.2]
    assert playing.rack.signals["lfo1"] == pytest.approx(-1)


def test_a_changed_rate_goes_on_from_where_the_cycle_stands():
    playing = Playing({"lfo": "saw", "rate": 1, "to": "b", "depth": 1})
    playing[0.0]
    playing[0.3]
    playing.params.set("lfo1.rate", 0.1)
    playing[0.3]
    assert playing.rack.signals["lfo1"] == pytest.approx(2 * 0.3 - 1)
    playing[1.3]
    assert playing.rack.signals["lfo1"] == pytest.approx(2 * 0.4 - 1)
    playing.params.set("lfo1.time", "beats")
    playing[1.3]
    assert playing.rack.signals["lfo1"] == pytest.approx(2 * 0.4 - 1)
    playing.params.set("lfo1.phase", 0.5)
    playing[1.3]
    assert playing.rack.signals["lfo1"] == pytest.approx(2 * 0.9 - 1)
    playing.params.set("lfo1.phase", 0)
    playing.rack.fire("lfo1.restart")
    playing[1.3]
    assert playing.rack.signals["lfo1"] == pytest.approx(-1)


def test_the_same_moments_give_the_same_values_again():
    line = [{"lfo": "walk", "to": "b"}, {"lfo": "random", "to": "a"}, {"hold": "random", "rate": 3, "to": "a"}]
    one, two = Playing(*line), Playing(*line)
    times = [n * 0.037 for n in range(60)]
    assert [one[now] for now in times] == [two[now] for now in times]
    assert len({one[10 + now]["b"] for now in times}) > 30
    other = Playing({**line[0], "seed": 5}, *line[1:])
    assert [other[now]["b"] for now in times[5:]] != [two[now]["b"] for now in times[5:]]


def test_everything_about_a_modulator_is_a_parameter():
    playing = Playing({"lfo": "sine", "to": "a"})
    playing[0.0]
    playing.params.set("lfo1.to", "b , count")
    playing.params.set("lfo1.shape", "square")
    playing.params.set("lfo1.depth", 1)
    heard = playing[0.0]
    assert heard["a"] == 1 and heard["b"] == 1 and heard["count"] == 10
    playing.params.set("lfo1.shape", "table")
    playing.params.set("lfo1.table", "0 -1")
    assert playing[0.5]["b"] == -1
    playing.params.set("lfo1.table", "nonsense")
    assert playing[0.5]["b"] == -1 and "lfo1.table: a table is 2 to 256" in playing.rack.problems[0]
    playing.params.set("lfo1.table", "0 1")
    assert playing[0.5]["b"] == 1 and playing.rack.problems == []


def test_modulators_move_modulators_one_tick_later():
    playing = Playing(
        {"lfo": "square", "rate": 0.01, "to": "b", "depth": 0.1},
        {"lfo": "square", "rate": 0.01, "to": "lfo1.depth", "depth": 0.2},
    )
    assert playing.travel(0.0) == pytest.approx(0.6)
    assert playing.travel(0.1) == pytest.approx(0.5 + 0.1 + 2 * 0.2)  # depth -1..1: 0.2 of its travel is 0.4
    assert playing.params["lfo1.depth"].base == 0.1
    playing.params.set("lfo1.to", "lfo1.rate")  # itself: no harm
    for now in range(1, 50):
        playing[now / 10]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("petals.gain", "lfo1: no parameter 'petals.gain'"),
        ("words", "lfo1: words is a text and cannot be modulated"),
        ("panic", "lfo1: panic is a trigger and cannot be modulated"),
        ("engine.seed", "lfo1: engine.seed is heard as the hand set it"),
        ("master.glide", "lfo1: master.glide is heard as the hand set it"),
    ],
)
def test_a_target_that_cannot_be_is_named_and_the_others_still_move(to, words):
    playing = Playing({"lfo": "square", "to": f"{to}, b", "depth": 1})
    assert playing[0.0]["b"] == 1 and words in playing.rack.problems[0]


def test_targets_that_come_and_go_are_found_again():
    playing = Playing({"lfo": "square", "to": "later, other", "depth": 1})
    playing[0.0]
    assert len(playing.rack.problems) == 2
    playing.params.add("later", GAIN)
    playing.params.alias("other", "b")
    heard = playing[0.1]
    assert heard["later"] == 8 and heard["b"] == 1 and playing.rack.problems == []
    playing.params.remove("later")
    assert "later" not in playing[0.2]


def test_an_envelope_follows_its_gate():
    line = {"envelope": "adsr", "attack": 0.1, "decay": 0.1, "sustain": 0.5, "release": 0.2, "to": "b", "depth": 0.5}
    playing = Playing(line)
    levels = []
    for now, gate in ((0.0, 0), (1.0, 1), (1.05, 1), (1.1, 1), (1.2, 1), (2.0, 0), (2.1, 0), (2.2, 0)):
        playing.params.set("env1.gate", gate)
        playing[now]
        levels.append(playing.rack.signals["env1"])
    assert levels == pytest.approx([0, 0, 0.5, 1, 0.5, 0.5, 0.25, 0], abs=1e-9)


def test_a_note_shorter_than_a_tick_is_not_lost():
    playing = Playing({"envelope": "adsr", "attack": 0, "decay": 0, "sustain": 1, "release": 1, "to": "b"})
    playing[0.0]
    playing.params.set("env1.gate", 1)
    playing.params.set("env1.gate", 0)
    playing[0.1]
    assert playing.rack.signals["env1"] == 1
    playing[0.2]
    playing[0.7]
    assert playing.rack.signals["env1"] == pytest.approx(0.5)
    playing.params.set("env1.gate", 1)
    playing[0.8]
    playing.params.set("env1.gate", 0)
    playing.params.set("env1.gate", 1)  # let go and struck again between two ticks
    playing[5.0]
    assert playing.rack.signals["env1"] == 1


def test_an_envelope_is_fired_by_its_trigger_beats_bars_onsets_and_other_triggers():
    ad = {"envelope": "ad", "attack": 0, "decay": 0.1, "to": "b"}
    playing = Playing(ad, {**ad, "by": "beat"}, {**ad, "by": "bar"}, {**ad, "by": "panic"}, {**ad, "by": "onset"})
    ear = Sounding()
    playing.rack.ear = ear
    playing[0.1]
    fired = {}
    for now, what in ((0.3, "env1.fire"), (0.55, None), (1.05, "panic"), (2.01, None), (2.3, "onset")):
        if what == "onset":
            ear.onsets += 1
        elif what:
            playing.rack.fire(what)
        playing[now]
        fired[now] = [name for name, level in playing.rack.signals.items() if level == 1]
    assert fired == {0.3: ["env1"], 0.55: ["env2"], 1.05: ["env2", "env4"], 2.01: ["env2", "env3"], 2.3: ["env5"]}


def test_a_jump_onto_a_beat_is_that_beat():
    playing = Playing({"envelope": "ad", "attack": 0, "by": "beat", "to": "b"}, {"hold": "a", "by": "bar", "to": "b"})
    playing[10.2]
    playing.params.set("a", 8)
    playing.clock.downbeat(10.3)  # from beat 20.6 back to 20
    playing[10.3]
    assert playing.rack.signals == {"env1": 1, "hold1": 1}


def test_who_listens_without_an_ear_is_told():
    playing = Playing({"envelope": "ad", "by": "onset", "to": "b"}, {"follow": "audio.level", "to": "b", "name": "f"})
    playing[0.0]
    assert playing.rack.problems == ["env1 hears nothing; start with --audio"]
    playing.params.set("env1.by", "bar")
    playing[0.1]
    assert playing.rack.problems == ["f hears nothing; start with --audio"]
    playing.params.set("f.of", "a")
    playing[0.2]
    assert playing.rack.problems == []


def test_a_fired_adsr_is_heard_out():
    playing = Playing({"envelope": "adsr", "attack": 0.2, "decay": 0.2, "sustain": 0.5, "release": 0.2, "to": "b"})
    playing.rack.fire("env1.fire")
    levels = []
    for now in (0.0, 0.2, 0.4, 0.5, 0.6):
        playing[now]
        levels.append(playing.rack.signals["env1"])
    assert levels == pytest.approx([0, 1, 0.5, 0.25, 0])


def test_envelope_times_in_beats_follow_the_tempo():
    playing = Playing({"envelope": "ad", "attack": "1 beat", "decay": "1 beat", "to": "b"})
    playing.clock.set_tempo(60, 0.0)
    playing.rack.fire("env1.fire")
    playing[0.0]
    playing[0.5]
    assert playing.rack.signals["env1"] == pytest.approx(0.5)


class Sounding:
    """An ear that hears what it is told."""

    def __init__(self) -> None:
        self.features, self.onsets = dict.fromkeys(FEATURES, 0.0), 0

    def hear(self, now: float) -> Heard:
        return Heard(self.features, self.onsets)


def test_hold_samples_at_its_rate_or_when_fired():
    playing = Playing(
        {"hold": "a", "rate": 2, "to": "b", "depth": 0.5},
        {"hold": "a", "by": "panic", "to": "b", "depth": 0},
    )
    playing[0.0]
    playing.params.set("a", 8)
    playing[0.3]
    assert playing.rack.signals["hold1"] == 0.5
    playing[0.5]
    assert playing.rack.signals == {"hold1": 1.0, "hold2": 0.5}
    playing.rack.fire("panic")
    playing[0.55]
    assert playing.rack.signals["hold2"] == 1.0
    playing.params.set("a", 0)
    playing.rack.fire("hold1.fire")
    playing[0.6]
    assert playing.rack.signals["hold1"] == 0.0


def test_hold_of_chance_is_new_each_time():
    playing = Playing({"hold": "random", "by": "panic", "to": "b"})
    seen = set()
    for n in range(20):
        playing.rack.fire("panic")
        playing[n / 10]
        seen.add(playing.rack.signals["hold1"])
    assert len(seen) == 20 and all(-1 <= value <= 1 for value in seen)


def test_follow_rises_and_falls_at_its_own_paces():
    playing = Playing({"follow": "a", "rise": 0.3, "fall": 0, "to": "b"})
    playing.params.set("a", 0)
    playing[0.0]
    playing.params.set("a", 8)
    playing[0.3]
    assert playing.rack.signals["follow1"] == pytest.approx(1 - math.exp(-3))
    playing.params.set("a", 0)
    playing[0.31]
    assert playing.rack.signals["follow1"] == 0
    playing.params.set("follow1.of", "nobody")
    playing[0.4]
    assert "follow1.of: no signal 'nobody'" in playing.rack.problems[0]


def test_sound_moves_parameters():
    playing = Playing({"audio": "bass", "to": "b", "depth": 0.5, "rise": 0, "fall": 0, "gain": 2})
    playing[0.0]
    assert playing.rack.problems == ["audio1 hears nothing; start with --audio"]
    playing.rack.ear = ear = Sounding()
    ear.features["bass"] = 0.25
    assert playing.travel(0.1) == pytest.approx(0.75) and playing.rack.problems == []
    ear.features["bass"] = 0.9
    assert playing.travel(0.2) == 1
    ear.features["high"] = 0.1
    playing.params.set("audio1.of", "high")
    assert playing.travel(0.3) == pytest.approx(0.6)


def test_an_unknown_event_is_named():
    playing = Playing({"envelope": "ad", "by": "bang", "to": "b"})
    playing[0.0]
    assert "env1.by: nothing called 'bang' can fire; there are: beat, bar, onset" in playing.rack.problems[0]


@given(st.lists(st.tuples(st.sampled_from(["rate", "depth", "phase", "width"]), st.floats(0, 1), st.floats(-1, 99))))
def test_no_turning_of_knobs_or_time_breaks_a_tick(moves):
    playing = Playing(*({"lfo": shape, "to": "a"} for shape in ("sine", "triangle", "walk", "square")))
    for field, n, now in moves:
        playing.params.set_normalised(f"lfo2.{field}", n)
        playing.params.set_normalised(f"lfo3.{field}", n)
        assert 0 <= playing[now]["a"] <= 8
