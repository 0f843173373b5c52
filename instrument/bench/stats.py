"""What benches say of many measurements."""

from __future__ import annotations

from collections.abc import Iterable


def below(share: float, values: Iterable[float]) -> float:
    """The value that this share of all, 0..1, stays below; an order statistic, no mean of two. IndexError of none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
