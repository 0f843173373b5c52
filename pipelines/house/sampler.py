"""Many prompts at once, from noise to pixels: for contact sheets and evaluation. Play itself is `pipelines.stream`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.cache import KVCache
from pipelines.house.model import House, HouseConfig
from pipelines.recipes import HOUSE as RECIPE
from pipelines.rope import Rope
from pipelines.schedule import Schedule
from pipelines.taehv import SPACE_SCALE


class SamplePlan(NamedTuple):
    """Latent frames to make, the seed of the noise, and the denoising steps (on the grid 0..1000, before warping)."""

    frames: int = 10
    seed: int = 0
    steps: tuple[float, ...] = RECIPE.steps


@torch.no_grad()
def roll(house: House, config: HouseConfig, rows: Callable[[int], Tensor], plan: SamplePlan) -> Iterator[Tensor]:
    """Latents [B, 1, C, h, w], frame after frame through a rolling cache. `rows` gives the text rows
    [B, text_len, text_dim] of a position; the same tensor again costs nothing."""
    dit, like = house.dit, house.dit.patch_embedding.weight
    height, width = config.height // SPACE_SCALE, config.width // SPACE_SCALE
    grid = dit.grid(1, height, width)
    tokens, told = grid.height * grid.width, rows(0)
    layers, count = range(config.dit.num_layers), len(told)
    cache = KVCache((len(layers), count, config.dit.num_heads, config.dit.head_dim), config.window, tokens, like=like)
    rope = Rope(config.dit.head_dim, grid.height, grid.width, like.device)
    schedule = Schedule.of(plan.steps, RECIPE.shift, RECIPE.warped)
    generator = torch.Generator(device=like.device).manual_seed(plan.seed)
    text = dit.read_text(told.to(like.device, like.dtype))
    for position in range(plan.frames):
        if (now := rows(position)) is not told:
            told, text = now, dit.read_text(now.to(like.device, like.dtype))
        placement, turn = cache.place(position, 1), rope.turn([position])
        memory = tuple(cache.layer(layer, placement) for layer in layers)
        x = torch.randn((count, config.dit.in_dim, 1, height, width), generator=generator, device=like.device)
        for t, sigma, following in zip(schedule.timesteps, schedule.sigmas, (*schedule.sigmas[1:], 0.0), strict=True):
            flow = dit(x.to(like.dtype), x.new_full((count, 1), t), text, turn, memory)
            x = x + (following - sigma) * flow.float()
        dit(x.to(like.dtype), x.new_zeros(count, 1), text, turn, memory)
        yield x.to(like.dtype).transpose(1, 2)


def sample_latents(house: House, config: HouseConfig, rows: Tensor, plan: SamplePlan) -> Tensor:
    """Text rows [B, text_len, text_dim] -> latents [B, F, C, h, w]."""
    return torch.cat(list(roll(house, config, lambda _: rows, plan)), dim=1)


@torch.no_grad()
def sample_clips(house: House, config: HouseConfig, prompts: list[str], plan: SamplePlan, batch: int = 32) -> Tensor:
    """Clips [N, 4 * frames, 3, H, W] in 0..1 on the CPU, one per prompt; the seed moves on with every batch."""
    device = house.dit.patch_embedding.weight.device
    made = []
    for i in range(0, len(prompts), batch):
        rows = house.text(house.text.batch(prompts[i : i + batch]).to(device))
        latents = sample_latents(house, config, rows, plan._replace(seed=plan.seed + i))
        memory = house.vae.decoder.fresh()
        pieces = [house.vae.decode(piece, memory).float().cpu() for piece in latents.split(4, dim=1)]
        made.append(torch.cat(pieces, dim=1))
    return torch.cat(made)
