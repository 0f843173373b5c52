"""value.noise: what the chosen tokens have to say, shaken in proportion to its own size."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.bends.lever import lever
from pipelines.bends.levers.out_noise import NOISE, Noise, rms
from pipelines.bends.noise import Noises


def value_noise(v: Tensor, noise: Tensor, epsilon: Noise, voices: list[int]) -> Tensor:
    """Add Gaussian noise to the value vectors in scope, relative to the rms of each token's value vector."""
    size = rms(v.flatten(-2))[..., None]  # [B, Lk, 1, 1]
    for i in voices:  # noise[i] [heads, Lk or 1], epsilon[i] [frames, rows, heads * d]
        rows = epsilon[i].shape[1]
        own = epsilon[i][: v.shape[1] // rows].unflatten(-1, v.shape[-2:])
        strength = (size * noise[i].T[None, :, :, None]).unflatten(1, (-1, rows))
        v = torch.addcmul(v.unflatten(1, (-1, rows)), strength, own).flatten(1, 2)
    return v


cross_value_noise = lever(
    "value.noise",
    at={"cross": "cross.v"},
    fold=Noises("noise", "text", "dim"),
    amounts=NOISE,
    columns={"cross": "tokens"},
    heads=True,
)(value_noise)
self_value_noise = lever(
    "value.noise", at={"self": "self.v"}, fold=Noises("noise", "keys", "dim"), amounts=NOISE, heads=True
)(value_noise)
