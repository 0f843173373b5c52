"""Undo across patches: what played before another patch came on comes back as the hands had set it, and forth again.

A change of patch is the oldest that can be taken back after it: what was done before belongs to parameters that are
gone. Like any change of patch it happens between two chunks. Used in the engine's thread.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from instrument.engine.stage import Played, Stage
from instrument.state.history import History
from instrument.state.patch import Patch


class _Wish(NamedTuple):
    played: Played
    back: bool  # taken back, not made again


class Returning:
    """One show's."""

    def __init__(self, stage: Stage, history: History) -> None:
        self._stage, self._history = stage, history
        self._wish: _Wish | None = None

    def left(self, before: Played | None) -> None:
        """Another patch has come on, by a hand."""
        self._wish = None
        if before is not None:
            self._history.crossed(self._to(before, back=True), self._stay)

    def carry_out(self) -> Patch | None:
        """Go where undo or redo pointed; the patch that plays again, None if there is none to go to.
        Raises as `Stage.load` does; then nothing has changed, and the change is not remembered."""
        wish, self._wish = self._wish, None
        if wish is None:
            return None
        now = self._stage.played()
        self._stage.go_back(wish.played)
        if now is not None and wish.back:
            self._history.crossed(self._stay, self._to(now, back=False), undone=True)
        elif now is not None:
            self._history.crossed(self._to(now, back=True), self._stay)
        return self._stage.patch

    def _to(self, played: Played, back: bool) -> partial[None]:
        return partial(self._go, _Wish(played, back))

    def _go(self, wish: _Wish) -> None:
        self._wish = wish

    def _stay(self) -> None:
        """The change was taken back, or made again, before it was carried out."""
        self._wish = None
