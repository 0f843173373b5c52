"""Light: what a subject throws on its place, and what each light word does to the whole picture.

Works at the place's half size; the front veil is scaled up and laid over everything. Knows nothing of subjects' shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.names import LIGHTS
from pipelines.house.places import TABLE, cells
from pipelines.house.shading import noise, step


class Grade(NamedTuple):
    """How a light word treats place and subject."""

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # on the place
    shade: float = 0.0  # added to the subject's shade
    glow: float = 1.0
    edge: float = 0.0  # how far the subject turns into a glowing outline


_GRADES: dict[str, Grade] = {
    "plain": Grade(),
    "soft light": Grade((1.12, 1.10, 1.08), 0.06, 1.5),
    "neon": Grade((0.42, 0.42, 0.50), 0.0, 2.0, 1.0),
    "golden light": Grade((1.34, 1.02, 0.68), 0.02, 0.9),
    "moonlight": Grade((0.62, 0.78, 1.12), -0.05, 0.8),
    "fog": Grade((0.9, 0.92, 0.95), 0.0, 1.5),
    "dust": Grade((0.85, 0.84, 0.83), 0.0, 1.0),
}
_VEILED = ("fog", "golden light", "moonlight", "soft light", "dust")
_VEIL_COLOURS = ((0.36, 0.38, 0.40), (1.0, 0.74, 0.40), (0.62, 0.78, 1.0), (1.0, 0.97, 0.92), (0.9, 0.86, 0.78))


class Grades(NamedTuple):
    """`Grade` looked up per scene, [N, 1, 1, 1] each, the tint [N, 1, 3, 1, 1]."""

    tint: Tensor
    shade: Tensor
    glow: Tensor
    edge: Tensor


def grades(light: Tensor) -> Grades:
    rows = [(*g.tint, g.shade, g.glow, g.edge) for g in (_GRADES[name] for name in LIGHTS)]
    picked = torch.tensor(rows, device=light.device)[light]  # [N, 6]
    shade, glow, edge = (picked[:, i, None, None, None] for i in (3, 4, 5))
    return Grades(picked[:, None, :3, None, None], shade, glow, edge)


class Lamp(NamedTuple):
    """A subject as a source of light, in the place's coordinates: [N, T, 1, 1] each, the colour [N, 3]."""

    x: Tensor
    y: Tensor
    size: Tensor
    power: Tensor
    colour: Tensor


def spill(x: Tensor, y: Tensor, t: Tensor, place: Tensor, lamp: Lamp) -> Tensor:
    """Light of one subject on air, water and ground: [N, T, 3, h, w] to add to the place."""
    rows = torch.tensor([(p.horizon, p.mirror, p.ground, p.haze) for p in TABLE], device=place.device)[place]
    line, mirror, ground, haze = (rows[:, i, None, None, None] for i in range(4))
    dx, dy = x - lamp.x, y - lamp.y
    air = haze * torch.exp(-(dx * dx + dy * dy) / (2.1 * lamp.size) ** 2)
    deep = (line - y).clamp(min=0)
    z = torch.log(deep + 0.05)
    ripple = torch.sin(15 * z + 1.5 * t + 2.0 * torch.sin(4.0 * x + 0.7 * t))
    wide = lamp.size * 0.62 + 0.22 * deep
    streak = torch.exp(-(((dx + 0.05 * ripple * (0.3 + deep)) / wide) ** 2)) * (0.62 + 0.38 * ripple)
    water = mirror * 0.46 * streak * torch.exp(-2.2 * deep) * step(0.0, 0.03, deep)
    pool = (
        torch.exp(-((dx / (1.9 * lamp.size)) ** 2) - ((y - line + 0.15) / 0.14) ** 2) * ground * step(0.0, 0.14, deep)
    )
    return ((air + water + pool) * lamp.power).unsqueeze(2) * lamp.colour[:, None, :, None, None]


def veil(x: Tensor, y: Tensor, t: Tensor, light: Tensor, u: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What hangs in the air before all: light let through [N, T, 1, h, w] and light added [N, T, 3, h, w]."""
    index = light[:, None, None, None]

    def on(name: str) -> Tensor:
        return (index == list(LIGHTS).index(name)).to(x.dtype)

    drift = noise(1.3 * x + 0.5 * t, 2.6 * y, 1.5 * t, u[0])
    fog = on("fog") * (0.20 + 0.13 * drift + 0.26 * step(0.12, -0.5, y)).clamp(0, 1)
    slant = x * 0.85 - y * 0.55 + 0.4 * u[1]
    beams = torch.sin(6.0 * slant + 0.5 * t) * 0.5 + torch.sin(11.0 * slant - 0.6 * t + 6.3 * u[2]) * 0.3 + 0.35
    sun = torch.exp(-((x + 0.75) ** 2 + (y - 0.55) ** 2) / 0.9)
    gold = on("golden light") * (0.20 * sun + 0.13 * beams.clamp(min=0) * step(-0.6, 0.6, y - 0.3 * x))
    cool = on("moonlight") * 0.15 * torch.exp(-(((x - 0.55) / 0.7) ** 2) - ((y - 0.6) / 0.5) ** 2)
    soft = on("soft light") * 0.11 * torch.exp(-((x / 0.75) ** 2) - ((y - 0.25) / 0.6) ** 2)
    motes = 0
    for scale, size in ((5.5, 0.012), (3.2, 0.010)):
        wander = 0.10 * torch.sin(0.9 * t + 2.5 * y)
        dx, dy, a, b = cells((x + wander) * scale, (y - 0.07 * t + 0.04 * torch.sin(1.3 * t + 3 * x)) * scale, u[0])
        motes = motes + torch.exp(-(dx * dx + dy * dy) / size) * (0.5 + 0.5 * torch.sin(2.2 * t + 40 * b)) * (a > 0.45)
    dust = on("dust") * 0.42 * motes
    veils = zip((fog, gold, cool, soft, dust), x.new_tensor(_VEIL_COLOURS), strict=True)
    added = sum(part.unsqueeze(2) * colour[:, None, None] for part, colour in veils)
    return (1 - fog).unsqueeze(2), added


def veiled(light: Tensor) -> Tensor:
    """Indices [K] of the scenes that have a veil at all."""
    named = torch.tensor([list(LIGHTS).index(name) for name in _VEILED], device=light.device)
    return torch.isin(light, named).nonzero()[:, 0]
