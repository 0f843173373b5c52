"""One binding at one parameter: range, curve, takeover, endless knobs and buttons.

Keeps the little memory that takeover and buttons need. Knows nothing of files or of where a touch came from.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from instrument.mapping.takeover import Takeover
from instrument.parameters.params import Parameter, ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec, Value

if TYPE_CHECKING:
    from instrument.mapping.binding import Bound

_SLOW, _FAST = 0.08, 0.01  # seconds between two messages of an endless knob turned at leisure, and spun
_ONE_WAY = ("nrpn_step", "rpn_step")
_NEAR = 1 / 127  # of its way: a control that stands so near to its value shows it
REST = 0.5  # seconds after which a hand counts as resting, and a control may be moved to where its value stands


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

    def __init__(self, bound: Bound, parameter: Parameter) -> None:
        self._bound, self._binding = bound, bound.binding
        self._parameter = parameter
        self._takeover = Takeover(bound.takeover)
        self._caught = -1  # the parameter's version after our last write; another number: someone else wrote since
        self._before: Value | None = None  # what a momentary button will put back
        self._while_held = -1  # the version it made
        self._turned_at = 0.0
        self._left: tuple[float, float] | None = None  # where the hand put the control, 0..1, and when
        self._direction = 0
        self._backwards = self._binding.invert
        spec = parameter.spec
        self._travel = self._over(spec) if isinstance(spec, ControlSpec) else None

    @property
    def id(self) -> str:
        return self._parameter.id

    @property
    def ours(self) -> bool:
        """Whether the value is where this very control put it."""
        return self._parameter.version == self._caught

    def strays(self) -> bool:
        """Whether the value is where this control put it, but not where it stands: a step or a choice was nearest."""
        return self.ours and self._left is not None and abs(self._left[0] - self.shown()) > _NEAR

    def rests(self, now: float) -> bool:
        """Whether no hand has moved it lately; `now` on `time.monotonic`."""
        return self._left is None or now - self._left[1] >= REST

    def release(self) -> None:
        """The hand has left the control, or plays something else with it: what stands there now is to be met anew."""
        self._takeover.release()
        self._caught = -1

    def shown(self) -> float:
        """Where the control would stand if it showed the value, 0..1; 0 for text and triggers."""
        parameter, travel = self._parameter, self._travel
        n = parameter.travel if travel is None else travel.unmap(parameter.base)
        return 1.0 - n if self._backwards and not self.is_trigger else n

    @property
    def is_trigger(self) -> bool:
        return isinstance(self._parameter.spec, TriggerSpec)

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

    def take(
        self, params: ParamSet, touch: Touch, origin: str, last: float | None = None, at: float | None = None
    ) -> None:
        """Apply a touch; `last` is where the control stood before it, 0..1. Raises BadValue where it cannot be."""
        bound, parameter = self._bound, self._parameter
        if isinstance(parameter.spec, TriggerSpec):
            if self._steps(touch) != 0 if self._turns(touch) else touch.presses(last):
                params.trigger(parameter.id, origin)
        elif isinstance(touch.value, str) or isinstance(parameter.spec, TextSpec):
            params.set(parameter.id, touch.value, origin)
        elif self._turns(touch):
            now = time.monotonic() if at is None else at
            self._turn(params, self._steps(touch), origin, now)
        elif bound.button:
            self._press(params, touch, origin, last)
        else:
            self._move(params, touch.travel, origin, last)

    # --- endless knobs ---

    def _turns(self, touch: Touch) -> bool:
        return bool(self._bound.relative) or touch.kind in _ONE_WAY

    def _steps(self, touch: Touch) -> int:
        if touch.kind in _ONE_WAY:
            return int(touch.value)
        return notches(self._bound.relative or "twos", int(touch.value))

    def _turn(self, params: ParamSet, steps: int, origin: str, now: float) -> None:
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
            travel = steps * self._spun(steps, now) / self._bound.notches
            value = self._travel.map(self._travel.unmap(base) + travel)
            if abs(value - base) < spec.step:
                value = base + (spec.step if steps > 0 else -spec.step)
            params.set(self._parameter.id, self._travel.clamp(value), origin)

    def _spun(self, steps: int, now: float) -> float:
        """How many times further a notch goes: once when turned slowly or the other way, at most `acceleration`."""
        gap, self._turned_at = now - self._turned_at, now
        direction, self._direction = self._direction, 1 if steps > 0 else -1
        if direction != self._direction:
            return 1.0
        speed = min(max((_SLOW - gap) / (_SLOW - _FAST), 0.0), 1.0)
        return 1.0 + (self._binding.acceleration - 1.0) * speed

    # --- buttons ---

    def _press(self, params: ParamSet, touch: Touch, origin: str, last: float | None) -> None:
        mode = self._binding.mode or "gate"
        if mode == "gate":
            self._write(params, 1.0 if touch.down else 0.0, origin)
        elif mode == "momentary":
            self._hold(params, touch.down, origin)
        elif mode == "velocity":
            if touch.down:
                self._write(params, touch.travel, origin)
        elif touch.presses(last):
            if mode == "trigger":
                self._write(params, 1.0, origin)
            elif isinstance(self._parameter.spec, ChoiceSpec):
                self._choose(params, 1, origin, around=True)
            else:
                on = self._parameter.base if self._travel is None else self._travel.unmap(self._parameter.base) >= 0.5
                params.set(self._parameter.id, self._value(0.0 if on else 1.0), origin)

    def _hold(self, params: ParamSet, down: bool, origin: str) -> None:
        """While held, the end of the range; let go, what was there before, unless somebody else has moved it since."""
        if down:
            if self._before is None:
                self._before = self._parameter.base
            self._write(params, 1.0, origin)
            self._while_held = self._parameter.version
        elif self._before is not None:
            before, self._before = self._before, None
            if self._parameter.version == self._while_held:
                params.set(self._parameter.id, before, origin)

    def _choose(self, params: ParamSet, steps: int, origin: str, around: bool = False) -> None:
        options = self._parameter.spec.options
        index = options.index(self._parameter.base) + (1 if steps > 0 else -1)
        index = index % len(options) if around else min(max(index, 0), len(options) - 1)
        params.set(self._parameter.id, options[index], origin)

    # --- faders and knobs with ends ---

    def _move(self, params: ParamSet, n: float, origin: str, last: float | None) -> None:
        self._left = n, time.monotonic()
        if self._backwards:
            n, last = 1.0 - n, None if last is None else 1.0 - last
        if self._travel is not None:
            n = self._takeover.move(last, n, self._travel.unmap(self._parameter.base), self.ours)
            if n is None:
                return
        params.set(self._parameter.id, self._value(n), origin)
        self._caught = self._parameter.version

    def _write(self, params: ParamSet, n: float, origin: str) -> None:
        params.set(self._parameter.id, self._value(1.0 - n if self._backwards else n), origin)

    def _value(self, n: float) -> Value:
        """Travel 0..1 over the binding's range -> a value for `params.set`."""
        if self._travel is not None:
            return self._travel.map(n)
        if isinstance(self._parameter.spec, ChoiceSpec):
            options = self._parameter.spec.options
            return options[min(int(n * len(options)), len(options) - 1)]
        return n >= 0.5
