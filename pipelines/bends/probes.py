"""Probes: looks at the network while it plays: where words act, how loud neurons are.

A look is asked for once and taken when it is there; nothing is computed in between. A map is looked at bends and all:
as it stands where nothing moves it and it is small, else as its product with marks for the tokens looked at, which
costs once more what the bends on it cost. A compiled forward is left for the blocks looked into, a recorded one for the
whole pass. Asking and taking may happen in any thread; only the stream arms.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipelines.bends.hooks import Attention, LayerBends


@dataclass(frozen=True)
class MapLook:
    """Where tokens act in the picture: the cross-attention map of one layer at one step (None: the cache pass), of one
    head, or the mean of all."""

    layer: int
    step: int | None
    tokens: tuple[int, ...]
    head: int | None = None

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("a map look without tokens shows nothing; name at least one")


@dataclass(frozen=True)
class NeuronLook:
    """How loud the hidden neurons of one feed-forward layer are at one step: in `bands` neighbouring groups, and the
    `top` loudest."""

    layer: int
    step: int | None
    bands: int = 64
    top: int = 16

    def __post_init__(self) -> None:
        if self.bands < 1 or self.top < 1:
            raise ValueError(f"a neuron look needs at least one band and one neuron, got {self.bands} and {self.top}")


Look = MapLook | NeuronLook
MOST = 256  # looks asked for and not yet due, or seen and not yet taken; the oldest are forgotten


class Neurons(NamedTuple):
    """rms over all positions: of each band [bands], and of the loudest neurons [top] with their indices [top]."""

    bands: np.ndarray
    top: np.ndarray
    loudness: np.ndarray


class Probes:
    """What has been asked for and what has been seen, the latest of each look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Look, None] = {}
        self._seen: dict[Look, tuple[Tensor, ...]] = {}
        self._armed: list[LayerBends] = []

    def ask(self, look: Look) -> None:
        """See this at the next pass that has it. A layer, head or token that does not exist is never seen."""
        with self._lock:
            self._asked[look] = None
            while len(self._asked) > MOST:
                del self._asked[next(iter(self._asked))]

    def take(self, look: Look) -> np.ndarray | Neurons | None:
        """What was seen, once: maps [tokens, F, H, W] or Neurons; None as long as there is nothing."""
        with self._lock:
            seen = self._seen.pop(look, None)
        if seen is None:
            return None
        arrays = [tensor.cpu().numpy() for tensor in seen]  # waits for the device, in the thread that wants to know
        return arrays[0] if isinstance(look, MapLook) else Neurons(*arrays)

    def forget(self) -> None:
        """Drop everything asked for and seen: another network or another picture size plays."""
        with self._lock:
            self._asked.clear()
            self._seen.clear()

    def arm(self, step: int | None, layers: Sequence[LayerBends]) -> bool:
        """Have the blocks of the coming pass look, where something was asked of this step; whether anything was."""
        if not self._asked:
            return False
        with self._lock:
            due = [look for look in self._asked if look.step == step]
            for look in due:
                del self._asked[look]
        due = [look for look in due if 0 <= look.layer < len(layers)]
        for index in {look.layer for look in due}:
            layers[index].watch = _Glance(self, [look for look in due if look.layer == index])
            self._armed.append(layers[index])
        return bool(due)

    def disarm(self) -> None:
        """The pass is over."""
        for layer in self._armed:
            layer.watch = None
        self._armed.clear()

    def keep(self, look: Look, *seen: Tensor) -> None:
        with self._lock:
            self._seen[look] = seen
            while len(self._seen) > MOST:
                del self._seen[next(iter(self._seen))]


class _Glance:
    """Looks at one block during one pass."""

    def __init__(self, probes: Probes, looks: Sequence[Look]) -> None:
        self.probes = probes
        self.maps = [look for look in looks if isinstance(look, MapLook)]
        self.neurons = [look for look in looks if isinstance(look, NeuronLook)]

    def see(self, point: str, x: Tensor) -> None:
        if point != "ffn.hidden":
            return
        for look in self.neurons:
            power = x[0].float().square().mean(0)  # [ffn_dim]
            loudest = power.topk(min(look.top, len(power)))
            bands = _bands(power, min(look.bands, len(power)))
            self.probes.keep(look, bands.sqrt(), loudest.indices, loudest.values.sqrt())

    def see_map(self, site: str, bends: LayerBends, seen: Attention) -> None:
        if site != "cross":
            return
        keys, heads = seen.v.shape[1:3]
        for look in self.maps:
            if all(0 <= token < keys for token in look.tokens) and 0 <= (look.head or 0) < heads:
                self.probes.keep(look, _columns(bends, seen, look))


def _bands(power: Tensor, count: int) -> Tensor:
    """Means of `count` neighbouring groups of power [n], as even as they can be (the first are the longer ones)."""
    size, longer = divmod(len(power), count)
    cut = longer * (size + 1)
    return torch.cat([power[:cut].view(longer, size + 1).mean(1), power[cut:].view(count - longer, size).mean(1)])


def _columns(bends: LayerBends, seen: Attention, look: MapLook) -> Tensor:
    """The bent map's columns of the tokens looked at, [tokens, F, H, W]."""
    one = seen._replace(q=seen.q[:1], k=seen.k[:1], rows=None if seen.rows is None else seen.rows[:1])
    built = one.built() if bends.leaves("cross.columns") and bends.leaves("cross.map") else None
    if built is None:
        return _read_columns(bends, one, look).T.unflatten(1, seen.grid)
    chosen = built[0] if look.head is None else built[0, look.head : look.head + 1]  # [heads, Lq, Lk]
    return chosen.float().mean(0).T[list(look.tokens)].unflatten(1, seen.grid)


def _read_columns(bends: LayerBends, one: Attention, look: MapLook) -> Tensor:
    """[Lq, tokens], as the map's product with marks: as many at once as a head has channels."""
    parts = []
    for some in torch.tensor(look.tokens, device=one.v.device).split(one.v.shape[3]):
        marks = torch.zeros_like(one.v[:1])
        marks[:, some, :, torch.arange(len(some), device=some.device)] = 1
        columns = bends.through("cross", one, marks)[0, :, :, : len(some)].float()  # [Lq, heads, tokens]
        parts.append(columns.mean(1) if look.head is None else columns[:, look.head])
    return torch.cat(parts, dim=1)
