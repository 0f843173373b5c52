"""KeptLog: which bends the latent frames in a cache were made under, and how old they are.

Counts frames as they are made; asks the cache only which positions it holds. Knows no tensors.
"""

from __future__ import annotations

from typing import NamedTuple

from pipelines.cache import KVCache


class Kept(NamedTuple):
    """One latent frame that the cache holds: how many frames were made after it, whether it is pinned as part of the
    sink, and the names of the bends at work when it was made or written again."""

    age: int
    sink: bool
    bends: tuple[str, ...]


class KeptLog:
    """One stream's. `keep_first`: a cache begun again has the stream's very first frame in its first place."""

    def __init__(self, cache: KVCache, keep_first: bool) -> None:
        self._cache, self._keep_first = cache, keep_first
        self.forget()

    def forget(self) -> None:
        """The past is gone."""
        self._count = 0
        self._made: dict[int, frozenset[str]] = {}
        self._working: set[str] = set()
        self.kept: tuple[Kept, ...] = ()  # oldest first, as of the last chunk; may be read in any thread

    def note(self, bends: frozenset[str]) -> None:
        """Bends at work in a pass of the chunk under way."""
        self._working |= bends

    def note_again(self, frames: int, bends: frozenset[str]) -> None:
        """Bends at work in a pass that wrote the newest frames of the past again."""
        for frame in range(max(0, self._count - frames), self._count):
            self._made[frame] = self._made.get(frame, frozenset()) | bends

    def add(self, frames: int) -> None:
        """The chunk under way has become past."""
        for frame in range(self._count, self._count + frames):
            self._made[frame] = frozenset(self._working)
        self._count += frames
        self._working = set()
        self.kept = self._read()

    def _read(self) -> tuple[Kept, ...]:
        held = self._cache.held()
        sink, frames = set(held[: self._cache.sink]), {self._frame(position): position for position in sorted(held)}
        newest = range(self._count - self._cache.window, self._count)
        self._made = {frame: bends for frame, bends in self._made.items() if frame in frames or frame in newest}
        return tuple(
            Kept(self._count - 1 - frame, position in sink, tuple(sorted(self._made.get(frame, ()))))
            for frame, position in frames.items()
        )

    def _frame(self, position: int) -> int:
        """The number of the frame at a cache's position: they end together, whenever the cache began."""
        began_again = self._cache.end < self._count
        if position == 0 and self._keep_first and began_again:
            return 0
        return self._count - (self._cache.end - position)
