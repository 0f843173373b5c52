"""The measure itself: it measures what it says. How long a tick takes is for `bender bench`, not for a busy test."""

from instrument.bench.tickcost import measure


def test_it_counts_what_it_was_asked_for():
    cost = measure(parameters=30, modulators=10, ticks=20)
    assert cost.modulators == 10 and cost.parameters > 30 + 10 * 5
    assert 0 < cost.median_ms <= cost.p95_ms
    assert measure(parameters=3, modulators=0, ticks=3).parameters == 4
