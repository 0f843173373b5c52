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


def map_noise(
    z: Tensor, attention: Attention, noise: Tensor, epsilon: Noise, signs: Noise, voices: list[int]
) -> Tensor:
    """Add Gaussian noise to the columns of the attention map in scope, relative to the mean weight of a key."""
    # For each query, noise over the keys times V has covariance V^T V. So has a random sum of m rows, each of which is
    # itself a sum of keys with random signs: two small products instead of a map of noise.
    v, keys = attention.v.to(z.dtype), attention.v.shape[1]  # a cache may be in half precision
    for i in voices:
        strength = noise[i] / keys  # [heads, Lk or 1]; in self-attention all keys are alike
        if strength.shape[1] == 1:
            dealt = _dealt(v, signs[i][0, 0], epsilon[i].shape[2]) * strength
        else:
            dealt = _dealt(v * strength.T[None, :, :, None], signs[i][0, 0], epsilon[i].shape[2])
        drawn = epsilon[i].unflatten(1, (v.shape[2], -1))  # [1, heads, Lq, m]
        z = z + (drawn @ dealt.transpose(1, 2)).transpose(1, 2)
    return z


def _dealt(v: Tensor, sign: Tensor, m: int) -> Tensor:
    """v [B, Lk, heads, d] -> [B, m, heads, d]: key j goes to row j mod m, each round of m keys with one sign."""
    keys = v.shape[1]
    if keys % m:
        v = F.pad(v, (0, 0, 0, 0, 0, -keys % m))
    if keys <= m:  # a row for every key: nothing is summed, and the noise is exact
        return v
    rounds = v.flatten(1).unflatten(1, (-1, m * v.shape[2] * v.shape[3]))  # [B, rounds, m * heads * d]
    return (sign[: rounds.shape[1]].sign() @ rounds).unflatten(-1, (m, *v.shape[2:]))


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
