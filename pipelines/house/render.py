"""Scenes to pictures: paints the place at half size, lights it by its subjects, lays the subjects over, grades the whole.

World time runs at 20 frames per second. Coordinates are in units of the picture's height, y up, the origin at its centre,
so any size and aspect works. Work goes in chunks of scenes and frames; no loop runs over single scenes or frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house import light, motions
from pipelines.house.draw import DRAWINGS
from pipelines.house.names import COLOURS
from pipelines.house.places import TABLE
from pipelines.house.scenes import SLOTS, Scenes
from pipelines.house.shading import Ink, ramp, step, tones

FPS = 20
_CPU_PIXELS = 400_000  # small enough for the processor's caches
_GPU_PIXELS = 100_000_000


def render(
    scenes: Scenes,
    start_frame: int | Tensor = 0,
    frames: int = 40,
    size: tuple[int, int] = (144, 256),
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """[N, T, 3, H, W] in 0..1. start_frame: one number, or one per scene [N]. size: height, width."""
    return _render(scenes, start_frame, frames, size, device, dtype, masks=False)


def render_masks(
    scenes: Scenes,
    start_frame: int | Tensor = 0,
    frames: int = 40,
    size: tuple[int, int] = (144, 256),
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """[N, T, 2, H, W] in 0..1: where each subject covers the picture; the second is empty in scenes of one."""
    return _render(scenes, start_frame, frames, size, device, dtype, masks=True)
