"""Folding: how all bends of one lever become one set of tensors, so that a hundred cost the network what one costs.

A fold owns fixed-shape buffers, [layers, ...] each, and rewrites them from the bends' amounts and weights. Weights
are products of small vectors: layer x head x column. This file knows nothing of hook points or parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from pipelines.bends.upload import Upload
from pipelines.spec import Value


@dataclass(frozen=True)
class BankShape:
    """Sizes of the network that a bank bends, for one pass.

    `window`: latent frames that self-attention reads at most, these included; None for a network without a past.
    `fixed`: the forward is compiled or captured, so every lever is carried out in every pass, neutral or not.
    """

    layers: int
    heads: int
    dim: int
    ffn_dim: int
    text_len: int
    grid: tuple[int, int, int]  # latent frames, rows, columns of patches
    device: torch.device
    dtype: torch.dtype
    window: int | None = None
    fixed: bool = False

    @property
    def places(self) -> int:
        """Patches of a latent frame."""
        return self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        return math.prod(self.grid)

    @property
    def keys(self) -> int:
        """The most keys that self-attention reads."""
        return (self.window or self.grid[0]) * self.places


class Use(NamedTuple):
    """One bend as a fold sees it in this pass: amounts by name, and weights in 0..1. Tensors are on the CPU."""

    amounts: Mapping[str, Value]
    layers: Sequence[float]
    heads: Tensor  # [heads] or [1]
    columns: Tensor  # [columns] or [1]
    on: bool = True  # not muted, in whatever step

    @property
    def place(self) -> Tensor:
        """Weights [heads, columns]."""
        return self.heads[:, None] * self.columns

    def heard(self, neutral: bool) -> bool:
        """Whether the bend does anything in this pass, given whether its amounts are neutral."""
        return not neutral and any(self.layers) and bool(self.place.any())


GAIN, SUM, LIMIT, NOISE, LAST = range(5)  # ranks: the order of acts at a hook point


class Fold(Protocol):
    """How the bends of one lever become one: makes the buffers for a bank, and says when a bend does nothing."""

    @property
    def rank(self) -> int:
        """Order at a hook point, GAIN to LAST."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The amounts it folds: all that the lever has."""

    @property
    def neutral(self) -> Mapping[str, Value]:
        """The amounts of which one must be off the value given here for a bend to do anything."""

    @property
    def gives(self) -> tuple[str, ...]:
        """The keywords under which the lever's function gets what was folded."""

    def is_neutral(self, amounts: Mapping[str, Value]) -> bool:
        """Whether a bend of these amounts does nothing, wherever it acts."""

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        """Fixed buffers for `count` bends; `sizes` are (heads, columns), 1 where the lever has no such scope. `salt`
        tells one lever's randomness from another's."""


class Buffers(Protocol):
    """The tensors of one lever in one bank, [layers, ...] each, always at the same addresses."""

    awake: list[bool]  # per layer: whether the lever does anything there in this pass
    notices: list[str]  # what a player should know of the last write

    def reset(self) -> None:
        """Back to the first pass."""

    def write(self, uses: Sequence[Use]) -> None:
        """Rewrite the tensors for these bends, in patch order."""

    def advance(self) -> None:
        """One pass onward, for what moves by itself."""

    def layer(self, index: int) -> dict[str, Any]:
        """One block's view, by the lever function's keyword: tensors, tuples of them, and lists that `write` keeps up
        to date in place."""


