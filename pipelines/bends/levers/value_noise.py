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
    for i in voices:  # noise[i] [heads, Lk or 1], epsilon[i] [keys, heads * d]
        own = epsilon[i][: v.shape[1]].unflatten(-1, v.shape[-2:])
        v = torch.addcmul(v, size * noise[i].T[None, :, :, None], own)
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
