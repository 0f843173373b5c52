"""How bends of the attention map's geometry fold: per token set one matrix over places and one over frames, a layer.

Bends that hold the same tokens and heads make one set and compose in patch order, whatever their number; sets act side
by side, each on the map as it was. A set costs one more attention and one small matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pipelines.bends.fold import LIMIT, BankShape, Buffers, Still, Use, aligned, awake_layers, by_weight
from pipelines.bends.geometry import STILL, is_still, time_matrix, transform_matrix
from pipelines.spec import Value

SETS = 4  # token sets that can be moved at once
LARGEST = 4096  # places of a frame; the matrices of more would not fit beside the model


def room(layers: int, places: int, count: int, element: int) -> int:
    """Bytes that `count` bends of one lever take: a matrix for each layer and set, and in single precision each bend's
    own and the four that it takes to make and compose them."""
    return places**2 * (layers * min(count, SETS) * element + 4 * (count + 4))


class _Change(NamedTuple):
    """One bend's T - I over places and over frames, on the device, and the amounts it was built from."""

    key: tuple
    space: Tensor
    time: Tensor


def is_neutral(amounts: Mapping[str, Value]) -> bool:
    """Whether a transform of these amounts leaves every map as it is."""
    return float(amounts["mix"]) == 0.0 or is_still(amounts)


class _Transforms(Still):
    """Buffers of per-set, per-layer matrices M - I, and the columns each set holds."""

    def __init__(self, shape: BankShape, sizes: tuple[int, int], count: int) -> None:
        super().__init__(shape.layers)
        frames, self.height, self.width = shape.grid
        self.frames, self.sets = frames, min(count, SETS)
        self.moves = aligned((shape.layers, self.sets, shape.places, shape.places), shape)
        self.shifts = aligned((shape.layers, self.sets, frames, frames), shape)
        self.places = torch.zeros(self.sets, *sizes, dtype=shape.dtype, device=shape.device)
        self._fixed = shape.fixed
        self.slots = list(range(self.sets)) if shape.fixed else []  # the sets that are carried out
        self._device = shape.device
        self._built: list[_Change | None] = [None] * count
        self._written: list[tuple | None] = [None] * self.sets
        self._in_hand: _Chain | None = None
        self._chains: dict[tuple[int, int], tuple[_Chain, _Chain]] = {}  # of each set's groups of layers

    def write(self, uses: Sequence[Use]) -> None:
        groups: dict[bytes, list[int]] = {}
        for i, use in enumerate(uses):
            if use.heard(is_neutral(use.amounts)):
                groups.setdefault(use.place.numpy().tobytes(), []).append(i)
        chosen = list(groups.values())[: self.sets]
        for slot in range(self.sets):
            members = chosen[slot] if slot < len(chosen) else []
            self._write_set(slot, [(uses[i], self._build(i, uses[i].amounts)) for i in members])
        much = f"{len(groups)} token sets are to be moved at once; only the first {self.sets} are"
        self.notices = [much] if len(groups) > self.sets else []
        if not self._fixed:
            self.slots[:] = range(len(chosen))
        self.awake[:] = awake_layers([uses[i] for members in chosen for i in members], len(self.awake))

    def _build(self, index: int, amounts: Mapping[str, Value]) -> _Change:
        """One bend's change, kept until an amount of it moves."""
        key = tuple(value for name, value in amounts.items() if name != "mix")
        kept = self._built[index]
        if kept is None or kept.key != key:
            space = transform_matrix(self.height, self.width, amounts, self._device)
            time = time_matrix(self.frames, amounts).float().to(self._device, non_blocking=True)
            kept = self._built[index] = _Change(key, space, time)
        return kept

    def _write_set(self, slot: int, members: list[tuple[Use, _Change]]) -> None:
        uses = [use for use, _ in members]
        key = tuple((change.key, use.amounts["mix"], tuple(use.layers)) for use, change in members)
        if key != self._written[slot]:
            self._written[slot] = key
            idle = set(range(len(self.moves)))
            for count, (layers, group) in enumerate(by_weight(uses)):
                links = [(weight * float(uses[i].amounts["mix"]), members[i][1]) for weight, i in group]
                space, time = self._chains.setdefault((slot, count), (_Chain(), _Chain()))
                move = space.compose([(mix, change.space) for mix, change in links])
                shift = time.compose([(mix, change.time) for mix, change in links])
                for part in _runs(layers):
                    self.moves[part, slot], self.shifts[part, slot] = move, shift
                self._take_in_hand(space)
                idle.difference_update(layers)
            for part in _runs(sorted(idle)):
                self.moves[part, slot], self.shifts[part, slot] = 0, 0
        if members:
            self.places[slot].copy_(uses[0].place, non_blocking=True)

    def _take_in_hand(self, chain: _Chain) -> None:
        """Only the chain turned last keeps what lies around its bend: such matrices are large."""
        if self._in_hand is not None and self._in_hand is not chain:
            self._in_hand.let_go()
        self._in_hand = chain

    def layer(self, index: int) -> dict[str, Any]:
        return {"moves": self.moves[index], "shifts": self.shifts[index], "places": self.places, "slots": self.slots}


