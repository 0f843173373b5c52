"""Noise levels: the shifted flow-matching grid, and the few timesteps a real-time system uses.

Conventions of Wan and Self-Forcing: flow = noise - clean, x_t = (1 - sigma) clean + sigma noise, timestep = 1000
sigma. A sigma is looked up on a grid of 1000 values, so sigma(0) is the last grid value, not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

GRID = 1000


def sigma_grid(shift: float) -> Tensor:
    """The 1000 sigmas, from 1 down, float32: shift*s / (1 + (shift-1)*s)."""
    s = torch.linspace(1, 0, GRID + 1)[:-1]
    return shift * s / (1 + (shift - 1) * s)


def nearest_sigma(timestep: float | Tensor, shift: float) -> Tensor:
    """Sigma of the grid timestep nearest to each given one (0..1000)."""
    sigmas = sigma_grid(shift)
    wanted = torch.as_tensor(timestep, dtype=torch.float32)
    distance = (sigmas * GRID - wanted[..., None]).abs()
    return sigmas[distance.argmin(dim=-1)]


def warp(steps: tuple[float, ...], shift: float) -> tuple[float, ...]:
    """A step list written for an unshifted grid (entry k in 0..1000) read at grid index 1000 - k, 0 past the end."""
    grid = torch.cat([sigma_grid(shift) * GRID, torch.zeros(1)])
    return tuple(float(grid[GRID - int(step)]) for step in steps)


def weakened(steps: tuple[float, ...], strength: float) -> tuple[float, ...]:
    """A step list that starts from a picture instead of from noise: every entry times strength (0..1), in whole steps.
    At strength 1 nothing of the picture is left."""
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength {strength:g}: choose more than 0, at most 1")
    return tuple(float(int(step * strength)) for step in steps)


def resampled(steps: tuple[float, ...], count: int) -> tuple[float, ...]:
    """A step list of another length along the same curve, in whole steps; the list itself at its own length.

    The curve runs straight from entry to entry and after the last one on to 0, where a next entry would be. A list that
    ends at 0 itself goes on ending there. So 1000, 750, 500, 250 in two steps is 1000, 500.
    """
    if count < 1:
        raise ValueError(f"{count} denoising steps: take 1 or more")
    if count == len(steps):
        return steps
    if count == 1:
        return steps[:1]
    ends = steps[-1] == 0
    curve, gaps = (*steps, *(() if ends else (0.0,))), count - 1 if ends else count
    return tuple(float(int(_along(curve, i / gaps) + 1e-6)) for i in range(count))


def _along(curve: tuple[float, ...], share: float) -> float:
    at = share * (len(curve) - 1)
    index = min(int(at), len(curve) - 2)
    return curve[index] + (at - index) * (curve[index + 1] - curve[index])


def counted_as(step: int, count: int, own: int) -> int:
    """Which of a recipe's `own` steps a pass of another schedule stands for: the one at the same share of the way from
    the first to the last."""
    return step if count == own or step == 0 else round(step * (own - 1) / (count - 1))


@dataclass(frozen=True)
class Schedule:
    """The timesteps of one chunk, noisiest first, and their sigmas."""

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]

    @classmethod
    def of(cls, steps: tuple[float, ...], shift: float, warped: bool) -> Schedule:
        """From a configured step list."""
        return _schedule(steps, shift, warped)


@lru_cache(maxsize=256)  # a video's strength or the number of steps may be turned at every chunk
def _schedule(steps: tuple[float, ...], shift: float, warped: bool) -> Schedule:
    timesteps = warp(steps, shift) if warped else tuple(float(step) for step in steps)
    return Schedule(timesteps, tuple(float(nearest_sigma(t, shift)) for t in timesteps))


def to_clean(x: Tensor, flow: Tensor, sigma: float) -> Tensor:
    """The clean latents a flow prediction points at; float32 arithmetic, dtype kept."""
    return (x.float() - sigma * flow.float()).to(x.dtype)


def to_noisy(clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Clean latents brought to noise level sigma."""
    return ((1 - sigma) * clean.float() + sigma * noise.float()).to(clean.dtype)
