"""Morphs: exact at their ends, in knob travel between, and the hand has the last word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.parameters.params import ParamSet
from instrument.state.morph import Morph, between, blend, corners, write
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec

GAIN = ControlSpec(0, 8, 1, warp="cubed")
SPECS = [GAIN, ControlSpec(-180, 180, 0), ControlSpec(0.1, 10, 1, warp="exponential"), ControlSpec(0, 9, 3, step=1)]


@given(st.sampled_from(SPECS), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_numbers_meet_between_and_are_exact_at_the_ends(spec, one, two, share):
    a, b = spec.map(one), spec.map(two)
    assert blend(spec, (a, b), (1.0, 0.0)) == a and blend(spec, (a, b), (0.0, 1.0)) == b
    middle = blend(spec, (a, b), (1 - share, share))
    assert min(a, b) - 1e-9 * spec.hi <= middle <= max(a, b) + 1e-9 * spec.hi
    assert blend(spec, (a, a), (1 - share, share)) == a


def test_half_way_is_half_the_knobs_travel():
    assert blend(GAIN, (0.0, 8.0), (0.5, 0.5)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (SwitchSpec(), (False, True)),
        (ChoiceSpec(("x", "y"), "x"), ("x", "y")),
        (TextSpec(), ("black ice", "fire")),
    ],
)
def test_what_cannot_glide_switches_at_half_way(spec, values):
    heard = [blend(spec, values, (1 - share, share)) for share in (0, 0.49, 0.5, 0.51, 1)]
    assert heard == [values[0], values[0], values[1], values[1], values[1]]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_square_is_exact_in_its_corners_and_sums_to_one(x, y):
    assert sum(corners(x, y)) == pytest.approx(1)
    assert [corners(*at).index(1.0) for at in ((0, 0), (1, 0), (0, 1), (1, 1))] == [0, 1, 2, 3]


def instrument() -> ParamSet:
    params = ParamSet(lambda text: None)
    params.add("a", GAIN)
    params.add("b", SPECS[1])
    params.add("mode", ChoiceSpec(("x", "y"), "x"))
    params.add("words", TextSpec("ice"))
    return params


TARGET = {"a": 5.5, "b": -77.7, "mode": "y", "words": "fire", "gone": 1.0}


def test_a_morph_over_time_ends_exactly_and_then_lets_go():
    params = instrument()
    morph = Morph(params, TARGET, 10.0, 2.0)
    assert morph.tick(10.0) and params["a"].base == 1
    assert morph.tick(11.0) and params["mode"].base == "y" and 1 < params["a"].base < 5.5
    assert params["b"].base == pytest.approx(-77.7 / 2) and params["b"].origin == "morph"
    assert not morph.tick(12.0)
    assert {id: params[id].base for id in TARGET if id in params} == {k: v for k, v in TARGET.items() if k != "gone"}


def test_a_late_or_a_timeless_morph_is_there_at_once():
    for seconds, now in ((2.0, 99.0), (0.0, 10.0)):
        params = instrument()
        assert not Morph(params, TARGET, 10.0, seconds).tick(now)
        assert params["a"].base == 5.5


def test_what_the_hand_takes_up_stays_in_the_hand():
    params = instrument()
    morph = Morph(params, TARGET, 0.0, 1.0)
    morph.tick(0.5)
    params.set("a", 0.25, "midi")
    params.remove("words")
    assert not morph.tick(1.0)
    assert params["a"].base == 0.25 and params["b"].base == -77.7


def test_between_takes_what_all_states_have():
    params = instrument()
    assert between(params, [{"a": 0.0, "b": 1.0}, {"a": 8.0}], (0.5, 0.5)) == {"a": pytest.approx(1.0)}
    write(params, {"a": 2.0, "gone": 3})
    assert params["a"].base == 2.0
