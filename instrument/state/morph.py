"""Between states: numbers glide in their knob travel, scopes too; what cannot glide switches at half-way.

`blend` is a pure function of states and weights. A `Morph` goes from the values as they are to others over time, and
leaves to the hand what the hand takes up meanwhile. Knows parameters; not snapshots or where they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from instrument.parameters.params import ParamSet
from instrument.parameters.values import clamped
from pipelines.spec import ControlSpec, Spec, Value

ORIGIN = "morph"
State = Mapping[str, Value]


def blend(spec: Spec, values: Sequence[Value], weights: Sequence[float]) -> Value:
    """The value between `values` by `weights`, which sum to 1. A weight of 1 gives its value exactly; other numbers
    meet in knob travel; anything else is the heaviest, of equal ones the last."""
    heaviest = max(range(len(values)), key=lambda index: (weights[index], index))
    first = values[0]
    if weights[heaviest] >= 1.0 or not isinstance(spec, ControlSpec) or all(value == first for value in values):
        return values[heaviest]
    travel = sum(weight * spec.unmap(value) for value, weight in zip(values, weights, strict=True))
    return clamped(spec, spec.map(travel))


def between(params: ParamSet, states: Sequence[State], weights: Sequence[float]) -> dict[str, Value]:
    """Every id that all states have, blended."""
    shared = [id for id in states[0] if id in params and all(id in state for state in states)]
    return {id: blend(params[id].spec, [state[id] for state in states], weights) for id in shared}


def corners(x: float, y: float) -> tuple[float, float, float, float]:
    """Weights of the corners of a square at (x, y): bottom left, bottom right, top left, top right (bilinear)."""
    return (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y


def write(params: ParamSet, values: State, origin: str = ORIGIN) -> None:
    """All of `values` at once; ids that are gone are left out."""
    with params.together():
        for id, value in values.items():
            if id in params:
                params.set(id, value, origin)


class Morph:
    """From the values as they stand to `target`, between `start` and `start + seconds`."""

    def __init__(self, params: ParamSet, target: State, start: float, seconds: float) -> None:
        self._params = params
        self._start, self._seconds = start, seconds
        self._target = {id: value for id, value in target.items() if id in params and params[id].base != value}
        self._from = {id: params[id].base for id in self._target}
        self._versions = {id: params[id].version for id in self._target}

    def tick(self, now: float) -> bool:
        """Move to where it should be at `now`; False once it has arrived."""
        share = min(max((now - self._start) / self._seconds, 0.0), 1.0) if self._seconds > 0 else 1.0
        params = self._params
        with params.together():
            for id in list(self._target):
                if id not in params or params[id].version != self._versions[id]:
                    del self._target[id]  # a hand took it up, or it is gone
            write(params, between(params, (self._from, self._target), (1 - share, share)))
            self._versions = {id: params[id].version for id in self._target}
        return share < 1.0 and bool(self._target)
