"""Mappings: what a touch does to a parameter, takeover, endless knobs, buttons, and how mistakes are told."""

import sys
import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.feedback import Lights
from instrument.mapping.link import notches
from instrument.mapping.live import Mapping
from instrument.mapping.mapping import MappingError
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec
from tests.touches import turned

PADDING = ("zeros", "border", "reflection")


@pytest.fixture
def params():
    params = ParamSet(notices=lambda text: None)
    params.add("petals.gain", ControlSpec(0, 8, 1, warp="cubed"))
    params.add("brush.gain", ControlSpec(0, 1, 0))
    params.add("seed", ControlSpec(0, 10, 5, step=1))
    params.add("freeze", SwitchSpec())
    params.add("padding", ChoiceSpec(PADDING, "zeros"))
    params.add("prompt", TextSpec("water"))
    params.add("panic", TriggerSpec())
    params.alias("bend.1.amount", "petals.gain")
    return params


@pytest.fixture
def play(params, told):
    """play(line, touch, touch, ...) -> the values heard after one binding took the touches."""

    def play(line, *touches):
        made = Mapping(mapping.loads(f"bindings:\n  - {{{line}}}"), params, told.append)
        for touch in touches:
            made.handle(touch, "midi")
        return params.tick(0.0)

    return play


cc = partial(turned, key=1)


def note(*values, key=36):
    return [Touch("note", key, value, 10) for value in values]


def test_a_knob_runs_over_the_parameters_own_range_and_curve(play, params):
    assert play("cc: 1, to: petals.gain", *cc(127))["petals.gain"] == 8
    assert play("cc: 1, to: petals.gain", *cc(0))["petals.gain"] == 0
    assert play("cc: 1, to: petals.gain", *cc(64))["petals.gain"] == pytest.approx(8 * (64 / 127) ** 3)
    assert params["petals.gain"].origin == "midi"


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ("range: [2, 4], curve: linear", 0, 2),
        ("range: [2, 4], curve: linear", 127, 4),
        ("range: [4, 2], curve: linear", 127, 2),
        ("range: [4, 2], invert: true", 127, 4),
        ("invert: true", 127, 0),
        ("range: [2, 99]", 127, 8),
        ("curve: linear", 63.5, 4),
        ("range: [1, 4], curve: exponential", 63.5, 2),
    ],
)
def test_range_curve_and_invert(play, options, value, expected):
    assert play(f"cc: 1, to: petals.gain, {options}", *cc(value))["petals.gain"] == pytest.approx(expected)


def test_the_pitch_wheel_and_foreign_osc_addresses_are_sources(play):
    assert play("pitch: true, to: brush.gain", Touch("pitch", 0, 8191, 1))["brush.gain"] == 1
    assert play("pitch: true, to: brush.gain", Touch("pitch", 0, -8192, 1))["brush.gain"] == 0
    assert play("osc: /1/fader1, to: petals.gain", Touch("osc", "/1/fader1", 1.0))["petals.gain"] == 8
    assert play("osc: /words, to: prompt", Touch("osc", "/words", "ice"))["prompt"] == "ice"


def test_a_binding_listens_to_its_channel_only(play):
    assert play("cc: 1, channel: 2, to: brush.gain", *cc(127, channel=1))["brush.gain"] == 0
    assert play("cc: 1, channel: 2, to: brush.gain", *cc(127, channel=2))["brush.gain"] == 1
    assert play("cc: 1, to: brush.gain", *cc(0, channel=16))["brush.gain"] == 0


def test_one_source_to_many_and_many_to_one(params):
    text = "bindings: [{cc: 1, to: brush.gain}, {cc: 1, to: petals.gain}, {cc: 2, to: brush.gain}]"
    made = Mapping(mapping.loads(text), params)
    assert made.handle(*cc(127)) and params.tick(0)["brush.gain"] == 1 and params.tick(0)["petals.gain"] == 8
    made.handle(*cc(0, key=2))
    assert params.tick(0)["brush.gain"] == 0
    assert not made.handle(*cc(0, key=3))


def test_a_pattern_moves_every_parameter_it_matches_even_later_ones(params):
    made = Mapping(mapping.loads("bindings: [{cc: 1, to: '*.gain'}]"), params)
    made.handle(*cc(127))
    assert params.tick(0)["petals.gain"] == 8 and params.tick(0)["brush.gain"] == 1
    params.add("late.gain", ControlSpec(0, 1, 0))
    made.handle(*cc(127))
    assert params.tick(0)["late.gain"] == 1 and params.drain() == []


def test_aliases_let_one_mapping_play_any_patch(play):
    assert play("cc: 0, to: bend.1.amount", *cc(127, key=0))["petals.gain"] == 8


