"""Takeover: what holds of every hand and every value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.mapping.takeover import Takeover

TRAVEL = st.integers(0, 127).map(lambda step: step / 127)
MOVES = st.lists(TRAVEL, min_size=1, max_size=60)


def play(how, moves, value, release_at=None):
    """(position before, position, value before, value after) of every move of one hand."""
    takeover, last = Takeover(how), None
    for number, n in enumerate(moves):
        if number == release_at:
            takeover.release()
        new = takeover.move(last, n, value, True)
        yield last, n, value, value if new is None else new
        value, last = value if new is None else new, n


@given(MOVES, TRAVEL)
def test_jump_is_always_where_the_hand_is(moves, value):
    assert all(after == n for _, n, _, after in play("jump", moves, value))


@given(MOVES, TRAVEL)
def test_pickup_moves_nothing_before_the_hand_meets_the_value_and_never_lets_go_after(moves, value):
    caught = False
    for last, n, before, after in play("pickup", moves, value):
        meets = abs(n - before) <= 3 / 128 or (last is not None and min(last, n) < before < max(last, n))
        caught = caught or meets
        assert after == (n if caught else before)


@given(TRAVEL, TRAVEL, st.floats(0, 1))
def test_a_hand_that_passes_the_value_catches_it_however_fast(start, end, value):
    (_, _, _, first), (_, _, _, second) = play("pickup", [start, end], value)
    if min(start, end) < value < max(start, end):
        assert second == end
    assert first in (value, start)


@given(MOVES, st.floats(0, 1))
def test_scale_goes_the_way_of_the_hand_stays_on_its_side_and_ends_with_it(moves, value):
    for last, n, before, after in play("scale", moves, value):
        assert 0.0 <= after <= 1.0
        if last is None:
            assert after == before or abs(n - before) <= 1 / 256
            continue
        tolerance = 1 / 256 + 1e-9
        assert (after - before) * (n - last) >= -tolerance
        assert (before - last) * (after - n) >= -tolerance  # never overtakes the hand
        if n in (0.0, 1.0) and last != n:
            assert after == pytest.approx(n, abs=tolerance)


@given(st.floats(0, 1), st.lists(TRAVEL, min_size=2, max_size=40))
def test_scale_never_goes_faster_than_the_way_that_is_left(value, moves):
    """A move of one step is never a jump: it takes the same share of the value's way as of the hand's."""
    for last, n, before, after in play("scale", moves, value):
        if last is not None and n != last:
            share = (n - last) / (1 - last) if n > last else (last - n) / last
            way = 1 - before if n > last else before
            assert abs(after - before) <= share * way + abs(n - last) + 2 / 256


@given(MOVES, st.floats(0, 1), st.sampled_from(["pickup", "scale"]))
def test_let_go_it_has_to_be_met_again(moves, value, how):
    """After a page was turned the next move changes nothing by itself, unless it meets the value."""
    takeover = Takeover(how)
    takeover.move(None, value, value, True)
    takeover.release()
    for n in moves[:1]:
        new = takeover.move(None, n, value, True)
        near = abs(n - value) <= 3 / 128
        assert new is None or near


def test_somebody_elses_move_lets_go():
    takeover = Takeover("pickup")
    assert takeover.move(None, 0.5, 0.5, True) == 0.5
    assert takeover.move(0.5, 0.6, 0.1, False) is None  # OSC has moved the value to 0.1
    assert takeover.move(0.6, 0.05, 0.1, False) == 0.05
    assert takeover.move(0.05, 0.9, 0.05, True) == 0.9
