"""Decoding recorded: on a graphics card a chunk's pictures are hundreds of small kernels, which are fused and launched
as one thing.

A recording is of one shape of latents, in the middle of a stream. What a stream begins with, or a chunk of another
length, is decoded as it is; both leave the memory as the other expects it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pipelines.capture import Captured
from pipelines.tune import fused

Memory = list[Tensor | None]


class Decode(Protocol):
    """A codec's `decode`."""

    def __call__(self, latents: Tensor, memory: Memory) -> Tensor: ...


class Record(Protocol):
    """How a function of one tensor becomes a recording that is called like it."""

    def __call__(self, forward: Callable[[Tensor], Tensor], latents: Tensor) -> Callable[[Tensor], Tensor]: ...


def _captured(forward: Callable[[Tensor], Tensor], latents: Tensor) -> Captured:
    return Captured(forward, latents, beside=True)


class Developed:
    """One stream's decoding of latents of one shape, recorded."""

    def __init__(
        self, decode: Decode, latents: Tensor, memory: Sequence[Tensor | None], record: Record = _captured
    ) -> None:
        """`latents` and `memory`: what any chunk but a stream's first is decoded from; both are left alone."""
        self._shape = latents.shape
        self._memory = [None if kept is None else kept.clone() for kept in memory]  # None: a place that is not used

        def onward(given: Tensor) -> Tensor:
            entries: Memory = [*self._memory]
            pixels = decode(given, entries)
            for kept, new in zip(self._memory, entries, strict=True):
                if kept is not None:
                    kept.copy_(new)
            return pixels

        self._run = record(onward, latents)

    def fits(self, latents: Tensor, memory: Memory) -> bool:
        """Whether this is what was recorded."""
        return latents.shape == self._shape and [_shape(entry) for entry in memory] == [
            _shape(kept) for kept in self._memory
        ]

    def __call__(self, latents: Tensor, memory: Memory) -> Tensor:
        """As `decode`; the pictures are overwritten by the next call."""
        for kept, entry in zip(self._memory, memory, strict=True):
            if entry is not kept and kept is not None:
                kept.copy_(entry)
        memory[:] = self._memory
        return self._run(latents)


def developed(decode: Decode, memory: Memory, latents: Tensor, at_once: int) -> Developed | None:
    """A recording of what is decoded from latents of this shape, after a first chunk of it; `memory` is a fresh one.
    None where even then a codec keeps other things than tensors. `at_once`: latent frames that are compiled to be
    decoded together, as in Codec."""
    decode(latents, memory)
    if not all(entry is None or isinstance(entry, Tensor) for entry in memory):
        return None
    few = fused(decode)

    def in_turn(latents: Tensor, memory: Memory) -> Tensor:
        return torch.cat([few(some, memory) for some in latents.split(at_once or latents.shape[1], dim=1)], dim=1)

    return Developed(in_turn, latents, memory)


def _shape(entry: object) -> object:
    """The shape of a tensor; anything else as it is."""
    return entry.shape if isinstance(entry, Tensor) else entry
