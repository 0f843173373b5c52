"""Rotary position embedding over (time, height, width), as Wan uses it.

Pairs are interleaved (elements 2i and 2i+1 turn together); height and width get 2*(d//6) channels each, time the
rest (RoFormer, Su et al. 2021, extended to three axes by Wan2.1). Angles are computed in float64 from the position
itself, so no table exists that could run out: position ten million turns as exactly as position ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.transfer import to_device

THETA = 10000.0


class Turn(NamedTuple):
    """Of every token's angles the cosines [tokens, head_dim / 2] and the sines [tokens, head_dim / 2, 2], for the first
    of each pair with the sign changed; float32. On CPUs also as unit complex numbers, whose single product is four
    times faster there but which compilers cannot fuse."""

    cos: Tensor
    sin: Tensor
    phase: Tensor | None = None


def axis_sizes(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head given to time, height and width."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def axis_angles(positions: Sequence[float] | Tensor, size: int) -> Tensor:
    """Angles [positions, size / 2] in float64: position * 10000^(-2i / size)."""
    # On the CPU, because some accelerators have no float64.
    positions = torch.as_tensor(positions, dtype=torch.float64, device="cpu")
    inverse = THETA ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    return positions[:, None] * inverse[None, :]


class Rope:
    """Turns for one grid size; the spatial part is computed once, the time part per call."""

    def __init__(self, head_dim: int, height: int, width: int, device: torch.device | str = "cpu") -> None:
        self.time_size, height_size, width_size = axis_sizes(head_dim)
        self.device = torch.device(device)
        rows = axis_angles(range(height), height_size)[:, None, :].expand(-1, width, -1)
        columns = axis_angles(range(width), width_size)[None, :, :].expand(height, -1, -1)
        space = torch.cat([rows, columns], dim=-1).flatten(0, 1)  # [H*W, (height + width) / 2]
        self.space_cos = space.cos().float().to(self.device)
        self.space_sin = space.sin().float().to(self.device)

    def turn(self, positions: Sequence[int]) -> Turn:
        """The turns of whole latent frames at these time positions: tokens in order (frame, row, column)."""
        time = axis_angles(positions, self.time_size)  # [F, time / 2]
        cos = self._join(time.cos().float(), self.space_cos)
        sin = self._join(time.sin().float(), self.space_sin)
        phase = torch.complex(cos, sin) if self.device.type == "cpu" else None
        return Turn(cos, torch.stack([-sin, sin], dim=-1), phase)

    def _join(self, time: Tensor, space: Tensor) -> Tensor:
        time = to_device(time, self.device)
        frames, places = time.shape[0], space.shape[0]
        time = time[:, None, :].expand(-1, places, -1)
        space = space[None, :, :].expand(frames, -1, -1)
        return torch.cat([time, space], dim=-1).flatten(0, 1)  # [F*H*W, head_dim / 2]


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """Turn queries or keys [B, tokens, heads, head_dim]; the arithmetic is float32, the dtype is kept."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if turn.phase is not None:
        return torch.view_as_real(torch.view_as_complex(pairs) * turn.phase[None, :, None, :]).flatten(-2).to(x.dtype)
    # Both of a pair at once: of two halves put together compilers would make one more trip through memory.
    cos, sin = turn.cos[None, :, None, :, None], turn.sin[None, :, None]
    return (pairs * cos + pairs.flip(-1) * sin).flatten(-2).to(x.dtype)
