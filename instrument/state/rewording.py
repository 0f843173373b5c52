"""A patch after a bend or a modulator has come or gone: everything it says of them, by name or by place, still means
the same ones.

What it says of one that has gone goes too, so that the patch can be made ready again. Knows patches alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from instrument.modulation.modspec import ModulatorSpec, named, reworded
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


def with_modulator(patch: Patch, name: str, spec: ModulatorSpec, place: int) -> Patch:
    """The patch with one modulator more, at this place from 0. All have their names written down from now on, because
    one that is called by its number would be called otherwise."""
    specs = _by_name(patch)
    return patch.model_copy(update={"modulators": [*specs[:place], _called(spec, name), *specs[place:]]})


def without_modulator(patch: Patch, name: str) -> Patch:
    """The patch without the modulator of this name. The others have their names written down, as above."""
    specs = [spec for spec in _by_name(patch) if spec.name != name]
    return _spoken(patch, lambda id: None if id == name or id.startswith(f"{name}.") else id, specs)


def _by_name(patch: Patch) -> list[ModulatorSpec]:
    return [_called(spec, name) for name, spec in named(patch.modulators).items()]


def _called(spec: ModulatorSpec, name: str) -> ModulatorSpec:
    return spec.model_copy(update={"name": name})


def _reworded(patch: Patch, bends: list[BendSpec], moved: Mapping[int, int], gone: str) -> Patch:
    """`moved`: old place -> new one, from 1; `gone`: how ids begin that are no more, "" if none are."""

    def again(id: str) -> str | None:
        found = _BY_PLACE.fullmatch(id)
        if found is None:
            return None if gone and id.startswith(gone) else id
        number = moved.get(int(found[1]))
        return None if number is None else f"bend.{number}.{found[2]}"

    return _spoken(patch.model_copy(update={"bends": bends}), again, patch.modulators)


def _spoken(patch: Patch, again: Callable[[str], str | None], modulators: list[ModulatorSpec]) -> Patch:
    """The patch with these modulators and every id as `again` has it; None: of that it does not speak any more."""

    def kept(values: Mapping[str, T]) -> dict[str, T]:
        return {new: value for id, value in values.items() if (new := again(id)) is not None}

    return patch.model_copy(
        update={
            "values": kept(patch.values),
            "glide": kept(patch.glide),
            "modulators": [reworded(spec, again) for spec in modulators],
            "snapshots": {name: kept(values) for name, values in patch.snapshots.items()},
        }
    )
