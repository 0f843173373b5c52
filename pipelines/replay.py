"""Passes recorded and replayed: a pass that comes again is launched as one thing instead of as thousands of kernels.

There is one recording for each bank, number of latent frames and fill of the cache. What differs between two passes of
one recording (rotation, slots in the cache, text, mask) is copied to fixed addresses before it is played; the bank's
tensors have theirs anyway, so knobs are heard. A pass is recorded when its kind comes for the second time: the first,
played as it is, lets compilers and libraries make their choices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pipelines.bends.bank import Bank
from pipelines.cache import KVCache, Placement
from pipelines.capture import Captured
from pipelines.rope import Turn
from pipelines.wan import TextMemory, Wan

Forward = Callable[[Tensor, Tensor], Tensor]


class Record(Protocol):
    """How a forward becomes a recording that is called like it."""

    def __call__(self, forward: Forward, x: Tensor, t: Tensor) -> Forward: ...


class Given(NamedTuple):
    """What one pass is given besides latents and times. `key_turn` as in LayerMemory."""

    bank: Bank
    slots: Placement
    text: TextMemory
    turn: Turn
    key_turn: Turn | None
    mask: Tensor | None


class Kind(NamedTuple):
    """What passes of one recording have in common, but for the bank."""

    tokens: int
    valid: int
    mask: tuple[int, ...] | None


class Replays:
    """The recordings of one network and one cache. They live as long as their bank."""

    def __init__(self, model: Wan, cache: KVCache, record: Record | None = None) -> None:
        """`record` None: as CUDA graphs, in memory that all of them share."""
        self._model, self._cache, self._record = model, cache, record or _captured()
        self._kept: WeakKeyDictionary[Bank, dict[Kind, _Recording | None]] = WeakKeyDictionary()
        self._text: TextMemory | None = None  # at fixed addresses
        self._spoken: TextMemory | None = None  # whose content it has

    def at(self, given: Given, plain: Forward) -> Forward:
        """The pass, played from its recording; `plain` where there is none yet, or cannot be."""
        kind = _kind(given)
        if kind is None:
            return plain
        kept = self._kept.setdefault(given.bank, {})
        if kind not in kept:
            kept[kind] = None
            return plain
        return lambda x, t: self._play(kept, kind, given, x, t)

    def let_go(self) -> None:
        """Free every recording, whoever still has its bank."""
        self._kept.clear()
        self._text = self._spoken = None

    def _play(self, kept: dict[Kind, _Recording | None], kind: Kind, given: Given, x: Tensor, t: Tensor) -> Tensor:
        self._say(given.text)
        recording = kept[kind]
        if recording is None:
            recording = _Recording(given)
            recording.take(given)  # it is played while it is recorded
            forward = recording.forward(self._model, self._cache, self._text, given)
            recording.run = self._record(forward, x, t)
            kept[kind] = recording
        recording.take(given)
        return recording.run(x, t)

    def _say(self, text: TextMemory) -> None:
        """Bring a prompt to where recordings read it."""
        if self._text is None:
            self._text = TextMemory(*(tuple(tensor.clone() for tensor in side) for side in text))
        elif text is not self._spoken:
            torch._foreach_copy_([*self._text.k, *self._text.v], [*text.k, *text.v])
        self._spoken = text


def _captured() -> Record:
    pool = torch.cuda.graph_pool_handle()
    return lambda forward, x, t: Captured(forward, x, t, pool=pool)


def _kind(given: Given) -> Kind | None:
    """None for a pass that reads tokens without writing them: a cache rewritten behind its sink, once a prompt."""
    tokens = given.turn.cos.shape[0]
    if sum(run.count for run in given.slots.runs) != tokens:
        return None
    return Kind(tokens, given.slots.valid, None if given.mask is None else tuple(given.mask.shape))


class _Recording:
    """One recorded pass, and the tensors it reads."""

    def __init__(self, given: Given) -> None:
        self._turn, self._key_turn = _turn_like(given.turn), _turn_like(given.key_turn)
        self._mask = None if given.mask is None else given.mask.clone()
        self._index = torch.zeros(given.turn.cos.shape[0], dtype=torch.long, device=given.turn.cos.device)
        self._slots: Placement | None = None
        self.run: Forward | None = None

    def forward(self, model: Wan, cache: KVCache, text: TextMemory, given: Given) -> Forward:
        """The pass on these tensors."""
        layers = range(model.config.num_layers)
        memory = tuple(cache.layer(i, given.slots, self._key_turn)._replace(runs=(), index=self._index) for i in layers)
        bends, turn, mask = given.bank.layers, self._turn, self._mask
        return lambda x, t: model(x, t, text, turn, memory, mask=mask, bends=bends)

    def take(self, given: Given) -> None:
        """Bring what is given to where the recording reads it."""
        _copy_turn(self._turn, given.turn)
        _copy_turn(self._key_turn, given.key_turn)
        if self._mask is not None:
            self._mask.copy_(given.mask)
        if given.slots != self._slots:
            self._slots = given.slots
            for first, slot, count in given.slots.runs:
                torch.arange(slot, slot + count, out=self._index[first : first + count])


def _turn_like(turn: Turn | None) -> Turn | None:
    return None if turn is None else Turn(*(None if part is None else part.clone() for part in turn))


def _copy_turn(target: Turn | None, source: Turn | None) -> None:
    if target is None or source is None:
        return
    for old, new in zip(target, source, strict=True):
        if old is not None:
            old.copy_(new)
