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
from pipelines.house.shading import length, mix, noise, step, turn
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
    swell = torch.sin(x * 2.1 + 6.3 * seed) + 0.5 * torch.sin(x * 0.9 + 13.1 * seed)
    peaks = 1 - 1.5 * torch.sin(x * 2.3 + 31 * seed).abs() - 0.55 * torch.sin(x * 5.3 + 57 * seed).abs()
    return 0.45 * swell + rough * (peaks - 0.22 * torch.sin(x * 11.9 + 91 * seed).abs())


def cells(x: Tensor, y: Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Offsets from the one point in each unit cell, and two random numbers of the cell.

    The hash multiplies by little, so that rounding, which differs between devices, cannot change a cell's numbers.
    """
    i, j = torch.floor(x), torch.floor(y)
    a, b, c, d = (
        torch.frac((torch.sin(i * k + j * m + seed * 37.7) * 43.7).abs())
        for k, m in ((12.9898, 7.233), (26.651, 11.137), (19.19, 47.43), (35.117, 23.71))
    )
    return x - i - 0.26 - 0.48 * a, y - j - 0.26 - 0.48 * b, c, d


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
    picture = _blend(sky, sea, step(0.009, -0.009, y - line))
    glow = torch.exp(-(((y - line) / 0.05) ** 2)) * 0.07
    return picture + glow.unsqueeze(2)


def desert_dunes(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.34, 0.29, 0.28), (0.10, 0.10, 0.15), step(-0.15, 0.5, y))
    tones = (((0.30, 0.25, 0.23), (0.17, 0.14, 0.14)), ((0.27, 0.215, 0.18), (0.11, 0.09, 0.09)))
    tones += (((0.22, 0.17, 0.14), (0.06, 0.05, 0.055)),)
    for i, (lit, dark) in enumerate(tones):
        xs = (x + pan * (0.25 + 0.4 * i)) * (1.5 - 0.35 * i) + 9.1 * i
        top = (
            -0.06
            - 0.13 * i
            + (0.05 + 0.02 * i) * (torch.sin(2.0 * xs + 6.3 * u[0]) + 0.4 * torch.sin(4.3 * xs + 9 * u[1]))
        )
        below = top - y
        slip = torch.sin(2.0 * xs + 6.3 * u[0] + 1.3 + 5.0 * below)
        wind = 0.10 * torch.sin(below * 60 / (1 + 0.5 * i) + 4 * slip + 0.8 * t) * step(0.0, 0.06, below)
        ground = _blend(dark, lit, (0.52 + 0.46 * slip + wind - 0.9 * below).clamp(0, 1))
        picture = _blend(picture, ground, step(-0.009, 0.009, below))
    return picture


def starry_night(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    x = x + 0.5 * pan
    band = torch.exp(-(((y - 0.45 * x * (u[1] - 0.5) + 0.1 * noise(x * 1.5, y, t * 0.1, u[2])) / 0.24) ** 2))
    cloud = noise(2.1 * x, 2.1 * y, 0.3 * t, u[0])
    picture = _blend((0.018, 0.022, 0.045), (0.13, 0.135, 0.19), band * (0.62 + 0.38 * cloud).clamp(0, 1))
    for scale, size, lean in ((4.2, 0.075, 0.5), (6.5, 0.095, -0.8), (7.5, 0.10, 1.2)):
        sx, sy = turn(x * scale, y * scale + 3.3, lean)
        dx, dy, a, b = cells(sx, sy, u[0] + lean)
        twinkle = 0.7 + 0.3 * torch.sin(t * (1.5 + 2 * b) + 40 * a)
        star = torch.exp(-(dx * dx + dy * dy) / (size * size * (0.6 + b))) * twinkle * (0.25 + 0.75 * b) * (a > 0.5)
        picture = picture + star.unsqueeze(2) * _rgb((0.62, 0.64, 0.70), star)
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
        trunk = step(0.04, -0.04, off - (0.085 + 0.05 * a) - root)
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
        top = 0.09 - 0.13 * i + (0.15 - 0.015 * i) * _ridge(xs, u[0] + 0.17 * i, 0.75)
        below = top - y
        mist = 1 - torch.exp(-(below / 0.20).clamp(min=0))
        slope = _blend(tuple(c + 0.085 * (3 - i) / 3 + 0.02 for c in tone), tone, mist)
        picture = _blend(picture, slope, step(-0.011, 0.011, below))
    return picture


def city_lights(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.115, 0.105, 0.125), (0.028, 0.03, 0.052), step(-0.35, 0.35, y))
    tints = ((0.34, 0.27, 0.19), (0.21, 0.25, 0.31), (0.30, 0.22, 0.22))
    for i, tint in enumerate(tints):
        scale = (7.0, 5.2, 3.6)[i]
        dx, dy, a, b = cells((x + pan * (0.4 + 0.25 * i)) * scale + 7 * i, y * scale + 0.31 * i, u[i])
        r = 0.13 + 0.12 * b
        d = length(dx, dy)
        disc = step(r + 0.09, r - 0.02, d) * (0.75 + 0.25 * step(0.3 * r, r, d))
        low = step(0.10 + 0.25 * (a - 0.5), -0.22, y)
        shine = 0.7 + 0.3 * torch.sin(t * (0.8 + 1.5 * a) + 50 * b)
        picture = picture + (disc * low * shine * (a > 0.22)).unsqueeze(2) * _rgb(tint, disc)
    return picture


def cave(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    xs = x + 0.35 * pan
    picture = _blend((0.33, 0.32, 0.31), (0.10, 0.10, 0.115), step(0.0, 0.80, length(x * 0.8, y - 0.05)))
    rock = noise(3.1 * xs, 3.1 * y, 0 * t, u[2])
    picture = picture * (1 + 0.14 * rock).unsqueeze(2)
    for i, tone in enumerate(((0.16, 0.15, 0.148), (0.085, 0.078, 0.078), (0.03, 0.028, 0.031))):
        xs = (x + pan * (0.4 + 0.4 * i)) * 1.6 + 4.7 * i
        teeth = (1 - torch.sin(xs * 2.3 + 6.3 * u[0]).abs()) ** 5 + 0.6 * (
            1 - torch.sin(xs * 4.1 + 11 * u[1]).abs()
        ) ** 4
        vault = 0.05 * torch.sin(xs * 1.3 + 2 * i) + 0.02 * torch.sin(xs * 6.1) - 0.10 * x * x * (i + 0.5)
        roof = (y - 0.33 - 0.05 * i - vault + (0.24 + 0.03 * i) * teeth) * 0.7
        bump = 0.5 + 0.5 * torch.sin(xs * 2.9 + 9 * u[1])
        floor = -0.27 - 0.075 * i + 0.055 * bump - y
        solid = torch.maximum(roof, floor)
        lit = _blend(tone, tuple(c * 1.7 for c in tone), torch.exp(-(solid / 0.05).clamp(min=0)))
        picture = _blend(picture, lit, step(-0.016, 0.016, solid))
    return picture


def clouds(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.27, 0.275, 0.315), (0.10, 0.115, 0.165), step(-0.25, 0.5, y))
    high = noise(1.1 * (x + 0.2 * pan) + 0.1 * t, 3.6 * y, t, u[1])
    picture = picture + (0.05 * high * step(0.0, 0.3, y)).unsqueeze(2)
    for i in range(4):
        xs = (x + pan * (0.25 + 0.3 * i)) * (1.35 - 0.2 * i) + (0.05 + 0.04 * i) * t + 3.1 * i
        a = torch.sin(xs * 2.6 + 6.3 * u[2] + i).abs()
        b = torch.sin(xs * 5.2 + 11 * u[0] + 2 * i).abs()
        puffs = 0.62 * torch.sqrt(a + 0.02) + 0.38 * torch.sqrt(b + 0.02) + 0.35 * torch.sin(xs * 1.1 + 9 * u[1])
        below = 0.02 - 0.15 * i + 0.17 * (puffs - 0.6) - y
        rim = torch.exp(-(below / 0.07).clamp(min=0))
        body = (0.30 + 0.70 * rim + 0.12 * noise(2.0 * xs, 3.2 * y, t, u[0])).clamp(0, 1)
        depth = 1 - 0.17 * i
        puff = _blend((0.15, 0.155, 0.185), (0.40, 0.395, 0.425), body) * depth
        picture = _blend(picture, puff, step(-0.012, 0.022, below))
    return picture


def underwater(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    xs = x + 0.4 * pan
    picture = _blend((0.03, 0.065, 0.085), (0.185, 0.27, 0.295), step(-0.5, 0.6, y))
    beam = xs + 0.45 * (0.6 - y) * (u[0] - 0.5) + 0.06 * torch.sin(0.6 * t)
    rays = torch.sin(beam * 7 + 0.5 * t + 6.3 * u[1]) + torch.sin(beam * 12.3 - 0.7 * t + 6.3 * u[2])
    rays = (rays * 0.5).clamp(min=0) * step(-0.45, 0.5, y)
    a = torch.sin(7 * xs + 1.8 * torch.sin(9 * y + 1.1 * t) + 0.9 * t)
    b = torch.sin(9 * y - 1.6 * torch.sin(6 * xs - 0.8 * t) - 0.7 * t)
    net = torch.exp(-3.0 * (a + b).abs()) * step(0.12, 0.5, y)
    picture = picture + (0.15 * rays + 0.09 * net).unsqueeze(2) * _rgb((0.72, 0.95, 1.0), rays)
    bed = -0.36 + 0.03 * torch.sin(3.1 * (xs + 0.4 * pan) + 6.3 * u[0]) + 0.02 * torch.sin(7.3 * (xs + 0.4 * pan)) - y
    return _blend(picture, (0.028, 0.045, 0.052), step(-0.03, 0.05, bed))


def snowfield(x: Tensor, y: Tensor, t: Tensor, pan: Tensor, u: U) -> Tensor:
    picture = _blend((0.33, 0.345, 0.385), (0.12, 0.135, 0.18), step(-0.12, 0.5, y))
    hill = 0.0 + 0.05 * _ridge((x + 0.3 * pan) * 1.3, u[1], 0.2) - y
    picture = _blend(picture, (0.225, 0.24, 0.28), step(-0.010, 0.010, hill))
    for i in range(2):
        xs = (x + pan * (0.5 + 0.5 * i)) * (1.4 - 0.5 * i) + 2.3 * i
        rise = torch.sin(xs * 1.9 + 6.3 * u[i])
        below = -0.13 - 0.15 * i + 0.045 * rise - y
        lit = (0.62 + 0.34 * torch.sin(xs * 1.9 + 6.3 * u[i] + 1.2) - 1.1 * below).clamp(0, 1)
        snow = _blend((0.20, 0.215, 0.255), (0.42, 0.435, 0.47), lit)
        picture = _blend(picture, snow, step(-0.01, 0.01, below))
    for i, scale in enumerate((6.5, 4.2)):
        sway = 0.06 * torch.sin(1.1 * t + 3 * y)
        dx, dy, a, _ = cells((x + pan * (0.6 + 0.5 * i) + sway) * scale, (y + (0.16 + 0.1 * i) * t) * scale, u[2])
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
    "cave": Place(cave, -0.24, 0.25, 0.20, 0.09),
    "clouds": Place(clouds, -0.06, 0.0, 0.16, 0.12),
    "underwater": Place(underwater, -0.36, 0.0, 0.10, 0.14),
    "snowfield": Place(snowfield, -0.13, 0.0, 0.24, 0.05),
    "darkness": Place(darkness, -0.34, 0.55, 0.0, 0.10),
}

TABLE: tuple[Place, ...] = tuple(_PLACES[name] for name in PLACES)
