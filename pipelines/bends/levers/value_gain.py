"""value.gain: how much the chosen tokens have to say, wherever attention goes."""

from __future__ import annotations

from torch import Tensor

from pipelines.bends.fold import LAST, Product
from pipelines.bends.hooks import Attention
from pipelines.bends.lever import lever
from pipelines.bends.levers.map_gain import GAIN


@lever(
    "value.gain",
    at={"cross": "cross.v"},
    fold=Product("gain"),
    amounts={"gain": GAIN},
    columns={"cross": "tokens"},
    heads=True,
)
def value_gain(v: Tensor, gain: Tensor) -> Tensor:
    """Multiply the value vectors of the tokens in scope."""
    return v * gain.T[None, :, :, None]  # v [B, Lk, heads, d], gain [heads, Lk]


# Last: after the map's noise, which disturbs the product with the louder values.
@lever("value.gain", at={"self": "self.map"}, fold=Product("gain", LAST), amounts={"gain": GAIN}, heads=True)
def whole_value_gain(z: Tensor, attention: Attention, gain: Tensor) -> Tensor:
    """Multiply every value vector that self-attention reads."""
    # All rows alike, so A V is scaled instead of the many rows of V: z [B, L, heads, d], gain [heads, 1].
    return z * gain
