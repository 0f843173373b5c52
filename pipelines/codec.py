"""Between latents and pictures: what a stream asks of an autoencoder, and what it hands over to be decoded."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Codec(Protocol):
    """What turns latents into pictures and back: [N, T, C, h, w] and [N, T, 3, H, W] in 0..1."""

    def fresh(self) -> list[Tensor | None]:
        """The decoder's memory at the start of a stream."""

    def fresh_encoder(self) -> list[Tensor | None]:
        """The encoder's memory at the start of a stream."""

    def decode(self, latents: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """The next pictures; `memory` is updated in place. Without it, a stream of its own."""

    def encode(self, pixels: Tensor, memory: list[Tensor | None] | None = None) -> Tensor:
        """The latents of pictures; `memory` as above, but the encoder's."""


class Chunk(NamedTuple):
    """Clean latents [B, C, F, H, W]; `begins`: the decoder starts anew with it. `pixels` where they are decoded
    already. `ready`: when the device has made them."""

    latents: Tensor
    begins: bool
    pixels: Tensor | None = None
    ready: torch.cuda.Event | None = None
