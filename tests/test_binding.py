"""Rows, pages, modifiers, kinds of sources and buttons: what lines unroll to, and what they then do."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec, SwitchSpec, TriggerSpec
from tests.touches import cc


@pytest.fixture
def params():
    params = ParamSet(notices=lambda text: None)
    for number in range(1, 25):
        params.add(f"bend.{number}.amount", ControlSpec(0, 1, 0.5))
    for number in range(1, 9):
        params.add(f"snapshot.{number}.recall", TriggerSpec())
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


@pytest.fixture
def made(params, told):
    def made(text, head=""):
        return Mapping(mapping.loads(f"{head}\nbindings:\n{text}"), params, told.append)

    return made


def note(key, value, channel=1):
    return Touch("note", key, value, channel)


def heard(params, number):
    return params[f"bend.{number}.amount"].base


# --- rows and pages ---


def test_a_row_is_one_line(made, params):
    row = made('  - {cc: 20-27, to: "bend.{n}.amount"}')
    assert [(bound.key, bound.target) for bound in row.file.bound][::7] == [
        (20, "bend.1.amount"),
        (27, "bend.8.amount"),
    ]
    row.handle(cc(22, 127))
    assert heard(params, 3) == 1 and heard(params, 2) == 0.5


def test_rows_may_be_irregular_and_run_on(made):
    row = made('  - {note: [1, 4, 9-7], to: "bend.{n+8}.amount"}').file.bound
    assert [(bound.key, bound.target[5:-7]) for bound in row] == [(1, "9"), (4, "10"), (9, "11"), (8, "12"), (7, "13")]


def test_one_line_plays_a_row_on_every_page(made, params):
    desk = made('  - {cc: 0-7, to: "bend.{n+8p}.amount"}\n  - {note: 1, go: next}', "pages: 3")
    for page, number in enumerate((1, 9, 17)):
        assert desk.page == page
        desk.handle(cc(0, 127))
        assert heard(params, number) == 1
        desk.handle(note(1, 100))
        desk.handle(note(1, 0))
    assert desk.page_name == "1"  # round
    assert [heard(params, number) for number in (2, 10, 18)] == [0.5] * 3


def test_pages_by_name_number_and_back(made, params):
    lines = """
  - {cc: 0, to: bend.1.amount, page: low}
  - {cc: 0, to: bend.2.amount, page: [mid, 3]}
  - {cc: 0, to: bend.3.amount}
  - {note: 1, go: high}
  - {note: 2, go: previous}
  - {cc: 50, go: 1}
