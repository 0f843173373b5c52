"""How bends of the attention map's geometry fold: per token set one matrix over places and one over frames, a layer.

Bends that hold the same tokens and heads make one set and compose in patch order, whatever their number; sets act side
by side, each on the map as it was. A set costs one more attention and one small matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.bends.fold import BankShape, Buffers, Still, Use
from pipelines.bends.geometry import time_matrix, transform_matrix
from pipelines.spec import Value

SETS = 4  # token sets that can be moved at once
LARGEST = 4096  # places of a frame; the matrices of more would not fit beside the model


class _Transforms(Still):
    """Buffers of per-set, per-layer matrices M - I, and the columns each set holds."""

    def __init__(self, shape: BankShape, sizes: tuple[int, int], count: int) -> None:
        super().__init__(shape.layers)
        frames, self.height, self.width = shape.grid
        self.frames, self.sets = frames, min(count, SETS)
        like = {"dtype": shape.dtype, "device": shape.device}
        self.moves = torch.zeros(shape.layers, self.sets, shape.places, shape.places, **like)
        self.shifts = torch.zeros(shape.layers, self.sets, frames, frames, **like)
        self.places = torch.zeros(self.sets, *sizes, **like)
        self._fixed = shape.fixed
        self.slots = list(range(self.sets)) if shape.fixed else []  # the sets that are carried out
        self._device = shape.device
        self._built: list[tuple[tuple, tuple[Tensor, Tensor, bool]] | None] = [None] * count
        self._written: list[tuple | None] = [None] * self.sets

    def write(self, uses: Sequence[Use]) -> None:
        self.notices = []
        awake = [False] * len(self.awake)
        groups: dict[bytes, list[int]] = {}
        for i, use in enumerate(uses):
            if use.heard(float(use.amounts["mix"]) == 0.0) and not self._build(i, use.amounts)[2]:
                groups.setdefault(use.place.numpy().tobytes(), []).append(i)
                awake = [was or weight > 0 for was, weight in zip(awake, use.layers, strict=True)]
        if len(groups) > self.sets:
            self.notices.append(f"{len(groups)} token sets are to be moved at once; only the first {self.sets} are")
        chosen = list(groups.values())[: self.sets]
        for slot in range(self.sets):
            self._write_set(slot, [(i, uses[i]) for i in chosen[slot]] if slot < len(chosen) else [])
        if not self._fixed:
            self.slots[:] = range(len(chosen))
        self.awake[:] = awake

    def _build(self, index: int, amounts: dict[str, Value]) -> tuple[Tensor, Tensor, bool]:
        """One bend's T - I over places and over frames, on the device, and whether both are zero; kept until an
        amount changes."""
        key = tuple(value for name, value in amounts.items() if name != "mix")
        kept = self._built[index]
        if kept is None or kept[0] != key:
            space, time = transform_matrix(self.height, self.width, amounts), time_matrix(self.frames, amounts)
            still = not (space.any() or time.any())
            kept = self._built[index] = (key, (*(m.float().to(self._device) for m in (space, time)), still))
        return kept[1]

    def _write_set(self, slot: int, members: list[tuple[int, Use]]) -> None:
        key = tuple((self._built[i][0], use.amounts["mix"], tuple(use.layers)) for i, use in members)
        if key != self._written[slot]:
            self._written[slot] = key
            for target, part in ((self.moves, 0), (self.shifts, 1)):
                target[:, slot].copy_(self._compose(target.shape, members, part))
        if members:
            self.places[slot].copy_(members[0][1].place)

    def _compose(self, shape: torch.Size, members: list[tuple[int, Use]], part: int) -> Tensor:
        """(I + m_n C_n) ... (I + m_1 C_1) - I for the members' changes C and their mixes m per layer, [layers, n, n];
        exactly zero where there is no change."""
        composed: Tensor | None = None
        for i, use in members:
            change = self._built[i][1][part]
            mix = torch.tensor([weight * float(use.amounts["mix"]) for weight in use.layers]).to(self._device)
            own = mix[:, None, None] * change
            composed = own if composed is None else composed + own + own @ composed
        if composed is None:
            return torch.zeros(1, device=self._device)
        return composed

    def layer(self, index: int) -> dict[str, Any]:
        return {"moves": self.moves[index], "shifts": self.shifts[index], "places": self.places, "slots": self.slots}


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
