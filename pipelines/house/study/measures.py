"""Numbers of pictures, of masks, and of changes from one picture to another. Knows nothing of models.

Pictures are [N, T, 3, H, W] in 0..1, masks bool [N, T, h, w] at any smaller size. Angles are in degrees.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 12  # points of a mask below which there is no subject to measure
RINGS, SPOKES = 24, 180  # of a picture unrolled about a centre


# --- colour ---


def chroma(pixels: Tensor, mask: Tensor) -> Tensor:
    """The mean colour [N, 2] in a mask: x toward red, y toward a quarter turn on, their length its strength.

    The hexagon of HSV unrolled to a plane: x = R - (G + B) / 2, y = (G - B) sqrt(3) / 2. NaN where the mask is empty.
    """
    small = _at(pixels, mask)
    red, green, blue = small.unbind(2)
    plane = torch.stack([red - (green + blue) / 2, (green - blue) * math.sqrt(3) / 2], dim=1)  # [N, 2, T, h, w]
    inside = mask[:, None].float()
    count = inside.sum((2, 3, 4))
    mean = (plane * inside).sum((2, 3, 4)) / count.clamp(min=1)
    return torch.where(count >= LEAST, mean, torch.nan)


def hue(colour: Tensor) -> Tensor:
    """The hue [N], 0..360, of colours [N, 2] in the plane of `chroma`."""
    return torch.rad2deg(torch.atan2(colour[:, 1], colour[:, 0])) % 360.0


def hue_away(a: Tensor, b: Tensor) -> Tensor:
    """The shorter way from one hue to another, 0..180."""
    away = (a - b).abs() % 360.0
    return torch.minimum(away, 360.0 - away)


# --- change ---


def background_change(a: Tensor, b: Tensor, mask_a: Tensor, mask_b: Tensor, margin: int = 5) -> Tensor:
    """The mean absolute difference [N], 0..1 of full range, beyond both masks and a margin of points around them, in
    which the subject's glow lies. NaN where nothing is left."""
    near = (mask_a | mask_b).float()
    grown = F.max_pool2d(near.flatten(0, 1)[:, None], 2 * margin + 1, stride=1, padding=margin)[:, 0]
    outside = 1 - grown.view_as(near)
    away = (_at(a, mask_a) - _at(b, mask_b)).abs().mean(2)
    count = outside.sum((1, 2, 3))
    return torch.where(count > 0, (away * outside).sum((1, 2, 3)) / count.clamp(min=1), torch.nan)


def rms(change: Tensor) -> Tensor:
    """Root mean square [N] of anything [N, ...]."""
    return change.float().flatten(1).square().mean(1).sqrt()


class Spectrum(NamedTuple):
    """`share` [N, bins] of the power at `frequency` [bins], in cycles per picture height."""

    frequency: Tensor
    share: Tensor

    @property
    def centre(self) -> Tensor:
        """The mean frequency [N], weighed by power."""
        return (self.share * self.frequency).sum(1)


def spectrum(change: Tensor) -> Spectrum:
    """The radial spectrum of changes [N, T, 3, H, W] (or [N, T, H, W]), of their mean over colours, windowed by Hann:
    rings one cycle per picture height wide, up to what the picture's height can show; constant changes left out."""
    flat = change.float().mean(2) if change.ndim == 5 else change.float()
    height, width = flat.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None]
    flat = (flat - flat.mean((-2, -1), keepdim=True)) * window.to(flat.device)
    power = torch.fft.fft2(flat).abs().square().mean(1).cpu()  # [N, H, W]
    down = torch.fft.fftfreq(height) * height
    across = torch.fft.fftfreq(width) * height  # the same unit: cycles per picture height
    ring = (down[:, None].square() + across[None].square()).sqrt().round().long().flatten()
    top = height // 2
    inside = (ring >= 1) & (ring <= top)
    sums = torch.zeros(len(flat), top + 1).index_add_(1, ring[inside], power.flatten(1)[:, inside])[:, 1:]
    return Spectrum(torch.arange(1.0, top + 1), sums / sums.sum(1, keepdim=True).clamp(min=1e-12))


# --- place, size and turn ---


class Stand(NamedTuple):
    """Where a mask's subject stands, [N] each: its centre as a fraction of width and height, and its size, the square
    root of its share of the picture. NaN where there is none."""

    x: Tensor
    y: Tensor
    size: Tensor


def stand(mask: Tensor) -> Stand:
    """The mean of every frame's stand, of masks [N, T, h, w]."""
    weight = mask.float()
    height, width = mask.shape[-2:]
    count = weight.sum((2, 3))
    x = (weight.sum(2) * ((torch.arange(width, device=mask.device) + 0.5) / width)).sum(2)
    y = (weight.sum(3) * ((torch.arange(height, device=mask.device) + 0.5) / height)).sum(2)
    there = count >= LEAST
    found = (x / count.clamp(min=1), y / count.clamp(min=1), (count / (height * width)).sqrt())
    return Stand(*(torch.where(there, value, torch.nan).nanmean(1) for value in found))


class Turned(NamedTuple):
    """Degrees [N], clockwise, by which subjects are turned, how well they then agree (a correlation), and how alike
    the unturned one is to itself at other angles: near 1 for a disc, whose turn nobody can see."""

    degrees: Tensor
    agreement: Tensor
    roundness: Tensor


