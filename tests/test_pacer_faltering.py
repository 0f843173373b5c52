"""Where the source, an output or the machine falters, the beat goes on: held, never caught up with by a volley."""

import time

import numpy as np
import pytest

from instrument.engine.pacer import Pacer
from tests.pacing import FRAME, Simulation


def test_starved_it_holds_the_last_frame_on_the_beat():
    sim = Simulation()
    sim.run(10, 4, 0.2)
    last = sim.number - 1
    sim.pause(5)
    held = [stamp for at, stamp in sim.sent if at > 12]
    assert len(held) > 30 and set(held) == {last}
    assert sim.pacer.stats().held >= len(held)
    sim.run(20, 4, 0.2)
    assert np.percentile(np.abs(sim.steps(since=sim.now - 8) - 0.05), 95) <= 0.01
    assert sim.pacer.stats().fps_in == pytest.approx(20, rel=0.02)  # the pause did not count


@pytest.mark.parametrize(("rate", "frames"), [(2.0, 1.0), (8.0, 2.4), (60.0, 6.0)])
def test_however_often_it_starves_a_slow_source_is_not_made_late_as_well(rate: float, frames: float) -> None:
    pacer = Pacer(lambda frame, stamp: None)
    pacer._rate, pacer._shown = rate, (np.zeros((2, 2, 3), np.uint8), None)
    for _ in range(50):
        pacer._starving = False
        pacer._starve(1.0)
    assert pacer._margin == pytest.approx(frames)


def test_a_margin_that_hiccups_have_widened_shrinks_again():
    sim = Simulation()
    sim.run(20)
    before = sim.pacer.stats().latency_ms
    for _ in range(10):
        sim.run(1)
        sim.pause(0.4)
    sim.run(6)
    widened = sim.pacer.stats().latency_ms
    sim.run(36)
    assert widened > before + 40 and sim.pacer.stats().latency_ms < before + 15


def test_a_failing_send_does_not_stop_the_beat(caplog):
    def broken(frame, stamp):
        raise RuntimeError("no screen")

    pacer = Pacer(broken, clock=lambda: 0.0)
    pacer.step(0.0)
    pacer.step(0.1)
    assert "no screen" in pacer.stats().error
    assert len(caplog.records) == 1  # said once


def test_a_late_step_does_not_bring_a_volley():
    pacer = Pacer(lambda frame, stamp: None, fps=20, clock=lambda: 0.0)
    pacer.step(0.0)
    assert pacer.step(3.0) == pytest.approx(3.05)


def test_in_real_time_it_is_never_too_fast_and_ends_when_told():
    """However the machine stalls: what is late is not caught up with by a volley."""
    at = []
    pacer = Pacer(lambda frame, stamp: at.append(time.monotonic()), 20.0)
    began = time.monotonic()
    pacer.start()
    while len(at) < 20:
        pacer.push(FRAME, len(at))
        time.sleep(0.01)
        assert time.monotonic() - began < 60
    pacer.close()
    sent = len(at)
    assert sent <= 20 * (at[-1] - began) + 2
    time.sleep(0.1)
    assert len(at) == sent  # nothing after close