class TestPickup:
    LINE = "cc: 1, to: brush.gain, takeover: pickup"

    def test_nothing_moves_until_the_hand_passes_the_value(self, play, params):
        params.set("brush.gain", 0.5, "page")
        assert play(self.LINE, *cc(0, 10, 30))["brush.gain"] == 0.5
        assert play(self.LINE, *cc(0, 30, 62))["brush.gain"] == pytest.approx(62 / 127)

    def test_a_fast_sweep_across_catches(self, play, params):
        params.set("brush.gain", 0.5, "page")
        assert play(self.LINE, *cc(0, 120))["brush.gain"] == pytest.approx(120 / 127)

    def test_once_caught_it_holds(self, play):
        assert play(self.LINE, *cc(0, 127, 3))["brush.gain"] == pytest.approx(3 / 127)

    def test_it_lets_go_when_somebody_else_moves_the_value(self, params):
        made = Mapping(mapping.loads(f"bindings: [{{{self.LINE}}}]"), params)
        made.handle(*cc(0))
        params.set("brush.gain", 0.9, "osc")
        for touch in cc(10, 20, 30):
            made.handle(touch)
        assert params.tick(0)["brush.gain"] == 0.9
        for touch in cc(90, 120, 60):
            made.handle(touch)
        assert params.tick(0)["brush.gain"] == pytest.approx(60 / 127)

    def test_it_works_backwards_and_through_curves(self, play, params):
        line = "cc: 1, to: petals.gain, takeover: pickup, invert: true"
        params.set("petals.gain", 1.0)  # half of the cubed travel
        assert play(line, *cc(127, 100))["petals.gain"] == 1.0
        assert play(line, *cc(127, 64))["petals.gain"] == pytest.approx(8 * (63 / 127) ** 3)

    @given(st.lists(st.integers(0, 127), min_size=1), st.floats(0, 1))
    def test_it_never_jumps(self, moves, start):
        params = ParamSet(notices=lambda text: None)
        params.add("brush.gain", ControlSpec(0, 1, start))
        made = Mapping(mapping.loads(f"bindings: [{{{self.LINE}}}]"), params)
        hand = None
        for move in moves:
            before = params.tick(0)["brush.gain"]
            made.handle(*cc(move))
            after, n = params.tick(0)["brush.gain"], move / 127
            if after != before and hand is not None:
                low, high = min(hand, n) - 3 / 128, max(hand, n) + 3 / 128
                assert low <= before <= high
            hand = n


@pytest.mark.parametrize(
    ("encoding", "right", "left"),
    [("twos", 2, 126), ("offset", 66, 62), ("signed", 2, 66), ("signed2", 66, 2)],
)
def test_endless_knobs_count_in_four_encodings(play, params, encoding, right, left):
    params.set("brush.gain", 0.5)
    assert notches(encoding, right) == 2 and notches(encoding, left) == -2 and notches(encoding, 64) in (0, -64)
    line = f"cc: 1, to: brush.gain, relative: {encoding}"
    assert play(line, *cc(right, right, left))["brush.gain"] == pytest.approx(0.5 + 2 / 128)


def test_endless_knobs_move_whole_steps_switches_and_choices(play):
    assert play("cc: 1, to: seed, relative: twos", *cc(1, 1, 127))["seed"] == 6
    assert play("cc: 1, to: seed, relative: true, invert: true", *cc(1))["seed"] == 5
    assert play("cc: 1, to: freeze, relative: twos", *cc(1))["freeze"] is True
    assert play("cc: 1, to: padding, relative: twos", *cc(1, 1, 1))["padding"] == "reflection"
    assert play("cc: 1, to: petals.gain, relative: twos", *cc(*[127] * 200))["petals.gain"] == 0


def test_pads_gate_by_default(play):
    assert play("note: 36, to: freeze", *note(100))["freeze"] is True
    assert play("note: 36, to: freeze", *note(100, 0))["freeze"] is False
    assert play("note: 36, to: petals.gain, range: [2, 6]", *note(1))["petals.gain"] == 6
    assert play("note: 36, to: petals.gain, range: [2, 6]", *note(1, 0))["petals.gain"] == 2
    assert play("note: 36, to: petals.gain, range: [2, 6], invert: true", *note(1))["petals.gain"] == 2


def test_pads_and_buttons_toggle(play):
    for line, press in (("note: 36", note(90, 0)), ("cc: 1", cc(127, 0))):
        assert play(f"{line}, to: freeze, mode: toggle", *press)["freeze"] is True
        assert play(f"{line}, to: freeze, mode: toggle", *press, *press)["freeze"] is True
        assert play(f"{line}, to: freeze, mode: toggle", *press)["freeze"] is False
    toggle = "note: 36, to: petals.gain, mode: toggle, range: [0, 4], curve: linear"
    assert play(toggle, *note(90, 0))["petals.gain"] == 4
    assert play(toggle, *note(90, 0))["petals.gain"] == 0
    assert play("note: 36, to: padding, mode: toggle", *note(9, 0, 9, 0, 9, 0, 9, 0))["padding"] == "border"


