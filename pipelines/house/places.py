"""The places: soft, dark, muted backgrounds that lend their subject the stage.

A place is a function of x, y (heights, y up, broadcastable to [N, T, h, w]), seconds t, pan (how far the far world has
slid) [N, T, 1, 1] and three uniform numbers u; it gives RGB [N, T, 3, h, w]. Every place is endless in x and in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.names import PLACES
from pipelines.house.shading import length, mix, noise, step
from pipelines.house.subjects import U

RGB = tuple[float, float, float]


def _rgb(colour: RGB, like: Tensor) -> Tensor:
    return like.new_tensor(colour)[:, None, None]


def _blend(a: RGB | Tensor, b: RGB | Tensor, s: Tensor) -> Tensor:
    """From a to b as s [N, T, h, w] goes 0..1; colours as triples or as pictures [N, T, 3, h, w]."""
    a = a if isinstance(a, Tensor) else _rgb(a, s)
    b = b if isinstance(b, Tensor) else _rgb(b, s)
    return a + (b - a) * s.unsqueeze(2)


def _ridge(x: Tensor, seed: Tensor, rough: float) -> Tensor:
    """A skyline in about -1..1 over x."""
    a = torch.sin(x * 2.1 + 6.3 * seed) + 0.55 * torch.sin(x * 4.7 + 13.1 * seed)
    return 0.5 * a + rough * (torch.sin(x * 9.3 + 31 * seed).abs() - 0.5 + 0.5 * torch.sin(x * 15.1 + 57 * seed).abs())


def _cells(x: Tensor, y: Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Offsets from the one point in each unit cell, and two random numbers of the cell."""
    i, j = torch.floor(x), torch.floor(y)
    a = torch.frac((torch.sin(i * 12.9898 + j * 78.233 + seed * 37.7) * 437.585).abs())
    b = torch.frac(a * 57.31 + 0.13)
    return x - i - 0.3 - 0.4 * a, y - j - 0.3 - 0.4 * b, a, b


def dark_sea(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    line = -0.10
    up = (y - line).clamp(min=0)
    x = x + 0.5 * pan
    sky = _blend((0.21, 0.24, 0.29), (0.045, 0.055, 0.085), step(0.0, 0.62, up))
    haze = noise(x * 1.2, y * 4.0, t, u[0]) * step(0.0, 0.3, up)
    sky = sky * (1 + 0.16 * haze).unsqueeze(2)
    deep = (line - y).clamp(min=0)
    z = torch.log(deep + 0.05)
    swell = torch.sin(9 * z + 2.0 * torch.sin(x * 2.6 / (deep + 0.25) + 0.7 * t) + 1.5 * t)
    cross = torch.sin(x * 4.2 / (deep + 0.2) - 1.1 * t + 5 * z)
    ripple = (0.6 * swell + 0.4 * swell * cross) * step(0.0, 0.08, deep)
    sea = _blend((0.105, 0.13, 0.16), (0.022, 0.034, 0.05), step(0.0, 0.4, deep))
    sea = sea * (1 + 0.50 * ripple).unsqueeze(2)
    picture = _blend(sky, sea, step(0.006, -0.006, y - line))
    glow = torch.exp(-(((y - line) / 0.05) ** 2)) * 0.07
    return picture + glow.unsqueeze(2)


def desert_dunes(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.34, 0.29, 0.28), (0.10, 0.10, 0.15), step(-0.15, 0.5, y))
    tones = (((0.30, 0.25, 0.23), (0.17, 0.14, 0.14)), ((0.27, 0.215, 0.18), (0.11, 0.09, 0.09)))
    tones += (((0.22, 0.17, 0.14), (0.06, 0.05, 0.055)),)
    for i, (lit, dark) in enumerate(tones):
        xs = (x + pan * (0.25 + 0.4 * i)) * (1.5 - 0.35 * i) + 9.1 * i
        top = -0.06 - 0.13 * i + (0.05 + 0.02 * i) * (torch.sin(2.0 * xs + 6.3 * u[0]) + 0.4 * torch.sin(4.3 * xs + 9 * u[1]))
        below = top - y
        slip = torch.sin(2.0 * xs + 6.3 * u[0] + 1.3 + 5.0 * below)
        wind = 0.10 * torch.sin(below * 60 / (1 + 0.5 * i) + 4 * slip + 0.8 * t) * step(0.0, 0.06, below)
        ground = _blend(dark, lit, (0.52 + 0.46 * slip + wind - 0.9 * below).clamp(0, 1))
        picture = _blend(picture, ground, step(-0.005, 0.005, below))
    return picture


