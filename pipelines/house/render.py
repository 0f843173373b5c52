"""Scenes to pictures: paints the place at half size, lights it by its subjects, lays the subjects over, grades all.

World time runs at 20 frames per second. Coordinates are in units of the picture's height, y up, from its centre, so any
size and aspect works. Work goes in chunks of scenes and frames; no loop runs over single scenes or frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house import light, motions
from pipelines.house.draw import DRAWINGS
from pipelines.house.places import TABLE
from pipelines.house.scenes import SLOTS, Scenes
from pipelines.house.shading import length, ramp, step, tones

FPS = 20
_CPU_PIXELS = 400_000  # per chunk: small enough for a processor's caches
_GPU_PIXELS = 400_000_000  # large enough that launching kernels is not what takes the time; about 40 bytes each
_GPU_SHARE = 200  # bytes of device memory per pixel below which chunks get smaller
Device = torch.device | str | None


def render(
    scenes: Scenes,
    start_frame: int | Tensor = 0,
    frames: int = 40,
    height: int = 144,
    width: int = 256,
    device: Device = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Pictures [N, T, 3, H, W] in 0..1. start_frame: a number or a tensor [N]. device: default the scenes'."""
    return _run(scenes, start_frame, (frames, height, width), (device, dtype), 3, _picture)