def test_a_pad_can_set_one_value_and_leave_it(play):
    line = "note: 36, to: petals.gain, mode: trigger, range: [0, 3]"
    assert play(line, *note(90, 0))["petals.gain"] == 3


def test_triggers_fire_on_every_press_and_never_on_release(play, params):
    play("note: 36, trigger: panic", *note(90, 0, 1, 0, 90, 90))
    assert params.drain() == ["panic"] * 4
    play("cc: 1, trigger: panic", *cc(127, 0, 127, 0))
    play("cc: 1, to: panic", *cc(127, 0))
    assert params.drain() == ["panic"] * 3
    play("cc: 1, trigger: panic", *cc(*range(0, 128), *range(127, -1, -1)))
    assert params.drain().count("panic") <= 2  # a knob: once on its way up, perhaps once at its end
    play("osc: /push, trigger: panic", *[Touch("osc", "/push", 1.0)] * 3)
    assert params.drain() == ["panic"] * 3


def test_what_must_not_be_left_out_is_known(params):
    lines = "{cc: 1, to: brush.gain}, {cc: 2, to: seed, relative: twos}, {cc: 3, trigger: panic}, {cc: 4, to: panic}"
    made = Mapping(
        mapping.loads(f"bindings: [{lines}, {{cc: 5, to: freeze, mode: toggle}}, {{note: 6, to: freeze}}]"), params
    )
    assert [made.counts(Touch("cc", key, 1)) for key in range(1, 6)] == [False, True, True, True, True]
    assert made.counts(Touch("note", 6, 1)) and not made.counts(Touch("cc", 99, 1))


def test_a_missing_target_is_told_once_and_works_once_it_exists(params, told):
    made = Mapping(mapping.loads("\nbindings:\n  - {cc: 1, to: brush.gian}\n", "my.yaml"), params, told.append)
    for touch in cc(1, 2, 3):
        assert made.handle(touch)
    assert told == ["my.yaml:3: cc 1 does nothing: no parameter 'brush.gian'; did you mean 'brush.gain'?"]
    params.add("brush.gian", ControlSpec(0, 1, 0))
    made.handle(*cc(127))
    assert params.tick(0)["brush.gian"] == 1 and len(told) == 1


def test_other_targets_that_cannot_work_are_told(play, told):
    play("cc: 1, to: bend.7.amount", *cc(1, 2))
    play("cc: 1, to: '*.nothing'", *cc(1, 2))
    play("note: 36, trigger: freeze", *note(1, 1))
    play("cc: 1, to: prompt", *cc(1, 2))
    play("osc: /a, to: brush.gain", Touch("osc", "/a", "loud"))
    assert [text.split("does nothing: ")[1] for text in told] == [
        "'bend.7.amount': this patch has no such bend or amount",
        "no parameter matches '*.nothing'; bender params lists those of a patch",
        "freeze is not a trigger; write 'to: freeze'",
        "prompt cannot be 1; send text",
        "brush.gain cannot be 'loud'; send a number from 0 to 1",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bindings:\n  - {cc: 1, too: a}", "m.yaml:2: unknown key 'too' in bindings 1; did you mean 'to'?"),
        (
            "\nbindings:\n  - {cc: 1, to: a}\n  - {cc: 128, to: a}",
            "m.yaml:4: bindings 2 cc: should be less than or equal to",
        ),
        ("bindings: [{to: a}]", "give exactly one source: control, cc, cc14, note, "),
        ("bindings: [{cc: 1, note: 2, to: a}]", "give exactly one source"),
        ("bindings: [{cc: 1}]", "give exactly one target"),
        ("bindings: [{cc: 1, to: a, trigger: b}]", "give exactly one target"),
        ("bindings: [{cc: 1, to: a b}]", "'a b' is not a parameter id"),
        ("bindings: [{osc: fader, to: a}]", "'fader' is not one OSC address"),
        ("bindings: [{osc: /a, channel: 1, to: a}]", "an osc source has no channel"),
        ("bindings: [{cc: 1, channel: 0, to: a}]", "bindings 1 channel: should be greater than or equal to 1, not 0"),
        ("bindings: [{note: 1, relative: twos, to: a}]", "relative is for an endless knob"),
        ("bindings: [{cc: 1, relative: sideways, to: a}]", "should be 'twos', 'offset', 'signed' or 'signed2'"),
        ("bindings: [{note: 1, takeover: pickup, to: a}]", "takeover: pickup is for faders"),
        ("bindings: [{note: 1, range: [0, 1], trigger: a}]", "a trigger has no range, curve or mode"),
        ("bindings: [{cc: 1, range: [1, 1], to: a}]", "write two different numbers, [lo, hi]"),
        ("bindings: [{cc: 1, range: [0, 1], curve: exponential, to: a}]", "an exponential curve needs a range above 0"),
        ("bindings: [{cc: 1, curve: wavy, to: a}]", "curve: should be 'linear', 'squared', 'cubed' or 'exponential'"),
        ("bindings: {cc: 1}", "bindings: should be a list"),
    ],
)
def test_mistakes_name_file_line_and_remedy(text, words):
    with pytest.raises(MappingError) as error:
        mapping.loads(text, "m.yaml")
    assert words in str(error.value) and str(error.value).startswith("m.yaml:")


