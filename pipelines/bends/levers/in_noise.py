"""in.noise: what the feed-forward layers hear, shaken in proportion to its own size."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.lever import lever
from pipelines.bends.levers.out_noise import NOISE, Noise, shaken
from pipelines.bends.noise import Noises


@lever("in.noise", at={"ffn": "ffn.in"}, fold=Noises("noise", "tokens", "dim"), amounts=NOISE)
def in_noise(x: Tensor, noise: Tensor, epsilon: Noise, voices: list[int]) -> Tensor:
    """Add Gaussian noise to the feed-forward layer's input, relative to the rms of each token's input vector."""
    return shaken(x, noise[:, 0], epsilon, voices)
