"""How fast the loop goes, as it is told and as it is read."""

from __future__ import annotations

import pytest

from instrument.engine import tempo
from instrument.engine.tempo import PictureTime, Tempo


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item."""
    now = [100.0]
    monkeypatch.setattr(tempo.time, "monotonic", lambda: now[0])
    return now


def played(clock: list[float], chunks: int, seconds: float = 0.2, frames: int = 4) -> Tempo:
    loop = Tempo(None)
    loop.begin()
    for _ in range(chunks + 1):  # the first has nothing before it
        clock[0] += seconds
        loop.measure(0.05, frames)
    return loop


def test_the_rate_is_that_of_the_chunks(clock) -> None:
    timing = played(clock, 5).timing
    assert (timing.fps, timing.chunk_ms, timing.step_ms) == pytest.approx((20, 200, 50)) and timing.chunks == 5


def test_the_rate_falls_while_no_chunk_ends(clock) -> None:
    loop = played(clock, 5)
    clock[0] += 0.39
    assert loop.timing.fps == pytest.approx(20), "one may take longer"
    clock[0] += 3.61
    assert loop.timing.fps == pytest.approx(1) and loop.timing.chunk_ms == pytest.approx(200)
    clock[0] += 36
    assert loop.timing.fps == pytest.approx(0.1)
    for _ in range(30):
        loop.measure(0.05, 4)
        clock[0] += 0.2
    assert loop.timing.fps == pytest.approx(20, rel=0.05)


def test_before_the_first_chunk_there_is_no_rate(clock) -> None:
    loop = Tempo(24)
    loop.begin()
    clock[0] += 50
    assert loop.timing.fps == 0 and loop.timing.chunks == 0


def test_the_time_of_pictures_never_runs_back() -> None:
    shown = [0.0]
    clock, times = PictureTime(lambda: shown[0], 20), []
    for shown[0] in (4.0, 7.0, 4.0, 6.0, 8.0):  # a chunk is refused and made again
        times.append(clock())
    assert times == [0.2, 0.35, 0.35, 0.35, 0.4]
