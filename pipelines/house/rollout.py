"""Clips made as a stream makes them, many at once, for a model that learns from its own play (self-forcing).

Every latent frame is denoised in few steps behind what the model itself made before, and goes into the memory. Huang et
al. 2025, "Self Forcing" (arXiv 2506.08009).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.attention import attend
from pipelines.bends.hooks import LayerBends
from pipelines.cache import KVCache
from pipelines.house.model import HouseConfig
from pipelines.rope import Rope
from pipelines.schedule import Schedule
from pipelines.taehv import SPACE_SCALE
from pipelines.wan import Wan

WARM_UPS = 2  # passes before a recording, in which libraries make their choices


class Played(NamedTuple):
    """Latents [B, C, P + F, h, w]: `clean`, the past and what was made; `noisy`, what the model had before it at the
    step that was picked for each clip (the past: itself); `sigma` [B, P + F], its noise (the past: 0)."""

    clean: Tensor
    noisy: Tensor
    sigma: Tensor


class HalfPrecision(LayerBends):
    """Bends nothing; brings queries and keys to the precision of the values, as mixed precision leaves them apart."""

    def __init__(self) -> None:
        super().__init__({})

    def attention(
        self, site: str, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], mask: Tensor | None
    ) -> Tensor:
        return attend(q.to(v.dtype), k.to(v.dtype), v, mask)


class Rollout:
    """Plays `frames` latent frames behind `past` known ones, in the steps of one schedule.

    The model's weights are read anew at every call. On CUDA all passes are one recording, because launching them one by
    one would take longer than computing them.
    """

    def __init__(self, dit: Wan, config: HouseConfig, schedule: Schedule, past: int, frames: int) -> None:
        self.dit, self.schedule, self.past, self.frames = dit, schedule, past, frames
        self.device = dit.patch_embedding.weight.device
        height, width = config.height // SPACE_SCALE, config.width // SPACE_SCALE
        grid = dit.grid(1, height, width)
        self._config, self._tokens = config, grid.height * grid.width
        rope = Rope(config.dit.head_dim, grid.height, grid.width, self.device)
        self._turns = [rope.turn([position]) for position in range(past + frames)]
        self._bends = (HalfPrecision(),) * config.dit.num_layers
        self._inputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._out: Played | None = None

    def __call__(self, rows: Tensor, past: Tensor, noise: Tensor, pick: Tensor) -> Played:
        """rows [B, text_len, text_dim]; past [B, C, P, h, w]; noise [B, C, F, h, w], what each frame begins as; pick
        [B], the step of each clip whose noisy latents are kept. Shapes stay those of the first call."""
        inputs = (rows, past, noise, pick)
        if self.device.type != "cuda":
            return self._play(*inputs)
        if self._graph is None:
            self._record(inputs)
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return Played(*(x.clone() for x in self._out))

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        beside = torch.cuda.Stream(self.device)
        beside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                self._play(*self._inputs)
        torch.cuda.current_stream(self.device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = self._play(*self._inputs)

    @torch.no_grad()
    def _play(self, rows: Tensor, past: Tensor, noise: Tensor, pick: Tensor) -> Played:
        dit, count = self.dit, len(rows)
        fast = self.device.type == "cuda"
        like = torch.empty(0, device=self.device, dtype=torch.bfloat16 if fast else torch.float32)
        shape = (self._config.dit.num_layers, count, self._config.dit.num_heads, self._config.dit.head_dim)
        cache = KVCache(shape, self._config.window, self._tokens, like=like)
        clean, noisy, sigma = [], [], []
        # Weights change between replays, so their casts must be part of the recording; the compiled blocks are for
        # other shapes.
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=fast, cache_enabled=False)
        with precision, torch.compiler.set_stance("force_eager"):
            text = dit.read_text(rows)
            for position in range(self.past + self.frames):
                placement, turn = cache.place(position, 1), self._turns[position]
                memory = tuple(cache.layer(layer, placement) for layer in range(shape[0]))
                if position < self.past:
                    x = past[:, :, position : position + 1]
                    noisy.append(x)
                    sigma.append(x.new_zeros(count))
                else:
                    first = noise[:, :, position - self.past : position - self.past + 1]
                    x, before, level = self._denoise(first, text, turn, memory, pick)
                    noisy.append(before)
                    sigma.append(level)
                clean.append(x)
                dit(x, x.new_zeros(count, 1), text, turn, memory, bends=self._bends)
        return Played(torch.cat(clean, 2), torch.cat(noisy, 2), torch.stack(sigma, 1))

    def _denoise(self, x: Tensor, text, turn, memory, pick: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One frame, what it was before the picked step, and that step's noise [B]."""
        sigmas = self.schedule.sigmas
        kept, level = x, x.new_zeros(len(x))
        for step, (t, sigma, following) in enumerate(
            zip(self.schedule.timesteps, sigmas, (*sigmas[1:], 0.0), strict=True)
        ):
            mine = pick == step
            kept = torch.where(mine[:, None, None, None, None], x, kept)
            level = torch.where(mine, torch.full_like(level, sigma), level)
            flow = self.dit(x, x.new_full((len(x), 1), t), text, turn, memory, bends=self._bends)
            x = x + (following - sigma) * flow.float()
        return x, kept, level