def turned(before: Tensor, after: Tensor, mask_before: Tensor, mask_after: Tensor) -> Turned:
    """By how much the subjects of one frame, pictures [N, 3, H, W] and masks [N, h, w], are turned: the best
    correlation of both unrolled about their masks' centres, each scaled to its own size."""
    a, b = _unrolled(before, mask_before), _unrolled(after, mask_after)
    spectra = torch.fft.rfft(a, dim=-1), torch.fft.rfft(b, dim=-1)
    match = torch.fft.irfft((spectra[1] * spectra[0].conj()).sum((1, 2)), n=SPOKES)
    own = torch.fft.irfft(spectra[0].abs().square().sum((1, 2)), n=SPOKES)
    power = a.square().sum((1, 2, 3)), b.square().sum((1, 2, 3))
    match = match / (power[0] * power[1]).sqrt().clamp(min=1e-9)[:, None]
    own = own / power[0].clamp(min=1e-9)[:, None]
    best, at = match.max(1)
    degrees = at * 360.0 / SPOKES
    away = SPOKES // 12  # beyond 30 degrees from itself
    return Turned((degrees + 180) % 360 - 180, best, own[:, away:-away].amax(1))


def _unrolled(pictures: Tensor, mask: Tensor) -> Tensor:
    """Brightness within the mask and the mask itself, less their means, [N, 2, RINGS, SPOKES]; spokes go clockwise."""
    small = F.interpolate(pictures.float(), size=mask.shape[-2:], mode="area").mean(1)
    inside = mask.float()
    bright = small - (small * inside).sum((1, 2), keepdim=True) / inside.sum((1, 2), keepdim=True).clamp(min=1)
    height, width = mask.shape[-2:]
    where = stand(mask[:, None])
    reach = 1.6 * where.size.nan_to_num(0.1) * math.sqrt(height * width) / 2  # in points
    angle = torch.arange(SPOKES, device=mask.device) * math.tau / SPOKES
    ring = (torch.arange(RINGS, device=mask.device) + 0.5) / RINGS
    dx, dy = ring[:, None] * angle.cos(), ring[:, None] * angle.sin()  # [RINGS, SPOKES]
    x = where.x.nan_to_num(0.5)[:, None, None] * 2 - 1 + 2 * reach[:, None, None] * dx / width
    y = where.y.nan_to_num(0.5)[:, None, None] * 2 - 1 + 2 * reach[:, None, None] * dy / height
    layers = torch.stack([3 * bright * inside, inside], dim=1)
    polar = F.grid_sample(layers, torch.stack([x, y], dim=-1), align_corners=False)
    polar = polar * ring[:, None].sqrt()  # outer rings are longer
    return polar - polar.mean((2, 3), keepdim=True)


# --- lines and likeness ---


class Line(NamedTuple):
    """A regression y = slope x + offset, its r^2, and how many points it rests on."""

    slope: float
    offset: float
    r2: float
    count: int


def line(x: Tensor, y: Tensor) -> Line:
    """The least-squares line through points, those that are not finite left out; NaN where fewer than three are."""
    good = torch.isfinite(x) & torch.isfinite(y)
    x, y = x[good].double(), y[good].double()
    if len(x) < 3 or float(x.std()) == 0:
        return Line(math.nan, math.nan, math.nan, len(x))
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / dx.square().sum())
    total = float(dy.square().sum())
    left = float((dy - slope * dx).square().sum())
    return Line(slope, float(y.mean() - slope * x.mean()), 1 - left / total if total > 0 else math.nan, len(x))


class Likeness(NamedTuple):
    """Mean cosines between the changes that bands make in different captions, of the same band and of different ones;
    and the share of changes whose band is told from the other captions' mean changes alone."""

    within: float
    between: float
    told: float


def likeness(changes: Tensor) -> Likeness:
    """changes [bands, N, features], N >= 2."""
    unit = F.normalize(changes.float(), dim=2)
    bands, count = unit.shape[:2]
    cosines = torch.einsum("anf,bmf->abnm", unit, unit)
    others = ~torch.eye(count, dtype=torch.bool, device=unit.device)
    same = torch.eye(bands, dtype=torch.bool, device=unit.device)
    means = cosines[:, :, others].mean(2)  # [bands, bands]
    rest = (unit.sum(1, keepdim=True) - unit) / (count - 1)  # of all captions but this one
    scores = torch.einsum("anf,bnf->anb", unit, F.normalize(rest, dim=2))
    right = scores.argmax(2) == torch.arange(bands, device=unit.device)[:, None]
    return Likeness(float(means[same].mean()), float(means[~same].mean()), float(right.float().mean()))


def half_time(change: Tensor, share: float = 0.5, last: int = 8) -> float:
    """The first frame, counted from 1, of a curve of changes [T] that reaches so much of its end, the mean of its last
    frames. NaN where it ends at nothing."""
    end = float(change[-last:].mean())
    if not end > 0:
        return math.nan
    return float((change >= share * end).nonzero()[0, 0]) + 1


def _at(pixels: Tensor, mask: Tensor) -> Tensor:
    """Pictures [N, T, 3, H, W] at the size of a mask, by averaging."""
    small = F.interpolate(pixels.flatten(0, 1).float(), size=mask.shape[-2:], mode="area")
    return small.unflatten(0, pixels.shape[:2])
