"""The abstract figures: star, ring, wave, cell, moon, crystal, spiral, eye. Same contract as `subjects.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipelines.house.shading import Ink, length, mix, petal, step, turn
from pipelines.house.subjects import U

_TAU = 2 * math.pi


def star(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    sector = math.pi / 5
    inner = 0.40 + 0.06 * torch.sin(2.0 * t + 6.3 * u[0])
    r = length(x, y)
    a = torch.remainder(torch.atan2(x, y) + sector, 2 * sector) - sector
    px, py = r * torch.cos(a), r * torch.sin(a)
    nx, ny = inner * math.sin(sector), 1 - inner * math.cos(sector)
    norm = torch.sqrt(nx * nx + ny * ny)
    distance = ((px - 1) * nx + py.abs() * ny) / norm
    facet = 0.19 * torch.tanh(py * 16)
    core = torch.exp(-((r / 0.38) ** 2))
    shade = 0.52 + facet + 0.40 * core - 0.10 * r - 0.12 * step(-0.08, 0.0, distance)
    return Ink(distance, shade, 1.0)


def ring(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    r = length(x, y)
    thick = 0.15 + 0.05 * u[0]
    across = (r - (0.98 - thick)) / thick
    h = torch.sqrt((1 - across * across).clamp(min=0))
    a = 1.9 * t + 6.3 * u[1]
    gleam = (x * torch.cos(a) + y * torch.sin(a)) / (r + 0.05)
    bead = step(0.55, 1.0, gleam)
    shade = 0.16 + 0.34 * h + 0.14 * gleam - 0.16 * across * y + 0.42 * bead * h
    return Ink((across.abs() - 1) * thick, shade, 1.0)


def wave(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    bowl = (length(x / 1.5, (y - 0.10) * 0.95) - 1.0) * 0.95  # a lens of sea: waves above, a round hull of water below
    calm = (1 - (x / 1.5) ** 2).clamp(min=0)  # the waves lie down towards the sides
    distance, shade = bowl + 9.0, 0.0 * bowl
    for i in range(3):
        p = (3.1 + 0.35 * i) * x - (3.0 + 0.5 * i) * t + 2.1 * i + 6.3 * u[i]
        swell = torch.sin(p + 0.45 * torch.cos(p))  # leans forward like a breaking crest
        top = 0.36 - 0.36 * i + (0.44 - 0.07 * i) * calm * (0.75 * swell + 0.25 * swell * swell.abs())
        below = top - y
        d = torch.maximum(-below * 0.70, bowl)
        foam = torch.exp(-((below / 0.09) ** 2))
        s = 0.60 - 0.05 * i - 0.50 * step(0.05, 0.62, below) + 0.42 * foam + 0.05 * swell
        over = step(0.02, -0.02, d)
        shade = mix(shade, s, over)
        distance = torch.minimum(distance, d)
    return Ink(distance, shade, 1.0 - 0.35 * step(-0.1, -0.95, y))


def cell(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    angle = torch.atan2(y, x)
    wobble = 0.06 * torch.sin(3 * angle + 2.1 * t + 6.3 * u[0]) + 0.05 * torch.sin(2 * angle - 1.7 * t + 6.3 * u[1])
    distance = length(x, y) - 0.90 - wobble
    cx, cy = 0.20 * torch.cos(0.9 * t + 6.3 * u[2]), 0.16 * torch.sin(1.1 * t + 6.3 * u[2])
    core = length(x - cx, y - cy)
    nucleus = step(0.36, 0.28, core)
    rim = torch.exp(-(((distance + 0.07) / 0.06) ** 2))
    shade = 0.30 + 0.45 * rim + 0.10 * torch.exp(distance * 3).clamp(max=1)
    alpha = 0.50 + 0.48 * rim
    for i in range(5):
        a = _TAU * i / 5 + 0.35 * t + 6.3 * u[1]
        dot = length(x - 0.60 * torch.cos(a), y - 0.60 * torch.sin(a + 0.4 * torch.sin(t + i)))
        blob = step(0.16, 0.07, dot)
        shade, alpha = shade + 0.28 * blob, alpha + 0.35 * blob
    heart = 0.62 + 0.30 * step(0.30, 0.0, core) - 0.42 * step(0.13, 0.07, length(x - cx - 0.06, y - cy - 0.05))
    shade = mix(shade, heart, nucleus)
    return Ink(distance, shade, mix(alpha.clamp(max=1), 1.0, nucleus))


def moon(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    x, y = turn(x, y, 0.5 * (u[0] - 0.5))
    x = x - 0.12
    disc = length(x, y) - 0.97
    bite = 0.80 - length(x - 0.42, y - 0.06)
    distance = torch.maximum(disc, bite)
    shade = 0.58 + 0.34 * step(-0.5, 0.0, disc) - 0.30 * step(-0.22, 0.0, bite)
    for cx, cy, size in ((-0.62, 0.32, 0.14), (-0.70, -0.16, 0.17), (-0.42, -0.58, 0.13), (-0.30, 0.70, 0.09)):
        d = length(x - cx, y - cy)
        shade = shade - 0.20 * step(size, size * 0.5, d) + 0.12 * torch.exp(-(((d - size) / 0.05) ** 2))
    return Ink(distance, shade, 1.0)


_PRISMS = ((-0.78, 0.15, 0.98), (0.80, 0.14, 0.88), (-0.40, 0.19, 1.42), (0.42, 0.18, 1.28), (0.02, 0.25, 1.86))


def crystal(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    distance = shade = None
    gleam = torch.sin(2.2 * t + 6.3 * u[0])
    for i, (lean, width, tall) in enumerate(_PRISMS):
        reach = tall * (0.92 + 0.14 * (u[1] if i % 2 else u[2]))
        px, py = turn(x, y + 0.90, lean)
        slope = (px.abs() - width * (reach - py) / (1.7 * width)) * 0.86
        d = torch.maximum(torch.maximum(px.abs() - width, slope), -0.02 - py)
        edge = px - width * (0.15 + 0.08 * gleam)
        face = 0.46 - 0.27 * torch.tanh(edge * 26) + 0.22 * (py / reach).clamp(0, 1)
        glint = 0.34 * torch.exp(-(((px * 0.9 + py - 1.0 - 0.9 * gleam) / 0.14) ** 2))
        tip = 0.16 * step(-0.03, 0.03, slope - (px.abs() - width) + 0.02)
        s = face + glint + tip - 0.14 * step(-0.05, 0.0, d)
        if distance is None:
            distance, shade = d, s
        else:
            shade = mix(shade, s, step(0.015, -0.015, d))
            distance = torch.minimum(distance, d)
    return Ink(distance, shade, 1.0)


def spiral(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    r = length(x, y)
    pitch = 0.36
    way = r / pitch - torch.atan2(y, x) / _TAU - 0.45 * t - u[0]
    off = (way - torch.round(way)) * pitch
    thick = 0.085 * step(1.02, 0.80, r) * step(0.0, 0.10, r) + 0.012
    distance = torch.maximum(off.abs() - thick, r - 1.0)
    h = torch.sqrt((1 - (off / thick) ** 2).clamp(min=0))
    shade = 0.26 + 0.30 * h + 0.42 * torch.exp(-((r / 0.45) ** 2)) - 0.14 * off / thick
    return Ink(distance, shade, step(1.0, 0.86, r))


def eye(x: Tensor, y: Tensor, t: Tensor, u: U) -> Ink:
    x, y = x / 1.25, y / 1.25
    beat = torch.remainder(t / 2.6 + u[0], 1.0)
    shut = torch.exp(-(((beat - 0.5) / 0.045) ** 2))
    open_ = 0.60 * (1 - 0.9 * shut)
    lx, ly = turn(x + 1.0, y, math.pi / 2)
    lids = petal(lx, ly, 1.0, open_)
    gx, gy = 0.16 * torch.sin(1.3 * t + 6.3 * u[1]), 0.06 * torch.sin(1.9 * t + 6.3 * u[2])
    r = length(x - gx, y - gy)
    fibres = 0.10 * torch.cos(13 * torch.atan2(y - gy, x - gx))
    iris = 0.44 + 0.30 * step(0.40, 0.16, r) + fibres - 0.30 * step(0.36, 0.43, r)
    shade = mix(0.86 + 0 * r, iris, step(0.44, 0.41, r))
    shade = mix(shade, 0.0, step(0.20, 0.17, r))
    shade = mix(shade, 1.0, step(0.10, 0.05, length(x - gx + 0.13, y - gy - 0.14)))
    shade = mix(shade, 0.30, step(-0.09, 0.0, lids))
    crease = torch.maximum((lids - 0.17).abs() - 0.035, torch.maximum(x.abs() - 0.80, -y))
    shade = torch.where(crease < lids, 0.42, shade)
    return Ink(torch.minimum(lids, crease) * 1.25, shade, 1.0)
