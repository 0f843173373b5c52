"""From noise to a clean chunk: where a chunk begins, and how one denoising step leads to the next.

There is a generator for each stream of a batch, so that each plays what it would play alone. Knows a recipe's numbers
and no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.recipes import Recipe
from pipelines.schedule import GRID, Schedule, resampled, to_clean, to_noisy, weakened


class Sampler:
    """Of one stream's latents [B, C, F, h, w]."""

    def __init__(self, recipe: Recipe, latent_size: tuple[int, int], batch: int, like: Tensor) -> None:
        """`like` gives device and dtype."""
        self._recipe, self._size, self._like = recipe, latent_size, like
        self._generators = [torch.Generator(device=like.device) for _ in range(batch)]

    def seed(self, seeds: Sequence[int]) -> None:
        """One for each stream. ValueError where there is not."""
        batch = len(self._generators)
        if len(seeds) != batch:
            raise ValueError(f"{len(seeds)} seeds for {batch} streams; give one for each, or the first")
        for generator, own in zip(self._generators, seeds, strict=True):
            generator.manual_seed(own)

    def noise(self, frames: int) -> Tensor:
        """Fresh noise for so many latent frames."""
        shape, device = (1, self._recipe.config.in_dim, frames, *self._size), self._like.device
        drawn = [torch.randn(shape, generator=generator, device=device) for generator in self._generators]
        return torch.cat(drawn).to(self._like.dtype)

    def begin(self, frames: int, steps: int, source: Tensor | None, strength: float) -> tuple[Tensor, Schedule]:
        """What a chunk of so many steps is denoised from, noise or a video's latents noised to `strength`, and its
        schedule. ValueError for latents of another shape."""
        x, levels = self.noise(frames), resampled(self._recipe.steps, steps)
        if source is not None:
            levels = weakened(levels, strength)
        schedule = Schedule.of(levels, self._recipe.shift, self._recipe.warped)
        return (x if source is None else self._mixed(source, x, schedule)), schedule

    def onward(self, x: Tensor, flow: Tensor, sigma: float, following: float | None) -> Tensor:
        """The latents of the next step, noised to the sigma `following`; clean where that is None."""
        clean = self._limit(to_clean(x, flow, sigma))
        return clean if following is None else to_noisy(clean, self._renoise(x, clean, sigma), following)

    def _mixed(self, source: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
        """Where denoising a video's latents begins."""
        if source.shape != noise.shape:
            raise ValueError(f"latents of {tuple(source.shape)} cannot be a chunk; this one is {tuple(noise.shape)}")
        return to_noisy(source.to(noise.device, noise.dtype), noise, schedule.timesteps[0] / GRID)

    def _renoise(self, x: Tensor, clean: Tensor, sigma: float) -> Tensor:
        if self._recipe.renoise == "fresh":
            return self.noise(x.shape[2])
        return (x - (1 - sigma) * clean) / sigma  # the noise that x holds if `clean` is right

    def _limit(self, x: Tensor) -> Tensor:
        limit = self._recipe.latent_limit
        return x if limit is None else x.clamp(-limit, limit)
