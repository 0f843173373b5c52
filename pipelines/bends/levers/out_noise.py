"""out.noise: the site's output shaken in proportion to its own size."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.bends.lever import lever
from pipelines.bends.levers.out_gain import SITES
from pipelines.bends.noise import Noises
from pipelines.spec import ControlSpec

Noise = tuple[Tensor, ...]  # one unit noise [repeats, rows, width] a voice
NOISE = {
    "noise": ControlSpec(0.0, 4.0, 0.0, warp="squared", unit="rms", doc="relative to the signal's own rms"),
    "motion": ControlSpec(0.0, 1.0, 0.0, doc="0 is a frozen texture, 1 fresh noise each pass"),
    "seed": ControlSpec(0, 9999, 0, step=1, doc="which noise"),
}


@lever("out.noise", at=SITES, fold=Noises("noise", "tokens", "dim"), amounts=NOISE)
def out_noise(x: Tensor, noise: Tensor, epsilon: Noise, voices: list[int]) -> Tensor:
    """Add Gaussian noise to the site's output, relative to the rms of each token's output vector."""
    return shaken(x, noise[:, 0], epsilon, voices)


def shaken(x: Tensor, noise: Tensor, epsilon: Noise, voices: list[int]) -> Tensor:
    """x [B, L, D] + sum of noise_i * rms(x) * epsilon_i, the rms of each token's vector; noise [n, D] or [n, 1]."""
    frames = epsilon[0].shape[0], -1
    size, x = rms(x).unflatten(1, frames), x.unflatten(1, frames)  # [B, F, P, 1], [B, F, P, D]
    for i in voices:
        x = torch.addcmul(x, size * noise[i], epsilon[i])
    return x.flatten(1, 2)


def rms(x: Tensor) -> Tensor:
    """Root of the mean square over the last axis, which is kept: [..., D] -> [..., 1]."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return (size / x.shape[-1] ** 0.5).to(x.dtype)
