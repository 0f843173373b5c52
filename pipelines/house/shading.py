"""Drawing helpers shared by subjects, places and light: smooth steps, distances, soft noise and colour ramps.

Everything is element-wise on tensors that broadcast to [N, T, H, W]; lengths are in the caller's units.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.names import COLOURS, HUES


class Ink(NamedTuple):
    """What a subject is made of, each [N, T, H, W] in its own coordinates (its half height is 1)."""

    distance: Tensor  # signed, negative inside; drives the edge and the glow
    shade: Tensor  # 0 the deep tone, 0.5 the colour itself, 1 its highlight
    alpha: Tensor | float  # translucency inside the edge
    halo: Tensor | None = None  # distance for the glow where it is not that of the edge


def step(low: float | Tensor, high: float | Tensor, x: Tensor) -> Tensor:
    """Smooth 0..1 as x goes from low to high (low may exceed high)."""
    s = ((x - low) * (1.0 / (high - low))).clamp(0, 1)
    return s * s * (3 - 2 * s)


def mix(a: Tensor | float, b: Tensor | float, s: Tensor) -> Tensor:
    return a + (b - a) * s


def length(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y + 1e-9)


def turn(x: Tensor, y: Tensor, angle: float | Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame turned clockwise by angle radians: a shape drawn along +y then leans to the right."""
    c, s = (math.cos(angle), math.sin(angle)) if isinstance(angle, float) else (torch.cos(angle), torch.sin(angle))
    return x * c - y * s, x * s + y * c


def petal(x: Tensor, y: Tensor, half: float, width: float | Tensor) -> Tensor:
    """Distance to a pointed ellipse along y from 0 to 2 * half, half-width `width` (two circles' overlap)."""
    radius = (half * half + width * width) / (2 * width)
    return length(x.abs() + (radius - width), y - half) - radius


def noise(x: Tensor, y: Tensor, t: Tensor, seed: Tensor) -> Tensor:
    """Soft, endless, band-limited noise in about -1..1: warped sines, no detail finer than a quarter of a unit."""
    a = torch.sin(1.9 * x + 1.3 * y + 0.31 * t + 6.3 * seed)
    b = torch.sin(1.6 * y - 1.1 * x - 0.23 * t + 17.1 * seed)
    c = torch.sin(3.7 * x + 2.2 * a + 1.4 * b + 0.4 * t + 29.7 * seed)
    d = torch.sin(4.3 * y + 2.1 * b - 1.6 * a - 0.5 * t + 41.3 * seed)
    return (a * b + 0.6 * c * d + 0.35 * (c + d)) * 0.6


# hue shift of the deep tone, saturation, value, hue shift of the highlight, whiteness of the highlight
_TONES: dict[str, tuple[float, float, float, float, float]] = {
    "red": (-0.015, 0.92, 0.93, 0.03, 0.42),
    "orange": (-0.03, 0.95, 1.00, 0.04, 0.45),
    "gold": (-0.035, 0.78, 0.92, 0.03, 0.68),
    "yellow": (-0.045, 0.88, 1.00, 0.0, 0.60),
    "green": (0.03, 0.84, 0.80, -0.06, 0.50),
    "teal": (0.04, 0.86, 0.82, -0.02, 0.55),
    "blue": (0.03, 0.86, 0.98, -0.05, 0.50),
    "purple": (-0.03, 0.74, 0.92, 0.03, 0.50),
    "pink": (-0.03, 0.58, 1.00, 0.02, 0.55),
}
_HUE_JITTER = 0.012


def hsv(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """[...] each -> [..., 3] RGB in 0..1; hue in turns."""
    k = torch.tensor([5.0, 3.0, 1.0], device=h.device, dtype=h.dtype)
    k = (k + h[..., None] * 6) % 6
    wedge = torch.minimum(k, 4 - k).clamp(0, 1)
    return v[..., None] * (1 - s[..., None] * wedge)


def tones(colour: Tensor, jitter: Tensor) -> Tensor:
    """Colour indices [N] and a 0..1 jitter [N] -> [N, 3, 3]: the deep tone, the colour, its highlight, as RGB."""
    rows = torch.tensor([(HUES.get(n, 0.6), *_TONES.get(n, (0.0,) * 5)) for n in COLOURS], device=colour.device)
    h, deep, s, v, lift, white = rows[colour].unbind(-1)
    h = h + _HUE_JITTER * (2 * jitter - 1)
    base = hsv(h % 1, s, v)
    dark = hsv((h + deep) % 1, (s * 1.06).clamp(max=1), v * 0.24)
    light = hsv((h + lift) % 1, s * (1 - white), torch.ones_like(v))
    ramp = torch.stack([dark, base, light], -2)
    plain = torch.tensor([[0.26, 0.29, 0.36], [0.86, 0.89, 0.94], [1.0, 1.0, 1.0]], device=colour.device)
    is_white = (colour == list(COLOURS).index("white"))[:, None, None]
    return torch.where(is_white, plain, ramp)


def ramp(shade: Tensor, rgb: Tensor) -> Tensor:
    """Shade [N, T, H, W] through the tones [N, 3, 3] -> [N, T, 3, H, W]."""
    dark, base, light = (rgb[:, i][:, None, :, None, None] for i in range(3))
    low = (shade * 2).clamp(0, 1).unsqueeze(2)
    high = (shade * 2 - 1).clamp(0, 1).unsqueeze(2)
    return torch.addcmul(torch.addcmul(dark, base - dark, low), light - base, high)
