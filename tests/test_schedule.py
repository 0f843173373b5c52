"""Sigma tables, warping and the nearest-sigma rule against the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule import (
    Schedule,
    counted_as,
    nearest_sigma,
    resampled,
    sigma_grid,
    to_clean,
    to_noisy,
    warp,
    weakened,
)
from pipelines.wan import sinusoid
from tests import golden


@pytest.mark.parametrize("shift", [5, 8])
def test_tables_equal_the_reference(shift: int) -> None:
    case = golden.tensors("units/units")
    torch.testing.assert_close(sigma_grid(shift), case[f"sched{shift}.sigmas"])
    torch.testing.assert_close(sigma_grid(shift) * 1000, case[f"sched{shift}.timesteps"])
    warped = torch.tensor(warp((1000, 750, 500, 250), shift))
    torch.testing.assert_close(warped, case[f"sched{shift}.warp_1000_750_500_250"])
    got = nearest_sigma(case[f"sched{shift}.query_t"], shift)
    torch.testing.assert_close(got, case[f"sched{shift}.nearest_sigma"])


def test_the_step_lists_of_the_reference() -> None:
    case = golden.tensors("units/units")
    for count in (4, 5):
        steps = weakened(tuple(1000 * (1 - i / (count - 1)) for i in range(count)), 1.0)
        torch.testing.assert_close(torch.tensor(warp(steps, 5.0)), case[f"krea_schedule_steps{count}"])


def test_a_weaker_list_starts_later_and_ends_as_it_did() -> None:
    assert weakened((1000, 750, 500, 250, 0), 0.7) == (700, 525, 350, 175, 0)
    assert weakened((1000, 757, 522), 1.0) == (1000, 757, 522)
    for strength in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="more than 0, at most 1"):
            weakened((1000,), strength)


def test_sinusoid_equals_the_reference() -> None:
    case = golden.tensors("units/units")
    torch.testing.assert_close(sinusoid(case["sinusoid256.t"], 256), case["sinusoid256.out"], atol=1e-9, rtol=0)


def test_noising_and_its_inverse() -> None:
    clean, noise = torch.randn(2, 3), torch.randn(2, 3)
    x = to_noisy(clean, noise, 0.7)
    torch.testing.assert_close(to_clean(x, noise - clean, 0.7), clean)


def test_self_forcing_schedule() -> None:
    schedule = Schedule.of((1000, 750, 500, 250), 5.0, warped=True)
    assert [round(t, 1) for t in schedule.timesteps] == [1000.0, 937.5, 833.3, 625.0]
    assert [round(s, 4) for s in schedule.sigmas] == [1.0, 0.9375, 0.8333, 0.625]


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        ((1000, 750, 500, 250), 2, (1000, 500)),
        ((1000, 750, 500, 250), 8, (1000, 875, 750, 625, 500, 375, 250, 125)),
        ((1000, 600, 250), 2, (1000, 425)),
        ((1000, 600, 250), 1, (1000,)),
        ((1000, 750, 500, 250, 0), 4, (1000, 666, 333, 0)),  # Krea's own four
        ((1000, 750, 500, 250, 0), 1, (1000,)),
    ],
)
def test_a_step_list_of_another_length_goes_along_the_same_curve(steps, count: int, expected) -> None:
    assert resampled(steps, count) == expected
    assert resampled(steps, len(steps)) is steps
    with pytest.raises(ValueError, match="0 denoising steps: take 1 or more"):
        resampled(steps, 0)


@given(st.lists(st.integers(50, 999), min_size=1, max_size=6, unique=True), st.integers(1, 24), st.booleans())
def test_any_number_of_steps_falls_from_the_same_noise(inner: list[int], count: int, ends: bool) -> None:
    steps = (1000, *sorted(inner, reverse=True), *((0,) if ends else ()))
    made = resampled(steps, count)
    assert len(made) == count and made[0] == 1000 and list(made) == sorted(made, reverse=True)
    assert made[-1] == 0 if ends and count > 1 else made[-1] > 0
    counted = [counted_as(step, count, len(steps)) for step in range(count)]
    assert counted == sorted(counted) and counted[0] == 0
    if count > 1:
        assert counted[-1] == len(steps) - 1
    if count >= len(steps):
        assert set(counted) == set(range(len(steps)))
