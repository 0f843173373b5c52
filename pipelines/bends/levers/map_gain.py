"""map.gain: how much the chosen columns of the attention map count."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import Product
from pipelines.bends.hooks import Attention
from pipelines.bends.lever import lever
from pipelines.spec import ControlSpec

GAIN = ControlSpec(0.0, 8.0, 1.0, warp="cubed", unit="x", doc="1 is neutral, 0 removes, above 1 exaggerates")


def shared(attention: Attention, gain: Tensor) -> Attention:
    """The same gain with rows divided by their new sum: what the others lose, the chosen gain."""
    return attention.shared(gain)


@lever(
    "map.gain",
    at={"cross": "cross.columns"},
    fold=Product("gain"),
    amounts={"gain": GAIN},
    columns={"cross": "tokens"},
    heads=True,
    renormalised=("cross.share", shared),
)
def map_gain(v: Tensor, gain: Tensor) -> Tensor:
    """Multiply columns of the attention map after softmax; rows are renormalised only if asked."""
    # Scaling a column of A scales that row of V: v [B, Lk, heads, d], gain [heads, Lk].
    return v * gain.T[None, :, :, None]


@lever("map.gain", at={"self": "self.map"}, fold=Product("gain"), amounts={"gain": GAIN}, heads=True)
def whole_map_gain(z: Tensor, attention: Attention, gain: Tensor) -> Tensor:
    """Multiply the whole attention map after softmax, without renormalising the rows."""
    # All columns alike, so A V is scaled instead of the many rows of V: z [B, L, heads, d], gain [heads, 1].
    return z * gain
