"""Every deterministic lever, slowly: attention maps are really built, column by column, in float64.

Written from the definitions in docs/bends.md, not from the fast path; it shares no code with `pipelines.bends`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Beside its largest weight a row has nothing else that single precision can hold: what is left of it then is nothing.
TINY = 2.0**-126
PAD_MODES = {"zeros": "constant", "border": "edge", "reflection": "symmetric"}


@dataclass(frozen=True)
class Bent:
    """One bend: its lever's name without the site, its amounts, and its weight at every place."""

    lever: str
    amounts: dict[str, Any]
    weight: float = 1.0  # step x layer x master
    heads: list[float] = field(default_factory=list)
    columns: list[float] = field(default_factory=list)
    renormalize: bool = False

    def at(self, head: int, column: int) -> float:
        heads = self.heads[head] if self.heads else 1.0
        return self.weight * heads * (self.columns[column] if self.columns else 1.0)


def attention(bends: list[Bent], q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """q, k, v [B, L, heads, d] -> [B, Lq, heads, d]."""
    v = v.double()
    heads, keys = v.shape[2], v.shape[1]
    logits = focused(bends, q, k)
    share = product([b for b in bends if b.renormalize], "map.gain", "gain", heads, keys)
    left = kept(logits, share)
    a = (logits + share.log()[None, :, None, :]).softmax(-1).where(left >= TINY, 0.0)  # nothing left: an empty row
    a = _moved(a, bends, grid)
    a = a * product([b for b in bends if not b.renormalize], "map.gain", "gain", heads, keys)[None, :, None, :]
    v = v * product(bends, "value.gain", "gain", heads, keys).T[None, :, :, None]
    return torch.einsum("bhqk,bkhd->bqhd", a, v)


def focused(bends: list[Bent], q: Tensor, k: Tensor) -> Tensor:
    """The logits [B, heads, Lq, Lk] under every focus."""
    logits = torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double()) / math.sqrt(q.shape[-1])
    return logits * product(bends, "map.focus", "focus", q.shape[2], 1)[None, :, :, None]


def kept(logits: Tensor, share: Tensor) -> Tensor:
    """[B, heads, Lq, 1]: how much of each row of the map is left under gains [heads, Lk], of which the largest is 1."""
    peak = share.amax(-1, keepdim=True)
    return (logits.softmax(-1) * (share / peak.where(peak > 0, 1.0))[None, :, None, :]).sum(-1, keepdim=True)


def product(bends: list[Bent], lever: str, amount: str, heads: int, columns: int) -> Tensor:
    """[heads, columns]: the product of 1 + w (g - 1) over the bends of this lever."""
    out = torch.ones(heads, columns, dtype=torch.float64)
    for bend in bends:
        if bend.lever == lever:
            for h in range(heads):
                for c in range(columns):
                    out[h, c] *= 1 + bend.at(h, c) * (bend.amounts[amount] - 1)
    return out


def _moved(a: Tensor, bends: list[Bent], grid: tuple[int, int, int]) -> Tensor:
    """Geometry: sets of equal tokens and heads compose; sets add side by side; those that renormalise come last."""
    changes = []
    for renormalize in (False, True):
        change = torch.zeros_like(a)
        for members in _sets([b for b in bends if b.lever == "map.transform" and b.renormalize == renormalize]):
            for h in range(a.shape[1]):
                for c in range(a.shape[3]):
                    if (members[0].heads[h] if members[0].heads else 1) * members[0].columns[c]:
                        video = a[:, h, :, c]
                        for bend in members:
                            video = blended(video, grid, bend.amounts, bend.weight)
                        change[:, h, :, c] += video - a[:, h, :, c]
        changes.append(change)
    moved = a + changes[0] + changes[1]
    rows = 1 + changes[1].sum(-1, keepdim=True)
    return moved / rows.clamp(min=0.05)


def _sets(bends: list[Bent]) -> list[list[Bent]]:
    sets: dict[tuple, list[Bent]] = {}
    for bend in bends:
        if bend.weight > 0:
            sets.setdefault((tuple(bend.heads), tuple(bend.columns)), []).append(bend)
    return list(sets.values())


def blended(video: Tensor, grid: tuple[int, int, int], amounts: dict[str, Any], weight: float) -> Tensor:
    """(1 - m) A + m T(A) in space, then in time; video [B, F*H*W]."""
    mix = weight * amounts["mix"]
    a = video.reshape(-1, *grid)
    a = (1 - mix) * a + mix * in_space(a, amounts)
    a = (1 - mix) * a + mix * in_time(a, amounts)
    return a.reshape(video.shape)


