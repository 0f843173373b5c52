"""The plants, animals and flames: each subject is one function of its own coordinates, y up, half its height being 1.

A subject gets x, y [N, T, H, W], seconds t [N, T, 1, 1] and three uniform numbers u ([N, 1, 1, 1] each), and gives back
its Ink. To add one, write the function here or in `figures.py`, and name it in `names.py` and `draw.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.house.shading import Ink, length, mix, petal, step, turn

U = tuple[Tensor, Tensor, Tensor]


def tulip(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    x = x - (0.10 * (u[0] - 0.5) + 0.03 * torch.sin(2.1 * t)) * (1 - y) * (1 - y)  # the stem leans, the cup stays put
    open_ = 0.30 + 0.10 * u[1] + 0.03 * torch.sin(1.7 * t)
    base = y + 0.22
    sides = petal(*turn(x.abs() - 0.06, base, open_), 0.56, 0.30)
    front = petal(x, base, 0.54, 0.36)
    cup = torch.minimum(torch.minimum(sides, front), length(x, y - 0.10) - 0.36)
    stem = torch.maximum(x.abs() - 0.045, torch.maximum(y, -1.02 - y))
    lx, ly = turn(x.abs(), y + 1.0, 0.42)
    leaf = petal(lx, ly, 0.42, 0.12)
    height = (base / 1.15).clamp(0, 1)
    vein = 0.06 * torch.cos(x * 22) * height
    outer = 0.30 + 0.34 * height - 0.25 * step(0.0, -0.14, sides) * (x > 0) * 0.4
    inner = 0.42 + 0.50 * height * height + vein + 0.10 * step(-0.25, 0.0, front)
    shade = mix(outer, inner, step(0.03, -0.03, torch.minimum(front, length(x, y - 0.10) - 0.36)))
    shade = shade - 0.22 * torch.exp(-((front / 0.035) ** 2)) * (height < 0.92)
    green = torch.minimum(stem, leaf)
    leaves = 0.20 + 0.10 * step(0.10, -0.10, lx)
    shade = torch.where(cup < 0.0, shade, leaves)
    return Ink(torch.minimum(cup, green), shade, 1.0)


def jellyfish(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    beat = torch.sin(5.0 * t + 6.3 * u[0])
    wide, tall = 0.66 + 0.07 * beat, 0.62 - 0.05 * beat
    up = (y - 0.25) / tall
    dome = (length(x / wide, up) - 1) * 0.6
    hem = 0.22 + 0.035 * torch.cos(x * 19 / (1 + 0.1 * beat)) - y
    bell = torch.maximum(dome, hem)
    sway = 0.10 * torch.sin(3.6 * y + 3.2 * t + 6.3 * u[1]) * (0.3 - y).clamp(min=0)
    tx = (x - sway) / (1 + 0.12 * beat * (0.25 - y).clamp(0, 1))
    lane = torch.round(tx / 0.21).clamp(-2, 2)
    end = -0.62 - 0.18 * torch.cos(lane * 1.9 + 6.3 * u[2])
    fade = step(end - 0.25, 0.2, y)
    strands = torch.maximum((tx - lane * 0.21).abs() - 0.018 - 0.04 * fade, torch.maximum(y - 0.3, end - 0.15 - y))
    ribs = 0.5 + 0.5 * torch.cos(9.0 * x / (0.25 + (1.02 - up * up).clamp(min=0).sqrt() * 0.75))
    rim = torch.exp(dome * 9)
    cap = 0.34 + 0.22 * ribs * step(1.0, 0.1, up) + 0.38 * rim.clamp(max=1) + 0.18 * step(0.5, 0.0, up)
    inside = step(0.02, -0.02, bell)
    shade = mix(0.38 + 0.25 * fade, cap, inside)
    alpha = mix(0.15 + 0.65 * fade, 0.70 + 0.25 * rim.clamp(max=1), inside)
    return Ink(torch.minimum(bell, strands), shade, alpha)


def flame(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    h = ((y + 1) * 0.5).clamp(0, 1)
    lick = 0.16 * h * torch.sin(4.2 * y - 6.5 * t + 6.3 * u[0]) + 0.05 * h * torch.sin(9 * y - 10 * t)
    xs = x - lick
    swell = 1 + 0.10 * torch.sin(7.0 * y - 8.0 * t + 6.3 * u[1])
    wide = 1.22 * torch.sqrt(h + 1e-4) * (1 - h) ** 0.85 * swell
    body = torch.maximum((xs.abs() - wide) * 0.75, y.abs() - 1)
    side = torch.sin(5.2 * t + 6.3 * u[2])
    fx, fy = turn(x.abs() - 0.34, y + 0.72, 0.30 + 0.12 * side)
    tongues = petal(fx, fy, 0.42 + 0.07 * side, 0.16)
    inner = (1 - xs.abs() / (wide + 1e-3)).clamp(0, 1)
    heart = step(0.62, 0.0, length(xs * 1.7, y + 0.45))
    shade = 0.24 + 0.46 * inner * (1 - 0.45 * h) + 0.42 * heart
    return Ink(torch.minimum(body, tongues), shade, 0.55 + 0.45 * step(0.0, 0.35, inner) + 0 * y)


def bird(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    beat = torch.sin(6.6 * t + 6.3 * u[0])
    y = y + 0.10 * beat
    bx, by = turn(x + 0.62, y + 0.06, 1.45)
    body = petal(bx, by, 0.66, 0.19)
    head = length(x - 0.66, y - 0.08) - 0.155
    beak = petal(*turn(x - 0.72, y - 0.09, 1.66), 0.15, 0.055)
    tail = torch.minimum(petal(*turn(x + 0.42, y + 0.02, -1.45), 0.34, 0.09), petal(*turn(x + 0.42, y + 0.02, -1.85), 0.32, 0.09))
    lift = 0.95 * beat
    curl = 0.55 * torch.cos(6.6 * t + 6.3 * u[0])
    nx, ny = turn(x + 0.10, y - 0.03, -1.15 + 1.0)
    nx, ny = _flap(x + 0.06, y - 0.02, -0.42, lift, curl)
    near = petal(nx, ny, 0.56, 0.25)
    fx, fy = _flap(x - 0.20, y - 0.02, 0.12, lift, curl)
    far = petal(fx, fy, 0.50, 0.19)
    trunk = torch.minimum(torch.minimum(body, head), torch.minimum(beak, tail))
    rows = 0.10 * torch.cos(nx * 26 + ny * 7) * step(0.15, 0.6, ny)
    wing = 0.46 + 0.38 * step(0.0, 1.0, ny) + rows + 0.12 * step(-0.10, 0.0, near)
    shade = torch.where(far < trunk, 0.26 + 0.12 * fy.clamp(0, 1), 0.46 + 1.2 * (y - 0.02).clamp(-0.18, 0.25))
    shade = mix(shade, wing, step(0.02, -0.03, near))
    return Ink(torch.minimum(torch.minimum(trunk, near), far), shade, 1.0)


def _flap(x: Tensor, y: Tensor, lean: float, lift: Tensor, curl: Tensor) -> tuple[Tensor, Tensor]:
    """Wing coordinates: the wing swings through the vertical plane, its tip lagging behind."""
    y = y / torch.where(lift >= 0, 0.35 + 0.65 * lift, -0.35 + 0.65 * lift) if False else y
    angle = lean + (1 - lift) * (1.15 if lean < 0 else 1.05) * (-1.0 if lean < 0 else 1.0)
    x, y = turn(x, y, angle)
    return x + 0.22 * curl * y * y, y


def smoke(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    dense = torch.zeros_like(x + y)
    lit = torch.zeros_like(dense)
    for i in range(7):
        p = torch.remainder(i / 7 + 0.26 * t + u[0], 1.0)
        cy = -1.0 + 2.0 * p
        cx = (0.12 + 0.26 * p) * torch.sin(2.6 * cy - 1.3 * t + 6.3 * u[1] + 0.7 * (i % 2))
        size = 0.15 + 0.30 * p
        dx, dy = x - cx, y - cy
        puff = torch.exp(-(dx * dx + dy * dy) / (size * size)) * (4 * p * (1 - p)) ** 0.6
        dense = dense + puff
        lit = lit + puff * (dy * 0.8 - dx * 0.45) / size
    grain = torch.sin(5.1 * x + 3.0 * torch.sin(2.7 * y - 2.0 * t) + 6.3 * u[2])
    dense = dense * (1 + 0.16 * grain)
    alpha = 1 - torch.exp(-1.55 * (dense - 0.16).clamp(min=0))
    shade = 0.48 + 0.42 * lit / (dense + 0.25) + 0.07 * grain
    return Ink(0.35 - 0.55 * alpha, shade, (alpha * 1.08).clamp(max=1) * 0.95)


def feather(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    bend = 0.24 + 0.08 * torch.sin(1.6 * t + 6.3 * u[0])
    xs = x - bend * (y * y - 0.4)
    vane = petal(xs, y * 1.04 + 0.72, 0.86, 0.30)
    side = torch.sign(xs)
    slope = y * 1.0 - xs.abs() * 0.9
    notch = 0.055 * torch.sin(slope * 9 + 2.2 * side + 6.3 * u[1]).clamp(min=0.55) - 0.03
    vane = vane + notch * 1.4
    quill = torch.maximum(xs.abs() - 0.032 - 0.012 * (-y), y.abs() - 1.0)
    barbs = 0.10 * torch.sin(slope * 27 + 1.5 * side)
    shade = 0.40 + 0.30 * step(-0.9, 1.0, y) + barbs + 0.12 * side * step(0.0, 0.12, xs.abs())
    shade = shade + 0.42 * torch.exp(-((xs / 0.035) ** 2))
    return Ink(torch.minimum(vane, quill), shade, 1.0)


def butterfly(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    open_ = 0.66 + 0.34 * torch.cos(6.3 * t + 6.3 * u[0])
    ax = x.abs() / (0.28 + 0.72 * open_)
    ux, uy = turn(ax, y - 0.05, 0.86)
    upper = torch.maximum(petal(ux, uy, 0.62, 0.40), -0.9 - y)
    lx, ly = turn(ax, y + 0.02, 2.42)
    lower = torch.minimum(petal(lx, ly, 0.44, 0.27), length(ax - 0.42, y + 0.48) - 0.30)
    body = length(x, (y / 4.6).clamp(-0.09, 0.09) * 4.6 * 0 + y * 0.16) - 0.075
    body = torch.maximum(body, y.abs() - 0.48)
    feel = torch.maximum(length(x.abs() - 0.24, y - 0.50) - 0.26, 0.215 - length(x.abs() - 0.24, y - 0.50))
    feel = torch.maximum(feel, torch.maximum(0.42 - y, x.abs() - 0.22))
    wings = torch.minimum(upper, lower)
    veins = 0.09 * torch.cos(14 * torch.atan2(ax, y + 0.15))
    radius = length(ax, y)
    shade = 0.38 + 0.38 * step(0.1, 1.0, radius) * (0.55 + 0.45 * open_) + veins
    spot = step(0.15, 0.06, length(ux, uy - 0.84)) + step(0.12, 0.05, length(ax - 0.44, y + 0.50))
    shade = shade + 0.5 * spot - 0.34 * torch.exp(-(((wings + 0.02) / 0.05) ** 2))
    shade = torch.where(torch.minimum(body, feel) < 0, 0.14 + 0.3 * step(-0.01, -0.05, body), shade)
    return Ink(torch.minimum(torch.minimum(wings, body), feel), shade, 1.0)


def fish(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    x = -x * 0.92 * torch.where(u[0] < 0.5, -1.0, 1.0)
    y = y - 0.10 * torch.sin(3.0 * x - 5.5 * t + 6.3 * u[1]) * (0.9 - x).clamp(0, 1.6) * 0.6
    bx, by = turn(x + 0.55, y, 1.5708)
    body = petal(bx, by, 0.72, 0.44)
    fin = torch.minimum(petal(*turn(x + 0.42, y, -0.95), 0.38, 0.20), petal(*turn(x + 0.42, y, -2.19), 0.38, 0.20))
    dorsal = petal(*turn(x - 0.30, y - 0.22, -0.95), 0.36, 0.15)
    belly = petal(*turn(x - 0.30, y + 0.26, -2.3), 0.26, 0.10)
    scales = 0.10 * torch.sin(11 * x + 3.4 * torch.cos(y * 5)) * step(0.55, 0.25, x)
    shade = 0.50 + 0.75 * y.clamp(-0.4, 0.4) + scales - 0.15 * step(-0.12, 0.0, body)
    rays = 0.34 + 0.10 * torch.cos(16 * torch.atan2(y, x + 0.3) + 1.0)
    shade = torch.where(body < 0, shade, rays)
    eye = length(x - 0.56, y - 0.10)
    shade = mix(shade, 0.98, step(0.135, 0.09, eye))
    shade = mix(shade, 0.02, step(0.075, 0.04, eye))
    shade = shade - 0.2 * torch.exp(-(((length(x - 0.72, y) - 0.42) / 0.03) ** 2)) * step(0.5, 0.3, x)
    return Ink(torch.minimum(torch.minimum(body, fin), torch.minimum(dorsal, belly)), shade, 1.0)
