"""Many values read at every tick, at once: as a tuple, or as an array that is made anew only when one has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from pipelines.spec import Value

Read = Callable[[Mapping[str, Value]], tuple[Any, ...]]


def reading(ids: Sequence[str]) -> Read:
    """What takes these values, in this order, out of many."""
    if len(ids) == 1:
        (id,) = ids
        return lambda values: (values[id],)
    return itemgetter(*ids) if ids else lambda values: ()


class Column:
    """The same setting of several modulators, as an array. `of` makes its element of a value; None: the value is."""

    def __init__(self, ids: Sequence[str], dtype: type, of: Callable[[Value], Any] | None = None) -> None:
        self._read, self._dtype, self._of = reading(ids), dtype, of
        self._seen: tuple[Any, ...] | None = None
        self._array = np.zeros(0, dtype=dtype)

    def __call__(self, values: Mapping[str, Value]) -> np.ndarray:
        """The very array of the call before where nothing has changed; it must not be written to."""
        seen = self._read(values)
        if seen != self._seen:
            self._seen = seen
            self._array = np.array([self._of(value) for value in seen] if self._of else seen, dtype=self._dtype)
        return self._array
