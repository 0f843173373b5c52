"""KVCache: the self-attention memory of a causal stream, in fixed memory, for any length of play.

The cache is a ring: a latent frame's slot follows from its position alone, so writing a chunk again (each denoising
step does) overwrites itself, and the oldest frames fall out without anything being moved. The order of keys in the
buffer does not matter to softmax; their positions are in their rotation. The first `sink` frames never move.
All indices are Python integers: nothing is read back from the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.rope import Turn


class Run(NamedTuple):
    """Neighbouring tokens of a chunk that go to neighbouring slots: chunk[first:first + count] to buffer[slot:]."""

    first: int
    slot: int
    count: int


class LayerMemory(NamedTuple):
    """What one block reads and writes: `k` and `v` [B, capacity, heads, d], where the new tokens go, and how many
    tokens are `valid` once they are written. `turn` is set where keys are kept unrotated and turned when read.
    `index` [n] is set where a recorded pass reads from a tensor where its tokens go, instead of from `runs`."""

    k: Tensor
    v: Tensor
    runs: tuple[Run, ...]
    valid: int
    turn: Turn | None
    index: Tensor | None = None


class Placement(NamedTuple):
    """Where a chunk goes, the valid tokens after writing, and per slot the age rank of its latent frame."""

    runs: tuple[Run, ...]
    valid: int
    ranks: tuple[int, ...]


class KVCache:
    """Keys and values of the last `window` latent frames (this chunk included), the first `sink` of them pinned."""

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        window: int,
        frame_tokens: int,
        sink: int = 0,
        like: Tensor | None = None,
    ) -> None:
        """`shape` is (layers, batch, heads, head_dim); `like` gives device and dtype.

        Raises ValueError when the sink leaves no room for the stream.
        """
        if not 0 <= sink < window:
            raise ValueError(f"a cache of {window} latent frames cannot pin a sink of {sink}; make the window larger")
        layers, batch, heads, head_dim = shape
        like = torch.empty(0) if like is None else like
        # Each head's tokens lie side by side, as products over them want it; seen from outside heads come last but one.
        size = (layers, batch, heads, window * frame_tokens, head_dim)
        self.k = torch.zeros(size, device=like.device, dtype=like.dtype).transpose(2, 3)
        self.v = torch.zeros(size, device=like.device, dtype=like.dtype).transpose(2, 3)
        self.window, self.sink, self.frame_tokens = window, sink, frame_tokens
        self.reset()

    def reset(self) -> None:
        """Forget everything. Values may stay in memory: nothing beyond the valid tokens is ever read."""
        self.end = 0  # latent frames written since the last reset
        self._pinned = 0  # position of the sink's first frame

    def let_go(self) -> None:
        """Free the memory; nothing can be placed any more."""
        self.k, self.v = (torch.empty(0, device=kept.device, dtype=kept.dtype) for kept in (self.k, self.v))

    def place(self, start: int, frames: int) -> Placement:
        """The place of latent frames [start, start + frames), positions counted from the last reset.

        Raises ValueError for a gap or for a chunk larger than the rolling part of the window.
        """
        if not 0 <= start <= self.end:
            raise ValueError(f"position {start} does not continue a cache that ends at {self.end}; reset it first")
        if frames > self.window - self.sink:
            raise ValueError(f"a chunk of {frames} latent frames does not fit a window of {self.window - self.sink}")
        self.end = max(self.end, start + frames)
        return self._placement(enumerate(self._slot(start + frame) for frame in range(frames)))

    def rewrite(self, keep_sink: bool) -> Placement:
        """The place of the newest latent frames, as many as the window holds, to be written again in one pass.

        Once older ones have fallen out, the first of these frames have no slot of their own. Either they are read
        from but not written, and the sink stays as it is, or they become the sink.
        """
        start = max(0, self.end - self.window)
        slots = [(frame, self._slot(start + frame)) for frame in range(self.end - start)]
        if start > 0:
            slots = [*([] if keep_sink else [(frame, frame) for frame in range(self.sink)]), *slots[self.sink :]]
            self._pinned = self._pinned if keep_sink else start
        return self._placement(slots)

    def held(self) -> list[int]:
        """The position (latent frame since the reset) in each valid slot, in slot order."""
        if self.end <= self.window:
            return list(range(self.end))
        rolling = range(self.end - (self.window - self.sink), self.end)
        return list(range(self._pinned, self._pinned + self.sink)) + sorted(rolling, key=self._slot)

    def layer(self, index: int, placement: Placement, turn: Turn | None = None) -> LayerMemory:
        """One block's memory for this pass."""
        return LayerMemory(self.k[index], self.v[index], placement.runs, placement.valid, turn)

    def ordered(self, index: int) -> tuple[Tensor, Tensor]:
        """Valid keys and values of a layer, oldest first, each [B, tokens, heads, d]: for tests and pictures."""
        held = self.held()
        oldest_first = sorted(range(len(held)), key=held.__getitem__)
        inside = torch.arange(self.frame_tokens)
        tokens = torch.cat([slot * self.frame_tokens + inside for slot in oldest_first]).to(self.k.device)
        return self.k[index][:, tokens], self.v[index][:, tokens]

    def _slot(self, position: int) -> int:
        if position < self.sink:
            return position
        return self.sink + (position - self.sink) % (self.window - self.sink)

    def _placement(self, slots: Iterable[tuple[int, int]]) -> Placement:
        """Of a pass whose latent frames go to these slots, (frame, slot) each."""
        runs: list[Run] = []
        for frame, place in slots:
            first, slot = frame * self.frame_tokens, place * self.frame_tokens
            if runs and (first, slot) == (runs[-1].first + runs[-1].count, runs[-1].slot + runs[-1].count):
                runs[-1] = runs[-1]._replace(count=runs[-1].count + self.frame_tokens)
            else:
                runs.append(Run(first, slot, self.frame_tokens))
        held = self.held()
        rank = {position: age for age, position in enumerate(sorted(held))}
        return Placement(tuple(runs), len(held) * self.frame_tokens, tuple(rank[position] for position in held))


