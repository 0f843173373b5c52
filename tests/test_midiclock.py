"""The tick filter: known lines with noise, stalls and pauses; and the ticks of a real MIDI clock over JACK."""

from __future__ import annotations

import math
import random
import shutil
import subprocess
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.modulation.clock import MIDI, Clock
from instrument.modulation.midiclock import PER_BEAT, TickFilter
from tests.jack import running_jack


@given(st.floats(20, 300), st.integers(0, 1000), st.integers(0, 1000))
def test_steady_ticks_are_their_own_line(bpm, first, seed):
    filter, period = TickFilter(), 60 / bpm / PER_BEAT
    filter.start(first)
    for number in range(100):
        line = filter.tick(5 + number * period)
    assert line.period == pytest.approx(period) and line.ticks == first + 99
    assert line.at == pytest.approx(5 + 99 * period)


@given(st.integers(0, 10_000))
def test_noise_is_filtered_to_a_fraction(seed):
    noise, filter, period = random.Random(seed), TickFilter(), 60 / 127.33 / PER_BEAT
    lines, last = [], 0.0
    for number in range(200):
        last = max(last, number * period + noise.gauss(0.004, 0.0015))
        lines.append((filter.tick(last), number * period))
    for line, due in lines[60:]:
        assert line.period == pytest.approx(period, rel=0.006)
        assert abs(line.at - 0.004 - due) < 0.0025


@given(st.integers(0, 10_000), st.floats(80, 170))
def test_ticks_in_blocks_of_sound_shake_the_tempo_little(seed, bpm):
    """As drivers deliver them: held until the next block of 1024 samples at 48 kHz, and then a little late."""
    noise, filter, block = random.Random(seed), TickFilter(), 1024 / 48_000
    arrivals, tempos = [0.0], []
    for number in range(200):
        due = math.ceil(number * 60 / bpm / PER_BEAT / block) * block + abs(noise.gauss(0, 0.001))
        arrivals.append(max(arrivals[-1], due))
        line = filter.tick(arrivals[-1])
        tempos.append(line and 60 / PER_BEAT / line.period)
    raw = [60 / PER_BEAT / max(after - before, 1e-3) for before, after in pairwise(arrivals[-100:])]
    assert max(tempos[-100:]) - min(tempos[-100:]) < (max(raw) - min(raw)) / 4
    assert tempos[-1] == pytest.approx(bpm, rel=0.03)


@pytest.mark.parametrize("bpm", [60, 117, 140, 174, 200])
@pytest.mark.parametrize("block", [0, 256, 512, 1024])
def test_a_clock_that_loses_no_tick_is_where_it_says_after_a_minute(bpm, block):
    noise, filter, period, last = random.Random(bpm + block), TickFilter(), 60 / bpm / PER_BEAT, 0.0
    for number in range(24 * bpm):
        due = number * period + noise.expovariate(1 / 0.001)
        last = max(last, math.ceil(due * 48_000 / block) * block / 48_000 if block else due)
        line = filter.tick(last)
    assert abs(line.ticks + (number * period - line.at) / line.period - number) < 1.5


@given(st.floats(40, 240), st.floats(0.01, 0.9), st.floats(0, 1))
def test_ticks_held_up_and_let_go_at_once_are_no_other_tempo(bpm, held, phase):
    filter, period = TickFilter(), 60 / bpm / PER_BEAT
    stall, last = (100 + phase) * period, -1.0
    for number in range(300):
        due = number * period
        at = due if not stall < due < stall + held else stall + held
        last = max(at, last + 5e-5)  # one after the other, as a cable brings them
        line = filter.tick(last)
        if number > 6 and due > stall + held:
            assert line.period == pytest.approx(period, rel=0.015)
            assert line.ticks + (due - line.at) / period == pytest.approx(number, abs=0.7)


def test_ticks_that_all_came_at_once_are_no_tempo():
    filter = TickFilter()
    assert [filter.tick(n * 1e-4) for n in range(20)] == [None] * 20


