"""One binding at one parameter: range, curve, takeover, endless knobs and buttons.

Keeps the little memory that takeover and buttons need. Knows nothing of files or of where a touch came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrument.params import Parameter, ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

if TYPE_CHECKING:
    from instrument.mapping import Binding, Touch

_NEAR = 3 / 128  # of the travel: how close a fader must come to catch the value without passing it
_NOTCH = 1 / 128  # travel for one step of an endless knob


def notches(encoding: str, value: int) -> int:
    """Steps an endless knob turned, right positive, from its 7-bit message in one of the four usual encodings."""
    if encoding == "offset":
        return value - 64
    if encoding == "twos":
        return value if value < 64 else value - 128
    steps = (value & 63) * (-1 if value & 64 else 1)  # 64 itself: no step
    return steps if encoding == "signed" else -steps


class Link:
    """Where one binding meets one parameter."""

    def __init__(self, binding: Binding, parameter: Parameter) -> None:
        self._binding = binding
        self._parameter = parameter
        self._last: float | None = None  # travel of the control at its previous message
        self._caught = -1  # the parameter's version after our last write; another number: someone else wrote since
        self._backwards = binding.invert
        spec = parameter.spec
        self._travel = self._over(spec) if isinstance(spec, ControlSpec) else None

    @property
    def id(self) -> str:
        return self._parameter.id

    def _over(self, spec: ControlSpec) -> ControlSpec:
        """Travel 0..1 over the binding's range, inside the parameter's own."""
        ends = self._binding.range or (spec.lo, spec.hi)
        lo, hi = sorted(min(max(end, spec.lo), spec.hi) for end in ends)
        if lo == hi:  # the whole range lies outside; the parameter's own is more use than none
            lo, hi = spec.lo, spec.hi
        warp = self._binding.curve or spec.warp
        if warp == "exponential" and lo <= 0:
            warp = spec.warp
        self._backwards = self._backwards != (ends[0] > ends[1])
        return ControlSpec(lo, hi, lo, warp)

    def take(self, params: ParamSet, touch: Touch, origin: str) -> None:
        """Apply a touch. Raises BadValue where the parameter cannot take such a value."""
        binding, parameter = self._binding, self._parameter
        if isinstance(parameter.spec, TriggerSpec):
            if self._count(touch):
                params.trigger(parameter.id, origin)
        elif isinstance(touch.value, str) or isinstance(parameter.spec, TextSpec):
            params.set(parameter.id, touch.value, origin)
        elif binding.relative:
            self._turn(params, notches(binding.relative, int(touch.value)), origin)
        elif binding.mode or touch.kind == "note":
            self._press(params, touch, origin)
        else:
            self._move(params, touch.travel, origin)

    def _count(self, touch: Touch) -> bool:
        return (
            notches(self._binding.relative, int(touch.value)) != 0 if self._binding.relative else self._pressed(touch)
        )

    def _pressed(self, touch: Touch) -> bool:
        """Whether a button went down: any note-on; else rising through the middle, or the same high value again."""
        n, last = touch.travel, self._last or 0.0
        self._last = n
        if touch.kind == "note":
            return n > 0
        return n >= 0.5 and (last < 0.5 or n == last)

    def _press(self, params: ParamSet, touch: Touch, origin: str) -> None:
        mode = self._binding.mode or "gate"
        if mode == "gate":
            down = touch.travel > 0 if touch.kind == "note" else touch.travel >= 0.5
            self._write(params, 1.0 if down else 0.0, origin)
        elif self._pressed(touch):
            if mode == "trigger":
                self._write(params, 1.0, origin)
            elif isinstance(self._parameter.spec, ChoiceSpec):
                self._choose(params, 1, origin, around=True)
            else:
                on = self._parameter.base if self._travel is None else self._travel.unmap(self._parameter.base) >= 0.5
                params.set(self._parameter.id, self._value(0.0 if on else 1.0), origin)

    def _turn(self, params: ParamSet, steps: int, origin: str) -> None:
        spec, base = self._parameter.spec, self._parameter.base
        if steps == 0:
            return
        if self._backwards:
            steps = -steps
        if isinstance(spec, SwitchSpec):
            params.set(self._parameter.id, steps > 0, origin)
        elif isinstance(spec, ChoiceSpec):
            self._choose(params, steps, origin)
        elif isinstance(spec, ControlSpec):
            value = self._travel.map(self._travel.unmap(base) + steps * _NOTCH)
            if abs(value - base) < spec.step:
                value = base + (spec.step if steps > 0 else -spec.step)
            params.set(self._parameter.id, self._travel.clamp(value), origin)

    def _choose(self, params: ParamSet, steps: int, origin: str, around: bool = False) -> None:
        options = self._parameter.spec.options
        index = options.index(self._parameter.base) + (1 if steps > 0 else -1)
        index = index % len(options) if around else min(max(index, 0), len(options) - 1)
        params.set(self._parameter.id, options[index], origin)

    def _move(self, params: ParamSet, n: float, origin: str) -> None:
        """A fader or knob with ends moved to travel n."""
        if self._backwards:
            n = 1.0 - n
        last, self._last = self._last, n
        if self._binding.takeover == "pickup" and self._travel is not None and not self._catches(last, n):
            return
        params.set(self._parameter.id, self._value(n), origin)
        self._caught = self._parameter.version

    def _catches(self, last: float | None, n: float) -> bool:
        """Whether the hand holds the value: it did already, is close, or has just passed it however fast."""
        if self._parameter.version == self._caught:
            return True
        value = self._travel.unmap(self._parameter.base)
        return abs(n - value) <= _NEAR or (last is not None and (last - value) * (n - value) < 0)

    def _write(self, params: ParamSet, n: float, origin: str) -> None:
        params.set(self._parameter.id, self._value(1.0 - n if self._backwards else n), origin)

    def _value(self, n: float) -> float | bool | str:
        """Travel 0..1 over the binding's range -> a value for `params.set`."""
        if self._travel is not None:
            return self._travel.map(n)
        if isinstance(self._parameter.spec, ChoiceSpec):
            options = self._parameter.spec.options
            return options[min(int(n * len(options)), len(options) - 1)]
        return n >= 0.5
