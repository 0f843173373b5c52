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
    bow = 0.16 * (u[0] - 0.5) + 0.03 * torch.sin(2.1 * t)
    x = x - bow * (1 - y) * (1 - y) * 0.5  # the stem leans, the cup stays put
    spread = 0.34 + 0.10 * u[1] + 0.03 * torch.sin(1.7 * t)
    base = y + 0.10
    sides = petal(*turn(x.abs() - 0.10, base, spread), 0.56, 0.33)
    front = torch.minimum(petal(x, base, 0.52, 0.40), length(x, y - 0.24) - 0.40)
    cup = torch.minimum(sides, front)
    stem = torch.maximum(x.abs() - 0.055, torch.maximum(y - 0.1, -1.02 - y))
    lx, ly = turn(x.abs(), y + 1.0, 0.80 - 0.30 * y)
    leaf = petal(lx, ly, 0.42, 0.13)
    height = (base / 1.15).clamp(0, 1)
    vein = 0.06 * torch.cos(x * 20) * height
    outer = 0.24 + 0.36 * height + 0.10 * step(-0.12, 0.0, sides)
    inner = 0.40 + 0.50 * height * height + vein + 0.10 * step(-0.25, 0.0, front)
    shade = mix(outer, inner, step(0.03, -0.03, front))
    shade = shade - 0.20 * torch.exp(-((front / 0.04) ** 2)) * step(0.95, 0.80, height)
    leaves = 0.24 + 0.14 * step(0.08, -0.10, lx)
    shade = mix(leaves, shade, step(0.02, -0.02, cup))
    return Ink(torch.minimum(cup, torch.minimum(stem, leaf)), shade, 1.0)


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
    cap = 0.28 + 0.30 * ribs * step(1.0, 0.1, up) + 0.38 * rim.clamp(max=1) + 0.18 * step(0.5, 0.0, up)
    inside = step(0.02, -0.02, bell)
    shade = mix(0.38 + 0.25 * fade, cap, inside)
    alpha = mix(0.85 * fade, 0.70 + 0.25 * rim.clamp(max=1), inside)
    return Ink(torch.minimum(bell, strands), shade, alpha)


