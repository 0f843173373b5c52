"""map.focus: attention spread wide or drawn to a point."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import Product
from pipelines.bends.lever import lever
from pipelines.spec import ControlSpec

FOCUS = ControlSpec(0.0, 8.0, 1.0, warp="cubed", unit="x", doc="below 1 attention spreads, above 1 it sharpens")


@lever(
    "map.focus", at={"self": "self.q", "cross": "cross.q"}, fold=Product("focus"), amounts={"focus": FOCUS}, heads=True
)
def map_focus(q: Tensor, focus: Tensor) -> Tensor:
    """Multiply the attention logits before softmax: an inverse temperature."""
    return q * focus  # q [B, Lq, heads, d], focus [heads, 1]
