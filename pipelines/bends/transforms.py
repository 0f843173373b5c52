"""How bends of the attention map's geometry fold: per token set one matrix over places and one over frames, a layer.

Bends that hold the same tokens and heads make one set and compose in patch order, whatever their number; sets act side
by side, each on the map as it was. A set costs one more attention and one small matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipelines.bends.fold import BankShape, Buffers, Still, Use, aligned, awake_layers, by_weight
from pipelines.bends.geometry import is_still, time_matrix, transform_matrix
from pipelines.spec import Value

SETS = 4  # token sets that can be moved at once
LARGEST = 4096  # places of a frame; the matrices of more would not fit beside the model


class _Change(NamedTuple):
    """One bend's T - I over places and over frames, on the device, and the amounts it was built from."""

    key: tuple
    space: Tensor
    time: Tensor


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

    def write(self, uses: Sequence[Use]) -> None:
        groups: dict[bytes, list[int]] = {}
        for i, use in enumerate(uses):
            if use.heard(float(use.amounts["mix"]) == 0.0 or is_still(use.amounts)):
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
            self.moves[:, slot] = 0
            self.shifts[:, slot] = 0
            for layers, group in by_weight(uses):
                mixes = [(weight * float(uses[i].amounts["mix"]), members[i][1]) for weight, i in group]
                at = slice(layers[0], layers[-1] + 1) if len(layers) == layers[-1] - layers[0] + 1 else layers
                self.moves[at, slot] = _composed([(mix, change.space) for mix, change in mixes]).to(self.moves.dtype)
                self.shifts[at, slot] = _composed([(mix, change.time) for mix, change in mixes]).to(self.shifts.dtype)
        if members:
            self.places[slot].copy_(members[0][0].place, non_blocking=True)

    def layer(self, index: int) -> dict[str, Any]:
        return {"moves": self.moves[index], "shifts": self.shifts[index], "places": self.places, "slots": self.slots}


def _composed(changes: list[tuple[float, Tensor]]) -> Tensor:
    """(I + m_n C_n) ... (I + m_1 C_1) - I for mixes m and changes C [n, n]; exactly zero where there is no change."""
    (mix, change), *others = changes
    composed = mix * change
    for mix, change in others:
        composed = composed + mix * (change + change @ composed)
    return composed


@dataclass(frozen=True)
class Transforms:
    """Spatial transforms of the map; the lever gets, for each set, `moves` M - I [n, P, P] over the P places of a
    frame, `shifts` [n, F, F] over the F latent frames of a chunk, `places` [n, heads, columns], and `slots`, the sets
    in use."""

    rank: int = 1

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        """ValueError for pictures whose matrices would not fit into memory."""
        if shape.places > LARGEST:
            size = f"{shape.grid[2] * 16}x{shape.grid[1] * 16}"
            raise ValueError(f"map.transform at {size}: at most {LARGEST} patches a frame; choose a smaller picture")
        return _Transforms(shape, sizes, count)
