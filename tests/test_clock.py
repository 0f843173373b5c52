"""The clock: unbroken through changes of tempo, tapped, and steered from outside."""

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.modulation.clock import FASTEST, INTERNAL, LINK, MIDI, SLOWEST, Clock


def midi_clock(tempo: float = 120.0) -> Clock:
    clock = Clock(tempo)
    clock.follow(MIDI, 0.0)
    return clock


def play(clock: Clock, at: float) -> None:
    """A start message: from the top."""
    clock.position(0.0)
    clock.start(at)


def ticks(clock: Clock, start: float, count: int, bpm: float, jitter: float = 0.0, seed: int = 0) -> float:
    """Feed so many MIDI ticks; when the next one is due."""
    noise = random.Random(seed)
    period = 60 / bpm / 24
    last = 0.0
    for number in range(count):
        last = max(last, start + number * period + abs(noise.gauss(0, jitter)))
        clock.tick(last)
    return start + count * period


def test_beats_follow_the_tempo():
    clock = Clock(120)
    assert clock.beat(0) == 0 and clock.beat(1) == 2 and clock.beat(10.25) == 20.5
    moment = clock.moment(10.25)
    assert (moment.bar, moment.beat_phase, moment.bar_phase, moment.running) == (5, 0.5, 0.125, True)


@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(1, 500)), max_size=20))
def test_a_change_of_tempo_never_breaks_the_position(changes):
    clock, now, beat = Clock(), 0.0, 0.0
    for wait, tempo in changes:
        before = clock.tempo
        now, beat = now + wait, beat + wait * before / 60
        clock.set_tempo(tempo, now)
        assert clock.beat(now) == pytest.approx(beat) and SLOWEST <= clock.tempo <= FASTEST


def test_the_next_beat_and_bar():
    clock = Clock(60)
    assert clock.next_beat(4.5) == 5 and clock.next_beat(4.5, 0) == 8 and clock.next_beat(8.0, 0) == 12
    clock.set_bar(3)
    assert clock.next_beat(4.5, 0) == 6 and clock.moment(4.5).bar_phase == 0.5


@pytest.mark.parametrize("bpm", [40, 97.3, 128, 240])
def test_taps_make_the_tempo_and_a_tap_is_on_the_beat(bpm):
    clock, noise = Clock(), random.Random(1)
    for tap in range(8):
        at = 100 + tap * 60 / bpm + noise.gauss(0, 0.004)
        clock.tap(at)
    assert clock.tempo == pytest.approx(bpm, rel=0.02)
    assert clock.beat(at) == round(clock.beat(at))


def test_one_tap_or_one_after_a_pause_changes_nothing():
    clock = Clock(100)
    assert clock.tap(1.0) is None and clock.tap(9.0) is None and clock.tempo == 100
    assert clock.tap(9.5) == pytest.approx(120)
    assert clock.tap(9.5) is None  # twice at once is no tempo


def test_a_downbeat_moves_the_nearest_bar_line():
    clock = Clock(120)
    clock.downbeat(2.2)  # beat 4.4
    assert clock.beat(2.2) == 4 and clock.jumps == 1
    clock.downbeat(3.9)  # beat 7.4
    assert clock.beat(3.9) == 8


@pytest.mark.parametrize("bpm", [60, 127.33, 174])
def test_midi_clock_with_jitter_is_heard_steady(bpm):
    clock = midi_clock()
    play(clock, 0.0)
    tempos = []
    now = 0.0
    for beat in range(40):
        now = ticks(clock, now, 24, bpm, jitter=0.0015, seed=beat)
        tempos.append(clock.tempo)
    assert tempos[-1] == pytest.approx(bpm, rel=0.01)
    assert max(tempos[4:]) - min(tempos[4:]) < 0.012 * bpm
    assert clock.beat(now) == pytest.approx(40, abs=0.05)


def test_a_new_midi_tempo_is_followed_within_two_beats():
    clock = midi_clock()
    play(clock, 0.0)
    now = ticks(clock, 0.0, 96, 120)
    now = ticks(clock, now, 48, 150)
    assert clock.tempo == pytest.approx(150, rel=0.01)
    assert clock.beat(now) == pytest.approx(6, abs=0.05)


def test_ticks_that_were_held_up_and_come_at_once_do_not_shift_the_song():
    clock = midi_clock()
    play(clock, 0.0)
    now = ticks(clock, 0.0, 96, 120)
    for _ in range(4):
        clock.tick(now + 4 * 60 / 120 / 24)
    now = ticks(clock, now + 4 * 60 / 120 / 24, 92, 120)
    assert clock.tempo == pytest.approx(120, rel=0.02) and clock.beat(now) == pytest.approx(8, abs=0.05)


