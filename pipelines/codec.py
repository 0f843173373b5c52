"""Between latents and pictures: what a stream asks of an autoencoder, what it hands over to be decoded, and how that
becomes frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.developed import Developed, developed
from pipelines.taehv import TIME_SCALE
from pipelines.transfer import Beside


class Codec(Protocol):
    """What turns latents into pictures and back: [N, T, C, h, w] and [N, T, 3, H, W] in 0..1. A latent frame gives
    TIME_SCALE pictures; a stream lacks its first `trimmed`. `at_once`: how many latent frames a compiler is best given
    to decode; 0: a whole chunk."""

    trimmed: int
    at_once: int

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


class Pictures:
    """One stream's pictures, decoded beside the model's own work. Chunks come in order, in any one thread."""

    def __init__(self, codec: Codec, device: torch.device) -> None:
        self._codec, self._device, self._beside = codec, device, Beside(device)
        self._memory = codec.fresh()
        self._developed: Developed | None = None

    def record(self, latents: Tensor) -> None:
        """Decode from a recording from now on, on a graphics card, where chunks have the shape of these latents
        [B, C, F, h, w] and are not a stream's first. The stream's own memory stays as it is."""
        if self._developed is None and self._device.type == "cuda":
            fresh, frames = self._codec.fresh(), latents.transpose(1, 2).contiguous()
            self._developed = developed(self._codec.decode, fresh, frames, self._codec.at_once)

    def of(self, chunk: Chunk) -> Tensor:
        """The chunk's pictures [B, T, 3, H, W] in 0..1, the caller's own."""
        return self._decoded(chunk).clone() if self._developed is not None else self._decoded(chunk)

    def _decoded(self, chunk: Chunk) -> Tensor:
        """The same; the next chunk's may lie in their place."""
        if chunk.begins:
            self._memory = self._codec.fresh()
        latents = chunk.latents.transpose(1, 2)
        if self._developed is not None and self._developed.fits(latents, self._memory):
            return self._developed(latents, self._memory)
        return self._codec.decode(latents, self._memory)

    def frames(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """The same as uint8 [H, B * W, 3], the streams of a batch side by side."""
        used = [tensor for tensor in (chunk.latents, chunk.pixels) if tensor is not None]
        with torch.inference_mode(), self._beside.work(chunk.ready, *used):
            pixels = self._decoded(chunk) if chunk.pixels is None else chunk.pixels
            pixels = torch.cat(pixels.unbind(0), dim=-1)  # [T, 3, H, B * W]
            frames = self._beside.to_host((pixels * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous())
        yield from frames

    def count(self, frames: int, begins: bool) -> int:
        """Of a chunk of so many latent frames; `begins` as in Chunk."""
        return TIME_SCALE * frames - (self._codec.trimmed if begins else 0)

    def let_go(self) -> None:
        """Free the memory of the chunk before."""
        self._memory, self._developed = [], None

    def encode(self, pixels: Tensor) -> Tensor:
        """Pictures [B, T, 3, H, W] as a stream of their own -> latents [B, C, F, h, w]."""
        return self._codec.encode(pixels).transpose(1, 2)
