"""What one value may be: errors that say what to do, and any reasonable value made legal for its spec.

Knows specs, not parameters: no ids' values, no threads, no files.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from pipelines.refusal import Refusal
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, Value

LONGEST_TEXT = 2000  # characters; more is no prompt, and would be searched at every chunk
_BEYOND = 2**1023  # of whole numbers: as far as floats surely reach
_WORDS_ON, _WORDS_OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


class UnknownParameter(Refusal, LookupError):
    """No parameter has this id. The text, with its did-you-mean, is made only when somebody reads it."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"no parameter '{shorten(self.name)}'; {suggest(self.name, self.known)}"


class BadValue(Refusal, ValueError):
    """The parameter exists but cannot take this value; the text names id, value and remedy."""


def shorten(text: str, limit: int = 80) -> str:
    """`text` fit for one line of a message: at most `limit` characters, control characters escaped."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one is most like, whatever the case, if it is like any."""
    plain = {each.casefold(): each for each in reversed(list(known))}
    close = difflib.get_close_matches(name[:80].casefold(), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def suggest(name: str, known: Sequence[str]) -> str:
    """The second half of an error about a wrong name: `did you mean 'x'?`, or what names there are."""
    close = closest(name, known)
    if close is not None:
        return f"did you mean '{close}'?"
    if not known:
        return "there are none yet"
    return f"there are: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"


def tamed(value: Any) -> Any:
    """A whole number that no float can hold as the infinity it is nearest to; anything else as it is."""
    if type(value) is int and not -_BEYOND < value < _BEYOND:
        return math.copysign(math.inf, 1 if value > 0 else -1)
    return value


def fits(spec: Spec, value: Any) -> Value:
    """`value` as `spec` keeps it, not yet clamped: float, bool or str. Raises ValueError saying what is wanted."""
    if isinstance(spec, ControlSpec):
        if type(value) is float and value == value:  # nearly always; the question below is slow
            return value
        if isinstance(value, Real) and not math.isnan(value):
            return float(value)
        raise ValueError(f"send a number from {spec.lo:g} to {spec.hi:g}")
    if isinstance(spec, SwitchSpec):
        return _as_switch(value)
    if isinstance(spec, ChoiceSpec):
        return _as_choice(spec, value)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"send at most {LONGEST_TEXT} characters")
        return value.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    raise ValueError("send text")


def _as_switch(value: Any) -> bool:
    if isinstance(value, Real) and not math.isnan(value):
        return bool(value >= 0.5)
    word = _plainly(value) if isinstance(value, str) else ""
    if word in (*_WORDS_ON, *_WORDS_OFF):
        return word in _WORDS_ON
    raise ValueError("send 1 or 0")


def _as_choice(spec: ChoiceSpec, value: Any) -> str:
    """An option by its name, in whatever case unless another is written just so, or by its number from 0, rounded, as
    buttons and menus of other programs send it."""
    if isinstance(value, str):
        exactly = [option for option in spec.options if option == value.strip()]
        found = exactly or [option for option in spec.options if _plainly(option) == _plainly(value)]
        if found:
            return found[0]
    last = len(spec.options) - 1
    if isinstance(value, Real) and not isinstance(value, bool) and -0.5 <= value <= last + 0.5:
        return spec.options[min(round(value), last)]
    raise ValueError(f"send one of: {', '.join(spec.options)}; or its number, 0 to {last}")


def _plainly(word: str) -> str:
    """A word as people mean it: its case and blanks around it say nothing."""
    return word.strip().casefold()


def clamped(spec: Spec, value: Value) -> Value:
    """The nearest legal value; whole numbers for a spec that counts in whole steps."""
    if not isinstance(spec, ControlSpec):
        return value
    value = spec.clamp(value)
    if spec.step < 1:
        return value
    whole = float(spec.step).is_integer() and float(spec.lo).is_integer()
    return round(value) if whole else value


def travelled(spec: Spec, n: float) -> Value:
    """Knob travel 0..1 -> value. Raises ValueError where travel means nothing (text, NaN)."""
    if not isinstance(n, Real) or n != n:
        raise ValueError("send a number from 0 to 1")
    if isinstance(spec, TextSpec):
        raise ValueError("text has no knob travel; send text")
    return at_travel(spec, float(min(max(n, 0), 1)))


def at_travel(spec: Spec, n: float) -> Value:
    """As `travelled`, for a number that is surely one, clamped to 0..1, and a spec that has knob travel."""
    n = 0.0 if n < 0.0 else 1.0 if n > 1.0 else n
    if isinstance(spec, ControlSpec):
        value = spec.map(n)
        return value if spec.step < 1 else clamped(spec, value)
    if isinstance(spec, ChoiceSpec):
        return spec.options[min(int(n * len(spec.options)), len(spec.options) - 1)]
    return n >= 0.5


def travel_of(spec: Spec, value: Value) -> float:
    """Where a knob showing `value` stands, 0..1: the inverse of `travelled`; 0 for text and triggers."""
    if isinstance(spec, ControlSpec):
        return spec.unmap(value)
    if isinstance(spec, ChoiceSpec):
        return spec.options.index(value) / max(1, len(spec.options) - 1)
    return float(value) if isinstance(spec, SwitchSpec) else 0.0


def two(name: str, value: Any) -> Sequence[Any]:
    """Both values of a range; BadValue unless there are two."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return [tamed(end) for end in value]
    raise BadValue(f"{name} cannot be {reprlib.repr(value)}; send two values, lo and hi, or one to {name}.center")
