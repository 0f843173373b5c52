"""A patch after a bend has come or gone: everything it says of bends, by name or by place, still means the same ones.

What it says of a bend that has gone goes too, so that the patch can be made ready again. Knows patches alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from instrument.modulation.modspec import ModulatorSpec
from instrument.modulation.modulators import targets_of
from instrument.state.patch import BendSpec, Patch

_BY_PLACE = re.compile(r"bend\.(\d+)\.(.+)")
T = TypeVar("T")


def with_bend(patch: Patch, spec: BendSpec, place: int) -> Patch:
    """The patch with one bend more, at this place from 0."""
    bends = [*patch.bends[:place], spec, *patch.bends[place:]]
    return _reworded(patch, bends, {number: number + (number > place) for number in range(1, len(bends))}, "")


def without_bend(patch: Patch, place: int) -> Patch:
    """The patch without the bend at this place from 0."""
    bends = [*patch.bends[:place], *patch.bends[place + 1 :]]
    moved = {number: number - (number > place) for number in range(1, len(patch.bends) + 1) if number != place + 1}
    return _reworded(patch, bends, moved, f"{patch.bends[place].name}.")


def _reworded(patch: Patch, bends: list[BendSpec], moved: Mapping[int, int], gone: str) -> Patch:
    """`moved`: old place -> new one, from 1; `gone`: how ids begin that are no more, "" if none are."""

    def again(id: str) -> str | None:
        found = _BY_PLACE.fullmatch(id)
        if found is None:
            return None if gone and id.startswith(gone) else id
        number = moved.get(int(found[1]))
        return None if number is None else f"bend.{number}.{found[2]}"

    def kept(values: Mapping[str, T]) -> dict[str, T]:
        return {new: value for id, value in values.items() if (new := again(id)) is not None}

    def aimed(spec: ModulatorSpec) -> ModulatorSpec:
        targets = [new for id in targets_of(spec.to) if (new := again(id)) is not None]
        return spec if targets == targets_of(spec.to) else spec.model_copy(update={"to": ", ".join(targets)})

    return patch.model_copy(
        update={
            "bends": bends,
            "values": kept(patch.values),
            "glide": kept(patch.glide),
            "modulators": [aimed(spec) for spec in patch.modulators],
            "snapshots": {name: kept(values) for name, values in patch.snapshots.items()},
        }
    )