def test_a_new_tempo_is_followed_within_two_beats():
    filter, at = TickFilter(), 0.0
    for bpm in (120, 60, 174, 90, 240, 120):
        for _ in range(2 * PER_BEAT):
            at += 60 / bpm / PER_BEAT
            line = filter.tick(at)
        assert line.period == pytest.approx(60 / bpm / PER_BEAT, rel=0.01)


def test_too_few_ticks_say_nothing_and_a_long_pause_is_a_new_beginning():
    filter = TickFilter()
    assert [filter.tick(n * 0.02) for n in range(5)] == [None] * 5
    assert filter.tick(0.1).period == pytest.approx(0.02)
    assert filter.tick(5.0) is None and filter.tick(5.01) is None


@given(st.lists(st.floats(0, 100, allow_subnormal=False), max_size=60))
def test_any_times_are_survived(times):
    filter = TickFilter()
    for at in times:
        line = filter.tick(at)
        assert line is None or line.period > 0


def test_a_real_midi_clock_is_followed():
    """jack_midi_clock told to go at 120. A dummy JACK server on a busy machine runs slow, and its ticks with it: what
    the clock must agree with is the pace at which they came, once that was steady."""
    for program in ("jack_midi_clock", "jack_transport", "jack_connect"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; on Debian: apt install jack-midi-clock jack-tools")
    with running_jack() as jack:
        import rtmidi

        port = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="tempo", queue_size_limit=16384)
        port.ignore_types(False, False, True)
        port.open_virtual_port("in")
        generator = subprocess.Popen(["jack_midi_clock", "-b", "120"], stdout=subprocess.DEVNULL)
        try:
            _connect("jack_midi_clock:mclk_out", "tempo:in")
            words = {"input": "tempo 120\nplay\nexit\n", "text": True, "capture_output": True}
            subprocess.run(["jack_transport", "-s", jack.name], **words, check=False, timeout=20)
            arrivals, tempos = _listen(port)
        finally:
            generator.terminate()
            generator.wait(10)
            port.close_port()
            port.delete()
    assert len(arrivals) >= 150, "no ticks came"
    if not _steady(arrivals):
        pytest.skip("the JACK server keeps no time on this machine")
    pace = _pace(arrivals[-STEADY:])
    assert 60 < pace < 130
    assert tempos[-1] == pytest.approx(pace, rel=0.03)


STEADY = 144  # ticks, three seconds at 120


def _listen(port) -> tuple[list[float], list[float]]:
    """Ticks until they have come steadily, or for 40 seconds: when each came, and the clock's tempo after it."""
    clock = Clock(60)
    clock.follow(MIDI, time.monotonic())
    arrivals, tempos, end = [], [], time.monotonic() + 40
    while time.monotonic() < end and not _steady(arrivals):
        while (message := port.get_message()) is not None:
            now = time.monotonic()
            if message[0][0] == 0xFA:
                clock.position(0.0)
                clock.start(now)
            elif message[0][0] == 0xF8:
                clock.tick(now)
                arrivals.append(now)
                tempos.append(clock.tempo)
        time.sleep(0.001)
    return arrivals, tempos


def _steady(arrivals: list[float]) -> bool:
    """Whether the last ticks came no faster or slower than those before them."""
    if len(arrivals) < 150:
        return False
    last = arrivals[-STEADY:]
    thirds = [_pace(last[at : at + STEADY // 3]) for at in range(0, STEADY, STEADY // 3)]
    return max(thirds) < 1.03 * min(thirds)


def _pace(arrivals: list[float]) -> float:
    """Beats a minute on the whole."""
    return 60 * (len(arrivals) - 1) / PER_BEAT / (arrivals[-1] - arrivals[0])


def _connect(out: str, into: str) -> None:
    end = time.monotonic() + 20
    while subprocess.run(["jack_connect", out, into], capture_output=True).returncode:
        assert time.monotonic() < end, f"{out} and {into} cannot be connected"
        time.sleep(0.1)
