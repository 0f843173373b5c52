"""What a stream keeps of the frames it has made: the newest clean latents and pixels, as far as its recipe needs them
again, and the very first latent frame.

A cache begun again is made from these. Knows nothing of caches or networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.recipes import Recipe
from pipelines.taehv import TIME_SCALE


class Past:
    """Latents [B, C, F, h, w] and pixels [B, T, 3, H, W], the newest last."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._most = recipe.context if recipe.recache == "no" else recipe.window
        # The first of these pictures is where the oldest latent frame of a context ends.
        self._most_pixels = 0 if recipe.keep_first or not recipe.context else 1 + TIME_SCALE * (recipe.context - 1)
        self.forget()

    def forget(self) -> None:
        self.count = 0  # latent frames so far
        self._first: Tensor | None = None
        self._latents: Tensor | None = None
        self._pixels: Tensor | None = None

    @property
    def wants_pixels(self) -> bool:
        return self._most_pixels > 0

    def add(self, latents: Tensor) -> None:
        """Latent frames that have just become past."""
        if self._first is None:
            self._first = latents[:, :, :1].clone()
        self.count += latents.shape[2]
        if self._most:
            self._latents = _tail(self._latents, latents, self._most, axis=2)

    def see(self, pixels: Tensor) -> None:
        """The pictures of latent frames that have just become past."""
        if self._most_pixels:
            self._pixels = _tail(self._pixels, pixels, self._most_pixels, axis=1)

    def last(self, frames: int) -> Tensor:
        """The newest latent frames, at most so many."""
        if self._latents is None:
            raise RuntimeError("the stream has no past yet; play a chunk first")
        return self._latents[:, :, max(0, self._latents.shape[2] - frames) :]

    def context(self, encode: Callable[[Tensor], Tensor]) -> Tensor | None:
        """The latents that a cache begun again is made from, [B, C, n <= context, h, w]; None without a past.

        The first is the stream's own first frame as long as that one was in the context of the chunk before (or where
        the recipe keeps it for good). From then on it is `encode`d anew from its picture [B, 1, 3, H, W].
        """
        if self._first is None:
            return None
        n = self.recipe.context
        if self._pixels is None or self.count - self.recipe.chunk < n:
            return torch.cat([self._first, self.last(min(n, self.count) - 1)], dim=2)
        return torch.cat([encode(self._pixels[:, :1]), self.last(n - 1)], dim=2)


def _tail(old: Tensor | None, new: Tensor, most: int, axis: int) -> Tensor:
    joined = new if old is None else torch.cat([old, new], dim=axis)
    return joined.narrow(axis, max(0, joined.shape[axis] - most), min(most, joined.shape[axis])).clone()