def in_space(video: Tensor, amounts: dict[str, Any]) -> Tensor:
    """[B, F, H, W]: flip, scale, rotate, translate, blur, sharpen, region."""
    a = resampled(video, amounts)
    if amounts["blur"] > 0:
        a = blurred(blurred(a, -2, amounts["blur"], amounts), -1, amounts["blur"], amounts)
    soft = blurred(blurred(a, -2, 1.0, amounts), -1, 1.0, amounts)
    a = a + amounts["sharpen"] * (a - soft)
    return a * region(*video.shape[-2:], amounts)


def resampled(video: Tensor, amounts: dict[str, Any]) -> Tensor:
    """Pixel by pixel where it comes from, then torch's own bilinear sampler."""
    height, width = video.shape[-2:]
    angle = math.radians(amounts["rotate"])
    at = torch.zeros(1, height, width, 2, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            x = column - (width - 1) / 2 - amounts["translate_x"] * width
            y = row - (height - 1) / 2 - amounts["translate_y"] * height
            x, y = math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y
            x, y = x / amounts["scale_x"], y / amounts["scale_y"]
            x, y = -x if amounts["flip_x"] else x, -y if amounts["flip_y"] else y
            # The sampler's coordinates: -1..1 from edge to edge of the picture.
            at[0, row, column, 0] = (2 * (x + (width - 1) / 2) + 1) / width - 1
            at[0, row, column, 1] = (2 * (y + (height - 1) / 2) + 1) / height - 1
    flat = video.reshape(1, -1, height, width)
    return F.grid_sample(flat, at, padding_mode=amounts["padding"], align_corners=False).reshape(video.shape)


def blurred(video: Tensor, axis: int, sigma: float, amounts: dict[str, Any]) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-0.5 * (o / sigma) ** 2) for o in range(-reach, reach + 1)]
    widths = [(0, 0)] * video.ndim
    widths[axis] = (reach, reach)
    padded = torch.from_numpy(np.pad(video.numpy(), widths, mode=PAD_MODES[amounts["padding"]]))
    size = video.shape[axis]
    return sum(w / sum(weights) * padded.narrow(axis, i, size) for i, w in enumerate(weights))


def region(height: int, width: int, amounts: dict[str, Any]) -> Tensor:
    feather = amounts["region_feather"] * width
    top, bottom = amounts["region_top"] * height, amounts["region_bottom"] * height
    left, right = amounts["region_left"] * width, amounts["region_right"] * width
    out = torch.ones(height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            down, along = _inside(row + 0.5, top, bottom, feather), _inside(column + 0.5, left, right, feather)
            out[row, column] = down * along
    return out


def _inside(center: float, lo: float, hi: float, feather: float) -> float:
    if hi < lo:
        return 0.0
    beyond = max(lo - center, center - hi, 0.0)
    return float(beyond == 0) if feather == 0 else max(0.0, 1 - beyond / feather)


def in_time(video: Tensor, amounts: dict[str, Any]) -> Tensor:
    """[B, F, H, W]: shift, then blur along F."""
    frames = video.shape[1]
    reach = 8
    widths = [(0, 0), (reach, reach), (0, 0), (0, 0)]
    padded = np.pad(video.numpy(), widths, mode=PAD_MODES[amounts["padding"]])
    out = torch.zeros_like(video)
    for f in range(frames):
        source = f - amounts["shift_t"] + reach
        lo = math.floor(source)
        share = source - lo
        out[:, f] = torch.from_numpy((1 - share) * padded[:, lo] + share * padded[:, lo + 1])
    return blurred(out, 1, amounts["blur_t"], amounts) if amounts["blur_t"] > 0 else out


def total(bends: list[Bent], lever: str, amount: str, columns: int) -> Tensor:
    """[columns]: the sum of w a over the bends of this lever."""
    out = torch.zeros(columns, dtype=torch.float64)
    for bend in bends:
        if bend.lever == lever:
            for c in range(columns):
                out[c] += bend.at(0, c) * bend.amounts[amount]
    return out


def hidden(bends: list[Bent], z: Tensor) -> Tensor:
    """Gain, line, then threshold, on hidden activations [B, L, ffn_dim]; the rms is of the vector before the last."""
    z = z.double() * product(bends, "hidden.gain", "gain", 1, z.shape[-1])[0]
    z = z * product(bends, "hidden.line", "slope", 1, z.shape[-1])[0]
    z = z + total(bends, "hidden.line", "shift", z.shape[-1])
    limit = torch.zeros(z.shape[-1], dtype=torch.float64)
    for bend in bends:
        if bend.lever == "hidden.threshold":
            own = torch.tensor([bend.at(0, c) * bend.amounts["threshold"] for c in range(z.shape[-1])])
            limit = torch.maximum(limit, own.double())
    rms = z.square().mean(-1, keepdim=True).sqrt()
    return torch.where(z.abs() < limit * rms, 0.0, z)