def aligned(size: tuple[int, ...], shape: BankShape) -> Tensor:
    """Zeros on the bank's device, each layer's share at an address that kernels can read in whole words: compiled code
    would copy what is not."""
    count = math.prod(size[1:])
    padded = -(-count // _WORD) * _WORD
    return torch.zeros(size[0], padded, dtype=shape.dtype, device=shape.device)[:, :count].unflatten(1, size[1:])


_WORD = 64  # elements


class Still:
    """What buffers have in common in which nothing moves by itself."""

    def __init__(self, layers: int) -> None:
        self.awake = [False] * layers
        self.notices: list[str] = []

    def reset(self) -> None:
        """Nothing here depends on time."""

    def advance(self) -> None:
        """Nothing here depends on time."""


class _Amounts(Still):
    """Buffers holding one folded number per layer, head and column."""

    def __init__(self, name: str, shape: BankShape, sizes: tuple[int, int], neutral: float, join: Join) -> None:
        """`join(folded, weights, amount)` folds one more bend into a tensor, given its weights there."""
        super().__init__(shape.layers)
        self.name, self.neutral, self._join = name, neutral, join
        self.folded = torch.full((shape.layers, *sizes), neutral)
        self.heard = aligned((shape.layers, *sizes), shape)
        self._upload = Upload(self.heard)

    def write(self, uses: Sequence[Use]) -> None:
        self.folded.fill_(self.neutral)
        heard = [use for use in uses if use.heard(float(use.amounts[self.name]) == self.neutral)]
        for index, group in by_weight(heard):
            row = torch.full_like(self.folded[0], self.neutral)
            for weight, i in group:
                row = self._join(row, weight * heard[i].place, float(heard[i].amounts[self.name]))
            self.folded[index] = row
        self._upload(self.folded)
        self.awake[:] = awake_layers(heard, len(self.awake))

    def layer(self, index: int) -> dict[str, Any]:
        return {self.name: self.heard[index]}


def by_weight(uses: Sequence[Use]) -> Iterator[tuple[list[int], list[tuple[float, int]]]]:
    """The layers in groups that the bends weigh alike: their indices, and of every bend at work there its weight and
    its place in `uses`.

    Thirty layers in a window are folded as one: most bends weigh whole windows of layers alike.
    """
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, weights in enumerate(zip(*(use.layers for use in uses), strict=True)):
        groups.setdefault(weights, []).append(index)
    for weights, indices in groups.items():
        working = [(weight, i) for i, weight in enumerate(weights) if weight > 0]
        if working:
            yield indices, working


def awake_layers(uses: Sequence[Use], layers: int) -> list[bool]:
    """Per layer, whether any of these bends has a weight there."""
    return [any(use.layers[index] > 0 for use in uses) for index in range(layers)]


Join = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class _OneAmount(ABC):
    """What folds of a single number have in common. The lever's function gets it under the amount's own name,
    [heads, columns]."""

    NEUTRAL: ClassVar[float]
    name: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def neutral(self) -> Mapping[str, Value]:
        return {self.name: self.NEUTRAL}

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.name,)

    def is_neutral(self, amounts: Mapping[str, Value]) -> bool:
        return float(amounts[self.name]) == self.NEUTRAL

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        return _Amounts(self.name, shape, sizes, self.NEUTRAL, self._join)

    @staticmethod
    @abstractmethod
    def _join(folded: Tensor, weights: Tensor, amount: float) -> Tensor:
        """One more bend folded into what is there, given its weights: both [heads, columns]."""


@dataclass(frozen=True)
class Product(_OneAmount):
    """Gains multiply: the product of 1 + w (g - 1)."""

    NEUTRAL = 1.0
    rank: int = GAIN

    @staticmethod
    def _join(folded: Tensor, weights: Tensor, amount: float) -> Tensor:
        return folded * (1.0 + weights * (amount - 1.0))


@dataclass(frozen=True)
class Sum(_OneAmount):
    """What is added adds up: the sum of w a."""

    NEUTRAL = 0.0
    rank: int = SUM

    @staticmethod
    def _join(folded: Tensor, weights: Tensor, amount: float) -> Tensor:
        return folded + weights * amount


@dataclass(frozen=True)
class Maximum(_OneAmount):
    """Thresholds take the largest w tau; below 0 nothing is heard."""

    NEUTRAL = 0.0
    rank: int = LIMIT

    @staticmethod
    def _join(folded: Tensor, weights: Tensor, amount: float) -> Tensor:
        return torch.maximum(folded, weights * amount)


class Each:
    """Several amounts of one lever, each with a fold of its own: `Each(Product("gain"), Sum("bias"))`.

    The lever is at work where any of them is off neutral. It comes as late at its hook point as the last of them.
    """

    def __init__(self, *folds: Fold) -> None:
        """Raises ValueError where two folds read one amount."""
        self.folds = folds
        twice = [name for name in self.reads if self.reads.count(name) > 1]
        if twice:
            raise ValueError(f"two folds read '{twice[0]}'; each needs amounts of its own")

    @property
    def rank(self) -> int:
        return max(fold.rank for fold in self.folds)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for fold in self.folds for name in fold.reads)

    @property
    def neutral(self) -> Mapping[str, Value]:
        return {name: value for fold in self.folds for name, value in fold.neutral.items()}

    @property
    def gives(self) -> tuple[str, ...]:
        return tuple(name for fold in self.folds for name in fold.gives)

    def is_neutral(self, amounts: Mapping[str, Value]) -> bool:
        return all(fold.is_neutral(amounts) for fold in self.folds)

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        return _Parts([fold.allocate(shape, sizes, count, salt) for fold in self.folds], shape.layers)


class _Parts:
    """The buffers of several folds, as one."""

    def __init__(self, parts: Sequence[Buffers], layers: int) -> None:
        self.parts = tuple(parts)
        self.awake = [False] * layers

    @property
    def notices(self) -> list[str]:
        return [notice for part in self.parts for notice in part.notices]

    def reset(self) -> None:
        for part in self.parts:
            part.reset()

    def write(self, uses: Sequence[Use]) -> None:
        for part in self.parts:
            part.write(uses)
        self.awake[:] = [any(layer) for layer in zip(*(part.awake for part in self.parts), strict=True)]

    def advance(self) -> None:
        for part in self.parts:
            part.advance()

    def layer(self, index: int) -> dict[str, Any]:
        return {name: folded for part in self.parts for name, folded in part.layer(index).items()}