class _Chain:
    """Changes composed in order: (I + m_n C_n) ... (I + m_1 C_1) - I for mixes m and changes C [n, n]; exactly zero
    where there is no change.

    A hand turns one bend at a time, so what comes before and after the one turned last is kept.
    """

    def __init__(self) -> None:
        self._links: list[tuple[float, Tensor]] = []
        self._turned = -1
        self._around: tuple[Tensor | None, Tensor | None] = (None, None)

    def compose(self, links: list[tuple[float, Tensor]]) -> Tensor:
        turned = self._one_turned(links)
        if turned is None:
            self.let_go()
            composed = _product(links)
        else:
            if turned != self._turned:
                self._turned, self._around = turned, (_product(links[:turned]), _product(links[turned + 1 :]))
            before, after = self._around
            mix, change = links[turned]
            composed = _then(_then(before, mix * change), after)
        self._links = links
        return composed

    def let_go(self) -> None:
        """Keep nothing of what lies around the bend turned last."""
        self._turned, self._around = -1, (None, None)

    def _one_turned(self, links: list[tuple[float, Tensor]]) -> int | None:
        """The one link that differs from the last ones, if there is exactly one."""
        if len(links) != len(self._links):
            return None
        pairs = enumerate(zip(links, self._links, strict=True))
        differ = [i for i, (new, old) in pairs if new[0] != old[0] or new[1] is not old[1]]
        return differ[0] if len(differ) == 1 else None


def _runs(layers: list[int]) -> Iterator[slice]:
    """Ascending indices as slices of neighbours: a slice is written without asking the device anything."""
    start = 0
    for i in range(1, len(layers) + 1):
        if i == len(layers) or layers[i] != layers[i - 1] + 1:
            yield slice(layers[start], layers[i - 1] + 1)
            start = i


def _product(links: list[tuple[float, Tensor]]) -> Tensor | None:
    composed: Tensor | None = None
    for mix, change in links:
        composed = _then(composed, mix * change)
    return composed


def _then(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """(I + second)(I + first) - I, where None is no change."""
    if first is None or second is None:
        return second if first is None else first
    return first + second + second @ first


@dataclass(frozen=True)
class Transforms:
    """Spatial transforms of the map; the lever gets, for each set, `moves` M - I [n, P, P] over the P places of a
    frame, `shifts` [n, F, F] over the F latent frames of a chunk, `places` [n, heads, columns], and `slots`, the sets
    to carry out."""

    rank: ClassVar[int] = LIMIT
    neutral: ClassVar[Mapping[str, Value]] = STILL  # or mix 0
    reads: ClassVar[tuple[str, ...]] = (*STILL, "region_feather", "padding", "mix")
    gives: ClassVar[tuple[str, ...]] = ("moves", "shifts", "places", "slots")

    def is_neutral(self, amounts: Mapping[str, Value]) -> bool:
        return is_neutral(amounts)

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        """ValueError for pictures whose matrices would not fit into memory."""
        if shape.places > LARGEST:
            size = f"{shape.grid[2] * 16}x{shape.grid[1] * 16}"
            raise ValueError(f"map.transform at {size}: at most {LARGEST} patches a frame; choose a smaller picture")
        return _Transforms(shape, sizes, count)
