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
    of another kind, as what takes it back and what makes it again. Nothing joins one that is `closed`."""

    __slots__ = ("acts", "at", "block", "closed", "origin", "values")

    def __init__(self, origin: str = "", block: int = 0) -> None:
        self.values: dict[str, tuple[Value, Value]] = {}
        self.acts: tuple[Callable[[], None], ...] = ()
        self.origin, self.block, self.at = origin, block, 0.0
        self.closed = False

    def take(self, id: str, before: Value, after: Value, at: float) -> None:
        """A value more, or a later one."""
        self.values[id] = (self.values[id][0] if id in self.values else before), after
        self.at = at

    def goes_on(self, origin: str, at: float) -> bool:
        """Whether what this hand does now belongs to it."""
        return not self.closed and self.origin == origin and at - self.at <= PAUSE


_Entries = deque[_Entry]


class History:
    """The changes of one ParamSet, from the moment it is made its recorder."""

    def __init__(self, params: ParamSet) -> None:
        self._params = params
        self._done: deque[_Entry] = deque()
        self._undone: deque[_Entry] = deque()
        self._newest: dict[str, _Entry] = {}  # per id, the entry that moved it last
        self._open: _Entry | None = None  # a block whose values still come
        self._busy = False
        params.recorder = self.record

    def record(self, change: Change) -> None:
        """One stored value; joined to the sweep it goes on with, else a change of its own."""
        if self._busy:
            return
        id, before, after, origin, block, at = change
        if self._undone:
            self._undone.clear()
        if self._open is None or self._open.block != block:
            self._finish()
            newest = self._newest.get(id)
            if not block and newest is not None and newest.goes_on(origin, at):
                newest.take(id, before, after, at)  # nearly always
                return
            self._open = _Entry(origin, block)
        self._open.take(id, before, after, at)
        if not block:
            self._finish()

    def _finish(self) -> None:
        """No more comes of the block that is open: a sweep has grown by it, or it is a change of its own."""
        entry, self._open = self._open, None
        if entry is None:
            return
        sweep = self._sweep(entry)
        if sweep is None:
            self._append(entry)
        else:
            for id, values in entry.values.items():
                sweep.take(id, *values, entry.at)
        for id in entry.values:
            self._newest[id] = sweep or entry

    def _sweep(self, entry: _Entry) -> _Entry | None:
        """The one entry that moved last whatever this one moves, if it goes on; so that no change of another hand lies
        between the two."""
        found = {newest for id in entry.values if (newest := self._newest.get(id)) is not None}
        newest = found.pop() if len(found) == 1 else None
        return newest if newest and newest.goes_on(entry.origin, entry.at) else None

    def _append(self, entry: _Entry) -> None:
        if len(self._done) == MOST:
            self._done.popleft().closed = True  # what joined it now could not be taken back
        self._done.append(entry)

    def step(self, back: Callable[[], None], forth: Callable[[], None]) -> None:
        """A change that is no value: what takes it back, and what makes it again."""
        with self._params.together():
            self.cut()
            self._undone.clear()
            entry = _Entry()
            entry.acts = back, forth
            self._append(entry)

    def crossed(self, back: Callable[[], None], forth: Callable[[], None], undone: bool = False) -> None:
        """Another patch has come on: of all changes only this one is left, which `back` takes back and `forth` makes
        again; `undone` where it was just taken back."""
        with self._params.together():
            self.clear()
            entry = _Entry()
            entry.acts = back, forth
            (self._undone if undone else self._done).append(entry)

    def cut(self) -> None:
        """What comes next begins a change of its own, whoever makes it: a snapshot is recalled."""
        with self._params.together():
            self._finish()
            self._newest.clear()

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
            self.cut()
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

    def past(self) -> tuple[list[_Entry], list[_Entry]]:
        """All that can be undone and redone now, for `restore`."""
        with self._params.together():
            self._finish()
            return list(self._done), list(self._undone)

    def restore(self, past: tuple[list[_Entry], list[_Entry]]) -> None:
        """What was meant to change has not."""
        with self._params.together():
            self.clear()
            self._done.extend(past[0])
            self._undone.extend(past[1])

    def clear(self) -> None:
        """Another patch plays: what was is not to be come back to."""
        with self._params.together():
            self._open = None
            self._done.clear()
            self._undone.clear()
            self._newest.clear()
