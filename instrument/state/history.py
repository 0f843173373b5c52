"""Undo and redo of the last changes a player made. A sweep of one knob is one change; so is all that was set together.

Listens to a ParamSet as its recorder, under its lock. Knows values and origins; not what they mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from instrument.parameters.params import Change, ParamSet
from pipelines.spec import Value

MOST = 50  # changes remembered
PAUSE = 0.7  # seconds a hand may rest within one sweep


class _Entry:
    """One change: per id the value before and after; who made it, in which block, and when it last grew. Or a change
    of another kind, as what takes it back and what makes it again."""

    __slots__ = ("acts", "at", "block", "origin", "values")

    def __init__(self, origin: str, acts: tuple[Callable[[], None], ...] = ()) -> None:
        self.values: dict[str, tuple[Value, Value]] = {}
        self.acts = acts
        self.origin, self.block, self.at = origin, 0, 0.0


_Entries = deque[_Entry]


class History:
    """The changes of one ParamSet, from the moment it is made its recorder."""

    def __init__(self, params: ParamSet) -> None:
        self._params = params
        self._done: deque[_Entry] = deque(maxlen=MOST)
        self._undone: deque[_Entry] = deque(maxlen=MOST)
        self._newest: dict[str, _Entry] = {}  # per id, the entry that a sweep of it may go on with
        self._busy = False
        params.recorder = self.record

    def record(self, change: Change) -> None:
        """One stored value; joined to an entry it belongs to, else a new one."""
        if self._busy:
            return
        id, before, after, origin, block, at = change
        if self._undone:
            self._undone.clear()
        entry = self._newest.get(id)
        if block and self._done and self._done[-1].block == block:
            entry = self._done[-1]
        elif entry is None or entry.origin != origin or at - entry.at > PAUSE:
            entry = _Entry(origin)
            self._done.append(entry)
        values = entry.values
        values[id] = (values[id][0] if id in values else before), after
        entry.block, entry.at = block, at
        self._newest[id] = entry

    def step(self, back: Callable[[], None], forth: Callable[[], None]) -> None:
        """A change that is no value: what takes it back, and what makes it again."""
        with self._params.together():
            self._undone.clear()
            self._newest.clear()
            self._done.append(_Entry("", (back, forth)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is set inside is no change of the player's."""
        busy, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = busy

    def undo(self) -> bool:
        """Take the newest change back, exactly; False if there is none."""
        return self._move(self._done, self._undone, 0, "undo")

    def redo(self) -> bool:
        """Make the change last taken back again; False if there is none, or something else was changed since."""
        return self._move(self._undone, self._done, 1, "redo")

    def _move(self, here: _Entries, there: _Entries, which: int, origin: str) -> bool:
        with self._params.together():
            self._newest.clear()
            if not here:
                return False
            entry = here.pop()
            there.append(entry)
            with self.paused():
                for id, values in entry.values.items():
                    if id in self._params:
                        self._params.set(id, values[which], origin)
                if entry.acts:
                    entry.acts[which]()
            return True

    def clear(self) -> None:
        """Another patch plays: what was is not to be come back to."""
        with self._params.together():
            self._done.clear()
            self._undone.clear()
            self._newest.clear()
