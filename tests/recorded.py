"""Streams that play a reference run again: its weights, its prompts and its noise, at the sizes it was recorded at."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from pipelines.codec import Codec
from pipelines.load import fill, original_names
from pipelines.passes import StreamBank
from pipelines.recipes import CAUSVID, LONGLIVE, SELF_FORCING, Recipe
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
        self,
        model: Wan,
        recipe: Recipe,
        tensors: dict[str, Tensor],
        batch: int = 1,
        codec: Codec | None = None,
        record: Literal[False] | None = False,
    ) -> None:
        self.noise = in_order(tensors, recipe, batch)
        super().__init__(model, codec or taehv(), recipe, batch=batch, record=record)
        self._sampler.noise = self._next_noise

    def _next_noise(self, frames: int) -> Tensor:
        noise = self.noise.pop(0)
        assert noise.shape[2] == frames
        return noise.to(self.device)

    def rehearse(self, bank: StreamBank) -> None:
        """Without the recorded noise."""
        kept, self.noise = self.noise, [torch.zeros_like(self.noise[-1])]
        super().rehearse(bank)
        self.noise = kept

    def say(self, embeddings: Tensor) -> None:
        self.read_prompt(replace(prompt(), embeddings=embeddings))

    def chunk(self) -> Tensor:
        """The next chunk's clean latents, [B, F, C, H, W] as the reference has them."""
        for _ in self.denoise():
            pass
        return self.commit().latents.transpose(1, 2)


class ReferenceCodec:
    """What the reference run of Krea used for an autoencoder: pixels are tanh(D x) and a little more in each of the
    four that a latent frame gives (one, the first); E leads back."""

    trimmed, at_once = 3, 0

    def __init__(self, tensors: dict[str, Tensor], device: str = "cpu") -> None:
        self.down, self.up = (tensors[f"codec.{side}"].to(device) for side in ("dec", "enc"))
        self.asked: list[Tensor] = []

    def fresh(self) -> list[Tensor | None]:
        return [None]

    def decode(self, latents: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        pixels = torch.einsum("ec,ntchw->ntehw", self.down, latents).tanh()
        pixels = torch.stack([pixels + 0.003 * part for part in range(4)], dim=2).flatten(1, 2)
        begins, memory[0] = memory[0] is None, latents
        return pixels[:, 3:] if begins else pixels

    def encode(self, pixels: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        self.asked.append(torch.einsum("ce,ntehw->ntchw", self.up, pixels))
        return self.asked[-1]


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
    pairs = [
        (mine, tensors[f"{call}.cache{layer}.{name}"])
        for layer in (0, 2)
        for mine, name in zip(playing.cache.ordered(layer), "kv", strict=True)
    ]
    return max(worst(mine, recorded) for mine, recorded in pairs)


def worst(a: Tensor, b: Tensor) -> float:
    """The largest difference of any two numbers; infinite where one of them is none."""
    assert a.shape == b.shape
    return float((a.cpu() - b.cpu()).abs().nan_to_num(nan=torch.inf).max())


LOOPS = {
    "self_forcing/global_b1": ("self_forcing/weights", small(SELF_FORCING)),
    "self_forcing/local6_b1": ("self_forcing/weights", small(SELF_FORCING, window=6)),
    "longlive/base_local12_sink3": ("longlive/weights", small(LONGLIVE)),
    "longlive/base_lora_merged": ("longlive/weights_lora_merged", small(LONGLIVE, window=9)),
    "causvid/steps3": ("causvid/weights", small(CAUSVID)),
}


def loop(playing: Recorded, case: str, tensors: dict[str, Tensor]) -> tuple[float, float]:
    """Play a recorded run of one prompt, which was said, with a clean pass after each chunk; the largest differences of
    its latents and of its cache."""
    made, cached = [], 0.0
    for name in _last_passes(case):
        made.append(playing.chunk())
        if f"{name}.cache0.k" in tensors:
            cached = max(cached, cache_equals(playing, tensors, name))
    assert not playing.noise
    return worst(torch.cat(made, 1), tensors["output_latents"]), cached


ANEW = "krea/tiny_kv3_steps5"


def anew(playing: Recorded, codec: ReferenceCodec, tensors: dict[str, Tensor]) -> tuple[float, float, float]:
    """Play Krea's recorded run with its codec, the cache made anew for every chunk; as `loop`, and the largest
    difference of the pictures that were encoded for it."""
    made, cached = [], 0.0
    for name in _last_passes(ANEW):
        for _ in playing.denoise():
            pass
        cached = max(cached, cache_equals(playing, tensors, name))
        made.append(playing.commit().latents.transpose(1, 2))
    assert len(codec.asked) == 3
    off = max(worst(each, tensors[f"reencoded{i}"]) for i, each in enumerate(codec.asked))
    return worst(torch.cat(made, 1), tensors["all_latents"]), cached, off


def _last_passes(case: str) -> list[str]:
    """Of each chunk of a recorded run the pass at time 0: its clean one, or the last step where it has none."""
    calls = golden.facts(case)["calls"]
    return [f"call{call['i']:03d}" for call in calls if call["t"][0] == 0.0 and not call.get("block_mask")]
