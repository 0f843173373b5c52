"""Snapshots: states within a patch that one touch recalls, in numbered slots from 1.

Slot 0 is the patch as its file has it. A snapshot may name only some parameters: recalling it leaves the others alone,
and where two are morphed what one of them lacks is as in slot 0. Knows parameters and patches; not the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from instrument.parameters.params import BadValue, ParamSet, UnknownParameter
from instrument.state.patch import MOST_SNAPSHOTS, Patch
from pipelines.spec import Value


class Snapshot(NamedTuple):
    """A name and legal values by id, ranges as center and width."""

    name: str
    values: Mapping[str, Value]


def slots_of(names: list[str]) -> dict[str, int]:
    """Name -> slot: a name that is a number has that slot, the others the free ones in order."""
    numbered = {name: int(name) for name in names if name.isdecimal()}
    taken = set(numbered.values())
    free = (slot for slot in range(1, MOST_SNAPSHOTS + len(names) + 1) if slot not in taken)
    return {name: numbered[name] if name in numbered else next(free) for name in names}


def read(patch: Patch, params: ParamSet) -> dict[int, Snapshot]:
    """The patch's snapshots by slot. `params` are parameters like those that will play, to try the values on; their
    values are changed. Raises PatchError naming the line of the first that does not fit."""
    slots = slots_of(list(patch.snapshots))
    found: dict[int, Snapshot] = {}
    for name, values in patch.snapshots.items():
        flat: dict[str, Value] = {}
        for id, value in values.items():
            try:
                flat.update(_legal(params, id, value))
            except (UnknownParameter, BadValue) as problem:
                raise patch.error(str(problem), "snapshots", name, id) from None
        found[slots[name]] = Snapshot(name, flat)
    return found


def _legal(params: ParamSet, id: str, value: object) -> dict[str, Value]:
    ids = [f"{id}.center", f"{id}.width"] if params.is_range(id) else [params[id].id]
    for each in ids:
        if not params[each].kept:
            raise BadValue(f"a snapshot cannot hold {each}: it is no part of the picture's state; take it away")
    params.set(id, value)
    return {each: params[each].base for each in ids}


def state(params: ParamSet) -> dict[str, Value]:
    """All that patches and snapshots keep, as it is set now."""
    with params.together():
        return {parameter.id: parameter.base for parameter in params if parameter.kept}