LINES = st.fixed_dictionaries(
    {},
    optional={
        "cc": st.integers(-1, 128),
        "note": st.integers(0, 127),
        "pitch": st.just(True),
        "osc": st.sampled_from(["/a", "b"]),
        "channel": st.integers(1, 16),
        "to": st.sampled_from(["brush.gain", "panic", "prompt", "padding", "freeze", "seed", "nowhere", "*"]),
        "trigger": st.sampled_from(["panic", "freeze", "nowhere"]),
        "range": st.lists(st.floats(-10, 10), min_size=2, max_size=2),
        "curve": st.sampled_from(["linear", "squared", "cubed", "exponential"]),
        "invert": st.booleans(),
        "takeover": st.sampled_from(["jump", "pickup"]),
        "relative": st.sampled_from(["twos", "offset", "signed", "signed2"]),
        "mode": st.sampled_from(["gate", "toggle", "trigger"]),
    },
)


@given(LINES, st.lists(st.integers(0, 127), max_size=6))
def test_every_accepted_binding_survives_every_touch(line, values):
    import json

    try:
        file = mapping.loads(json.dumps({"bindings": [line]}))
    except MappingError:
        return
    params = ParamSet(notices=lambda text: None)
    params.add("brush.gain", ControlSpec(0.5, 1, 0.5, warp="exponential"))
    params.add("seed", ControlSpec(-3, 9, 0, step=2))
    params.add("padding", ChoiceSpec(PADDING, "zeros"))
    params.add("freeze", SwitchSpec())
    params.add("prompt", TextSpec(""))
    params.add("panic", TriggerSpec())
    made = Mapping(file, params, lambda text: None)
    kind, key = file.bound[0].source
    for value in values:
        made.handle(Touch(kind, key, value, file.bound[0].channel or 1))
    assert 0.5 <= params.tick(0)["brush.gain"] <= 1


@pytest.mark.parametrize("name", ["default", "nanokontrol2"])
def test_the_mappings_that_ship_play_a_patch(name, params, told):
    made = Mapping(mapping.load(name), params, told.append)
    made.handle(Touch("cc", 0, 0, 1))
    made.handle(Touch("cc", 0, 127, 1))
    assert params.tick(0)["petals.gain"] == 8 and not told
    assert name in mapping.available()


def test_a_mapping_is_found_by_name_in_a_folder_first(tmp_path):
    (tmp_path / "default.yaml").write_text("device: mine")
    assert mapping.load("default", tmp_path).device == "mine"
    assert mapping.load(tmp_path / "default.yaml").device == "mine"
    with pytest.raises(MappingError, match=r"nanokontrol3: no such mapping.*did you mean 'nanokontrol2'"):
        mapping.load("nanokontrol3", tmp_path)


def test_bundles_touches_and_lights_at_once_never_wait_for_each_other_for_ever(params):
    text = "bindings:\n  - {cc: 1, to: petals.gain, feedback: true}\n  - {osc: /1/fader1, to: brush.gain}"
    made = Mapping(mapping.loads(text), params)
    lights = Lights(made, lambda data: None)

    def bundles(turn):
        with params.together():  # as a bundle of OSC holds them
            made.handle(Touch("osc", "/1/fader1", turn % 10 / 9))

    def touches(turn):
        made.handle(Touch("cc", 1, turn % 128, 1), "midi:box")

    jobs = [bundles, touches, lambda turn: lights.show()]
    threads = [
        threading.Thread(target=lambda job=job: [job(turn) for turn in range(3000)], daemon=True) for job in jobs
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    finally:
        sys.setswitchinterval(before)
    assert not any(thread.is_alive() for thread in threads)
    assert params["petals.gain"].travel == pytest.approx(2999 % 128 / 127)