def starry_night(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    x = x + 0.5 * pan
    band = torch.exp(-(((y - 0.45 * x * (u[1] - 0.5) + 0.1 * noise(x * 1.5, y, t * 0.1, u[2])) / 0.24) ** 2))
    cloud = noise(2.1 * x, 2.1 * y, 0.3 * t, u[0])
    picture = _blend((0.018, 0.022, 0.045), (0.13, 0.135, 0.19), band * (0.62 + 0.38 * cloud).clamp(0, 1))
    for scale, size in ((5.0, 0.11), (8.5, 0.15)):
        dx, dy, a, b = _cells(x * scale, y * scale + 3.3, u[0])
        twinkle = 0.65 + 0.35 * torch.sin(t * (1.5 + 2 * b) + 40 * a)
        star = torch.exp(-(dx * dx + dy * dy) / (size * size)) * twinkle * (0.15 + 0.85 * b * b)
        picture = picture + star.unsqueeze(2) * _rgb((0.58, 0.60, 0.66), star)
    return picture


def misty_forest(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.24, 0.275, 0.265), (0.13, 0.155, 0.155), step(-0.3, 0.5, y))
    glow = torch.exp(-(((x - 0.5 * (u[0] - 0.5)) / 0.5) ** 2) - ((y - 0.1) / 0.4) ** 2)
    picture = picture + 0.08 * glow.unsqueeze(2)
    mist = noise(1.4 * x + 0.4 * t, 3.0 * y, t, u[1])
    for i, tone in enumerate(((0.165, 0.19, 0.185), (0.10, 0.12, 0.118), (0.035, 0.045, 0.045))):
        gap = (0.19, 0.30, 0.56)[i]
        xs = (x + pan * (0.25 + 0.35 * i)) / gap + 11.7 * i + 3 * u[2]
        lean = 0.16 * torch.sin(2.0 * y + 1.3 * i)
        cell = torch.floor(xs + lean)
        a = torch.frac(torch.sin(cell * 91.7 + 13 * u[0]).abs() * 73.1)
        off = (xs + lean - cell - 0.5 - 0.4 * (a - 0.5)).abs()
        root = 0.05 * step(-0.25, -0.55, y)
        trunk = step(0.03, -0.03, off - (0.085 + 0.05 * a) - root)
        fade = (0.92 - 0.5 * step(0.05, -0.5, y) * (1 - 0.4 * i) + 0.10 * mist).clamp(0, 1)
        picture = _blend(picture, tone, trunk * fade)
    floor = step(-0.22, -0.5, y) * (0.62 + 0.2 * mist)
    return _blend(picture, (0.12, 0.14, 0.135), floor * 0.6)


def mountains(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.30, 0.31, 0.36), (0.085, 0.10, 0.155), step(-0.15, 0.5, y))
    picture = picture * (1 + 0.10 * noise(1.3 * x + 0.1 * t, 3.5 * y, t, u[2])).unsqueeze(2)
    tones = ((0.205, 0.22, 0.27), (0.145, 0.16, 0.205), (0.09, 0.10, 0.135), (0.04, 0.047, 0.068))
    for i, tone in enumerate(tones):
        xs = (x + pan * (0.15 + 0.3 * i)) * (1.5 - 0.12 * i) + 5.3 * i
        top = 0.05 - 0.125 * i + (0.105 - 0.012 * i) * _ridge(xs, u[0] + 0.17 * i, 0.55)
        below = top - y
        mist = torch.exp(-(below / 0.16).clamp(min=0))
        slope = _blend(tuple(c * 1.0 + 0.055 * (3 - i) / 3 for c in tone), tone, mist)
        picture = _blend(picture, slope, step(-0.006, 0.006, below))
    return picture


