"""Single passes of one network at one picture size: where latent frames lie in its cache, how they turn, what text
they read, and which bank bends them.

The stream above decides which passes there are; nothing here knows a schedule or a rule.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.attention import chunk_causal_mask
from pipelines.bends.bank import Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.scope import Words
from pipelines.cache import KVCache, LayerMemory, Placement
from pipelines.recipes import Recipe
from pipelines.replay import Forward, Given, Record, Replays
from pipelines.rope import Rope, Turn
from pipelines.spec import Value
from pipelines.transfer import to_device
from pipelines.wan import Grid, TextMemory, Wan

TEXTS = 4  # prompts kept as the blocks read them: 90 MiB each for 1.3B, 400 MiB for 14B, in half precision
SMALLEST_WEIGHT = 1e-6  # of past frames; its logarithm must stay finite


class Place(NamedTuple):
    """The latent frames of one pass: the position of the first, how many, and their slots in the cache."""

    start: int
    frames: int
    slots: Placement


class Passes:
    """One network with the cache of one stream."""

    def __init__(
        self,
        model: Wan,
        recipe: Recipe,
        latent_size: tuple[int, int],
        batch: int,
        record: Record | bool | None = False,
        memory: torch.dtype | None = None,
    ) -> None:
        """`record`: how passes are recorded, see Replays; False where they are not. `memory`: the cache's dtype."""
        self.model, self.positions, self.batch = model, recipe.positions, batch
        self.grid: Grid = model.grid(recipe.chunk, *latent_size)
        config, like = model.config, model.patch_embedding.weight
        self.rope = Rope(config.head_dim, self.grid.height, self.grid.width, like.device)
        self.frame_tokens = self.grid.height * self.grid.width
        shape = (config.num_layers, batch, config.num_heads, config.head_dim)
        kept = torch.empty(0, device=like.device, dtype=memory or like.dtype)
        self.cache = KVCache(shape, recipe.window, self.frame_tokens, recipe.sink, kept)
        self._texts: OrderedDict[str, TextMemory] = OrderedDict()
        self._masks: dict[int, Tensor] = {}
        self._turns: tuple[tuple, tuple[Turn, Turn | None]] | None = None
        self._replays = None if record is False else Replays(model, self.cache, record)

    def let_go(self) -> None:
        """Free the cache, the recordings and what was read of prompts; nothing can be played any more."""
        self.cache.let_go()
        self._texts.clear()
        self._masks.clear()
        self._turns = None
        if self._replays is not None:
            self._replays.let_go()

    def place(self, start: int, frames: int) -> Place:
        """New latent frames, or those of the last pass again; ValueError where they do not continue the cache."""
        return Place(start, frames, self.cache.place(start, frames))

    def rewrite(self, keep_sink: bool) -> Place:
        """The newest latent frames that the cache holds, in one pass; see KVCache."""
        start = max(0, self.cache.end - self.cache.window)
        return Place(start, self.cache.end - start, self.cache.rewrite(keep_sink))

    def read_text(self, embeddings: Tensor, keep: bool = True) -> TextMemory:
        """Prompt embeddings [1 or B, n, text_dim] as the blocks read them; equal content gives the same memory, unless
        it will not be asked for again (`keep` False), which is quicker."""
        if not keep:
            return self._read(embeddings)
        key = hashlib.sha256(embeddings.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
        text = self._texts.pop(key, None)
        if text is None:
            text = self._read(embeddings)
        self._texts[key] = text  # the newest last
        if len(self._texts) > TEXTS:
            self._texts.popitem(last=False)
        return text

    def _read(self, embeddings: Tensor) -> TextMemory:
        like = self.model.patch_embedding.weight
        return self.model.read_text(embeddings.to(like.device, like.dtype).expand(self.batch, -1, -1))

    def at(
        self, place: Place, text: TextMemory, bank: Bank, mask: Tensor | None = None, plain: bool = False
    ) -> Forward:
        """The pass (x [B, C, F, H, W], t [B, F]) -> flow for these frames; what it returns may be overwritten by the
        next pass. `plain`: never from a recording."""
        turn, key_turn = self.turns(place)
        memory: tuple[LayerMemory, ...] = tuple(
            self.cache.layer(index, place.slots, key_turn) for index in range(self.model.config.num_layers)
        )

        def run(x: Tensor, t: Tensor) -> Tensor:
            return self.model(x, t, text, turn, memory, mask=mask, bends=bank.layers)

        if plain or self._replays is None:
            return run
        return self._replays.at(Given(bank, place.slots, text, turn, key_turn, mask), run)

    def turns(self, place: Place) -> tuple[Turn, Turn | None]:
        """Of the queries, and of the keys where they are turned when read; the same for all passes of a chunk."""
        asked = (place.start, place.frames, place.slots.ranks)
        if self._turns is None or self._turns[0] != asked:
            self._turns = asked, self._turned(place)
        return self._turns[1]

    def _turned(self, place: Place) -> tuple[Turn, Turn | None]:
        if self.positions == "absolute":
            return self.rope.turn(range(place.start, place.start + place.frames)), None
        newest = len(place.slots.ranks)
        return self.rope.turn(range(newest - place.frames, newest)), self.rope.turn(place.slots.ranks)

    def times(self, timestep: float, frames: int) -> Tensor:
        """One timestep for every latent frame, [B, F]."""
        return torch.full((self.batch, frames), float(timestep), device=self.model.patch_embedding.weight.device)

    def begun_mask(self, frames: int) -> Tensor:
        """Of the frames that a cache is begun again with: they see those of their own chunk and of earlier ones."""
        if frames not in self._masks:
            mask = chunk_causal_mask(frames, self.frame_tokens, self.grid[0])
            self._masks[frames] = mask.to(self.model.patch_embedding.weight.device)
        return self._masks[frames]

    def past_bias(self, place: Place, weight: float) -> Tensor | None:
        """log(weight) [1, 1, 1, keys] on the logits of past frames, all but the oldest held; None for a weight of 1.

        Krea's KV-cache attention bias: it makes a stream cling less to what it has just shown.
        """
        if weight == 1.0:
            return None
        ranks = place.slots.ranks
        own = len(ranks) - place.frames
        log = math.log(min(max(weight, SMALLEST_WEIGHT), 1.0))
        like = self.model.patch_embedding.weight
        frames = to_device(
            torch.tensor([log if 0 < rank < own else 0.0 for rank in ranks], dtype=like.dtype), like.device
        )
        return frames.repeat_interleave(self.frame_tokens)[None, None, None]


class StreamBank(Bank):
    """A bank for a stream's chunks that also bends its passes of other lengths (a shorter first chunk, a cache
    written again), with a twin for each, made when it is first needed."""

    def __init__(self, bends: Sequence[Bend], shape: BankShape, steps: int, like: Bank | None = None) -> None:
        """As Bank."""
        self._twins: dict[int, Bank] = {}
        self._latest: dict[str, Value] = {}
        super().__init__(bends, shape, steps, like)
        self._spoken: Words | None = None

    def of(self, frames: int) -> Bank:
        """The bank for a pass of so many latent frames, at the latest values."""
        if frames == self.shape.grid[0]:
            return self
        if frames not in self._twins:
            twin = Bank(self.bends, replace(self.shape, grid=(frames, *self.shape.grid[1:])), self.steps)
            twin.write(self._latest)
            if self._spoken is not None:
                twin.read_prompt(self._spoken)
            self._twins[frames] = twin
        return self._twins[frames]

    def write(self, values: Mapping[str, Value]) -> None:
        super().write(values)
        self._latest.update(values)
        for twin in self._twins.values():
            twin.write(values)

    def read_prompt(self, words: Words) -> None:
        super().read_prompt(words)
        self._spoken = words
        for twin in self._twins.values():
            twin.read_prompt(words)

    def reset(self) -> None:
        super().reset()
        for twin in self._twins.values():
            twin.reset()