"""
    desk = made(lines, "pages: [low, mid, high]")
    desk.handle(note(2, 9))
    assert desk.page_name == "high"
    desk.handle(cc(0, 127))
    assert [heard(params, n) for n in (1, 2, 3)] == [0.5, 1, 1]
    desk.handle(cc(50, 127))
    desk.handle(cc(0, 0))
    assert desk.page_name == "low" and [heard(params, n) for n in (1, 2, 3)] == [0, 1, 0]
    desk.handle(note(1, 9))
    assert desk.page_name == "high"


def test_a_page_turned_has_to_be_met_again_from_where_the_knob_really_stands(made, params):
    desk = made(
        '  - {cc: 0, to: "bend.{n}.amount", takeover: pickup, page: 1}\n'.replace("{n}", "1")
        + "  - {cc: 0, to: bend.2.amount, page: 2}\n  - {note: 1, go: next}",
        "pages: 2",
    )
    desk.handle(cc(0, 64))
    desk.handle(cc(0, 120))
    assert heard(params, 1) == pytest.approx(120 / 127)  # caught
    desk.handle(note(1, 9))
    desk.handle(cc(0, 10))  # plays the other page
    desk.handle(note(1, 9))
    desk.handle(cc(0, 12))
    assert heard(params, 1) == pytest.approx(120 / 127)  # near nothing, and it did not cross on the way here
    desk.handle(cc(0, 126))
    assert heard(params, 1) == pytest.approx(126 / 127)


def test_a_button_let_go_on_another_page_still_ends_what_it_began(made, params):
    desk = made(
        "  - {note: 5, to: bend.1.amount, mode: momentary, page: 1}\n"
        "  - {note: 5, to: freeze, page: 2}\n  - {note: 1, go: next}",
        "pages: 2",
    )
    desk.handle(note(5, 100))
    assert heard(params, 1) == 1
    desk.handle(note(1, 100))
    desk.handle(note(5, 0))
    assert heard(params, 1) == 0.5 and params["freeze"].base is False


# --- modifiers ---


def test_a_modifier_gives_a_knob_a_second_meaning_while_held(made, params):
    desk = made("  - {cc: 0, to: bend.1.amount}\n  - {cc: 0, to: bend.2.amount, when: note 98}")
    desk.handle(cc(0, 10))
    desk.handle(note(98, 127))
    desk.handle(cc(0, 20))
    desk.handle(note(98, 0))
    desk.handle(cc(0, 30))
    assert heard(params, 1) == pytest.approx(30 / 127) and heard(params, 2) == pytest.approx(20 / 127)
    assert desk.counts(note(98, 127)) and desk.counts(cc(98, 1)) is False


def test_most_modifiers_win_and_a_lost_controller_holds_nothing(made, params):
    desk = made(
        "  - {cc: 0, to: bend.1.amount}\n"
        "  - {cc: 0, to: bend.2.amount, when: cc 49}\n"
        "  - {cc: 0, to: bend.3.amount, when: [cc 49, cc 48]}"
    )
    desk.handle(cc(49, 127))
    desk.handle(cc(48, 127))
    desk.handle(cc(0, 127))
    assert [heard(params, n) for n in (1, 2, 3)] == [0.5, 0.5, 1]
    desk.let_go()
    desk.handle(cc(0, 0))
    assert [heard(params, n) for n in (1, 2, 3)] == [0, 0.5, 1]


# --- kinds of sources ---


@pytest.mark.parametrize(
    ("source", "touch", "expected"),
    [
        ("cc14: 16", Touch("cc14", 16, 16383, 1), 1.0),
        ("cc14: 16", Touch("cc14", 16, 8192, 1), 8192 / 16383),
        ("pressure: true", Touch("pressure", 0, 127, 3), 1.0),
        ("poly: 36", Touch("poly", 36, 0, 1), 0.0),
        ("nrpn: 300", Touch("nrpn", 300, 16383, 1), 1.0),
        ("rpn: 0", Touch("rpn", 0, 0, 1), 0.0),
        ("nrpn: 300", Touch("nrpn_step", 300, 1, 1), 0.5 + 1 / 128),
        ("nrpn: 300", Touch("nrpn_step", 300, -1, 1), 0.5 - 1 / 128),
        ("program: 5", Touch("program", 5, 5, 1), 5 / 127),
        ("note: 36, mode: velocity", note(36, 64), 64 / 127),
    ],
)
def test_every_kind_of_source_moves_a_value(made, params, source, touch, expected):
    desk = made(f"  - {{{source}, to: bend.1.amount}}")
    assert desk.handle(touch) and heard(params, 1) == pytest.approx(expected)
    assert not desk.handle(touch._replace(key="other"))


def test_programs_recall_snapshots(made, params, told):
    desk = made('  - {program: 0-7, trigger: "snapshot.{n}.recall"}')
    for program in (0, 7, 7):
        assert desk.handle(Touch("program", program, program, 1))
    assert params.drain() == ["snapshot.1.recall", "snapshot.8.recall", "snapshot.8.recall"]
    assert not desk.handle(Touch("program", 8, 8, 1))
    every = made('  - {program: all, trigger: "snapshot.{n}.recall"}')
    every.handle(Touch("program", 99, 99, 1))
    assert params.drain() == [] and "no parameter 'snapshot.100.recall'" in told[0]


def test_machine_control_can_be_a_panic(made, params):
    desk = made("  - {mmc: stop, trigger: panic}")
    assert desk.handle(Touch("mmc", "stop", 1)) and not desk.handle(Touch("mmc", "play", 1))
    assert params.drain() == ["panic"]


def test_a_line_may_listen_to_one_of_several_devices(made, params):
    desk = made("  - {cc: 0, device: lpd8, to: bend.1.amount}\n  - {cc: 0, device: nano, to: bend.2.amount}")
    desk.handle(cc(0, 127), "midi:LPD8:LPD8 MIDI 1 20:0")
    assert heard(params, 1) == 1 and heard(params, 2) == 0.5


# --- buttons and endless knobs ---


def test_momentary_puts_back_what_was_there(made, params):
    desk = made("  - {note: 36, to: bend.1.amount, mode: momentary}")
    params.set("bend.1.amount", 0.3)
    for _ in range(2):
        desk.handle(note(36, 90))
        assert heard(params, 1) == 1
        desk.handle(note(36, 0))
        assert heard(params, 1) == 0.3
    desk.handle(note(36, 90))
    params.set("bend.1.amount", 0.8, "osc")  # somebody else has the last word
    desk.handle(note(36, 0))
    assert heard(params, 1) == 0.8


@given(st.lists(st.tuples(st.integers(1, 127), st.floats(0, 0.3)), min_size=1, max_size=40), st.floats(1, 32))
def test_acceleration_never_turns_round_or_goes_slower(turns, acceleration):
    plain, fast = ParamSet(), ParamSet()
    for params in (plain, fast):
        params.add("x", ControlSpec(-1000, 1000, 0))
    line = "bindings: [{cc: 1, to: x, relative: twos, acceleration: %s}]"
    linear = Mapping(mapping.loads(line % 1), plain)
    spun = Mapping(mapping.loads(line % acceleration), fast)
    now = 1.0
    for value, gap in turns:
        now += gap
        before = plain["x"].base, fast["x"].base
        linear.handle(cc(1, value), "midi", now)
        spun.handle(cc(1, value), "midi", now)
        slow, quick = plain["x"].base - before[0], fast["x"].base - before[1]
        if -1000 < fast["x"].base < 1000 and -1000 < plain["x"].base < 1000:
            assert slow * quick >= 0 and abs(quick) >= abs(slow) - 1e-6
            assert abs(quick) <= abs(slow) * acceleration + 1e-6


def test_turned_slowly_an_endless_knob_is_exact_however_accelerated(made, params):
    desk = made("  - {cc: 1, to: bend.1.amount, relative: offset, acceleration: 8, notches: 200}")
    for step in range(10):
        desk.handle(cc(1, 65), "midi", 10.0 + step)
    assert heard(params, 1) == pytest.approx(0.5 + 10 / 200)


def test_scale_takeover_moves_at_once_without_a_jump(made, params):
    desk = made("  - {cc: 1, to: bend.1.amount, takeover: scale}")
    params.set("bend.1.amount", 0.8)
    for value in (0, 10, 20):
        desk.handle(cc(1, value))
    assert 0.8 < heard(params, 1) < 0.85
    desk.handle(cc(1, 127))
    assert heard(params, 1) == 1


# --- swapping controllers ---


def test_a_mapping_moves_to_another_controller_by_swapping_the_profile(params):
    text = mapping.load("nanokontrol2").files
    source = next(file for file in text if file.name == "nanokontrol2.yaml" and file.parent.name == "mappings")
    lines = "".join(
        line for line in source.read_text().splitlines(True) if "{n" in line or line.startswith(("pages", "bindings"))
    )
    moved = {}
    for name in ("nanokontrol2", "midimix", "launchcontrolxl", "apc40mk2"):
        file = mapping.loads(f"profile: {name}\n{lines}")
        moved[name] = {bound.name: bound.target for bound in file.bound}
        bound = next(bound for bound in file.bound if bound.name == "fader.3")
        playing = Mapping(file, params)
        playing.handle(Touch(bound.kind, bound.key, 127, bound.channel))
        playing.handle(Touch(bound.kind, bound.key, 0, bound.channel))
        assert heard(params, 3) == 0
    assert len({json.dumps(lines, sort_keys=True) for lines in moved.values()}) == 1