def test_start_stop_continue_and_song_position():
    clock = midi_clock()
    play(clock, 10.0)
    now = ticks(clock, 10.0, 48, 120)
    assert clock.beat(now) == pytest.approx(2, abs=0.01)
    clock.stop(now)
    assert clock.beat(now + 100) == pytest.approx(2, abs=0.01) and not clock.running
    ticks(clock, now, 24, 120)  # many clocks go on while stopped
    assert clock.beat(now + 1) == pytest.approx(2, abs=0.01)
    clock.start(now + 1)
    now = ticks(clock, now + 1, 24, 120)
    assert clock.beat(now) == pytest.approx(3, abs=0.01)
    clock.stop(now)
    clock.position(16.0)
    assert clock.beat(now + 1) == 16
    clock.start(now + 1)
    now = ticks(clock, now + 1, 24, 120)
    assert clock.beat(now) == pytest.approx(17, abs=0.01) and clock.running
    play(clock, now)
    assert clock.beat(now) == 0 and clock.jumps == 3


def test_where_midi_clock_stands_elsewhere_is_a_jump():
    """Ticks that paused without a stop: the song is where they stopped."""
    clock = midi_clock()
    play(clock, 0.0)
    end = ticks(clock, 0.0, 96, 120)
    jumps = clock.jumps
    end = ticks(clock, end, 96, 120)
    assert clock.jumps == jumps
    ticks(clock, end + 2.0, 96, 120)
    assert clock.jumps > jumps and clock.beat(end + 2.0 + 96 / 48) == pytest.approx(12, abs=0.1)


def test_where_link_stands_elsewhere_is_a_jump_and_less_is_a_correction():
    clock = Clock(120)
    clock.follow(LINK, 0.0)
    for at, beat, jumps in ((1.0, 2.4, 0), (2.0, 4.4, 0), (3.0, 9.0, 1), (4.0, 10.4, 2), (5.0, 12.4, 2)):
        clock.steer(beat, 120, at)
        assert clock.jumps == jumps and clock.beat(at) == beat


def test_other_sources_are_not_heard():
    clock = Clock(100)
    ticks(clock, 0.0, 96, 140)
    clock.stop(2.0)
    clock.steer(50.0, 77.0, 2.0)
    assert clock.tempo == 100 and clock.running and clock.beat(3.0) == 5
    clock.follow(LINK, 3.0)
    clock.steer(50.0, 77.0, 3.0)
    assert clock.beat(3.0) == 50 and clock.tempo == 77
    clock.follow(MIDI, 3.0)
    clock.stop(3.0)
    clock.follow(INTERNAL, 4.0)
    assert clock.running and clock.beat(4.0) == pytest.approx(50)
    with pytest.raises(ValueError, match="choose one of: internal, midi, link"):
        clock.follow("sun", 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(["tick", "start", "stop", "position", "tap", "downbeat"]), st.floats(0, 1e6)))
)
def test_no_order_of_events_does_harm(events):
    clock = midi_clock()
    for name, at in events:
        getattr(clock, name)(at)
    moment = clock.moment(1e6)
    assert SLOWEST <= moment.tempo <= FASTEST and moment.beat == moment.beat


def test_it_may_be_fed_while_it_is_asked():
    clock = midi_clock()
    play(clock, 0.0)
    feeder = threading.Thread(target=ticks, args=(clock, 0.0, 5000, 120))
    feeder.start()
    while feeder.is_alive():
        assert clock.beat(1.0) >= -1
    feeder.join()
    assert clock.tempo == pytest.approx(120)


def test_a_show_begins_at_the_first_beat_of_the_first_bar():
    clock = Clock(120)
    assert clock.moment(10_000).bar == 5000  # of nobody's music
    clock.begin(10_000)
    assert clock.moment(10_000) == (0, 0, 0, 0, 120, True) and clock.beat(10_001) == 2
    clock = midi_clock()
    play(clock, 9_000)
    ticks(clock, 9_000, 96, 120)
    before = clock.beat(10_000)
    clock.begin(10_000)
    assert clock.beat(10_000) == before > 4


def test_a_foot_switch_that_bounces_is_one_tap():
    clock = Clock(100)
    for beat in range(4):
        clock.tap(1 + beat * 0.5)
        assert clock.tap(1 + beat * 0.5 + 0.012) is None
    assert clock.tempo == pytest.approx(120)
