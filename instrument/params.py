"""Every value a hand can reach, under one id: the latest value, who set it, and when.

A parameter's id (`petals.gain`) is the same in OSC, patch files, mappings and the page. Values are kept in a
latest-value store: there is no queue, the last write wins. Triggers are the exception: they are counted events, kept in
order until the engine drains them. This file knows nothing of MIDI, OSC, files, threads or tensors; it may be
called from any thread.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
import reprlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, TriggerSpec, Value

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_TYPES = {ControlSpec: "number", SwitchSpec: "switch", ChoiceSpec: "choice", TextSpec: "text", TriggerSpec: "trigger"}
LONGEST_TEXT = 2000  # characters; more is no prompt, and would be searched at every chunk
_WORDS_ON, _WORDS_OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


class UnknownParameter(LookupError):
    """No parameter has this id. The text, with its did-you-mean, is made only when somebody reads it."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"no parameter '{shorten(self.name)}'; {suggest(self.name, self.known)}"


class BadValue(ValueError):
    """The parameter exists but cannot take this value; the text names id, value and remedy."""


def shorten(text: str, limit: int = 80) -> str:
    """`text` fit for one line of a message: at most `limit` characters, control characters escaped."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def suggest(name: str, known: Sequence[str]) -> str:
    """The second half of an error about a wrong name: `did you mean 'x'?`, or what names there are."""
    close = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not known:
        return "there are none yet"
    return f"there are: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"


def fits(spec: Spec, value: Any) -> Value:
    """`value` as `spec` keeps it, not yet clamped: float, bool or str. Raises ValueError saying what is wanted."""
    if isinstance(spec, ControlSpec):
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
    if isinstance(value, str) and value.lower() in (*_WORDS_ON, *_WORDS_OFF):
        return value.lower() in _WORDS_ON
    raise ValueError("send 1 or 0")


def _as_choice(spec: ChoiceSpec, value: Any) -> str:
    """An option by its name, or by its number from 0 as buttons and menus of other programs send it."""
    if isinstance(value, str) and value in spec.options:
        return value
    if isinstance(value, Real) and not isinstance(value, bool) and value in range(len(spec.options)):
        return spec.options[int(value)]
    raise ValueError(f"send one of: {', '.join(spec.options)}")


def clamped(spec: Spec, value: Value) -> Value:
    """The nearest legal value; whole numbers for a spec that counts in whole steps."""
    if not isinstance(spec, ControlSpec):
        return value
    value = spec.clamp(value)
    whole = spec.step >= 1 and float(spec.step).is_integer() and float(spec.lo).is_integer()
    return round(value) if whole else value


def travelled(spec: Spec, n: float) -> Value:
    """Knob travel 0..1 -> value. Raises ValueError where travel means nothing (text, NaN)."""
    if not isinstance(n, Real) or n != n:
        raise ValueError("send a number from 0 to 1")
    n = float(min(max(n, 0), 1))
    if isinstance(spec, ControlSpec):
        return clamped(spec, spec.map(n))
    if isinstance(spec, ChoiceSpec):
        return spec.options[min(int(n * len(spec.options)), len(spec.options) - 1)]
    if isinstance(spec, TextSpec):
        raise ValueError("text has no knob travel; send text")
    return n >= 0.5


@dataclass(eq=False, slots=True)
class Parameter:
    """One value. Read freely from any thread; only its ParamSet writes to it.

    `base` is what the hand set, in plain units (for a trigger: how often it fired); `origin` says who set it last and
    `version` when, on the ParamSet's counter.
    """

    id: str
    spec: Spec
    base: Value
    group: str = ""
    doc: str = ""
    origin: str = ""
    version: int = 0

    @property
    def travel(self) -> float:
        """Where a knob showing `base` stands, 0..1; 0 for text and triggers."""
        if isinstance(self.spec, ControlSpec):
            return self.spec.unmap(self.base)
        if isinstance(self.spec, ChoiceSpec):
            return self.spec.options.index(self.base) / max(1, len(self.spec.options) - 1)
        return float(self.base) if isinstance(self.spec, SwitchSpec) else 0.0

    def describe(self) -> dict[str, Any]:
        """JSON-ready; every key is always there, None where it means nothing for the type."""
        number = self.spec if isinstance(self.spec, ControlSpec) else None
        trigger = isinstance(self.spec, TriggerSpec)
        return {
            "id": self.id,
            "type": _TYPES[type(self.spec)],
            "lo": number.lo if number else None,
            "hi": number.hi if number else None,
            "step": number.step if number else None,
            "default": None if trigger else self.spec.default,
            "value": self.base,
            "warp": number.warp if number else None,
            "unit": number.unit if number else None,
            "options": list(self.spec.options) if isinstance(self.spec, ChoiceSpec) else None,
            "doc": self.doc or self.spec.doc,
            "group": self.group,
        }


class ParamSet:
    """All parameters of the running instrument.

    `notices` receives one line of text the first time a value of a parameter had to be clamped (it must not block);
    without it the line goes to the log. Two parameters `x.center` and `x.width` together make a range:
    `set("x", (lo, hi))` sets both.
    """

    def __init__(self, notices: Callable[[str], None] | None = None) -> None:
        self._lock = threading.RLock()
        self._params: dict[str, Parameter] = {}
        self._aliases: dict[str, str] = {}
        self._fired: list[str] = []
        self._version = 0
        self._structure = 0
        self._changed_at: float | None = None
        self._noticed: set[str] = set()
        self._notices = notices or log.warning

    # --- which parameters there are ---

    def add(self, id: str, spec: Spec, group: str = "", doc: str = "") -> Parameter:
        """A new parameter at its default. Raises ValueError for a malformed id or one already taken."""
        if not _ID.fullmatch(id):
            raise ValueError(f"parameter id '{shorten(id)}' must be words of letters, digits and _ joined by dots")
        with self._lock:
            if id in self._params or id in self._aliases:
                raise ValueError(f"parameter '{id}' exists already; remove it first or choose another name")
            self._version += 1
            self._structure += 1
            base = 0 if isinstance(spec, TriggerSpec) else clamped(spec, spec.default)
            parameter = Parameter(id, spec, base, group, doc, version=self._version)
            self._params[id] = parameter
            return parameter

    def remove(self, id: str) -> None:
        """Take a parameter and the aliases to it away. Raises UnknownParameter."""
        with self._lock:
            id = self._find(id).id
            del self._params[id]
            self._noticed.discard(id)
            self._aliases = {name: to for name, to in self._aliases.items() if to != id}
            self._structure += 1

    def alias(self, name: str, id: str) -> None:
        """Let `name` stand for `id` wherever an id is accepted. Raises UnknownParameter, ValueError for bad names."""
        if not _ID.fullmatch(name):
            raise ValueError(f"alias '{shorten(name)}' must be words of letters, digits and _ joined by dots")
        with self._lock:
            if name in self._params:
                raise ValueError(f"alias '{name}' is already the id of a parameter")
            self._aliases[name] = self._find(id).id
            self._structure += 1

    def ids(self) -> list[str]:
        with self._lock:
            return list(self._params)

    def aliases(self) -> dict[str, str]:
        """A copy: alias -> id."""
        with self._lock:
            return dict(self._aliases)

    def names(self) -> list[str]:
        """Everything `set` accepts: ids, aliases and ranges."""
        with self._lock:
            ranges = (id.removesuffix(".center") for id in self._params if id.endswith(".center"))
            return [*self._params, *self._aliases, *(name for name in ranges if self.is_range(name))]

    def is_range(self, name: str) -> bool:
        """Whether `name` takes two values, lo and hi, because `name.center` and `name.width` exist."""
        return name not in self._params and f"{name}.center" in self._params and f"{name}.width" in self._params

    @property
    def structure(self) -> int:
        """Grows whenever a parameter or alias appears or goes, so that a surface knows to describe itself anew."""
        return self._structure

    def __contains__(self, id: object) -> bool:
        return id in self._params or id in self._aliases

    def __getitem__(self, id: str) -> Parameter:
        with self._lock:
            return self._find(id)

    def __iter__(self) -> Iterator[Parameter]:
        with self._lock:
            return iter(list(self._params.values()))

    def __len__(self) -> int:
        return len(self._params)

    def _find(self, id: str) -> Parameter:
        parameter = self._params.get(id) or self._params.get(self._aliases.get(id, ""))
        if parameter is None:
            raise UnknownParameter(id, self.names())
        return parameter

    # --- values in ---

    def set(self, id: str, value: Any, origin: str = "") -> None:
        """The latest value, in plain units, clamped. For a trigger: one event, unless the value is 0 (a button let go).

        Raises UnknownParameter or BadValue; then nothing has changed.
        """
        with self._lock:
            if self.is_range(id):
                self._set_range(id, value, origin)
                return
            parameter = self._find(id)
            if isinstance(parameter.spec, TriggerSpec):
                if not (isinstance(value, Real) and value == 0):
                    self._fire(parameter, origin)
                return
            self._store(parameter, self._legal(parameter, value), origin)

    def set_normalised(self, id: str, n: Any, origin: str = "") -> None:
        """Knob travel 0..1 through the parameter's curve; a range takes two. Raises as `set` does."""
        with self._lock:
            if self.is_range(id):
                center = self._params[f"{id}.center"]
                self._set_range(id, [self._travelled(center, end) for end in _two(id, n)], origin)
                return
            parameter = self._find(id)
            value = self._travelled(parameter, n)
            if not isinstance(parameter.spec, TriggerSpec):
                self._store(parameter, value, origin)
            elif value:
                self._fire(parameter, origin)

    def trigger(self, id: str, origin: str = "") -> None:
        """Count one event. Raises UnknownParameter, or BadValue if `id` is no trigger."""
        with self._lock:
            parameter = self._find(id)
            if not isinstance(parameter.spec, TriggerSpec):
                raise BadValue(f"{parameter.id} is not a trigger; send it a value")
            self._fire(parameter, origin)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything set inside is seen by the engine at once. Keep it short: the engine waits meanwhile."""
        with self._lock:
            yield

    def _set_range(self, name: str, value: Any, origin: str) -> None:
        center, width = self._params[f"{name}.center"], self._params[f"{name}.width"]
        # The ends are clamped before they become center and width, so that a range too wide is cut, not shifted.
        lo, hi = sorted(self._legal(center, end) for end in _two(name, value))
        legal = self._legal(center, (lo + hi) / 2), self._legal(width, hi - lo)
        self._store(center, legal[0], origin)
        self._store(width, legal[1], origin)

    def _checked(self, parameter: Parameter, value: Any) -> Value:
        try:
            return fits(parameter.spec, value)
        except OverflowError:  # an integer too large for a float
            raise BadValue(f"{parameter.id} cannot be {reprlib.repr(value)}; send a smaller number") from None
        except ValueError as error:
            raise BadValue(f"{parameter.id} cannot be {reprlib.repr(value)}; {error}") from None

    def _travelled(self, parameter: Parameter, n: Any) -> Value:
        try:
            return travelled(parameter.spec, n)
        except ValueError as error:
            raise BadValue(f"{parameter.id} cannot be at travel {reprlib.repr(n)}; {error}") from None

    def _legal(self, parameter: Parameter, value: Any) -> Value:
        value = self._checked(parameter, value)
        legal = clamped(parameter.spec, value)
        if isinstance(parameter.spec, ControlSpec) and not parameter.spec.lo <= value <= parameter.spec.hi:
            self._notice(parameter.id, f"{parameter.id}: {value:g} clamped to {legal:g}")
        return legal

    def _notice(self, id: str, text: str) -> None:
        if id not in self._noticed:
            self._noticed.add(id)
            self._notices(text)

    def _store(self, parameter: Parameter, value: Value, origin: str) -> None:
        if value == parameter.base:
            return
        self._version += 1
        self._changed_at = self._changed_at or time.monotonic()
        parameter.base, parameter.origin, parameter.version = value, origin, self._version

    def _fire(self, parameter: Parameter, origin: str) -> None:
        self._fired.append(parameter.id)
        self._store(parameter, parameter.base + 1, origin)

    # --- values out ---

    def drain(self) -> list[str]:
        """Ids of every trigger fired since the last drain, in the order they were fired."""
        with self._lock:
            fired, self._fired = self._fired, []
            return fired

    def take_change(self) -> float | None:
        """When the oldest change not yet asked about was made, on `time.monotonic`; None if nothing changed."""
        with self._lock:
            changed_at, self._changed_at = self._changed_at, None
            return changed_at

    def tick(self, now: float) -> dict[str, Value]:
        """The value heard of every parameter except triggers, at `now` seconds: all from the same moment."""
        with self._lock:
            return {id: p.base for id, p in self._params.items() if not isinstance(p.spec, TriggerSpec)}

    def changed(self, since: int) -> tuple[int, list[str]]:
        """(version to ask with next time, ids changed since `since`, the longest unchanged first)."""
        with self._lock:
            late = sorted((p for p in self._params.values() if p.version > since), key=lambda p: p.version)
            return self._version, [p.id for p in late]

    def describe(self) -> list[dict[str, Any]]:
        """Every parameter as JSON-ready data, in the order they were added."""
        with self._lock:
            return [p.describe() for p in self._params.values()]


def _two(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return value
    raise BadValue(f"{name} cannot be {reprlib.repr(value)}; send two values, lo and hi, or one to {name}.center")
