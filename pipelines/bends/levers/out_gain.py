"""out.gain: how much of a site's output reaches the residual stream."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import Product
from pipelines.bends.lever import lever
from pipelines.bends.levers.map_gain import GAIN

SITES = {"self": "self.out", "cross": "cross.out", "ffn": "ffn.out"}


@lever("out.gain", at=SITES, fold=Product("gain"), amounts={"gain": GAIN})
def out_gain(x: Tensor, gain: Tensor) -> Tensor:
    """Multiply the site's output, before its gate and the residual add."""
    return x * gain[0, 0]
