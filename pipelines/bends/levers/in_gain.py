"""in.gain: how loudly the feed-forward layers are spoken to."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import Product
from pipelines.bends.lever import lever
from pipelines.bends.levers.map_gain import GAIN


@lever("in.gain", at={"ffn": "ffn.in"}, fold=Product("gain"), amounts={"gain": GAIN})
def in_gain(x: Tensor, gain: Tensor) -> Tensor:
    """Multiply the normed and modulated input of the feed-forward layer."""
    return x * gain[0, 0]
