"""Attention maps as pictures: flips, scale, rotation and translation as one matrix over the patch grid.

A transform T is linear over query positions, so T(A) V = T(A V): the map is never built, and T itself is a small
dense matrix [places, places] made once per change. Coordinates are in patches about the grid's centre, so a square
stays a square when height and width differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pipelines.spec import Value


def transform_matrix(height: int, width: int, amounts: Mapping[str, Value]) -> Tensor:
    """T - I, float32 [height*width, height*width]: exactly zero for the identity.

    Bilinear; outside the grid the map is `padding`: zeros, border or reflection. The order of the picture's changes
    is flip, scale, rotate, translate; positive translation moves right and down.
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    y, x = _source(rows.flatten(), columns.flatten(), (height, width), amounts)
    y, x = _pad(y, height, amounts["padding"]), _pad(x, width, amounts["padding"])
    along_y = _tent(y[:, None] - torch.arange(height, dtype=torch.float64))  # [places, height]
    along_x = _tent(x[:, None] - torch.arange(width, dtype=torch.float64))
    matrix = (along_y[:, :, None] * along_x[:, None, :]).flatten(1)
    return (matrix - torch.eye(height * width, dtype=torch.float64)).float()


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