def remember(memory: LayerMemory, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Write this pass's keys and values [B, n, heads, d] and return all valid ones, views of the buffers."""
    if memory.index is not None:
        write_rows(memory.k, memory.index, k.to(memory.k.dtype))
        write_rows(memory.v, memory.index, v.to(memory.v.dtype))
        return memory.k[:, : memory.valid], memory.v[:, : memory.valid]
    for first, slot, count in memory.runs:
        memory.k[:, slot : slot + count] = k[:, first : first + count]
        memory.v[:, slot : slot + count] = v[:, first : first + count]
    return memory.k[:, : memory.valid], memory.v[:, : memory.valid]


WIDE = torch.complex128  # the widest elements that there are: numbers are moved so many at a time


# An operation of its own, because compilers make writing into a part of a tensor out of copying the whole of it: here
# ninety MB in every layer of every pass.
@torch.library.custom_op(
    "attentionbender::write_rows",
    mutates_args=("buffer",),
    schema="(Tensor(a!) buffer, Tensor index, Tensor rows) -> ()",
)
def write_rows(buffer: Tensor, index: Tensor, rows: Tensor) -> None:
    """buffer[:, index] = rows, of one dtype, [B, capacity, heads, d] and [B, n, heads, d]."""
    if buffer.device.type == "cuda" and _widens(buffer) and _widens(rows):
        buffer, rows = buffer.view(WIDE), rows.view(WIDE)
    buffer.index_copy_(1, index, rows)


def _widens(tensor: Tensor) -> bool:
    """Whether the tensor can be seen as one of WIDE elements."""
    steps = (tensor.shape[-1], tensor.storage_offset(), *tensor.stride()[:-1])
    return tensor.stride(-1) == 1 and not any(step * tensor.element_size() % WIDE.itemsize for step in steps)
