"""What a block sees of the bends: at each hook point, the levers at work there and their folded tensors.

The model calls these points explicitly; nothing is ever attached to it. A block's slice holds plain tensors whose
addresses never change while a patch plays, so a compiled or captured forward reads new values without noticing.

The attention map is never built. Whatever a lever does to it is linear in its rows or in its columns, so it can be done
to the queries, to the values, or to the map's product with some values (`Attention.read`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pipelines.attention import attend, attention_map


class Attention(NamedTuple):
    """What a lever on the attention map may use: bent queries, keys, bent values [B, L, heads, d], and the grid of
    query positions (latent frames, rows, columns). Keys and values that come out of a cache have its dtype, which may
    be half of the queries'.

    `share` [heads, Lk] are gains on the map's columns that its rows are normalised under, and `rows` [B, Lq, heads, 1]
    what the rows are divided by for it. `weighed` are the values under the gains that no row is normalised for.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    grid: tuple[int, int, int]
    mask: Tensor | None
    share: Tensor | None = None
    rows: Tensor | None = None
    weighed: Tensor | None = None

    def read(self, values: Tensor) -> Tensor:
        """The map's product with any values [B, Lk, heads, d] -> [B, Lq, heads, d]."""
        if self.share is None:
            return attend(self.q, self.k, values, self.mask)
        return attend(self.q, self.k, values * self.share.T[None, :, :, None], self.mask) / self.rows

    def built(self) -> Tensor | None:
        """The map itself [B, heads, Lq, Lk] where it is smaller than its product with values, else None."""
        if self.k.shape[1] >= self.k.shape[3]:
            return None
        weights = attention_map(self.q, self.k, self.mask)
        if self.share is None:
            return weights
        return weights * self.share[:, None] / self.rows.transpose(1, 2)

    def mass(self, columns: Tensor) -> Tensor:
        """The sum of each row of the map over weighted columns [heads, Lk] -> [B, Lq, heads, 1]."""
        values = columns.T[None, :, :, None].expand(self.v.shape).contiguous()  # kernels round by memory layout
        return self.read(values)[..., :1]

    def shared(self, gain: Tensor) -> Attention:
        """The same attention, its columns multiplied by `gain` [heads, Lk] and its rows divided by their new sum.

        Equal to adding log(gain) to the logits: only ratios of gains count. Rows whose columns are all taken away
        stay empty.
        """
        if self.share is not None:
            raise ValueError("the rows of this map are normalised already")
        peak = gain.amax(-1, keepdim=True)
        gain = gain / torch.where(peak > 0, peak, 1)
        rows = self.mass(gain).clamp(min=torch.finfo(gain.dtype).tiny)
        # A neutral gain leaves every row as it is, to the last bit, whatever its weights sum to after rounding.
        neutral = (gain == 1).all(-1)[:, None]  # [heads, 1]
        return self._replace(share=gain, rows=torch.where(neutral, torch.ones_like(rows), rows))


class Act(NamedTuple):
    """One lever at one hook point of one block: `apply(x, **folded)`, or `apply(x, attention, **folded)` on a map.

    `awake[layer]` is False while the lever is neutral there.
    """

    lever: str
    apply: Callable[..., Any]
    folded: Mapping[str, Any]
    awake: Sequence[bool]
    layer: int

    def __call__(self, *x: Any) -> Any:
        return self.apply(*x, **self.folded)


class Thrown(NamedTuple):
    """What a lever's function threw, and where."""

    lever: str
    text: str


def thrown_by_lever(error: BaseException) -> Thrown | None:
    """What was thrown, if it came out of a lever's function; found in the traceback, so that playing costs nothing.
    None for everything else, and within compiled forwards."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for at, (frame, _) in enumerate(frames):
        if frame.f_code is Act.__call__.__code__:
            inner, line = frames[min(at + 1, len(frames) - 1)]
            place = f"{Path(inner.f_code.co_filename).name}, line {line}"
            return Thrown(frame.f_locals["self"].lever, f"{type(error).__name__} in {place}: {error}")
    return None


class Watch(Protocol):
    """Somebody who looks at a block while it runs."""

    def see(self, point: str, x: Tensor) -> None:
        """`x` as it passes this point, bends included."""

    def see_map(self, site: str, bends: LayerBends, seen: Attention) -> None:
        """The attention map at this site; `bends.through(site, seen, values)` reads it, bends included."""


class LayerBends:
    """One block's slice of the bank: hook point -> acts, in the order they apply.

    With `fixed` every act is carried out in every pass, neutral or not, as a compiled or captured forward needs it;
    without, neutral ones are passed over. Both compute the same numbers.
    """

    def __init__(self, points: Mapping[str, tuple[Act, ...]], fixed: bool = False) -> None:
        self.points, self.fixed = dict(points), fixed
        self.watch: Watch | None = None

    def at(self, point: str, x: Any) -> Any:
        """x as the levers at this point leave it; x itself where there are none at work."""
        for act in self.points.get(point, ()):
            if self.fixed or act.awake[act.layer]:
                x = act(x)
        if self.watch is not None:
            self.watch.see(point, x)
        return x

    def leaves(self, point: str) -> bool:
        """Whether no lever is at work at this point in this pass."""
        return not any(self.fixed or act.awake[act.layer] for act in self.points.get(point, ()))

    def attention(
        self, site: str, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], mask: Tensor | None
    ) -> Tensor:
        """Bent attention at `site` ("self" or "cross"): q, k, v [B, L, heads, d] -> [B, Lq, heads, d].

        Levers act on the queries, on the values, on what the rows are normalised under, on the columns, and last on
        the map's product with the values.
        """
        seen = Attention(self.at(f"{site}.q", q), k, self.at(f"{site}.v", v), grid, mask)
        seen = self.at(f"{site}.share", seen)
        if self.watch is not None:
            self.watch.see_map(site, self, seen)
        return self.through(site, seen, seen.v)

    def through(self, site: str, seen: Attention, values: Tensor) -> Tensor:
        """The bent map's product with any values [B, Lk, heads, d] -> [B, Lq, heads, d]."""
        weighed = self.at(f"{site}.columns", values)
        seen = seen._replace(v=values, weighed=weighed)
        z = seen.read(weighed)
        for act in self.points.get(f"{site}.map", ()):
            if self.fixed or act.awake[act.layer]:
                z = act(z, seen)
        return z


NEUTRAL = LayerBends({})
