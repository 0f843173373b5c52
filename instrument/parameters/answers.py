"""What became of wishes that cannot be answered at once, such as a patch that turns out not to be there: words to
whoever made them.

A part that refuses a wish, or has something to say of one that came true, does so with its Tell: to the player, and by
the wish's origin to who made it. Whoever keeps the door of that origin (OSC, OSCQuery) asks for new words now and then
and sends them from a thread of its own, so that nobody waits here. Knows origins; nothing of doors.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from instrument.parameters.values import shorten

MOST = 256  # words kept; doors ask ten times a second


class Asked(NamedTuple):
    """A wish as its maker knows it: in words such as `patch.load undertow`, and the origin; empty for nobody's."""

    words: str = ""
    origin: str = ""


NOBODY = Asked()


class Words(NamedTuple):
    """One line to an origin: why its wish did not come true, or what is to be known though it did."""

    origin: str
    text: str
    refused: bool = True


class Answers:
    """The latest words to each origin. Any thread; never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: deque[tuple[int, Words]] = deque(maxlen=MOST)
        self._count = 0

    def put(self, origin: str, text: str, refused: bool = True) -> None:
        """One line to an origin; one that no door knows is never fetched."""
        with self._lock:
            self._count += 1
            self._words.append((self._count, Words(origin, text, refused)))

    def overtaken(self, before: Asked | None, by: Asked) -> None:
        """A wish that is still on its way, if there is one, is dropped for a newer one: say so to who made it, unless
        both wish for the same."""
        if before is not None and before.origin and before.words != by.words:
            self.put(before.origin, f"{shorten(before.words)}: overtaken by {shorten(by.words)}")

    def since(self, count: int) -> tuple[int, list[Words]]:
        """(the number to ask with next time, all that was put since `count`, the oldest first)."""
        if count == self._count:  # nearly always
            return count, []
        with self._lock:
            return self._count, [words for number, words in self._words if number > count]


class Tell:
    """Says a line to the player, and to whoever made the wish that it answers."""

    def __init__(self, player: Callable[[str], None], answers: Answers) -> None:
        """`player` must not wait."""
        self._player, self._answers = player, answers

    def __call__(self, text: str, to: str = "") -> None:
        """Why a wish does not come true. `to`: its origin; empty where it was nobody's, or nobody is refused."""
        self._say(text, to, True)

    def notice(self, text: str, to: str = "") -> None:
        """What is to be known of a wish that came true."""
        self._say(text, to, False)

    def _say(self, text: str, to: str, refused: bool) -> None:
        self._player(text)
        if to:
            self._answers.put(to, text, refused)
