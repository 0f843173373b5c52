"""Envelopes: pure functions of the time since the gate opened."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.modulation.envelopes import Gate, Times, adsr

TIMES = Times(0.1, 0.2, 0.5, 0.4)
LENGTH = st.floats(0, 2)


def test_known_points_of_an_adsr():
    points = {0: 0, 0.05: 0.5, 0.1: 1, 0.2: 0.75, 0.3: 0.5, 5: 0.5}
    for elapsed, level in points.items():
        assert adsr(TIMES, elapsed) == pytest.approx(level)
    assert adsr(TIMES, 1.2, held=1.0) == pytest.approx(0.25)
    assert adsr(TIMES, 1.4, held=1.0) == pytest.approx(0) and adsr(TIMES, 99, held=1.0) == 0


def test_a_short_gate_is_released_from_where_it_got():
    assert adsr(TIMES, 0.05, held=0.05) == pytest.approx(0.5)
    assert adsr(TIMES, 0.25, held=0.05) == pytest.approx(0.25)


def test_times_of_zero_are_steps():
    instant = Times(0, 0, 0.5, 0)
    assert adsr(instant, 0) == 0.5 and adsr(instant, 1, held=0.5) == 0
    assert adsr(Times(0, 1, 0, 0), 0) == 1


@given(LENGTH, LENGTH, st.floats(0, 1), LENGTH, st.floats(0, 10), st.floats(0, 10), st.floats(0, 1))
def test_it_never_leaves_0_to_1_and_ends_at_nothing(a, d, s, r, elapsed, held, start):
    times = Times(a, d, s, r)
    assert 0 <= adsr(times, elapsed, held, start) <= 1
    assert 0 <= adsr(times, elapsed, math.inf, start) <= 1
    assert adsr(times, held + r + 1e-6, held, start) == pytest.approx(0, abs=1e-4) or r == 0


def test_a_gate_that_opens_again_goes_on_from_its_level():
    gate = Gate()
    assert gate.level(TIMES, 0.0) == 0
    gate.open(1.0, 0.0)
    gate.close(2.0)
    level = gate.level(TIMES, 2.2)
    assert level == pytest.approx(0.25)
    gate.open(2.2, level)
    assert gate.level(TIMES, 2.2) == pytest.approx(0.25)
    assert gate.level(TIMES, 2.3) == pytest.approx(1)
