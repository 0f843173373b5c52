"""Rotary positions against the reference, and without an end."""

from __future__ import annotations

import pytest
import torch

from pipelines.rope import Rope, rotate
from tests import golden


@pytest.mark.parametrize("head_dim", [32, 128])
@pytest.mark.parametrize("start", [0, 9, 1021])
def test_equals_the_reference(head_dim: int, start: int) -> None:
    case = golden.tensors("units/units")
    turn = Rope(head_dim, 4, 6).turn(range(start, start + 3))
    got = rotate(case[f"rope_apply{head_dim}.x"], turn)
    torch.testing.assert_close(got, case[f"rope_apply{head_dim}.start{start}"], atol=1e-5, rtol=0)


def test_only_differences_of_positions_matter_even_after_a_year() -> None:
    """At 6 latent frames a second a year is 190 million positions; products of turned vectors do not change."""
    rope, year = Rope(32, 2, 2), 190_000_000
    q, k = torch.randn(1, 4, 1, 32), torch.randn(1, 4, 1, 32)

    def product(start: int) -> torch.Tensor:
        return (rotate(q, rope.turn([start + 5])) * rotate(k, rope.turn([start]))).sum(-1)

    torch.testing.assert_close(product(year), product(0), atol=1e-4, rtol=0)
