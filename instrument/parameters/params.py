"""Every value a hand can reach, under one id: the latest value, who set it, and when.

A parameter's id (`petals.gain`) is the same in OSC, patch files, mappings and the page. Values are kept in a
latest-value store: there is no queue, the last write wins. Triggers are the exception: they are counted events, kept in
order until the engine drains them (triggers.py). What is heard is the base plus modulation, both kept apart, so that
what the hand set is never overwritten. This file knows nothing of MIDI, OSC, files or tensors, nor where modulation
comes from; it may be called from any thread.
"""

from __future__ import annotations

import logging
import re
import reprlib
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

from instrument.parameters.alarms import Alarms
from instrument.parameters.answers import Answers
from instrument.parameters.corrections import Corrections, differs, strays
from instrument.parameters.hearing import Hearing, Modulation
from instrument.parameters.parameter import Change, Fired, Parameter
from instrument.parameters.triggers import MOST, Triggers
from instrument.parameters.values import (
    LONGEST_TEXT,
    BadValue,
    UnknownParameter,
    clamped,
    fits,
    shorten,
    suggest,
    tamed,
    travelled,
    two,
)
from pipelines.spec import ControlSpec, Spec, TriggerSpec, Value

__all__ = ["LONGEST_TEXT", "BadValue", "Change", "ParamSet", "Parameter", "UnknownParameter", "shorten", "suggest"]

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
GLIDE = "master.glide"  # the glide in ms of every number that has none of its own


