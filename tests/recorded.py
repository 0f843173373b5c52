"""Streams that play a reference run again: its weights, its prompts and its noise, at the sizes it was recorded at."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.codec import Codec
from pipelines.load import fill, original_names
from pipelines.recipes import Recipe
from pipelines.stream import Stream
from pipelines.wan import Wan
from tests import golden
from tests.tiny import CONFIG, prompt, taehv


def small(row: Recipe, **changes: object) -> Recipe:
    """A system's row at the sizes of the reference runs."""
    return replace(row, config=CONFIG, width=96, height=64, **changes)


def model_of(weights: str) -> Wan:
    model = Wan(CONFIG).eval().requires_grad_(False)
    fill(model, original_names(golden.tensors(weights)), weights)
    return model


class Recorded(Stream):
    """A stream whose noise was recorded from the reference implementation."""

    def __init__(
        self, model: Wan, recipe: Recipe, tensors: dict[str, Tensor], batch: int = 1, codec: Codec | None = None
    ) -> None:
        self.noise = in_order(tensors, recipe, batch)
        super().__init__(model, codec or taehv(), recipe, batch=batch)
        self._sampler.noise = self._next_noise

    def _next_noise(self, frames: int) -> Tensor:
        noise = self.noise.pop(0)
        assert noise.shape[2] == frames
        return noise

    def say(self, embeddings: Tensor) -> None:
        self.read_prompt(replace(prompt(), embeddings=embeddings))

    def chunk(self) -> Tensor:
        """The next chunk's clean latents, [B, F, C, H, W] as the reference has them."""
        for _ in self.denoise():
            pass
        return self.commit().latents.transpose(1, 2)


def in_order(tensors: dict[str, Tensor], recipe: Recipe, batch: int = 1) -> list[Tensor]:
    """Each chunk's first noise and then its re-noisings, as [B, C, F, H, W]."""
    frames = tensors["noise"].shape[1]
    sizes = [recipe.first_chunk] + [recipe.chunk] * ((frames - recipe.first_chunk) // recipe.chunk)
    again = [tensors[name] for name in sorted(name for name in tensors if name.startswith("renoise"))]
    count = len(recipe.steps) - 1
    ordered = []
    for i, noise in enumerate(tensors["noise"].split(sizes, dim=1)):
        ordered.append(noise.transpose(1, 2))
        for piece in again[i * count : (i + 1) * count]:
            ordered.append(piece.reshape(batch, sizes[i], *piece.shape[-3:]).transpose(1, 2))
    return ordered


def cache_equals(playing: Stream, tensors: dict[str, Tensor], call: str) -> float:
    """The largest difference of keys and values from those recorded after a call, over the recorded layers."""
    worst = 0.0
    for layer in (0, 2):
        for mine, name in zip(playing.cache.ordered(layer), "kv", strict=True):
            worst = max(worst, float((mine - tensors[f"{call}.cache{layer}.{name}"]).abs().max()))
    return worst


def worst(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def loop(case: str, weights: str, recipe: Recipe) -> tuple[float, float]:
    """Play a recorded run of one prompt with a clean pass after each chunk; the largest differences of its latents and
    of its cache."""
    tensors, facts = golden.tensors(case), golden.facts(case)
    playing = Recorded(model_of(weights), recipe, tensors)
    playing.say(tensors["prompt_embeds.p0"])
    cleans = [f"call{call['i']:03d}" for call in facts["calls"] if call["t"][0] == 0.0]
    made, cached = [], 0.0
    for name in cleans:
        made.append(playing.chunk())
        if f"{name}.cache0.k" in tensors:
            cached = max(cached, cache_equals(playing, tensors, name))
    assert not playing.noise
    return worst(torch.cat(made, 1), tensors["output_latents"]), cached
