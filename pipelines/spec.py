"""What a controllable value is: its range, its curve under a knob, its default and its unit.

One declaration of a value is enough for OSC, MIDI, patch files, the page and the docs. This file knows
nothing of tensors or networks, so that parameters, mappings and patches run without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Warp = Literal["linear", "squared", "cubed", "exponential"]

_POWERS = {"linear": 1.0, "squared": 2.0, "cubed": 3.0}


@dataclass(frozen=True)
class ControlSpec:
    """A number a hand can turn.

    `warp` is the curve from knob travel n (0..1) to value: linear; squared and cubed give fine control near `lo`
    (a gain of 0..8, cubed, is 1 at half travel); exponential gives equal ratios per travel and needs `lo` > 0.
    `step` > 0 makes the value snap to lo + k * step; `step` = 1 is an integer.
    """

    lo: float
    hi: float
    default: float
    warp: Warp = "linear"
    unit: str = ""
    step: float = 0.0
    doc: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo < self.hi):
            raise ValueError(f"ControlSpec range [{self.lo}, {self.hi}] must be finite, low end first")
        if not self.lo <= self.default <= self.hi:
            raise ValueError(f"ControlSpec default {self.default} lies outside [{self.lo}, {self.hi}]")
        if self.warp not in (*_POWERS, "exponential"):
            raise ValueError(f"ControlSpec warp '{self.warp}' is not one of {[*_POWERS, 'exponential']}")
        if self.warp == "exponential" and self.lo <= 0:
            raise ValueError(f"an exponential ControlSpec needs lo > 0, got {self.lo}")

    def clamp(self, value: float) -> float:
        """The nearest legal value; raises ValueError for NaN, which has no nearest value."""
        if math.isnan(value):
            raise ValueError("value is not a number (NaN)")
        value = float(value)
        value = self.lo if value < self.lo else self.hi if value > self.hi else value
        if self.step > 0:
            value = min(self.lo + round((value - self.lo) / self.step) * self.step, self.hi)
        return value

    def map(self, n: float) -> float:
        """Knob travel 0..1 -> value in plain units."""
        n = float(n)
        n = 0.0 if n < 0.0 else 1.0 if n > 1.0 else n
        if self.warp == "exponential":
            value = self.lo * (self.hi / self.lo) ** n
        else:
            value = self.lo + (self.hi - self.lo) * n ** _POWERS[self.warp]
        return value if self.step <= 0 and self.lo <= value <= self.hi else self.clamp(value)

    def unmap(self, value: float) -> float:
        """Value in plain units -> knob travel 0..1; the inverse of `map`."""
        value = min(max(float(value), self.lo), self.hi)
        if self.warp == "exponential":
            return math.log(value / self.lo) / math.log(self.hi / self.lo)
        return ((value - self.lo) / (self.hi - self.lo)) ** (1.0 / _POWERS[self.warp])


@dataclass(frozen=True)
class SwitchSpec:
    """On or off."""

    default: bool = False
    doc: str = ""


@dataclass(frozen=True)
class ChoiceSpec:
    """One of a few named options."""

    options: tuple[str, ...]
    default: str
    doc: str = ""

    def __post_init__(self) -> None:
        if self.default not in self.options:
            raise ValueError(f"ChoiceSpec default '{self.default}' is not one of {list(self.options)}")


@dataclass(frozen=True)
class TextSpec:
    """Free text: a prompt, or the words a bend holds. `listed`: one of some names, which surfaces may ask for."""

    default: str = ""
    doc: str = ""
    listed: bool = False


@dataclass(frozen=True)
class TriggerSpec:
    """An event without a value. Triggers are counted, but `once`: of one that does the same however often it is fired,
    only the last firing that waits is heard."""

    doc: str = ""
    once: bool = False


Spec = ControlSpec | SwitchSpec | ChoiceSpec | TextSpec | TriggerSpec
Value = float | bool | str