class ParamSet:
    """All parameters of the running instrument.

    `notices` receives one line of text the first time a value of a parameter had to be clamped (it must not block);
    without it the line goes to the log. Two parameters `x.center` and `x.width` together make a range:
    `set("x", (lo, hi))` sets both.
    """

    def __init__(self, notices: Callable[[str], None] | None = None) -> None:
        self._lock = threading.RLock()
        self._params: dict[str, Parameter] = {}
        self._bases: dict[str, Value] = {}  # of all but triggers
        self._recent: dict[str, Parameter] = {}  # the longest unchanged first
        self._aliases: dict[str, str] = {}
        self._triggers = Triggers()
        self._version = self._structure = self._block = self._depth = 0
        self._changed_at: float | None = None
        self._noticed: set[str] = set()
        self._notices = notices or log.warning
        self._hearing = Hearing(self._params, self._bases)
        self.corrections = Corrections()  # read it under `together`
        self.answers, self.alarms = Answers(), Alarms()
        self.recorder: Callable[[Change], None] | None = None
        self.watchers: dict[str, Callable[[Value, str], None]] = {}  # of every set, (value, origin); must not wait

    # --- which parameters there are ---

    def add(
        self, id: str, spec: Spec, group: str = "", doc: str = "", glide: float | None = None, kept: bool = True
    ) -> Parameter:
        """A new parameter at its default. Raises ValueError for a malformed id or one already taken."""
        if not _ID.fullmatch(id):
            raise ValueError(f"parameter id '{shorten(id)}' must be words of letters, digits and _ joined by dots")
        with self._lock:
            if id in self._params or id in self._aliases:
                raise ValueError(f"parameter '{id}' exists already; remove it first or choose another name")
            self._version += 1
            self._structure += 1
            trigger = isinstance(spec, TriggerSpec)
            base = 0 if trigger else clamped(spec, spec.default)
            parameter = Parameter(id, spec, base, group, doc, "", self._version, glide, kept and not trigger)
            self._params[id] = self._recent[id] = parameter
            if not trigger:
                self._bases[id] = base
            return parameter

    def remove(self, id: str) -> None:
        """Take a parameter and the aliases to it away, or an alias alone. Raises UnknownParameter."""
        with self._lock:
            id = id if self._aliases.pop(id, None) else self._find(id).id
            for held in (self._params, self._recent, self._bases):
                held.pop(id, None)
            self._hearing.forget(id)
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
            parameter, value = self._find(id), tamed(value)
            if isinstance(parameter.spec, TriggerSpec):
                if not (isinstance(value, Real) and value == 0):
                    self._fire(parameter, origin)
                return
            legal = self._legal(parameter, value)
            self._store(parameter, legal, origin, differs(parameter.spec, value, legal))

    def set_normalised(self, id: str, n: Any, origin: str = "") -> None:
        """Knob travel 0..1 through the parameter's curve; a range takes two. Raises as `set` does."""
        with self._lock:
            if self.is_range(id):
                center = self._params[f"{id}.center"]
                self._set_range(id, [self._travelled(center, end) for end in two(id, n)], origin)
                return
            parameter, n = self._find(id), tamed(n)
            value = self._travelled(parameter, n)
            if not isinstance(parameter.spec, TriggerSpec):
                self._store(parameter, value, origin, strays(parameter.spec, value, n))
            elif value:
                self._fire(parameter, origin)

    def trigger(self, id: str, origin: str = "") -> None:
        """Count one event. Raises UnknownParameter, or BadValue if `id` is no trigger."""
        with self._lock:
            parameter = self._find(id)
            if not isinstance(parameter.spec, TriggerSpec):
                raise BadValue(f"{parameter.id} is not a trigger; send it a value")
            self._fire(parameter, origin)

    def set_glide(self, id: str, ms: float | None) -> None:
        """ms that a number, or both numbers of a range, takes to follow a jump; None: as `master.glide` says.

        Raises UnknownParameter, or BadValue for what is no number.
        """
        with self._lock:
            ids = [f"{id}.center", f"{id}.width"] if self.is_range(id) else [id]
            for parameter in [self._find(each) for each in ids]:
                if not isinstance(parameter.spec, ControlSpec):
                    raise BadValue(f"{parameter.id} cannot glide; only numbers do")
                parameter.glide = ms

    def heed(self, id: str) -> None:
        """From now on setting `id` counts even where it has that value: a wish, as a snapshot's number is, no state.
        Its `wished` grows then, but no listener is told. Raises UnknownParameter."""
        with self._lock:
            self._find(id).wish = True

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything set inside is seen by the engine at once, and undone at once. Keep it short: the engine waits
        meanwhile."""
        with self._lock:
            self._block += self._depth == 0
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _set_range(self, name: str, value: Any, origin: str) -> None:
        center, width = self._params[f"{name}.center"], self._params[f"{name}.width"]
        # The ends are clamped before they become center and width, so that a range too wide is cut, not shifted.
        lo, hi = sorted(self._legal(center, end) for end in two(name, value))
        legal = self._legal(center, (lo + hi) / 2), self._legal(width, hi - lo)
        corrected = any(differs(center.spec, *pair) for pair in zip(sorted(value), (lo, hi), strict=True))
        with self.together():
            self._store(center, legal[0], origin, corrected)
            self._store(width, legal[1], origin, corrected)

    def _checked(self, parameter: Parameter, value: Any) -> Value:
        try:
            return fits(parameter.spec, value)
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

    def _store(self, parameter: Parameter, value: Value, origin: str, corrected: bool) -> None:
        before = parameter.base
        self.corrections.note(parameter.id, origin, corrected)
        if parameter.id in self.watchers:
            self.watchers[parameter.id](value, origin)
        if value == before:
            if parameter.wish:
                self._version += 1
                parameter.origin, parameter.wished = origin, self._version
            return
        self._mark(parameter, value, origin)
        self._bases[parameter.id] = value
        if isinstance(parameter.spec, ControlSpec):
            ms = parameter.glide if parameter.glide is not None else self._bases.get(GLIDE, 0)
            if ms > 0 or self._hearing.glides:
                self._hearing.glides.begin(parameter.id, parameter.spec, (before, value), ms)
        if self.recorder is not None and parameter.kept:
            block = self._block if self._depth else 0
            self.recorder(Change(parameter.id, before, value, origin, block, time.monotonic()))

    def _mark(self, parameter: Parameter, value: Value, origin: str) -> None:
        self._version += 1
        self._changed_at = self._changed_at or time.monotonic()
        parameter.base, parameter.origin = value, origin
        parameter.version = parameter.wished = self._version
        self._recent[parameter.id] = self._recent.pop(parameter.id)
        if self.alarms:
            self.alarms.ring()

    def _fire(self, parameter: Parameter, origin: str) -> None:
        if not self._triggers.fire(Fired(parameter.id, time.monotonic(), origin), parameter.spec.once):
            self._notice(parameter.id, f"{parameter.id}: more than {MOST} wait to be heard; the oldest are dropped")
        self._mark(parameter, parameter.base + 1, origin)

    # --- values out ---

    def drain(self) -> list[str]:
        """Ids of the triggers fired since the last drain, in the order they were fired."""
        return [event.id for event in self.drain_timed()]

    def drain_timed(self, but: Container[str] = ()) -> list[Fired]:
        """Every event that waits; those of `but` wait on."""
        with self._lock:
            return self._triggers.drain(but)

    def take_change(self) -> float | None:
        """When the oldest change not yet asked about was made, on `time.monotonic`; None if nothing changed."""
        with self._lock:
            changed_at, self._changed_at = self._changed_at, None
            return changed_at

    def modulate(self, modulation: Modulation | None) -> None:
        """Ask `modulation(now, values)` at every tick for what to add, in knob travel by id; None: add nothing.

        `values` are those heard: bases and glides of this moment, and of what is modulated itself the value of the
        tick before, so that modulators may modulate each other. It is called under the lock and must be quick.
        """
        with self._lock:
            self._hearing.modulation = modulation

    def tick(self, now: float) -> dict[str, Value]:
        """The value heard of every parameter except triggers, at `now` seconds: all at one moment; see Hearing."""
        with self._lock:
            return self._hearing.tick(now)

    def heard(self, id: str) -> Value:
        """What the last tick made of one parameter: its base where nothing moves it. Raises UnknownParameter."""
        with self._lock:
            parameter = self._find(id)
            return self._hearing.moving.get(parameter.id, parameter.base)

    def moving(self) -> dict[str, Value]:
        """id -> value heard at the last tick, of everything that glides or is modulated."""
        with self._lock:
            return dict(self._hearing.moving)

    def settle(self) -> None:
        """End every glide: the next tick hears the bases."""
        with self._lock:
            self._hearing.glides.clear()

    @property
    def version(self) -> int:
        """Counts changes: what is set later has a higher one."""
        return self._version

    def changed(self, since: int) -> tuple[int, list[str]]:
        """(version to ask with next time, ids changed since `since`, the longest unchanged first).

        A listener that is also a source knows its own changes by `params[id].origin` and need not echo them.
        """
        with self._lock:
            late = []
            for id, parameter in reversed(self._recent.items()):
                if parameter.version <= since:
                    break
                late.append(id)
            return self._version, late[::-1]

    def describe(self) -> list[dict[str, Any]]:
        """Every parameter as JSON-ready data, in the order they were added."""
        with self._lock:
            return [p.describe() for p in self._params.values()]
