"""Folding: how all bends of one lever become one set of tensors. A hundred gains or thresholds cost the network what
one costs; noises and transforms cost one small operation a bend.

A fold owns fixed-shape buffers, [layers, ...] each, and rewrites them from the bends' amounts and weights. Weights
are products of small vectors: layer x head x column. This file knows nothing of hook points or parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pipelines.bends.geometry import transform_matrix
from pipelines.bends.noise import NoiseField
from pipelines.spec import Value


@dataclass(frozen=True)
class BankShape:
    """Sizes of the network that a bank bends, for one pass."""

    layers: int
    heads: int
    dim: int
    ffn_dim: int
    text_len: int
    grid: tuple[int, int, int]  # latent frames, rows, columns of patches
    device: torch.device
    dtype: torch.dtype

    @property
    def tokens(self) -> int:
        return math.prod(self.grid)


class Use(NamedTuple):
    """One bend as a fold sees it in this pass: amounts by name, and weights in 0..1."""

    amounts: Mapping[str, Value]
    layers: Sequence[float]
    heads: Tensor  # [heads] or [1]
    columns: Tensor  # [columns] or [1]


class Fold(Protocol):
    rank: int  # order at a hook point: gain, threshold, noise

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, seed: int) -> Buffers:
        """Fixed buffers for `count` bends; `sizes` are (heads, columns), 1 where the lever has no such scope."""


class Buffers(Protocol):
    alive: bool  # must be written each pass, changed or not (a noise that moves)

    def reset(self) -> None:
        """Back to the first pass."""

    def write(self, uses: Sequence[Use]) -> None:
        """Rewrite the tensors for these bends, in patch order."""

    def layer(self, index: int) -> dict[str, Tensor | tuple[Tensor, ...]]:
        """One block's view of the tensors, by the lever function's keyword."""


class _Amount:
    """Buffers holding one folded number per layer, head and column."""

    alive = False

    def __init__(self, name: str, shape: BankShape, sizes: tuple[int, int], neutral: float) -> None:
        self.name, self.neutral = name, neutral
        heads, columns = sizes
        self.folded = torch.full((shape.layers, heads, columns), neutral, dtype=torch.float32, device=shape.device)
        self.heard = self.folded.to(shape.dtype, copy=True)

    def scales(self, uses: Sequence[Use]) -> list[tuple[Tensor, Tensor]]:
        """Per bend: its layer weights [layers, 1, 1] and its place weights [1, heads, columns]."""
        device = self.folded.device
        layers = torch.tensor([list(use.layers) for use in uses], dtype=torch.float32).to(device)
        return [(layers[i][:, None, None], (use.heads[:, None] * use.columns)[None]) for i, use in enumerate(uses)]

    def reset(self) -> None:
        pass  # nothing here depends on time

    def layer(self, index: int) -> dict[str, Tensor]:
        return {self.name: self.heard[index]}


class _Product(_Amount):
    def write(self, uses: Sequence[Use]) -> None:
        self.folded.fill_(1.0)
        for (layers, place), use in zip(self.scales(uses), uses, strict=True):
            self.folded.mul_(1.0 + layers * place * (float(use.amounts[self.name]) - 1.0))
        self.heard.copy_(self.folded)


class _Maximum(_Amount):
    def write(self, uses: Sequence[Use]) -> None:
        self.folded.fill_(0.0)
        for (layers, place), use in zip(self.scales(uses), uses, strict=True):
            torch.maximum(self.folded, layers * place * float(use.amounts[self.name]), out=self.folded)
        self.heard.copy_(self.folded)


class _Noises:
    """Per bend one unit noise with its own seed and motion, and its strength per layer, head and column.

    Independent noises add their variances by themselves; what they cost is one multiply and add a bend.
    """

    alive = False

    def __init__(self, name: str, shape: BankShape, sizes: tuple[int, int], fields: Sequence[NoiseField]) -> None:
        self.name, self.fields = name, tuple(fields)
        self.strength = torch.zeros(shape.layers, len(fields), *sizes, dtype=shape.dtype, device=shape.device)

    def reset(self) -> None:
        for field in self.fields:
            field.reset()

    def write(self, uses: Sequence[Use]) -> None:
        layers = torch.tensor([list(use.layers) for use in uses], dtype=torch.float32).to(self.strength.device)
        self.alive = False
        for i, (use, field) in enumerate(zip(uses, self.fields, strict=True)):
            amount, motion = float(use.amounts[self.name]), float(use.amounts["motion"])
            place = (use.heads[:, None] * use.columns)[None]
            self.strength[:, i].copy_(amount * layers[i][:, None, None] * place)
            if amount > 0 and any(use.layers):
                field.advance(int(use.amounts["seed"]), motion)
                self.alive |= motion > 0

    def layer(self, index: int) -> dict[str, Tensor | tuple[Tensor, ...]]:
        return {self.name: self.strength[index], "epsilon": tuple(field.layer(index) for field in self.fields)}


class _Transforms:
    """Buffers of spatial maps: per bend T - I over the patch grid, its tokens, and its mix per layer."""

    alive = False

    def __init__(self, shape: BankShape, count: int, columns: int) -> None:
        _, self.height, self.width = shape.grid
        places = self.height * self.width
        like = {"dtype": shape.dtype, "device": shape.device}
        self.change = torch.zeros(count, places, places, **like)
        self.tokens = torch.zeros(count, columns, **like)
        self.mix = torch.zeros(shape.layers, count, **like)
        self._built: list[tuple] = [()] * count

    def reset(self) -> None:
        pass  # nothing here depends on time

    def write(self, uses: Sequence[Use]) -> None:
        rows = []
        for i, use in enumerate(uses):
            amounts = {name: value for name, value in use.amounts.items() if name != "mix"}
            key = tuple(amounts.values())
            if key != self._built[i]:
                self.change[i].copy_(transform_matrix(self.height, self.width, amounts))
                self._built[i] = key
            self.tokens[i].copy_(use.columns)
            rows.append([weight * float(use.amounts["mix"]) for weight in use.layers])
        self.mix.copy_(torch.tensor(rows, dtype=torch.float32).T)

    def layer(self, index: int) -> dict[str, Tensor]:
        return {"change": self.change, "tokens": self.tokens, "mix": self.mix[index]}


@dataclass(frozen=True)
class Product:
    """Gains multiply: the product of 1 + w (g - 1)."""

    name: str
    rank: int = 0

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, seed: int) -> Buffers:
        return _Product(self.name, shape, sizes, 1.0)


@dataclass(frozen=True)
class Maximum:
    """Thresholds take the largest w tau."""

    name: str
    rank: int = 1

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, seed: int) -> Buffers:
        return _Maximum(self.name, shape, sizes, 0.0)


@dataclass(frozen=True)
class Noises:
    """Each bend keeps a noise of its own, so that variances add and no bend hears another's seed or motion.

    The lever gets its strengths [n, heads, columns] and `epsilon`, n unit noises shaped as the tensor they disturb:
    [tokens, `width`], where width names a size of the network ("dim" or "ffn_dim").
    """

    name: str
    width: str
    rank: int = 2

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, seed: int) -> Buffers:
        columns = {"dim": shape.dim, "ffn_dim": shape.ffn_dim}[self.width]
        fields = [
            NoiseField(shape.tokens, columns, shape.layers, seed + i, shape.device, shape.dtype) for i in range(count)
        ]
        return _Noises(self.name, shape, sizes, fields)


@dataclass(frozen=True)
class Transforms:
    """Spatial transforms of the map compose in patch order; the lever gets each bend's `change` T - I [n, P, P] over
    the P places of the patch grid, its `tokens` [n, text_len] and its `mix` [n]."""

    rank: int = 0

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, seed: int) -> Buffers:
        return _Transforms(shape, count, sizes[1])
