"""map.transform: the attention map of some tokens moved, turned and enlarged as if it were a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.attention import attend
from pipelines.bends.fold import Transforms
from pipelines.bends.hooks import Attention
from pipelines.bends.lever import lever
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec


@lever(
    "map.transform",
    at={"cross": "cross.map"},
    fold=Transforms(),
    columns={"cross": "tokens"},
    amounts={
        "rotate": ControlSpec(-180.0, 180.0, 0.0, unit="degrees", doc="clockwise"),
        "scale_x": ControlSpec(0.25, 4.0, 1.0, warp="exponential", unit="x", doc="above 1 widens"),
        "scale_y": ControlSpec(0.25, 4.0, 1.0, warp="exponential", unit="x", doc="above 1 makes taller"),
        "translate_x": ControlSpec(-1.0, 1.0, 0.0, unit="of width", doc="positive moves right"),
        "translate_y": ControlSpec(-1.0, 1.0, 0.0, unit="of height", doc="positive moves down"),
        "flip_x": SwitchSpec(doc="mirror left and right"),
        "flip_y": SwitchSpec(doc="mirror top and bottom"),
        "mix": ControlSpec(0.0, 1.0, 1.0, doc="0 leaves the map as it is"),
        "padding": ChoiceSpec(("zeros", "border", "reflection"), "zeros", doc="the map beyond its edge"),
    },
)
def map_transform(z: Tensor, attention: Attention, change: Tensor, tokens: Tensor, mix: Tensor) -> Tensor:
    """Flip, scale, rotate, then translate the attention maps of the tokens in scope: A' = (1 - mix) A + mix T(A)."""
    # T acts on query places, so T(A) V = T(A V): one more attention over the scoped tokens' values, then a small
    # matrix over places. z [B, F*P, heads, d], change [n, P, P], tokens [n, Lk], mix [n].
    frames = attention.grid[0]
    for i in range(change.shape[0]):
        scoped = attend(attention.q, attention.k, attention.v * tokens[i][None, :, None, None], attention.mask)
        places = scoped.flatten(-2).unflatten(1, (frames, -1))  # [B, F, P, heads * d]
        z = torch.addcmul(z, (change[i] @ places).reshape(z.shape), mix[i])
    return z
