"""What may enter the past: latents that are finite and still hold a picture.

Every later chunk looks at what the cache holds, so one that has come apart must not stay there. Of the house
model's real latents 0 to 0.7 % stand at the edge of what its recipe allows (64 chunks of four prompts), with any one
lever at either end of its range at most 0.5 %: a quarter is far from all of them. Knows tensors; not which bend is to
blame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pipelines.transfer import asked

Fault = Literal["", "not finite", "saturated"]

WIDEST = 16.0  # what counts as the edge where a recipe holds its latents within none; theirs have a variance of one
FULL = 0.25  # of the values at the edge: from there on a chunk is saturated
_NEAR = 0.99  # of the edge: what was cut off at it, in any precision
_FAULTS: tuple[Fault, ...] = ("", "not finite", "saturated")


def saturation(latents: Tensor, limit: float | None) -> Tensor:
    """The share of values that stand at the edge, 0..1, a scalar tensor; `limit` is the recipe's `latent_limit`."""
    edge = _NEAR * (WIDEST if limit is None else limit)
    return (latents.abs() >= edge).float().mean()


def fault_of(latents: Tensor, limit: float | None) -> Callable[[], Fault]:
    """What keeps clean latents out of the past, or "": to be called later. The device is asked now, once, and what is
    queued meanwhile does not delay its answer."""
    finite = torch.isfinite(latents).all()
    answer = asked(torch.where(finite, 2 * (saturation(latents, limit) >= FULL).int(), 1))
    return lambda: _FAULTS[int(answer())]