def city_lights(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.115, 0.105, 0.125), (0.028, 0.03, 0.052), step(-0.35, 0.35, y))
    tints = ((0.34, 0.27, 0.19), (0.21, 0.25, 0.31), (0.30, 0.22, 0.22))
    for i, tint in enumerate(tints):
        scale = (7.0, 5.2, 3.6)[i]
        dx, dy, a, b = _cells((x + pan * (0.4 + 0.25 * i)) * scale + 7 * i, y * scale + 0.31 * i, u[i])
        r = 0.13 + 0.12 * b
        d = length(dx, dy)
        disc = step(r + 0.09, r - 0.02, d) * (0.75 + 0.25 * step(0.3 * r, r, d))
        low = step(0.10 + 0.25 * (a - 0.5), -0.22, y)
        shine = 0.7 + 0.3 * torch.sin(t * (0.8 + 1.5 * a) + 50 * b)
        picture = picture + (disc * low * shine * (a > 0.22)).unsqueeze(2) * _rgb(tint, disc)
    return picture


def cave(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    xs = x + 0.35 * pan
    picture = _blend((0.245, 0.24, 0.245), (0.10, 0.10, 0.115), step(0.0, 0.75, length(x * 0.8, y - 0.05)))
    rock = noise(3.1 * xs, 3.1 * y, 0 * t, u[2])
    picture = picture * (1 + 0.14 * rock).unsqueeze(2)
    for i, tone in enumerate(((0.135, 0.125, 0.125), (0.075, 0.068, 0.07), (0.028, 0.026, 0.03))):
        xs = (x + pan * (0.4 + 0.4 * i)) * 1.6 + 4.7 * i
        teeth = torch.sin(xs * 5.1 + 6.3 * u[0]).abs() * 0.6 + torch.sin(xs * 8.3 + 11 * u[1]).abs() * 0.4
        hang = 0.14 + 0.10 * i + 0.16 * (teeth - 0.2) * (1.25 - 0.2 * i) - 0.05 * torch.sin(xs * 1.3)
        roof = y + hang - (0.46 + 0.10 * i)
        bump = 0.5 + 0.5 * torch.sin(xs * 2.9 + 9 * u[1])
        floor = -0.27 - 0.075 * i + 0.055 * bump - y
        solid = torch.maximum(roof, floor)
        lit = _blend(tone, tuple(c * 1.7 for c in tone), torch.exp(-(solid / 0.05).clamp(min=0)))
        picture = _blend(picture, lit, step(-0.008, 0.008, solid))
    return picture


def clouds(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.30, 0.30, 0.335), (0.125, 0.14, 0.19), step(-0.3, 0.5, y))
    for i, (dark, lit) in enumerate((((0.20, 0.205, 0.24), (0.36, 0.355, 0.385)), ((0.11, 0.115, 0.145), (0.30, 0.295, 0.32)))):
        xs = (x + pan * (0.3 + 0.4 * i)) * (1.5 - 0.4 * i) + 0.12 * t + 3.1 * i
        n = noise(1.7 * xs, 2.6 * y + 1.3 * i, t, u[i])
        bumps = torch.sin(xs * 4.1 + 6.3 * u[2] + i).abs() * 0.6 + torch.sin(xs * 7.3 + 11 * u[0]).abs() * 0.4
        top = -0.02 - 0.20 * i + 0.17 * (bumps - 0.45) + 0.05 * n
        below = top - y
        puff = _blend(lit, dark, (step(0.0, 0.22, below) - 0.22 * n).clamp(0, 1))
        picture = _blend(picture, puff, step(-0.025, 0.035, below))
    return picture


