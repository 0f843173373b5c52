"""hidden.noise: chosen neurons of the feed-forward layers shaken."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.lever import lever
from pipelines.bends.levers.out_noise import NOISE, Noise, shaken
from pipelines.bends.noise import Noises


@lever(
    "hidden.noise",
    at={"ffn": "ffn.hidden"},
    fold=Noises("noise", "tokens", "ffn_dim"),
    amounts=NOISE,
    columns={"ffn": "neurons"},
)
def hidden_noise(hidden: Tensor, noise: Tensor, epsilon: Noise, voices: list[int]) -> Tensor:
    """Add Gaussian noise to the neurons in scope, relative to the rms of each token's whole hidden vector."""
    return shaken(hidden, noise[:, 0], epsilon, voices)
