"""Which sources were not taken at their word: what they sent was clamped, rounded or snapped, so that they show one
value and another one counts. Each is to be told the true one, once; a value taken exactly needs no answer.

Knows ids and origins. Written and read under its ParamSet's lock.
"""

from __future__ import annotations

from instrument.parameters.values import travel_of
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, Value

MOST = 1024  # remembered; of more the oldest are forgotten
_NEAR = 1e-6  # of a parameter's range: what a value loses on its way as 32 bits is no difference


def differs(spec: Spec, sent: Value, taken: Value) -> bool:
    """Whether a number became another one. Of a switch any number says plainly what it means."""
    if isinstance(spec, ChoiceSpec):
        return not isinstance(sent, str) and not float(sent).is_integer()
    return isinstance(spec, ControlSpec) and sent != taken and abs(sent - taken) > _NEAR * (spec.hi - spec.lo)


def strays(spec: Spec, value: Value, travel: float) -> bool:
    """Whether a knob sent to `travel` would stand elsewhere to show what was made of it."""
    return isinstance(spec, (ControlSpec, ChoiceSpec)) and abs(travel - travel_of(spec, value)) > _NEAR


class Corrections:
    """The latest word on every pair of a parameter and a source."""

    def __init__(self) -> None:
        self._count = 0
        self._pairs: dict[tuple[str, str], int] = {}  # (id, origin), the oldest first

    def note(self, id: str, origin: str, corrected: bool) -> None:
        """A source has set a parameter, and what it sent was corrected or not."""
        if not (corrected or self._pairs):
            return
        self._pairs.pop((id, origin), None)
        if corrected:
            self._count += 1
            self._pairs[id, origin] = self._count
            if len(self._pairs) > MOST:
                del self._pairs[next(iter(self._pairs))]

    def since(self, count: int) -> tuple[int, list[tuple[str, str]]]:
        """(the number to ask with next time, each (id, origin) that was corrected since `count` and is still)."""
        late = []
        for pair, number in reversed(self._pairs.items()):
            if number <= count:
                break
            late.append(pair)
        return self._count, late[::-1]
