"""What is wished for while the show plays: one bend, or one modulator, more or less.

A wish comes as a text that is set. It is tried as it comes, so that whoever made it is told what is wrong, and waits
for the show to carry it out. Knows parameters and patches; not what bends and modulators are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from instrument.parameters.params import BadValue, ParamSet, shorten
from instrument.state.patch import Patch
from pipelines.spec import Value

S = TypeVar("S")  # what a patch says of one: a BendSpec, a ModulatorSpec


@dataclass(frozen=True)
class Edit(Generic[S]):
    """A change of a patch: one that comes at a place with values, or one that goes."""

    name: str
    spec: S
    place: int  # from 0
    comes: bool
    values: Mapping[str, Value]  # by id; of one that goes, as it stood
    before: Patch | None = None  # what one that goes went from

    def back(self) -> Edit[S]:
        return replace(self, comes=not self.comes)

    def made(self, patch: Patch, more: Callable[[Patch], Patch], less: Callable[[Patch], Patch]) -> Patch:
        """The patch with it `more` or `less`; where it comes back to what it went from, with all that spoke of it."""
        if not self.comes:
            return less(patch)
        return self.before if self.before is not None and less(self.before) == patch else more(patch)


Making = Callable[[Patch], Edit[S]]  # raises ValueError where that cannot be: the reason, and what would do


@dataclass(frozen=True)
class Wish(Generic[S]):
    edit: Making[S]
    steps_back: bool  # whether it becomes a step of undo; what undo and redo wish for does not
    origin: str = ""  # whose it is, to be answered; of nobody, what undo and redo wish for


class Wishes(Generic[S]):
    """Those that wait, in the order they came. Texts are set in any thread, under the parameters' lock."""

    def __init__(
        self,
        params: ParamSet,
        origin: str,
        reads: Mapping[str, Callable[[str], Making[S]]],
        expected: Callable[[], Patch],
        full: tuple[int, str],
    ) -> None:
        """`reads`: by the id of the text, what makes a wish of it; raises ValueError too. `origin`: of who takes the
        texts up. `expected()`: the patch that a new wish will meet. `full`: how many may wait, and how that is said."""
        self._params, self._origin, self._ids = params, origin, tuple(reads)
        self._expected, self._full = expected, full
        self.waiting: deque[Wish[S]] = deque()
        for id, read in reads.items():
            params.watchers[id] = partial(self._wished, id, read)

    def _wished(self, id: str, read: Callable[[str], Making[S]], value: Value, origin: str) -> None:
        """A text was set. Raises BadValue, and then it is not."""
        text = str(value).strip()
        if not text or origin == self._origin:
            return
        most, said = self._full
        if len(self.waiting) >= most:
            raise BadValue(f"{id}: {said}; send '{shorten(text)}' again in a moment")
        try:
            edit = read(text)
            edit(self._expected())
        except ValueError as problem:
            raise BadValue(f"{id}: {problem}") from None
        self.waiting.append(Wish(edit, True, origin))

    def again(self, edit: Making[S]) -> None:
        """What undo or redo wishes for."""
        with self._params.together():
            self.waiting.append(Wish(edit, False))

    def take_up(self) -> None:
        """Empty the texts, for all to see: the same words may be sent again."""
        with self._params.together():
            for id in self._ids:
                if self._params[id].base:
                    self._params.set(id, "", self._origin)
