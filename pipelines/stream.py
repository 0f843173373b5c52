"""Stream: an endless picture, chunk by chunk.

`denoise` yields before every denoising step, so that whoever holds the knobs can write the bank; `commit` runs the
clean pass that writes the cache; `decode` yields the chunk's pixel frames, in another thread if the caller likes. The
stream knows no clock, no parameter ids, no outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.probes import Probes
from pipelines.bends.scope import Words
from pipelines.cache import KVCache, LayerMemory, Placement
from pipelines.recipes import Recipe
from pipelines.rope import Rope, Turn
from pipelines.schedule import to_clean, to_noisy
from pipelines.taehv import SPACE_SCALE, TAEHV
from pipelines.text import Prompt
from pipelines.wan import Grid, TextMemory, Wan

LARGEST = 1920 * 1088  # pixels; maps of larger pictures would not fit into memory


class Chunk(NamedTuple):
    """Clean latents [1, C, F, H, W]; `begins`: the decoder starts anew with it."""

    latents: Tensor
    begins: bool


class Stream:
    """One model playing one bank of bends."""

    def __init__(self, model: Wan, decoder: TAEHV, recipe: Recipe, bends: tuple[Bend, ...] = (), seed: int = 0) -> None:
        """The picture has the recipe's size; ValueError when it does not split into patches."""
        self.model, self.decoder, self.recipe = model, decoder, recipe
        like = model.patch_embedding.weight
        self.device, self.dtype = like.device, like.dtype
        if recipe.height % SPACE_SCALE or recipe.width % SPACE_SCALE:
            raise ValueError(f"size {recipe.width}x{recipe.height}: both must be multiples of 16")
        self.latent_size = (recipe.height // SPACE_SCALE, recipe.width // SPACE_SCALE)
        self.grid: Grid = model.grid(recipe.chunk, *self.latent_size)
        config = model.config
        self.schedule = recipe.schedule
        self._rope = Rope(config.head_dim, self.grid.height, self.grid.width, self.device)
        frame_tokens = self.grid.height * self.grid.width
        cache_shape = (config.num_layers, 1, config.num_heads, config.head_dim)
        self.cache = KVCache(cache_shape, recipe.window, frame_tokens, recipe.sink, like)
        self.bank = self.make_bank(bends)
        self.probes = Probes()
        self._generator = torch.Generator(device=self.device)
        self._text: TextMemory | None = None
        self._words: Words | None = None
        self._latents: Tensor | None = None
        self.notice = ""
        self.reset(seed)

    def make_bank(self, bends: tuple[Bend, ...], fixed: bool = False) -> Bank:
        """A bank of these bends for this model; give it to `play` between chunks. `fixed`: for a compiled forward."""
        config = self.model.config
        shape = BankShape(
            config.num_layers,
            config.num_heads,
            config.dim,
            config.ffn_dim,
            config.text_len,
            tuple(self.grid),
            self.device,
            self.dtype,
            self.recipe.window,
            fixed,
        )
        return Bank(bends, shape, len(self.schedule.timesteps))

    @property
    def steps(self) -> int:
        return len(self.schedule.timesteps)

    def reset(self, seed: int | None = None) -> None:
        """Forget the past: empty cache, empty decoder, noise from the seed again (kept running when None)."""
        self.forget()
        self._begins = True
        if seed is not None:
            self._generator.manual_seed(seed)
            self.bank.reset()

    def forget(self) -> None:
        """Empty the cache only: the picture goes on from the decoder's memory, the model starts anew."""
        self.cache.reset()
        self._position = 0

    def read_prompt(self, prompt: Prompt) -> None:
        """Play this prompt from the next pass on."""
        with torch.inference_mode():
            self._text = self.model.read_text(prompt.embeddings.to(self.device, self.dtype))
        self.bank.read_prompt(prompt.words)
        self._words = prompt.words

    def play(self, bank: Bank) -> None:
        """Swap the bank, between chunks."""
        self.bank = bank
        if self._words is not None:
            bank.read_prompt(self._words)

    def denoise(self) -> Iterator[int]:
        """Denoise the next chunk; yields each step's index before it runs."""
        if self._text is None:
            raise RuntimeError("the stream has no prompt; call read_prompt first")
        placement = self.cache.place(self._position, self.recipe.chunk)
        x = self._noise()
        sigmas = (*self.schedule.sigmas[1:], None)
        for step, (timestep, sigma, following) in enumerate(
            zip(self.schedule.timesteps, self.schedule.sigmas, sigmas, strict=True)
        ):
            yield step
            with torch.inference_mode():
                flow = self._forward(x, timestep, placement, step)
                clean = self._limit(to_clean(x, flow, sigma))
                x = clean if following is None else to_noisy(clean, self._renoise(x, clean, sigma), following)
        self._latents = x

    def commit(self) -> Chunk | None:
        """Write the clean chunk into the cache and return it, ready to decode.

        A chunk that is not finite never enters the cache: the result is None, the past is forgotten, and `notice`
        says so.
        """
        latents, self._latents = self._latents, None
        if latents is None:
            raise RuntimeError("there is no chunk to commit; run denoise to its end first")
        placement = self.cache.place(self._position, self.recipe.chunk)
        with torch.inference_mode():
            flow = self._forward(latents, self.recipe.context_timestep, placement, CACHE_PASS)
            if not bool(torch.isfinite(latents).all() & torch.isfinite(flow).all()):
                self.notice = "a chunk was not finite: dropped, cache reset"
                self.forget()
                return None
        self.notice = ""
        self._position += self.recipe.chunk
        chunk, self._begins = Chunk(latents, self._begins), False
        return chunk

    def decode(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """The chunk's frames, uint8 [H, W, 3]. Chunks come in order; any one thread may do it while the next chunk is
        being denoised."""
        if chunk.begins:
            self._memory = self.decoder.decoder.fresh()
        with torch.inference_mode():
            pixels = self.decoder.decode(chunk.latents.transpose(1, 2), self._memory)[0]  # [T, 3, H, W]
            frames = (pixels * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        yield from frames

    def forward_again(self, bank: Bank) -> Callable[[Tensor, Tensor], Tensor]:
        """The network's pass (x, t) -> flow under a bank, at the place of the last chunk: to be timed or recorded."""
        position = self._position - self.recipe.chunk
        return self._at(position, self.cache.place(position, self.recipe.chunk), bank)

    def _forward(self, x: Tensor, timestep: float, placement: Placement, step: int | None) -> Tensor:
        t = torch.full((1, self.recipe.chunk), timestep, device=self.device)
        self.bank.fold(step)
        self.probes.arm(step, self.bank.layers)
        try:
            return self._at(self._position, placement, self.bank)(x, t)
        finally:
            self.probes.disarm()

    def _at(self, position: int, placement: Placement, bank: Bank) -> Callable[[Tensor, Tensor], Tensor]:
        """The network's pass for a chunk at this position."""
        text, (turn, key_turn) = self._text, self._turns(position, placement)
        memory: tuple[LayerMemory, ...] = tuple(
            self.cache.layer(index, placement, key_turn) for index in range(self.model.config.num_layers)
        )
        return lambda x, t: self.model(x, t, text, turn, memory, bends=bank.layers)

    def _turns(self, position: int, placement: Placement) -> tuple[Turn, Turn | None]:
        chunk = self.recipe.chunk
        if self.recipe.positions == "absolute":
            return self._rope.turn(range(position, position + chunk)), None
        newest = len(placement.ranks)
        return self._rope.turn(range(newest - chunk, newest)), self._rope.turn(placement.ranks)

    def _noise(self) -> Tensor:
        shape = (1, self.model.config.in_dim, self.recipe.chunk, *self.latent_size)
        return torch.randn(shape, generator=self._generator, device=self.device).to(self.dtype)

    def _renoise(self, x: Tensor, clean: Tensor, sigma: float) -> Tensor:
        if self.recipe.renoise == "fresh":
            return self._noise()
        return (x - (1 - sigma) * clean) / sigma  # the noise that x holds if `clean` is right

    def _limit(self, x: Tensor) -> Tensor:
        limit = self.recipe.latent_limit
        return x if limit is None else x.clamp(-limit, limit)


def sized(recipe: Recipe, width: int, height: int) -> Recipe:
    """The recipe at another picture size; ValueError unless both are multiples of 16."""
    if width % 16 or height % 16 or width <= 0 or height <= 0:
        raise ValueError(f"size {width}x{height}: both must be multiples of 16, for example 256x144")
    if width * height > LARGEST:
        raise ValueError(f"size {width}x{height} is more than {LARGEST} pixels; choose a smaller one")
    return replace(recipe, width=width, height=height)
