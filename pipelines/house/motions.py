"""How subjects and cameras move: pure functions of time, endless, smooth, tiny ([N, T] numbers per scene and frame).

Motions that travel come round again by fading out at one end and in at the other. Seconds and picture heights.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.house.names import CAMERAS, MOTIONS

TAU = 2 * math.pi


class Pose(NamedTuple):
    """Where a subject is, each [N, T]."""

    x: Tensor
    y: Tensor
    angle: Tensor  # radians, counter-clockwise
    scale: Tensor
    stretch: Tensor  # height over width
    light: Tensor  # presence: opacity and glow, 0..1


def _loop(t: Tensor, period: float, phase: Tensor) -> Tensor:
    """Position in the loop, 0..1."""
    return torch.remainder(t / period + phase, 1.0)


def _ends(p: Tensor, share: float) -> Tensor:
    """1 in the middle of the loop, falling smoothly to 0 at both ends over `share` of it."""
    s = (torch.minimum(p, 1 - p) / share).clamp(0, 1)
    return s * s * (3 - 2 * s)


def _still(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return z, z, 0.03 * torch.sin(TAU * (t / 4 + p)), z + 1, z + 1, z + 1


def _swaying(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    a = 0.42 * torch.sin(TAU * (t / 1.7 + p))
    foot = 0.22  # the pivot lies this far below the centre
    return -foot * torch.sin(a), foot * (torch.cos(a) - 1), a, z + 1, z + 1, z + 1


def _sideways(t: Tensor, p: Tensor, z: Tensor, sign: float) -> tuple[Tensor, ...]:
    q = _loop(t, 3.4, p)
    return sign * 1.25 * (q - 0.5), 0.03 * torch.sin(TAU * t / 1.9), -0.08 * sign + z, z + 1, z + 1, _ends(q, 0.07)


def _drifting_left(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _sideways(t, p, z, -1.0)


def _drifting_right(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _sideways(t, p, z, 1.0)


def _vertical(t: Tensor, p: Tensor, z: Tensor, sign: float) -> tuple[Tensor, ...]:
    q = _loop(t, 2.8, p)
    return 0.025 * torch.sin(TAU * t / 1.3), sign * 0.50 * (q - 0.5), z, z + 1, z + 1, _ends(q, 0.08)


def _rising(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _vertical(t, p, z, 1.0)


def _falling(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _vertical(t, p, z, -1.0)


def _spinning(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return z, z, TAU * (t / 2.4 + p), z + 1, z + 1, z + 1


def _pulsing(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    s = torch.sin(TAU * (t / 1.1 + p))
    return z, z, z, 1 + 0.2 * s, z + 1, 0.86 + 0.14 * s


def _orbiting(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    a = TAU * (t / 2.3 + p)
    return 0.34 * torch.cos(a), 0.15 * torch.sin(a), z, 0.9 - 0.12 * torch.sin(a), z + 1, z + 1


def _flickering(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    a = TAU * (t + 5 * p)
    s = 0.5 * torch.sin(a * 2.3) + 0.3 * torch.sin(a * 3.7 + 1.0) + 0.2 * torch.sin(a * 5.1 + 2.0)
    return z, z, z, 1 + 0.03 * s, z + 1, 0.66 + 0.36 * s


def _dancing(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    a = TAU * (t / 0.9 + p)
    hop = torch.sin(a).abs() * torch.sin(a).abs()
    return 0.13 * torch.sin(a / 2), 0.11 * hop - 0.04, 0.3 * torch.sin(a / 2), z + 1, 0.9 + 0.22 * hop, z + 1


def _growing(t: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q = _loop(t, 3.0, p)
    return z, z, 0.1 * (q - 0.5), 0.5 + 0.7 * q, z + 1, _ends(q, 0.1)


_MOTIONS = {
    "still": _still,
    "swaying": _swaying,
    "drifting left": _drifting_left,
    "drifting right": _drifting_right,
    "rising": _rising,
    "falling": _falling,
    "spinning": _spinning,
    "pulsing": _pulsing,
    "orbiting": _orbiting,
    "flickering": _flickering,
    "dancing": _dancing,
    "growing": _growing,
}


def pose(motion: Tensor, t: Tensor, phase: Tensor) -> Pose:
    """Motion indices [N], seconds [N, T], phase 0..1 [N] -> Pose. All motions are worked out: they cost nothing."""
    z, p = torch.zeros_like(t), phase[:, None]
    table = torch.stack([torch.stack([v + z for v in _MOTIONS[name](t, p, z)]) for name in MOTIONS])  # [M, 6, N, T]
    picked = table[motion, :, torch.arange(len(motion), device=t.device)]  # [N, 6, T]
    return Pose(*picked.unbind(1))


class View(NamedTuple):
    """What the camera does, each [N, T]."""

    zoom: Tensor  # on the whole picture, 1 = as composed
    pan: Tensor  # how far the far world has slid, in heights; the subject stays framed


def view(camera: Tensor, t: Tensor, phase: Tensor) -> View:
    """Camera indices [N], seconds [N, T], phase [N] -> View. Pans never end; zooms ease back after eight seconds."""
    name = list(CAMERAS)
    q = torch.remainder(t / 8 + phase[:, None], 1.0)
    back = ((q - 0.92) / 0.08).clamp(0, 1)
    travel = q / 0.92 * (1 - back) * (1 - back) * (1 + 2 * back)
    index = camera[:, None]
    zooming_in, zooming_out = index == name.index("zoom in"), index == name.index("zoom out")
    zoom = torch.where(zooming_in, 0.9 + 0.45 * travel, torch.where(zooming_out, 1.3 - 0.42 * travel, 1.0))
    speed = 0.22 * ((index == name.index("pan right")).float() - (index == name.index("pan left")).float())
    return View(zoom, speed * t)