def underwater(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    xs = x + 0.4 * pan
    picture = _blend((0.022, 0.05, 0.065), (0.15, 0.225, 0.245), step(-0.5, 0.6, y))
    beam = xs + 0.45 * (0.6 - y) * (u[0] - 0.5) + 0.06 * torch.sin(0.6 * t)
    rays = torch.sin(beam * 7 + 0.5 * t + 6.3 * u[1]) + torch.sin(beam * 12.3 - 0.7 * t + 6.3 * u[2])
    rays = (rays * 0.5).clamp(min=0) * step(-0.45, 0.5, y)
    a = torch.sin(7 * xs + 1.8 * torch.sin(9 * y + 1.1 * t) + 0.9 * t)
    b = torch.sin(9 * y - 1.6 * torch.sin(6 * xs - 0.8 * t) - 0.7 * t)
    net = torch.exp(-3.0 * (a + b).abs()) * step(0.12, 0.5, y)
    picture = picture + (0.10 * rays + 0.10 * net).unsqueeze(2) * _rgb((0.72, 0.95, 1.0), rays)
    bed = -0.36 + 0.03 * torch.sin(3.1 * (xs + 0.4 * pan) + 6.3 * u[0]) + 0.02 * torch.sin(7.3 * (xs + 0.4 * pan)) - y
    return _blend(picture, (0.028, 0.045, 0.052), step(-0.03, 0.05, bed))


def snowfield(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.33, 0.345, 0.385), (0.12, 0.135, 0.18), step(-0.12, 0.5, y))
    hill = 0.0 + 0.05 * _ridge((x + 0.3 * pan) * 1.3, u[1], 0.2) - y
    picture = _blend(picture, (0.225, 0.24, 0.28), step(-0.008, 0.008, hill))
    for i in range(2):
        xs = (x + pan * (0.5 + 0.5 * i)) * (1.4 - 0.5 * i) + 2.3 * i
        rise = torch.sin(xs * 1.9 + 6.3 * u[i])
        below = -0.13 - 0.15 * i + 0.045 * rise - y
        lit = (0.62 + 0.34 * torch.sin(xs * 1.9 + 6.3 * u[i] + 1.2) - 1.1 * below).clamp(0, 1)
        snow = _blend((0.20, 0.215, 0.255), (0.42, 0.435, 0.47), lit)
        picture = _blend(picture, snow, step(-0.01, 0.01, below))
    for i, scale in enumerate((6.5, 4.2)):
        sway = 0.06 * torch.sin(1.1 * t + 3 * y)
        dx, dy, a, b = _cells((x + pan * (0.6 + 0.5 * i) + sway) * scale, (y + (0.16 + 0.1 * i) * t) * scale, u[2])
        flake = torch.exp(-(dx * dx + dy * dy) / 0.011) * (a > 0.25)
        picture = picture + (0.22 * flake).unsqueeze(2)
    return picture


def darkness(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    veil = noise(1.3 * (x + 0.6 * pan), 1.3 * y, 0.7 * t, u[0])
    deep = step(0.9, 0.0, length(x * 0.8, y)) * (0.75 + 0.25 * veil)
    floor = mix(1.0, 1.9, torch.exp(-(((y + 0.5) / 0.2) ** 2)))
    return _blend((0.008, 0.008, 0.012), (0.062, 0.062, 0.075), deep) * floor.unsqueeze(2)


class Place(NamedTuple):
    """A place and how it takes a subject's light."""

    paint: Callable[..., Tensor]
    horizon: float  # where its ground or water begins, in heights
    mirror: float  # how much it reflects like water
    ground: float  # how strongly light pools on the ground
    haze: float  # how far light spreads in the air


_PLACES: dict[str, Place] = {
    "dark sea": Place(dark_sea, -0.10, 1.0, 0.0, 0.10),
    "desert dunes": Place(desert_dunes, -0.10, 0.0, 0.22, 0.05),
    "starry night": Place(starry_night, -9.0, 0.0, 0.0, 0.10),
    "misty forest": Place(misty_forest, -0.22, 0.0, 0.14, 0.14),
    "mountains": Place(mountains, -0.10, 0.0, 0.08, 0.10),
    "city lights": Place(city_lights, -9.0, 0.0, 0.0, 0.10),
    "cave": Place(cave, -0.24, 0.25, 0.24, 0.12),
    "clouds": Place(clouds, -0.06, 0.0, 0.16, 0.12),
    "underwater": Place(underwater, -0.36, 0.0, 0.10, 0.14),
    "snowfield": Place(snowfield, -0.13, 0.0, 0.24, 0.05),
    "darkness": Place(darkness, -0.34, 0.55, 0.0, 0.10),
}

TABLE: tuple[Place, ...] = tuple(_PLACES[name] for name in PLACES)
