"""The value heard of every parameter: its base, glided, plus modulation.

The sum is formed in knob travel 0..1 and clamped there, so that it is legal. Where nothing glides and the modulation is
0 the value is the base, bit for bit. Its owner sees to it that one thread calls at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from instrument.parameters.glide import Glides
from instrument.parameters.parameter import Parameter
from instrument.parameters.values import at_travel, travel_of
from pipelines.spec import Value

Modulation = Callable[[float, Mapping[str, Value]], Mapping[str, float]]


class Hearing:
    """Of one ParamSet, whose parameters and bases (of all but triggers) it reads."""

    def __init__(self, params: Mapping[str, Parameter], bases: Mapping[str, Value]) -> None:
        self._params, self._bases = params, bases
        self.glides = Glides()
        self.modulation: Modulation | None = None
        self.moving: dict[str, Value] = {}  # heard at the last tick, of all that glides or is modulated
        self._modulated: dict[str, Value] = {}
        self._travels: dict[str, tuple[int, float]] = {}  # of bases, with the version they belong to

    def forget(self, id: str) -> None:
        """The parameter is gone."""
        self.glides.end(id)
        for held in (self.moving, self._modulated, self._travels):
            held.pop(id, None)

    def tick(self, now: float) -> dict[str, Value]:
        """All values at `now` seconds, by id."""
        heard = dict(self._bases)
        travels = self.glides.advance(now, self._bases)
        for id, travel in travels.items():
            heard[id] = at_travel(self._params[id].spec, travel)
        self.moving = {id: heard[id] for id in travels}
        if self.modulation is not None:
            self._modulate(self.modulation, now, heard, travels)
        return heard

    def _modulate(
        self, modulation: Modulation, now: float, heard: dict[str, Value], travels: Mapping[str, float]
    ) -> None:
        still = {id: heard[id] for id in self._modulated}
        heard.update(self._modulated)
        sums = modulation(now, heard)
        heard.update(still)
        moved: dict[str, Value] = {}
        for id, amount in sums.items():
            if amount != 0.0 and (parameter := self._params.get(id)) is not None:
                travel = travels[id] if id in travels else self._stands(parameter)
                moved[id] = at_travel(parameter.spec, travel + amount)
        heard.update(moved)
        self._modulated = moved
        self.moving.update(moved)

    def _stands(self, parameter: Parameter) -> float:
        """The travel of a base, remembered until it changes: the inverse of a curve is slow."""
        known = self._travels.get(parameter.id)
        if known is None or known[0] != parameter.version:
            known = self._travels[parameter.id] = parameter.version, travel_of(parameter.spec, parameter.base)
        return known[1]