def flame(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    h = ((y + 1) * 0.5).clamp(0, 1)
    lick = 0.17 * h * torch.sin(4.2 * y - 6.5 * t + 6.3 * u[0]) + 0.05 * h * torch.sin(9 * y - 10 * t)
    xs = x - lick
    swell = 1 + 0.10 * torch.sin(7.0 * y - 8.0 * t + 6.3 * u[1])
    wide = 1.34 * torch.sqrt(h + 1e-4) * (1 - h) ** 0.9 * swell
    body = torch.maximum((xs.abs() - wide) * 0.72, y.abs() - 1)
    side = torch.sin(5.2 * t + 6.3 * u[2]) * torch.sign(x)  # one tongue leaps while the other ducks
    fx, fy = turn(x.abs() - 0.30, y + 0.66, 0.16 + 0.08 * side)
    tongues = petal(fx + 0.10 * torch.sin(5 * fy - 7 * t) * fy, fy, 0.44, 0.17) + 0.05 - 0.05 * side
    inner = (1 - xs.abs() / (wide + 1e-3)).clamp(0, 1)
    heart = step(0.66, 0.0, length(xs * 1.7, y + 0.45))
    shade = 0.24 + 0.46 * inner * (1 - 0.45 * h) + 0.42 * heart
    return Ink(torch.minimum(body, tongues), shade, 0.45 + 0.55 * step(0.0, 0.40, inner))


def bird(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    beat = 6.4 * t + 6.3 * u[0]
    y = y + 0.10 * torch.sin(beat) - 0.08
    ax = x.abs() / 1.42  # 0 at the body, 1 at the wing tip
    arm = torch.sin(beat) * 0.60 + 0.16
    hand = torch.sin(beat - 1.0) * 0.62 - 0.22  # the tips lag behind the arms
    line = 0.95 * ax * (arm + (hand - arm * 0.4) * ax * 0.9) + 0.16 * torch.sin(3.1 * ax)
    chord = (0.31 - 0.08 * ax) * (1 - ax).clamp(min=0) ** 0.55 + 0.005
    rise = y - line
    wing = torch.maximum((rise.abs() - chord) * 0.74, (ax - 1) * 1.4)
    body = length(x / 0.62, y + 0.06) - 0.30
    head = length(x, y - 0.26) - 0.145
    beak = petal(x, y - 0.36, 0.11, 0.06)
    tail = petal(*turn(x.abs(), -(y + 0.20), 0.28), 0.30, 0.13)
    trunk = torch.minimum(torch.minimum(body, head), torch.minimum(beak, tail))
    quills = 0.09 * torch.sin(30 * ax + 5 * rise) * step(0.05, -0.15, rise) * step(0.12, 0.3, ax)
    shade = 0.46 + 0.30 * (rise / chord).clamp(-1, 1) + 0.14 * ax + quills
    down = 0.36 + 0.70 * step(-0.35, 0.45, y) - 0.5 * x * x
    shade = mix(shade, down, step(0.03, -0.04, trunk))
    return Ink(torch.minimum(wing, trunk), shade, 1.0)


def smoke(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    h = ((y + 1) * 0.5).clamp(0, 1)
    climb = 2.4 * y - 2.6 * t
    x = x - 0.22 * h * torch.sin(climb + 6.3 * u[0]) - 0.08 * h * torch.sin(2.1 * climb + 6.3 * u[1])
    dense, lit = 0.0, 0.0
    for i in range(3):
        bank = (i - 1) * (0.05 + 0.34 * h) + 0.12 * h * torch.sin(1.7 * climb + 2.1 * i + 6.3 * u[2])
        size = (0.10 + 0.17 * h) * (1 + 0.35 * torch.sin(2.6 * climb + 2.4 * i))  # billows climb along each strand
        off = (x - bank) / size
        puff = torch.exp(-off * off)
        dense, lit = dense + puff, lit - puff * off
    ends = step(-1.02, -0.75, y) * step(1.05, 0.30, y)
    alpha = (1 - torch.exp(-2.2 * dense)) * ends
    shade = 0.36 + 0.22 * alpha + 0.36 * lit / (dense + 0.4)
    halo = length((x.abs() - 0.10 - 0.30 * h).clamp(min=0), (y.abs() - 0.8).clamp(min=0)) + 0.12
    return Ink(-0.04 - 0.5 * alpha, shade, alpha, halo)


def feather(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    bend = 0.30 + 0.08 * torch.sin(1.6 * t + 6.3 * u[0])
    xs = x - bend * (y * y - 0.4)
    vane = petal(xs, y * 1.04 + 0.72, 0.86, 0.36)
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
    spread = 0.70 + 0.30 * torch.cos(6.3 * t + 6.3 * u[0])
    ax = x.abs() / (0.22 + 0.90 * spread)
    ux, uy = turn(ax, y - 0.05, 0.86)
    upper = torch.maximum(petal(ux, uy, 0.62, 0.40), -0.9 - y)
    lx, ly = turn(ax, y + 0.02, 2.42)
    lower = torch.minimum(petal(lx, ly, 0.42, 0.25), length(ax - 0.40, y + 0.44) - 0.30)
    body = length(x, (y.abs() - 0.40).clamp(min=0)) - 0.075
    feel = torch.maximum(length(x.abs() - 0.24, y - 0.50) - 0.26, 0.215 - length(x.abs() - 0.24, y - 0.50))
    feel = torch.maximum(feel, torch.maximum(0.42 - y, x.abs() - 0.22))
    wings = torch.minimum(upper, lower)
    veins = 0.09 * torch.cos(14 * torch.atan2(ax, y + 0.15))
    radius = length(ax, y)
    shade = 0.38 + 0.38 * step(0.1, 1.0, radius) * (0.55 + 0.45 * spread) + veins
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
