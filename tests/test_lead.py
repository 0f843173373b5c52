"""One clock, several ports: ticks never mix, and another port takes over when the first has fallen silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.midi.decode import Decoder
from instrument.midi.lead import SILENCE, Lead
from instrument.modulation.clock import MIDI, Clock


class Diary:
    def __init__(self):
        self.heard = []

    def tick(self, at):
        self.heard.append(("tick", at))

    def start(self, at):
        self.heard.append(("start", at))

    def stop(self, at):
        self.heard.append(("stop", at))

    def position(self, beats):
        self.heard.append(("position", beats))


@pytest.fixture
def room():
    """(the clock that listens, a function to set the time, the lead)."""
    time, diary = [0.0], Diary()
    return diary, lambda now: time.__setitem__(0, now), Lead(diary, lambda: time[0])


def test_the_second_port_is_not_heard_until_the_first_falls_silent(room):
    diary, at, lead = room
    daw, box = lead.of("daw"), lead.of("box")
    daw.tick(0.0)
    at(0.01)
    box.tick(0.01)
    box.start(0.01)
    box.position(4.0)
    daw.start(0.02)
    assert diary.heard == [("tick", 0.0), ("start", 0.02)]
    at(0.01 + SILENCE)
    box.stop(1.0)
    box.tick(1.0)
    daw.tick(1.1)
    assert diary.heard[2:] == [("stop", 1.0), ("tick", 1.0)], "the box has the lead now"


def test_transport_keys_alone_take_the_lead_from_nobody(room):
    diary, _, lead = room
    lead.of("keys").start(0.0)
    lead.of("daw").tick(0.1)
    assert diary.heard == [("start", 0.0), ("tick", 0.1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.9)), max_size=60))
def test_ticks_of_one_port_only_as_long_as_none_is_silent(ticks):
    now, heard = [0.0], Diary()
    lead = Lead(heard, lambda: now[0])
    for port, gap in ticks:
        lead.of("leader").tick(now[0])
        lead.of(port).tick(-1.0)
        now[0] += gap
    assert all(at >= 0 for _, at in heard.heard) and len(heard.heard) == len(ticks)


def test_a_sequencer_heard_by_two_ways_is_followed_at_its_own_tempo():
    clock, now = Clock(), [0.0]
    clock.follow(MIDI, 0.0)
    lead = Lead(clock, lambda: now[0])
    ways = [Decoder(lambda key, channel: False, lead.of(way)) for way in ("its port", "the virtual one")]
    for way in ways:
        way.feed([0xFA], 0.0)
    for tick in range(24 * 8):
        now[0] = tick / 48  # 120 beats a minute
        for late, way in enumerate(ways):
            way.feed([0xF8], now[0] + 0.002 * late)
    assert clock.tempo == pytest.approx(120, abs=0.5)
    assert clock.beat(now[0]) == pytest.approx(8, abs=0.1)
