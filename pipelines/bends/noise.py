"""Noise as an instrument: unit Gaussian fields that stand still, walk slowly, or flicker.

One field serves all layers of a lever: each layer reads it from another offset, so that thirty layers cost one draw
and one buffer. Two layers see the same numbers in different places; at any one place they are independent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STRIDE = 1009  # a prime, so that no two layers see a number in the same channel or token


class NoiseField:
    """Unit noise [layers][rows, width], advanced once a pass: e_t = sqrt(1 - m^2) e_(t-1) + m fresh."""

    def __init__(self, rows: int, width: int, layers: int, salt: int, device: torch.device, dtype: torch.dtype) -> None:
        """`salt` keeps fields of the same seed apart (one lever's noise from another's)."""
        self.rows, self.width, self.salt = rows, width, salt
        self._walk = torch.zeros(rows * width + (layers - 1) * _STRIDE, device=device)
        self._heard = self._walk.to(dtype, copy=True)
        self._generator = torch.Generator(device=device)
        self._seed: int | None = None

    def reset(self) -> None:
        """The next advance starts the walk afresh from its seed."""
        self._seed = None

    def advance(self, seed: int, motion: float) -> None:
        """One pass onward; a new seed starts the walk afresh."""
        if seed != self._seed:
            self._seed = seed
            self._generator.manual_seed((seed * 1_000_003 + self.salt) % 2**63)
            self._walk.normal_(generator=self._generator)
        elif motion == 0.0:
            return
        else:
            fresh = torch.empty_like(self._walk).normal_(generator=self._generator)
            self._walk.mul_(math.sqrt(1.0 - motion * motion)).add_(fresh, alpha=motion)
        self._heard.copy_(self._walk)

    def layer(self, index: int) -> Tensor:
        """The field as one layer sees it, [rows, width]: a view whose address never changes."""
        start = index * _STRIDE
        return self._heard[start : start + self.rows * self.width].view(self.rows, self.width)
