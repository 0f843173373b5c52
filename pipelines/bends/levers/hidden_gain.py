"""hidden.gain: how loudly chosen neurons of the feed-forward layers speak."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import Product
from pipelines.bends.lever import lever
from pipelines.bends.levers.map_gain import GAIN


@lever(
    "hidden.gain",
    at={"ffn": "ffn.hidden"},
    fold=Product("gain"),
    amounts={"gain": GAIN},
    columns={"ffn": "neurons"},
)
def hidden_gain(hidden: Tensor, gain: Tensor) -> Tensor:
    """Multiply the hidden activations of the neurons in scope."""
    return hidden * gain[0]  # [B, L, ffn_dim] * [ffn_dim]