def render_masks(
    scenes: Scenes,
    start_frame: int | Tensor = 0,
    frames: int = 40,
    height: int = 144,
    width: int = 256,
    device: Device = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Masks [N, T, 2, H, W] in 0..1: where each subject covers the picture; the second is empty in scenes of one."""
    return _run(scenes, start_frame, (frames, height, width), (device, dtype), SLOTS, _masks)


@torch.no_grad()
def _run(
    scenes: Scenes,
    start_frame: int | Tensor,
    size: tuple[int, int, int],
    like: tuple[Device, torch.dtype],
    channels: int,
    draw: Callable[[_Stage], Tensor],
) -> Tensor:
    """What `draw` makes of every stretch, [N, T, channels, H, W]; `size` is T, H, W."""
    (frames, height, width), (device, dtype) = size, like
    device = torch.device(device or scenes.place.device)
    scenes = scenes.to(device)
    start = torch.as_tensor(start_frame, device=device).expand(len(scenes)).float()
    seconds = (start[:, None] + torch.arange(frames, device=device)) / FPS  # [N, T]
    out = torch.empty(len(scenes), frames, channels, height, width, device=device, dtype=dtype)
    budget = _budget(device)
    long = max(1, min(frames, budget // (height * width)))
    many = max(1, budget // (height * width * long))
    for i in range(0, len(scenes), many):
        for k in range(0, frames, long):
            stage = _Stage(scenes[i : i + many], seconds[i : i + many, k : k + long], height, width)
            out[i : i + many, k : k + long] = draw(stage).to(dtype)
    return out


def _budget(device: torch.device) -> int:
    """How many pixels to work on at once."""
    if device.type != "cuda":
        return _CPU_PIXELS
    return min(_GPU_PIXELS, torch.cuda.get_device_properties(device).total_memory // _GPU_SHARE)


class _Actor(NamedTuple):
    """One subject slot of every scene; [N, T, 1, 1] unless said otherwise."""

    x: Tensor
    y: Tensor
    angle: Tensor
    size: Tensor  # half height, in heights
    stretch: Tensor
    light: Tensor
    tones: Tensor  # [N, 3, 3]


class _Stage:
    """The scenes of one chunk with everything that is small worked out: [N, T] numbers and grids."""

    def __init__(self, scenes: Scenes, seconds: Tensor, height: int, width: int):
        self.scenes, self.seconds = scenes, seconds
        self.height, self.width, self.aspect = height, width, width / height
        self.view = motions.view(scenes.camera, seconds, scenes.jitter[:, 0])
        self.t = seconds[..., None, None]
        self.grades = light.grades(scenes.light)
        self.actors = [self._actor(slot) for slot in range(SLOTS)]

    def grid(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """x [1, 1, 1, w] and y [1, 1, h, 1] of a picture of this many points, in heights, y up."""
        device = self.seconds.device
        x = ((torch.arange(width, device=device) + 0.5) / width - 0.5) * self.aspect
        y = 0.5 - (torch.arange(height, device=device) + 0.5) / height
        return x[None, None, None, :], y[None, None, :, None]

    def _actor(self, slot: int) -> _Actor:
        scenes, jitter = self.scenes, self.scenes.slot_jitter[:, slot]
        pair = (scenes.count == 2).float()
        fit = min(1.0, self.aspect / 1.45)  # narrow pictures hold smaller subjects
        side = (1.0 if slot else -1.0) * torch.where(scenes.jitter[:, 1] < 0.5, 1.0, -1.0)
        x = torch.lerp(0.36 * (jitter[:, 0] - 0.5), side * 0.37, pair) * fit
        y = 0.03 + 0.10 * (jitter[:, 1] - 0.5)
        size = torch.lerp(0.235 + 0.065 * jitter[:, 2], 0.185 + 0.04 * jitter[:, 2], pair) * fit
        pose = motions.pose(scenes.motion[:, slot], self.seconds, jitter[:, 3])
        sweep = torch.lerp(torch.ones_like(pair), torch.full_like(pair, 0.7), pair)[:, None] * fit
        zoom = self.view.zoom
        present = torch.ones_like(pair) if slot == 0 else pair
        numbers = (
            (x[:, None] + pose.x * sweep) * zoom,
            (y[:, None] + pose.y * sweep) * zoom,
            pose.angle,
            size[:, None] * pose.scale * zoom,
            pose.stretch,
            pose.light * present[:, None],
        )
        return _Actor(*(n[..., None, None] for n in numbers), tones(scenes.colour[:, slot], jitter[:, 4]))


def _unit(jitter: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three of the uniform numbers, each [N, 1, 1, 1]."""
    return tuple(jitter[:, first + i, None, None, None] for i in range(3))


def _picture(stage: _Stage) -> Tensor:
    height, width = stage.height, stage.width
    out = _enlarge(_backdrop(stage), height, width)
    for slot in range(SLOTS):
        for kind, index in _casts(stage, slot):
            whole = len(index) == len(out)
            below = out if whole else out[index]
            above = _lay(stage, slot, kind, index, below)
            if whole:
                out = above
            else:
                out[index] = above
    index = light.veiled(stage.scenes.light)
    if len(index):
        passed, added = _veil(stage, index)
        out[index] = out[index] * _enlarge(passed, height, width) + _enlarge(added, height, width)
    x, y = stage.grid(height, width)
    corner = step(0.42, 1.02, length(x / stage.aspect * 1.25, y * 1.1))
    return (out * (1 - 0.5 * corner)).clamp(0, 1)


def _masks(stage: _Stage) -> Tensor:
    out = stage.t.new_zeros(*stage.seconds.shape, SLOTS, stage.height, stage.width)
    for slot in range(SLOTS):
        for kind, index in _casts(stage, slot):
            out[index, :, slot] = _figure(stage, slot, kind, index)[0]
    out[:, :, 0] *= 1 - out[:, :, 1]  # the second stands before the first
    return out


def _casts(stage: _Stage, slot: int) -> list[tuple[int, Tensor]]:
    """Every kind of subject present in this slot, with the indices of the scenes that show it."""
    kinds = torch.where(stage.scenes.count > slot, stage.scenes.subject[:, slot], -1).cpu()
    device = stage.seconds.device
    return [(k, (kinds == k).nonzero()[:, 0].to(device)) for k in kinds.unique().tolist() if k >= 0]


def _backdrop(stage: _Stage) -> Tensor:
    """The places lit by the subjects, at half size, [N, T, 3, h, w]."""
    h, w = (stage.height + 1) // 2, (stage.width + 1) // 2
    near = stage.view.zoom[..., None, None] ** 0.6  # the far world grows less than the subject
    x, y = (axis / near for axis in stage.grid(h, w))
    out = stage.t.new_empty(*stage.seconds.shape, 3, h, w)
    place = stage.scenes.place.cpu()
    for p in place.unique().tolist():
        i = (place == p).nonzero()[:, 0].to(out.device)
        unit = _unit(stage.scenes.jitter[i], 2)
        out[i] = TABLE[p].paint(x[i], y[i], stage.t[i], stage.view.pan[i][..., None, None], unit)
    out = out * stage.grades.tint * _cast(stage.scenes.jitter[:, 5:8])
    for actor in stage.actors:
        power = actor.light * stage.grades.glow
        lamp = light.Lamp(actor.x / near, actor.y / near, actor.size, power, actor.tones[:, 1])
        out = out + light.spill(x, y, stage.t, stage.scenes.place, lamp)
    return out


def _cast(jitter: Tensor) -> Tensor:
    """A slight change of brightness and warmth per scene, [N, 1, 3, 1, 1]."""
    bright = 1.02 + 0.30 * jitter[:, :1]
    warm = 0.07 * (2 * jitter[:, 1:2] - 1)
    return (bright * torch.cat([1 + warm, torch.ones_like(warm), 1 - warm], 1))[:, None, :, None, None]


def _veil(stage: _Stage, index: Tensor) -> tuple[Tensor, Tensor]:
    x, y = stage.grid((stage.height + 1) // 2, (stage.width + 1) // 2)
    unit = _unit(stage.scenes.jitter[index], 3)
    return light.veil(x, y, stage.t[index], stage.scenes.light[index], unit)


def _enlarge(picture: Tensor, height: int, width: int) -> Tensor:
    n, t, c = picture.shape[:3]
    flat = F.interpolate(picture.flatten(0, 1), size=(height, width), mode="bilinear", align_corners=False)
    return flat.view(n, t, c, height, width)


def _figure(stage: _Stage, slot: int, kind: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One kind of subject in its scenes, [K, T, H, W] each: coverage, shade, distance to its edge and to its glow."""
    actor = stage.actors[slot]
    ax, ay, angle, size, stretch = (v[index] for v in actor[:5])
    x, y = stage.grid(stage.height, stage.width)
    c, s = torch.cos(angle) / size, torch.sin(angle) / size
    lx = (x - ax) * c * stretch + (y - ay) * s * stretch
    ly = (y - ay) * c / stretch - (x - ax) * s / stretch
    jitter = stage.scenes.slot_jitter[index, slot]
    ink = DRAWINGS[kind](lx, ly, stage.t[index] + 2 * jitter[:, 7, None, None, None], _unit(jitter, 4))
    soft = 0.8 / (stage.height * size)
    cover = step(soft, -soft, ink.distance) * ink.alpha * actor.light[index]
    shade = ink.shade + 0.07 * ((y - ay) - 0.6 * (x - ax)) / size  # light falls from the upper left
    reach = 0.8 * (length(lx, ly) - 1.25)  # tips must not throw beams: shapes' distances are flat beyond corners
    halo = ink.distance if ink.halo is None else ink.halo
    return cover, shade, ink.distance, torch.maximum(halo, reach)


def _lay(stage: _Stage, slot: int, kind: int, index: Tensor, below: Tensor) -> Tensor:
    """One kind of subject with its glow over the pictures of its scenes, [K, T, 3, H, W]."""
    cover, shade, distance, halo = _figure(stage, slot, kind, index)
    edge, glow = stage.grades.edge[index], stage.grades.glow[index]
    outline = torch.exp(-((distance / 0.07) ** 2))
    shade = shade + stage.grades.shade[index] + edge * (0.55 * outline - 0.22)
    halo = halo.clamp(min=0)
    halo = 0.34 * torch.exp(-9 * halo) + 0.15 * torch.exp(-2.6 * halo)
    halo = (halo * (glow * stage.actors[slot].light[index])).unsqueeze(2)
    colours = stage.actors[slot].tones[index]
    lit = torch.addcmul(below, halo * (1 - below), colours[:, 1][:, None, :, None, None])
    return torch.lerp(lit, ramp(shade, colours), cover.unsqueeze(2).clamp(0, 1))
