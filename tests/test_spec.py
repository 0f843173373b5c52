"""A number's curve and its limits, against their plain definition, bit for bit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.spec import ControlSpec

SPECS = [
    ControlSpec(0, 8, 1, warp="cubed"),
    ControlSpec(-1, 1, 0),
    ControlSpec(0.1, 0.3, 0.2, warp="squared"),
    ControlSpec(0.01, 20, 1, warp="exponential"),
    ControlSpec(0, 10, 5, step=1),
    ControlSpec(-0.5, 0.5, 0, step=0.1),
]


def clamped(spec: ControlSpec, value: float) -> float:
    value = min(max(float(value), spec.lo), spec.hi)
    return min(spec.lo + round((value - spec.lo) / spec.step) * spec.step, spec.hi) if spec.step > 0 else value


def mapped(spec: ControlSpec, n: float) -> float:
    n = min(max(float(n), 0.0), 1.0)
    if spec.warp == "exponential":
        return clamped(spec, spec.lo * (spec.hi / spec.lo) ** n)
    power = {"linear": 1.0, "squared": 2.0, "cubed": 3.0}[spec.warp]
    return clamped(spec, spec.lo + (spec.hi - spec.lo) * n**power)


@given(st.sampled_from(SPECS), st.floats(allow_nan=False))
def test_any_number_is_clamped_and_mapped_as_defined(spec, value):
    for found, defined in ((spec.clamp(value), clamped(spec, value)), (spec.map(value), mapped(spec, value))):
        assert repr(found) == repr(defined)


@given(st.sampled_from(SPECS), st.floats(0, 1))
def test_travel_is_mapped_as_defined(spec, n):
    assert repr(spec.map(n)) == repr(mapped(spec, n))


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_no_number_has_no_place(spec):
    for place in (spec.clamp, spec.map):
        with pytest.raises(ValueError, match="not a number"):
            place(math.nan)
