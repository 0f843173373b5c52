"""Wave shapes: bounded, repeatable, pure functions of the phase."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.modulation.waves import WAVES, chance, drawn


def at(shape: str, *phases: float, width: float = 0.5, seed: int = 1) -> list[float]:
    phase = np.array(phases, dtype=np.float64)
    return WAVES[shape](phase, np.full_like(phase, width), np.full(len(phase), seed, dtype=np.uint64)).tolist()


@given(st.sampled_from(list(WAVES)), st.floats(-1e6, 1e6), st.floats(0, 1), st.integers(0, 2**32))
def test_every_shape_stays_within_one_and_is_repeatable(shape, phase, width, seed):
    value = at(shape, phase, width=width, seed=seed)
    assert -1 - 1e-9 <= value[0] <= 1 + 1e-9
    assert at(shape, 0.25, phase, width=width, seed=seed)[1] == value[0]


@given(st.sampled_from(["sine", "triangle", "saw", "square"]), st.floats(0, 0.999), st.integers(-1000, 1000))
def test_cycles_are_alike(shape, phase, cycles):
    edge = min(abs(phase - place) for place in (0, 0.25, 0.5, 0.75, 1))
    if edge > 1e-6:
        assert at(shape, phase + cycles)[0] == pytest.approx(at(shape, phase)[0], abs=1e-6)


def test_known_points():
    assert at("sine", 0, 0.25, 0.5, 0.75) == pytest.approx([0, 1, 0, -1], abs=1e-12)
    assert at("triangle", 0, 0.25, 0.5, 0.75) == pytest.approx([0, 1, 0, -1])
    assert at("saw", 0, 0.5, 0.999) == pytest.approx([-1, 0, 0.998])
    assert at("square", 0, 0.49, 0.51) == [1, 1, -1]
    assert at("square", 0.1, 0.3, width=0.2) == [1, -1]


@pytest.mark.parametrize("width", [0.0, 0.1, 0.9, 1.0])
def test_a_leaning_triangle_reaches_both_ends_and_starts_at_zero(width):
    values = at("triangle", *np.arange(0, 1, 1e-4), width=width)
    assert values[0] == pytest.approx(0, abs=1e-3)
    assert max(values) == pytest.approx(1, abs=0.01) and min(values) == pytest.approx(-1, abs=0.01)


def test_random_holds_for_a_cycle_and_walk_is_smooth():
    held = at("random", 3.0, 3.5, 3.99, 4.0)
    assert held[0] == held[1] == held[2] != held[3]
    walk = np.array(at("walk", *np.arange(0, 50, 0.01)))
    assert np.abs(np.diff(walk)).max() < 0.08 and np.ptp(walk) > 1
    assert at("walk", 2.5, seed=1) != at("walk", 2.5, seed=2)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), st.integers(0, 2**32))
def test_a_walk_is_the_sum_of_its_octaves(phases, seed):
    phase, seeds = np.array(phases), np.array([seed + number for number in range(len(phases))], dtype=np.uint64)
    total = np.zeros_like(phase)
    for octave in range(3):
        place = phase * 2.0**octave
        own, part = seeds + np.uint64(octave), place - np.floor(place)
        here, there = chance(np.floor(place), own), chance(np.floor(place) + 1, own)
        total += (here + (there - here) * part * part * (3 - 2 * part)) * 0.5**octave
    assert WAVES["walk"](phase, phase, seeds).tolist() == (total / 1.75).tolist()


def test_chance_is_even_and_differs_by_cell_and_seed():
    cells = np.arange(-5000, 5000, dtype=np.float64)
    values = chance(cells, np.full(len(cells), 7, dtype=np.uint64))
    assert abs(values.mean()) < 0.03 and abs(values.var() - 1 / 3) < 0.02
    assert len(set(values.tolist())) == len(cells)
    neighbours = np.corrcoef(values[1:], values[:-1])[0, 1]
    other = chance(cells, np.full(len(cells), 8, dtype=np.uint64))
    assert abs(neighbours) < 0.05 and abs(np.corrcoef(values, other)[0, 1]) < 0.05


def test_a_drawn_cycle_joins_its_points_and_its_ends():
    table = [0.0, 1.0, -1.0, 0.5]
    assert [drawn(n / 4, table) for n in range(4)] == table
    assert drawn(0.125, table) == 0.5 and drawn(0.875, table) == 0.25 and drawn(-0.125, table) == 0.25
    assert drawn(1e9 + 0.25, table) == 1.0
