"""What a block sees of the bends: at each hook point, the levers at work there and their folded tensors.

The model calls these points explicitly; nothing is ever attached to it. A block's slice holds plain tensors whose
addresses never change while a patch plays, so a compiled or captured forward reads new values without noticing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from pipelines.attention import attend


class Attention(NamedTuple):
    """What a lever on the attention map may use: bent queries, keys, bent values [B, L, heads, d], and the grid of
    query positions (latent frames, rows, columns)."""

    q: Tensor
    k: Tensor
    v: Tensor
    grid: tuple[int, int, int]
    mask: Tensor | None


class Act(NamedTuple):
    """One lever at one hook point of one block: `apply(x, **folded)`, or `apply(x, attention, **folded)` on a map."""

    apply: Callable[..., Tensor]
    folded: Mapping[str, Tensor | tuple[Tensor, ...]]


class LayerBends:
    """One block's slice of the bank: hook point -> acts, in the order they apply."""

    def __init__(self, points: Mapping[str, tuple[Act, ...]]) -> None:
        self.points = dict(points)

    def at(self, point: str, x: Tensor) -> Tensor:
        """x as the levers at this point leave it; x itself where there are none."""
        for act in self.points.get(point, ()):
            x = act.apply(x, **act.folded)
        return x

    def attention(
        self, site: str, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], mask: Tensor | None
    ) -> Tensor:
        """Bent attention at `site` ("self" or "cross"): q, k, v [B, L, heads, d] -> [B, Lq, heads, d].

        Levers act on the queries, then on the values, then on the map; a lever on the map sees its product with the
        values, because the map itself is never built.
        """
        q = self.at(f"{site}.q", q)
        v = self.at(f"{site}.v", v)
        z = attend(q, k, v, mask)
        attention = Attention(q, k, v, grid, mask)
        for act in self.points.get(f"{site}.map", ()):
            z = act.apply(z, attention, **act.folded)
        return z


NEUTRAL = LayerBends({})
