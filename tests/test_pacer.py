"""Bursts in, an even beat out: exactly on a simulated clock, loosely in its own thread."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.engine.pacer import FIRST_RATE, Pacer, mix
from instrument.engine.rate import WINDOW, ArrivalRate
from instrument.outputs.testcard import CARD
from tests.pacing import FRAME, Simulation


@pytest.mark.parametrize(("burst", "every"), [(1, 0.04), (4, 0.2), (12, 0.75), (9, 1.5), (3, 0.1)])
def test_bursts_become_an_even_beat(burst, every):
    sim = Simulation()
    sim.run(30, burst, every)
    period = every / burst
    steps = sim.steps(since=10)
    assert np.percentile(np.abs(steps - period), 95) <= 0.2 * period
    assert steps.max() < 1.3 * period
    assert [stamp for _, stamp in sim.fresh] == list(range(len(sim.fresh)))  # in order, none missing
    stats = sim.pacer.stats()
    assert stats.fps_in == pytest.approx(burst / every, rel=0.02)
    assert stats.fps_out == pytest.approx(burst / every, rel=0.05)
    assert stats.dropped == 0
    assert stats.jitter_ms < 200 * period


def test_the_wait_is_about_half_a_burst_and_a_small_margin():
    sim = Simulation()
    sim.run(40, 4, 0.2)
    assert sim.pacer.stats().latency_ms < 1000 * (0.1 + 2 * 0.05)
    assert sim.pacer.stats().buffered <= 5


def test_uneven_bursts_still_come_out_even():
    sim = Simulation(wobble=0.5)
    sim.run(60, 4, 0.2)
    steps = sim.steps(since=30)
    assert np.percentile(np.abs(steps - 0.05), 95) <= 0.2 * 0.05


def test_the_rate_slews_rather_than_jumps():
    sim = Simulation()
    sim.run(20, 4, 0.2)
    sim.run(20, 4, 0.4)  # the source halves its speed
    steps = np.diff([at for at, _ in sim.sent if 15 < at < 40])
    assert np.abs(np.diff(steps)).max() < 0.1 * 0.05 + 1e-6  # no step differs much from the one before
    assert steps[-50:] == pytest.approx(0.1, rel=0.1)


def flat(value):
    return np.full((4, 8, 3), value, np.uint8)


def test_too_much_drops_the_oldest():
    shown = []
    pacer = Pacer(lambda frame, stamp: shown.append(int(frame[0, 0, 0])), clock=lambda: 0.0)
    for n in range(200):
        pacer.push(flat(n))
    stats = pacer.stats()
    assert stats.buffered + stats.dropped == 200 and stats.buffered <= 64
    pacer.step(0.0)
    assert shown == [200 - stats.buffered]


def test_the_oldest_stamp_of_dropped_frames_goes_out_with_the_next():
    """A change of a knob is first seen in the next frame that is shown, if the one that was to show it is not."""
    sent = []
    pacer = Pacer(lambda frame, stamp: sent.append((int(frame[0, 0, 0]), stamp)), clock=lambda: 0.0)
    for n in range(200):
        pacer.push(flat(n), {10: "first", 12: "second"}.get(n))
    for _ in range(3):
        pacer.step(0.0)
    first = 200 - 64
    assert sent == [(first, "first"), (first + 1, None), (first + 2, None)]


@pytest.mark.parametrize("fps", [3, 7, 11])
def test_a_slower_output_still_gets_every_chunks_stamp(fps):
    """Of a source of 20 frames a second in chunks of four, the first of which is stamped, most are never shown."""
    sim = Simulation(fps=fps)
    sim.stamp = lambda number: number if number % 4 == 0 else None
    sim.run(20)
    stamps = [stamp for _, stamp in sim.fresh if stamp is not None]
    assert sim.pacer.stats().dropped > 100 and stamps == sorted(stamps)
    assert len(stamps) > 0.95 * min(20 * 5, len(sim.fresh))


def test_a_set_rate_above_the_source_repeats_evenly():
    sim = Simulation(fps=60)
    sim.run(30, 4, 0.2)
    times = [at for at, _ in sim.sent if at > 15]
    assert np.diff(times) == pytest.approx(1 / 60)
    shown = [stamp for at, stamp in sim.sent if at > 15]
    repeats = np.diff(np.flatnonzero(np.diff(shown)))  # how often each frame went out
    assert set(repeats) <= {2, 3, 4} and np.mean(repeats) == pytest.approx(3, rel=0.05)
    assert sim.pacer.stats().dropped == 0


def test_a_set_rate_below_the_source_skips():
    sim = Simulation(fps=10)
    sim.run(30, 4, 0.2)
    assert np.diff([at for at, _ in sim.sent if at > 15]) == pytest.approx(0.1)
    skips = np.diff([stamp for at, stamp in sim.fresh if at > 15])
    assert set(skips) <= {1, 2, 3} and np.mean(skips) == pytest.approx(2, rel=0.05)


def test_a_set_rate_near_the_source_plays_every_frame_once():
    sim = Simulation(fps=20)
    sim.run(30, 4, 0.2)
    assert set(np.diff([stamp for at, stamp in sim.fresh if at > 5])) == {1}


def played_at_triple_rate(fade, frames=60):
    """What goes out at 30 a second of a source that makes ten a second, frame n being all of the value 3 n."""
    now, sent = [0.0], []
    pacer = Pacer(lambda frame, stamp: sent.append((frame, stamp)), 30.0, clock=lambda: now[0])
    pacer.fade = fade
    due = 0.0
    for number in range(frames):
        pacer.push(flat(3 * number), number)
        while due < (number + 1) / 10:
            now[0] = max(now[0], due)
            due = pacer.step(now[0])
        now[0] = (number + 1) / 10
    return [(int(frame[0, 0, 0]), stamp) for frame, stamp in sent if stamp is not CARD]


def test_a_source_slower_than_a_set_rate_is_held_frame_by_frame():
    sent = played_at_triple_rate(fade=False)
    assert all(value == 3 * stamp for value, stamp in sent)


def test_with_fade_the_frames_between_are_mixed_of_their_neighbours():
    sent = played_at_triple_rate(fade=True)
    late = sent[len(sent) // 2 :]
    values = [value for value, _ in late]
    assert all(3 * stamp <= value <= 3 * stamp + 3 for value, stamp in late)  # never past the next
    assert values == sorted(values)
    between = sum(value % 3 != 0 for value in values)
    assert between >= len(values) // 3  # one of the three in each period is a frame of the source's own


def test_fade_changes_nothing_when_the_output_follows_the_source():
    sim = Simulation()
    sim.pacer.fade = True
    frames = []
    sim.pacer._send = lambda frame, stamp: frames.append((frame, stamp))
    sim.run(5)
    assert all(frame is FRAME for frame, stamp in frames if stamp is not CARD)


@given(one=st.integers(0, 255), other=st.integers(0, 255), share=st.floats(0, 1))
def test_a_mix_lies_between_and_at_its_ends_is_either(one, other, share):
    mixed = int(mix(flat(one), flat(other), share)[0, 0, 0])
    assert abs(mixed - ((1 - share) * one + share * other)) <= 1.5
    assert min(one, other) <= mixed <= max(one, other)
    assert (mix(flat(one), flat(other), 0.0) == one).all() and (mix(flat(one), flat(other), 1.0) == other).all()


def test_frames_of_two_sizes_are_not_mixed():
    small = np.zeros((2, 2, 3), np.uint8)
    assert mix(small, flat(9), 0.5) is small


def test_the_card_stands_before_the_first_frame():
    shown = []
    pacer = Pacer(lambda frame, stamp: shown.append((frame, stamp)), clock=lambda: 0.0)
    for _ in range(3):
        pacer.step(0.0)
    assert [stamp for _, stamp in shown] == [CARD] * 3
    assert shown[0][0].shape == (288, 512, 3) and len(np.unique(shown[0][0][0], axis=0)) == 7
    pacer.push(FRAME, "first")
    pacer.step(0.1)
    assert shown[-1][0] is FRAME and shown[-1][1] == "first"
    assert pacer.stats().held == 0


def test_each_new_frame_is_reported_once_with_its_stamp():
    sim = Simulation()
    sim.run(5, 4, 0.2)
    sim.pause(2)
    stamps = [stamp for _, stamp in sim.fresh]
    assert stamps == list(range(sim.number))
    assert len(sim.sent) > len(stamps)


class Sleeper:
    """A clock that only sleeping moves on; meanwhile a source makes four frames every fifth of a second."""

    def __init__(self):
        self.now, self.bursts, self.ended = 0.0, 0, threading.Event()

    def sleep(self, seconds):
        self.now += seconds
        while self.now >= 0.2 * self.bursts and self.bursts < 50:
            for n in range(4):
                self.pacer.push(FRAME, 4 * self.bursts + n)
            self.bursts += 1
        if self.bursts == 50 and not self.ended.is_set():
            self.stats = self.pacer.stats()
            self.ended.set()


def test_its_thread_keeps_the_beat():
    """The bounds are wide: the exact ones are tested above."""
    sleeper, shown = Sleeper(), []
    sleeper.pacer = Pacer(lambda frame, stamp: shown.append(stamp), clock=lambda: sleeper.now, sleep=sleeper.sleep)
    sleeper.pacer.start()
    assert sleeper.ended.wait(60)
    sleeper.pacer.close()
    assert 14 < sleeper.stats.fps_out < 25 and sleeper.stats.jitter_ms < 40
    fresh = [stamp for stamp, before in zip(shown, [None, *shown], strict=False) if stamp not in (before, CARD)]
    assert fresh == list(range(len(fresh))) and len(fresh) > 180


def test_arrival_rate_before_it_knows():
    rate = ArrivalRate()
    assert rate.fps is None
    for n in range(4):
        rate.push(n * 0.002)
    assert rate.fps is None  # one burst says nothing
    rate.push(0.5)
    assert rate.fps == pytest.approx(8)
    assert FIRST_RATE > 0


def test_arrival_rate_bears_one_stutter():
    rate = ArrivalRate()
    now = 0.0
    for n in range(60):
        now += 0.4 if n == 30 else 0.2
        for k in range(4):
            rate.push(now + 0.003 * k)
    assert rate.fps == pytest.approx(20, rel=0.01)
    assert rate.burst == 4


@pytest.mark.parametrize("pause", [1.5, 30.0])
def test_arrival_rate_bears_a_pause(pause):
    rate = ArrivalRate()
    for n in range(30):
        for k in range(4):
            rate.push((n > 0) * pause + (n > 15) * pause + 0.2 * n + 0.003 * k)
        assert rate.fps is None or rate.fps == pytest.approx(20, rel=0.05)
    assert rate.fps == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(("before", "after"), [(0.2, 1.5), (1.5, 0.2), (0.2, 0.25), (0.4, 0.1)])
def test_arrival_rate_follows_a_change(before, after):
    rate = ArrivalRate()
    now = 0.0
    for n in range(60):
        now += before if n < 20 else after
        for k in range(4):
            rate.push(now + 0.003 * k)
    assert rate.fps == pytest.approx(4 / after, rel=0.02)


def test_arrival_rate_with_simultaneous_arrivals():
    rate = ArrivalRate()
    for n in range(20):
        for _ in range(4):
            rate.push(n * 0.25)
    assert rate.fps == pytest.approx(16, rel=0.01)


@pytest.mark.parametrize(("pause", "over"), [(1.5, 1.0), (4.0, 2.0), (60.0, WINDOW)])
def test_a_pause_is_over_once_frames_have_come_for_half_as_long_within_bounds(pause, over):
    """Until then it may be the first gap of a slower pace, and the rate stands."""
    rate = ArrivalRate()
    for n in range(41):
        rate.push(n / 20)
    again = 2.0 + pause
    for n in range(50):
        rate.push(again + n / 10)
        if n / 10 < over:
            assert rate.fps == pytest.approx(20)
        elif n / 10 > over + 0.2:
            assert rate.fps == pytest.approx(10)
