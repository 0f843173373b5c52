"""map.noise: the attention map itself, shaken."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pipelines.bends.hooks import Attention
from pipelines.bends.lever import lever
from pipelines.bends.levers.out_noise import NOISE, Noise
from pipelines.bends.noise import MapNoises
from pipelines.spec import ControlSpec

MAP_NOISE = {
    **NOISE,
    "noise": ControlSpec(0.0, 64.0, 0.0, warp="cubed", unit="mean weights", doc="1 shakes a weight by about its mean"),
}


def map_noise(z: Tensor, attention: Attention, noise: Tensor, epsilon: Noise, signs: Noise) -> Tensor:
    """Add Gaussian noise to the columns of the attention map in scope, relative to the mean weight of a key."""
    # For each query, noise over the keys times V has covariance V^T V. So has a random sum of m rows, each of which is
    # itself the sum of the keys dealt to it, with random signs: two small products instead of a map of noise.
    v, keys = attention.v, attention.v.shape[1]
    for strength, unit, sign in zip(noise, epsilon, signs, strict=True):
        m = unit.shape[1] // v.shape[2]
        weights = sign[0, :keys, None].sign() * strength.T / keys  # [Lk, heads]
        spread = v * weights[None, :, :, None]
        if keys % m:
            spread = F.pad(spread, (0, 0, 0, 0, 0, -keys % m))
        dealt = spread.unflatten(1, (-1, m)).sum(1)  # [B, m, heads, d]: key j goes to row j mod m
        drawn = unit.unflatten(-1, (-1, m)).transpose(0, 1)  # [heads, Lq, m]
        z = z + (drawn @ dealt.transpose(1, 2)).transpose(1, 2)
    return z


cross_map_noise = lever(
    "map.noise",
    at={"cross": "cross.map"},
    fold=MapNoises("noise", "text"),
    amounts=MAP_NOISE,
    columns={"cross": "tokens"},
    heads=True,
)(map_noise)
self_map_noise = lever(
    "map.noise", at={"self": "self.map"}, fold=MapNoises("noise", "keys"), amounts=MAP_NOISE, heads=True
)(map_noise)
