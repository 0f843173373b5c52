"""A transformer larger than its card: blocks lie in the CPU's memory and come to the card one ahead of the one at work.

Each block's weights are one piece of pinned memory, and the card has a few places of that size, which the blocks take
in turn: block i always the same one, so that nothing that reads a weight ever sees its address change, compiled or
not. Copies run on a stream of their own, and only wait for the block that had the place before. Whoever goes through
the blocks in order, as the transformer does, finds each in its place; nothing else may use one.

(diffusers has hooks for this. They move a block when its `forward` is called, which the reading of a prompt never does,
and they break compiled blocks.)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipelines.checkpoint import LoadError
from pipelines.wan import Wan

PLACES = 2  # on the card: the block at work and the next
ALIGNED = 256  # bytes, as allocators and matrix units like it


class Part(NamedTuple):
    """A tensor of a block: who has it, and where it lies in the block's piece of memory."""

    module: nn.Module
    name: str
    tensor: Tensor
    start: int


class Place:
    """Room for one block on the card, and when it is full and when free."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.memory = torch.empty(size, dtype=torch.uint8, device=device)
        self.holds: int | None = None  # the block that is there, or on its way
        self.full, self.free = (torch.cuda.Event() if device.type == "cuda" else None for _ in range(2))


class StreamedBlocks(nn.ModuleList):
    """A transformer's blocks; going through them in order brings each to the card in time.

    The state of a block is its own only while it is at work.
    """

    def __init__(self, blocks: nn.ModuleList, device: torch.device, stay: int = 0) -> None:
        """The first `stay` blocks live on the device. The others must be alike, as they are in one network."""
        super().__init__(blocks)
        self.device, self.stay = device, min(stay, len(blocks))
        self._one = threading.RLock()  # one pass at a time has the places; another thread's waits for its end
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        for block in blocks[: self.stay]:
            block.to(device)
        self._homes = [_pack(block, device) for block in blocks[self.stay :]]
        size = max((home.numel() for home in self._homes), default=0)
        self._places = [Place(size, device) for _ in range(PLACES)]
        for index, block in enumerate(blocks[self.stay :]):
            block.self_attn.unpack()
            block.self_attn.packable = False
            _lie(block, self._places[index % PLACES].memory)
        if self._side is not None:  # whose copies must not overtake what had the places' memory before
            self._side.wait_stream(torch.cuda.current_stream(device))

    @property
    def held(self) -> int:
        """Bytes of blocks that lie in the CPU's memory."""
        return sum(home.numel() for home in self._homes)

    def __iter__(self) -> Iterator[nn.Module]:
        if self._side is not None and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("blocks that come as they are needed cannot be recorded as a graph; play without either")
        with self._one:
            yield from self._in_order()

    def _in_order(self) -> Iterator[nn.Module]:
        if self._homes:
            self._bring(0)
        for index, block in enumerate(super().__iter__()):
            if index < self.stay:
                yield block
                continue
            at = index - self.stay
            place = self._bring(at)
            self._bring((at + 1) % len(self._homes), other_than=place)
            if place.full is not None:
                torch.cuda.current_stream(self.device).wait_event(place.full)
            try:
                yield block
            finally:
                if place.free is not None:
                    place.free.record(torch.cuda.current_stream(self.device))
        if self._homes:
            self._bring(0)  # for the next time

    def _bring(self, index: int, other_than: Place | None = None) -> Place:
        """The place of a streamed block, the block in it or on its way there, unless that place is taken."""
        place = self._places[index % PLACES]
        if place is other_than or place.holds == index:
            return place
        home = self._homes[index]
        if self._side is None:
            place.memory[: home.numel()].copy_(home)
        else:
            with torch.cuda.stream(self._side):
                self._side.wait_event(place.free)
                place.memory[: home.numel()].copy_(home, non_blocking=True)
                place.full.record(self._side)
        place.holds = index
        return place


def offload(model: Wan, device: torch.device, stay: int = 0) -> Wan:
    """The same model on `device`, all but its first `stay` blocks streamed to it from the CPU's memory as they are
    needed. Call it before anything is compiled. Raises LoadError for devices that share the CPU's memory."""
    if device.type != "cuda":
        raise LoadError(
            f"--offload: device '{device}' has no memory of its own to save; it is for graphics cards: leave it away"
        )
    return stream_blocks(model, device, stay)


def stream_blocks(model: Wan, device: torch.device, stay: int = 0) -> Wan:
    """As `offload`, on any device."""
    blocks, model.blocks = model.blocks, nn.ModuleList()
    model.to(device)
    model.blocks = StreamedBlocks(blocks, device, stay)
    return model


def _parts(block: nn.Module) -> list[Part]:
    """All parameters and buffers of a block, one after the other."""
    parts, start = [], 0
    for module in block.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                parts.append(Part(module, name, tensor, start))
                start += -(-tensor.nbytes // ALIGNED) * ALIGNED
    return parts


def _pack(block: nn.Module, device: torch.device) -> Tensor:
    """A block's weights as one piece of the CPU's memory, pinned where a card is to read it."""
    parts = _parts(block)
    size = parts[-1].start + -(-parts[-1].tensor.nbytes // ALIGNED) * ALIGNED
    home = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for part in parts:
        _view(home, part).copy_(part.tensor.detach())
    return home


def _lie(block: nn.Module, memory: Tensor) -> None:
    """Let a block read its weights from this memory from now on."""
    for part in _parts(block):
        view = _view(memory, part)
        if part.name in part.module._parameters:
            part.module._parameters[part.name] = nn.Parameter(view, requires_grad=False)
        else:
            part.module._buffers[part.name] = view


def _view(memory: Tensor, part: Part) -> Tensor:
    whole = memory[part.start : part.start + part.tensor.nbytes]
    return whole.view(part.tensor.dtype).view(part.tensor.shape)
