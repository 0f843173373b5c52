"""map.transform: the attention map of some tokens moved, turned, blurred and cut as if it were a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.bends.hooks import Attention
from pipelines.bends.lever import lever
from pipelines.bends.transforms import Transforms
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec

LEAST_MASS = 0.05  # no row is divided by less: one that lost nearly all of itself would be blown up


def transform(
    z: Tensor, attention: Attention, moves: Tensor, shifts: Tensor, places: Tensor, slots: list[int]
) -> Tensor:
    """Flip, scale, rotate, translate, blur, sharpen and cut the attention maps of the tokens in scope, then shift and
    blur them in time: A' = (1 - mix) A + mix T(A)."""
    # T acts on query places, so T(A) V = T(A V): one more attention over the scoped tokens' values a set. Where there
    # are fewer tokens than channels, moving the map itself is the smaller work.
    built = attention.built() if slots else None
    for i in slots:
        if built is None:
            y = attention.read(attention.weighed * places[i].T[None, :, :, None])
            z = z + _moved(y, attention.grid, moves[i], shifts[i])
        else:
            a = (built * places[i][:, None]).transpose(1, 2)  # [B, Lq, heads, Lk]
            change = _moved(a, attention.grid, moves[i], shifts[i]).transpose(1, 2)
            z = z + (change @ attention.weighed.transpose(1, 2)).transpose(1, 2)
    return z


def transform_renormalised(
    z: Tensor, attention: Attention, moves: Tensor, shifts: Tensor, places: Tensor, slots: list[int]
) -> Tensor:
    """The same with rows divided by their new sum, as it is before the gains that no row is normalised for."""
    rows = torch.ones_like(z[..., :1])
    for i in slots:
        rows = rows + _moved(attention.mass(places[i]), attention.grid, moves[i], shifts[i])
    return transform(z, attention, moves, shifts, places, slots) / rows.clamp(min=LEAST_MASS)


def _moved(y: Tensor, grid: tuple[int, int, int], move: Tensor, shift: Tensor) -> Tensor:
    """(M - I) y for y [B, F*P, heads, n] and M = M_time x M_space, given M_space - I [P, P] and M_time - I [F, F]."""
    frames = y.flatten(-2).unflatten(1, (grid[0], -1))  # [B, F, P, heads * n]
    moved = move @ frames
    later = frames + moved
    # Along time a chunk has a handful of frames at most, often one: far too few for a matrix product.
    along = shift * later if grid[0] == 1 else (shift[..., None, None] * later[:, None]).sum(2)
    moved = moved + along
    return moved.reshape(y.shape)


map_transform = lever(
    "map.transform",
    at={"cross": "cross.map"},
    fold=Transforms(),
    columns={"cross": "tokens"},
    heads=True,
    renormalised=("cross.map", transform_renormalised),
    amounts={
        "rotate": ControlSpec(-180.0, 180.0, 0.0, unit="degrees", doc="clockwise"),
        "scale_x": ControlSpec(0.25, 4.0, 1.0, warp="exponential", unit="x", doc="above 1 widens"),
        "scale_y": ControlSpec(0.25, 4.0, 1.0, warp="exponential", unit="x", doc="above 1 makes taller"),
        "translate_x": ControlSpec(-1.0, 1.0, 0.0, unit="of width", doc="positive moves right"),
        "translate_y": ControlSpec(-1.0, 1.0, 0.0, unit="of height", doc="positive moves down"),
        "flip_x": SwitchSpec(doc="mirror left and right"),
        "flip_y": SwitchSpec(doc="mirror top and bottom"),
        "blur": ControlSpec(0.0, 8.0, 0.0, warp="squared", unit="patches", doc="sigma of a Gaussian blur"),
        "sharpen": ControlSpec(0.0, 4.0, 0.0, warp="squared", unit="x", doc="how much of its own detail is added"),
        "region_left": ControlSpec(0.0, 1.0, 0.0, unit="of width", doc="the map is 0 left of it"),
        "region_right": ControlSpec(0.0, 1.0, 1.0, unit="of width", doc="the map is 0 right of it"),
        "region_top": ControlSpec(0.0, 1.0, 0.0, unit="of height", doc="the map is 0 above it"),
        "region_bottom": ControlSpec(0.0, 1.0, 1.0, unit="of height", doc="the map is 0 below it"),
        "region_feather": ControlSpec(0.0, 1.0, 0.0, unit="of width", doc="softness of the region's edges"),
        "shift_t": ControlSpec(-4.0, 4.0, 0.0, unit="latent frames", doc="within the chunk; positive is later"),
        "blur_t": ControlSpec(0.0, 4.0, 0.0, warp="squared", unit="latent frames", doc="sigma, within the chunk"),
        "mix": ControlSpec(0.0, 1.0, 1.0, doc="0 leaves the map as it is"),
        "padding": ChoiceSpec(("zeros", "border", "reflection"), "zeros", doc="the map beyond its edge"),
    },
)(transform)
