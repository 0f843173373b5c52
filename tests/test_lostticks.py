"""Lost ticks: steps are losses, slopes are tempos, and what may be either waits."""

from __future__ import annotations

import random

import pytest

from instrument.modulation.lostticks import bent, in_blocks, lost, recounted

IN_TIME = [0.02, -0.05, 0.03, 0.0, -0.04, 0.01]


@pytest.mark.parametrize(
    ("late", "steps"),
    [
        ([1.02, 0.97], [1, 1]),
        ([2.03, 1.98], [2, 2]),
        ([1.01, 2.02, 1.97], [1, 2, 2]),  # another one was lost right after
        ([0.99, 1.02, 3.0, 3.03], [1, 1, 3, 3]),
    ],
)
def test_ticks_that_go_on_whole_periods_late_tell_of_lost_ones(late, steps):
    assert lost(IN_TIME, late, 0.05, True) == steps


@pytest.mark.parametrize(
    "late",
    [
        [1.0],  # it may only have been held up
        [1.0, 2.0, 3.0, 4.0, 5.0],  # half the tempo
        [2.0, 4.0, 6.0],  # a third of it
        [0.6, 0.9, 1.2, 1.5, 1.8],  # slower
        [2.0, 1.0],  # two that were held up
        [1.4, 1.4, 1.4],  # no whole period
        [9.0, 9.0, 9.0],  # a pause
    ],
)
def test_what_is_no_loss(late):
    assert lost(IN_TIME, late, 0.05, True) == []


def test_what_cannot_be_told_yet_waits():
    rough, late = [0.3, -0.2, 0.1, -0.3, 0.2, 0.1], [0.9, 0.8, 1.1]
    assert lost(rough, late, 0.25, True) is None
    assert lost(rough, [*late, 0.9, 1.0, 0.8, 1.1, 0.9], 0.25, True) == [1] * 8


@pytest.mark.parametrize("seed", range(20))
def test_losses_in_the_midst_are_found_again(seed):
    noise = random.Random(seed)
    kept = [0, 1, 2, *(n for n in range(3, 45) if noise.random() > 0.08), 45, 46, 47]
    times = [n * 0.02 + noise.gauss(0, 0.002) for n in kept]
    assert recounted(0, times, 0.15) == kept


def test_a_bow_is_a_tempo_and_a_staircase_is_not():
    assert bent([(n / 20) ** 2 for n in range(-20, 20)]) == pytest.approx(0, abs=1e-9)
    assert bent([float(n // 10) - n / 10 for n in range(40)]) > 0.2


def test_a_pace_of_blocks_is_known():
    assert in_blocks(1024 / 48_000, 48) and in_blocks(1.02 * 1024 / 48_000, 48)
    assert not in_blocks(0.97 * 1024 / 48_000, 48) and not in_blocks(1.05 * 1024 / 48_000, 48)
