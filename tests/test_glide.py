"""Glides: they follow, never overshoot, and end exactly on their target in the time given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.parameters.params import GLIDE, BadValue, ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, TextSpec

SPECS = [
    ControlSpec(0, 8, 1, warp="cubed"),
    ControlSpec(-180, 180, 0),
    ControlSpec(0.1, 10, 1, warp="exponential"),
    ControlSpec(0, 5, 1, warp="squared"),
]


def gliding(spec: ControlSpec = SPECS[0], ms: float = 100) -> ParamSet:
    params = ParamSet(lambda text: None)
    params.add(GLIDE, ControlSpec(0, 60_000, 0), glide=0)
    params.add("a", spec)
    params.set_glide("a", ms)
    params.tick(0.0)
    return params


@given(
    spec=st.sampled_from(SPECS),
    ms=st.floats(1, 5000),
    stops=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    tick=st.floats(0.001, 0.3),
)
def test_a_glide_moves_toward_its_target_only_and_ends_exactly_on_it(spec, ms, stops, tick):
    params = gliding(spec, ms)
    now, before = 0.0, params["a"].travel
    for stop in stops:
        params.set_normalised("a", stop)
        target = params["a"].travel
        end = now + ms / 1000 + 2 * tick
        while now < end:
            now += tick
            travel = spec.unmap(params.tick(now)["a"])
            assert min(before, target) - 1e-6 <= travel <= max(before, target) + 1e-6
            before = travel
        assert params.tick(now)["a"] == params["a"].base
        assert "a" not in params.moving()


def test_it_is_half_way_in_knob_travel_not_in_units():
    params = gliding(SPECS[0], 1000)
    params.set("a", 0.0)
    params.tick(2.0)
    params.set("a", 8.0)
    heard = params.tick(2.1003)["a"]  # one pole: half of the way is left after ms * ln 2 / ln 1000
    assert heard == pytest.approx(SPECS[0].map(0.5), rel=0.01)
    assert params["a"].base == 8.0 and params.heard("a") == heard and params.moving() == {"a": heard}


def test_a_change_of_mind_goes_on_from_where_the_glide_stands():
    params = gliding(SPECS[1], 1000)
    params.set("a", 180)
    on_the_way = params.tick(0.1)["a"]
    params.set("a", -180)
    assert params.tick(0.1)["a"] == pytest.approx(on_the_way)
    assert params.tick(0.12)["a"] < on_the_way


def test_ticks_cut_finer_end_where_coarse_ones_do():
    coarse, fine = gliding(), gliding()
    for params in (coarse, fine):
        params.set("a", 8)
    for step in range(1, 41):
        fine.tick(step / 1000)
    assert fine.tick(0.04)["a"] == pytest.approx(coarse.tick(0.04)["a"])


def test_the_whole_instruments_glide_is_for_those_without_their_own():
    params = gliding(ms=100)
    params.add("b", SPECS[0])
    params.add("seed", SPECS[0], glide=0)
    params.set(GLIDE, 1000)
    params.tick(0.0)
    for id in ("a", "b", "seed"):
        params.set(id, 8)
    heard = params.tick(0.05)
    assert 1 < heard["b"] < heard["a"] < 8 and heard["seed"] == 8
    params.set_glide("a", None)
    params.set("a", 0)
    assert params.tick(0.2)["a"] > 0


def test_nothing_glides_before_the_first_tick_or_after_settle():
    params = ParamSet()
    params.add("a", SPECS[0], glide=500)
    params.set("a", 5)
    assert params.tick(0.0)["a"] == 5
    params.set("a", 0)
    params.settle()
    assert params.tick(0.001)["a"] == 0


def test_only_numbers_glide():
    params = gliding()
    params.add("mode", ChoiceSpec(("x", "y"), "x"))
    params.add("words", TextSpec())
    params.add("layers.center", SPECS[1])
    params.add("layers.width", SPECS[1])
    params.set(GLIDE, 1000)
    params.set_glide("layers", 50)
    assert params["layers.center"].glide == params["layers.width"].glide == 50
    for id in ("mode", "words"):
        with pytest.raises(BadValue, match=f"{id} cannot glide; only numbers do"):
            params.set_glide(id, 10)
    params.set("mode", "y")
    assert params.tick(0.0)["mode"] == "y"


def test_time_that_stands_still_or_runs_back_harms_nothing():
    params = gliding()
    params.set("a", 8)
    for now in (0.01, 0.01, -5.0, 0.02):
        assert 1 <= params.tick(now)["a"] <= 8


def test_a_parameter_that_goes_while_it_glides_is_gone():
    params = gliding()
    params.set("a", 8)
    params.tick(0.01)
    params.remove("a")
    assert "a" not in params.tick(0.02) and params.moving() == {}
