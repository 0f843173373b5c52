"""Attention maps as pictures: what moves, turns, blurs and cuts them, as small matrices over places and over frames.

A transform T is linear over query positions, so T(A) V = T(A V): the map is never built, and T itself is a matrix
[places, places] made once per change (and one [frames, frames] along time). Coordinates are in patches about the
grid's centre, so a square stays a square when height and width differ. They are computed in float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pipelines.spec import Value

UNSHARP = 1.0  # patches; the blur that sharpening takes away

# Amounts at which nothing moves, blurs or is cut.
STILL = {"flip_x": False, "flip_y": False, "scale_x": 1, "scale_y": 1, "rotate": 0, "translate_x": 0, "translate_y": 0}
STILL |= {"blur": 0, "sharpen": 0, "region_left": 0, "region_right": 1, "region_top": 0, "region_bottom": 1}
STILL |= {"shift_t": 0, "blur_t": 0}


def is_still(amounts: Mapping[str, Value]) -> bool:
    """Whether nothing moves, blurs or is cut."""
    return all(amounts[name] == value for name, value in STILL.items())


def transform_matrix(height: int, width: int, amounts: Mapping[str, Value], device: torch.device) -> Tensor:
    """T - I over the places of one frame, float32 [height*width, height*width]: exactly zero for the identity.

    The order of the picture's changes is flip, scale, rotate, translate (bilinear), blur, sharpen, region; positive
    translation moves right and down. Outside the grid the map is `padding`: zeros, border or reflection.
    """
    places, padding = height * width, str(amounts["padding"])
    at, weight = (taps.to(device, non_blocking=True) for taps in _taps(height, width, amounts))
    matrix = torch.zeros(places, places, device=device).scatter_add_(1, at, weight)
    blur, sharpen = float(amounts["blur"]), float(amounts["sharpen"])
    if blur > 0:
        matrix = _blurred(matrix, height, width, blur, padding)
    if sharpen > 0:
        matrix = matrix + sharpen * (matrix - _blurred(matrix, height, width, UNSHARP, padding))
    inside = region(height, width, amounts)
    if float(inside.min()) < 1:
        matrix *= inside[:, None].float().to(device, non_blocking=True)
    matrix.diagonal().sub_(1)
    return matrix


def time_matrix(frames: int, amounts: Mapping[str, Value]) -> Tensor:
    """T - I over the latent frames of a chunk, [frames, frames]: shifted (positive is later), then blurred."""
    padding = str(amounts["padding"])
    source = torch.arange(frames, dtype=torch.float64) - float(amounts["shift_t"])
    matrix = _tent(_pad(source, frames, padding)[:, None] - torch.arange(frames, dtype=torch.float64))
    if float(amounts["blur_t"]) > 0:
        matrix = blur_matrix(frames, float(amounts["blur_t"]), padding) @ matrix
    return matrix - torch.eye(frames, dtype=torch.float64)


def blur_matrix(size: int, sigma: float, padding: str) -> Tensor:
    """A Gaussian blur along one axis, [size, size]; its weights sum to one before the padding."""
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    sources = _pad(torch.arange(size, dtype=torch.float64)[:, None] + offsets, size, padding)  # [size, offsets]
    hit = sources[..., None] == torch.arange(size, dtype=torch.float64)
    return torch.einsum("o,iok->ik", weights / weights.sum(), hit.double())


def region(height: int, width: int, amounts: Mapping[str, Value]) -> Tensor:
    """1 inside the rectangle left..right, top..bottom (0..1 of the picture), falling to 0 over `region_feather` of
    the width beyond its edges; [height*width]."""
    feather = float(amounts["region_feather"]) * width
    rows = _window(height, float(amounts["region_top"]), float(amounts["region_bottom"]), feather)
    columns = _window(width, float(amounts["region_left"]), float(amounts["region_right"]), feather)
    return (rows[:, None] * columns).flatten()


def _window(size: int, lo: float, hi: float, feather: float) -> Tensor:
    """Weights of `size` patches, by their centres, for lo..hi of the whole; `feather` in patches."""
    centers = torch.arange(size, dtype=torch.float64) + 0.5
    beyond = torch.maximum(lo * size - centers, centers - hi * size).clamp(min=0)
    if hi < lo:
        return torch.zeros(size, dtype=torch.float64)
    return (1 - beyond / feather).clamp(min=0) if feather > 0 else (beyond == 0).double()


def _taps(height: int, width: int, amounts: Mapping[str, Value]) -> tuple[Tensor, Tensor]:
    """Flip, scale, rotate, translate: for each place the four places it is mixed from and their weights, [places, 4]
    each, float32."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    y, x = _source(rows.flatten(), columns.flatten(), (height, width), amounts)
    y, x = _pad(y, height, amounts["padding"]), _pad(x, width, amounts["padding"])
    corner = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    row, column = y.floor()[:, None] + corner[:, 0], x.floor()[:, None] + corner[:, 1]
    weight = _tent(y[:, None] - row) * _tent(x[:, None] - column)
    weight *= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = row.clamp_(0, height - 1).mul_(width).add_(column.clamp_(0, width - 1))
    return at.long(), weight.float()


def _source(y: Tensor, x: Tensor, size: tuple[int, int], amounts: Mapping[str, Value]) -> tuple[Tensor, Tensor]:
    """Where each place of the new picture comes from: the inverse of flip, scale, rotate, translate."""
    height, width = size
    y = y - (height - 1) / 2 - float(amounts["translate_y"]) * height
    x = x - (width - 1) / 2 - float(amounts["translate_x"]) * width
    angle = math.radians(float(amounts["rotate"]))  # clockwise on screen, where y points down
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = cos * x + sin * y, cos * y - sin * x
    x = x / float(amounts["scale_x"]) * (-1 if amounts["flip_x"] else 1)
    y = y / float(amounts["scale_y"]) * (-1 if amounts["flip_y"] else 1)
    return y + (height - 1) / 2, x + (width - 1) / 2


def _blurred(matrix: Tensor, height: int, width: int, sigma: float, padding: str) -> Tensor:
    """A blur of the picture that `matrix` makes, one axis after the other."""
    down, along = (blur_matrix(n, sigma, padding).float().to(matrix.device, non_blocking=True) for n in (height, width))
    picture = torch.einsum("ih,hwp->iwp", down, matrix.unflatten(0, (height, width)))
    return torch.einsum("jw,iwp->ijp", along, picture).flatten(0, 1)


def _pad(at: Tensor, size: int, padding: Value) -> Tensor:
    if padding == "border":
        return at.clamp(0, size - 1)
    if padding == "reflection":  # about the outer patches' edges
        folded = torch.remainder(at + 0.5, 2 * size)
        return torch.minimum(folded, 2 * size - folded).sub(0.5).clamp(0, size - 1)
    return at


def _tent(distance: Tensor) -> Tensor:
    """The bilinear kernel."""
    return (1 - distance.abs()).clamp(min=0)
