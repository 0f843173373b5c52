"""Bytes to touches: halves, numbered parameters, clock; and that no bytes at all do any harm."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.midi.decode import PAIR, Decoder, Stamp, touch_of, worth_playing
from instrument.parameters.touch import Touch


class Clock:
    def __init__(self):
        self.told = []

    def tick(self, at):
        self.told.append(("tick", at))

    def start(self, at):
        self.told.append(("start", at))

    def stop(self, at):
        self.told.append(("stop", at))

    def position(self, beats):
        self.told.append(("position", beats))


def nothing_wide(key, channel):
    return False


def everything_wide(key, channel):
    return True


def feed(decoder, *messages, at=0.0):
    return [touch for message in messages for touch in decoder.feed(message, at)]


def cc(key, value, channel=1):
    return [0xB0 + channel - 1, key, value]


def test_the_two_halves_of_a_controller_are_one_value():
    decoder = Decoder(lambda key, channel: key == 16 and channel == 2)
    assert feed(decoder, cc(16, 100, 2)) == []  # the fine half decides
    assert feed(decoder, cc(48, 5, 2)) == [Touch("cc14", 16, 100 * 128 + 5, 2)]
    assert feed(decoder, cc(48, 6, 2)) == [Touch("cc14", 16, 100 * 128 + 6, 2)]
    assert feed(decoder, cc(16, 1, 1), cc(48, 2, 1)) == [Touch("cc", 16, 1, 1), Touch("cc", 48, 2, 1)]
    assert decoder.due(10.0) == []


def test_a_coarse_half_alone_counts_after_a_moment_and_reaches_both_ends():
    decoder = Decoder(everything_wide)
    for value, whole in ((0, 0), (64, 64 * 128), (127, 16383)):
        assert feed(decoder, cc(1, value), at=1.0) == []
        assert decoder.due(1.0 + PAIR / 2) == []
        assert decoder.due(1.0 + 2 * PAIR) == [Touch("cc14", 1, whole, 1)]
        assert decoder.due(2.0) == []
    assert Touch("cc14", 1, 16383, 1).travel == 1.0 and Touch("cc14", 1, 0, 1).travel == 0.0


def test_numbered_parameters_are_selected_per_channel():
    decoder = Decoder(nothing_wide)
    feed(decoder, cc(99, 1), cc(98, 2))
    assert feed(decoder, cc(6, 64))[-1] == Touch("cc", 6, 64, 1)  # the raw message is heard too
    assert feed(decoder, cc(38, 3))[-1] == Touch("nrpn", 130, 64 * 128 + 3, 1)
    assert feed(decoder, cc(38, 9, 2)) == [Touch("cc", 38, 9, 2)]  # nothing is selected there
    assert feed(decoder, cc(96, 0))[-1] == Touch("nrpn_step", 130, 1, 1)
    assert feed(decoder, cc(97, 0))[-1] == Touch("nrpn_step", 130, -1, 1)
    feed(decoder, cc(101, 0), cc(100, 0), cc(6, 2), at=5.0)
    assert decoder.due(5.0 + 2 * PAIR) == [Touch("rpn", 0, 256, 1)]
    feed(decoder, cc(101, 127), cc(100, 127))
    assert feed(decoder, cc(38, 3)) == [Touch("cc", 38, 3, 1)]


def test_half_a_selection_selects_nothing():
    decoder = Decoder(nothing_wide)
    assert feed(decoder, cc(99, 1), cc(6, 64), cc(38, 1))[1:] == [Touch("cc", 6, 64, 1), Touch("cc", 38, 1, 1)]
    assert decoder.due(10.0) == []


def test_clock_and_transport_go_to_the_clock():
    clock = Clock()
    decoder = Decoder(nothing_wide, clock)
    assert feed(decoder, [0xFA], at=1.0) == []
    feed(decoder, [0xF8], at=1.25)
    feed(decoder, [0xF2, 6, 1], [0xFB], at=2.0)
    feed(decoder, [0xFC], at=3.0)
    assert clock.told == [
        ("position", 0.0),
        ("start", 1.0),
        ("tick", 1.25),
        ("position", (128 + 6) / 4),
        ("start", 2.0),
        ("stop", 3.0),
    ]
    with pytest.raises(ValueError, match="song position"):
        decoder.feed([0xF2, 1], 0.0)
    assert feed(Decoder(nothing_wide), [0xF8], [0xFA]) == []


def test_arrival_is_told_from_the_drivers_gaps_and_kept_near_our_own_clock():
    stamp = Stamp()
    assert stamp(0.0, 100.0) == 100.0
    read, told = 100.0, []
    for number in range(1, 200):  # a tick each 20 ms, read up to 4 ms late
        read = 100.0 + number * 0.02 + (number * 7 % 5) * 0.001
        told.append(stamp(0.02, read))
    gaps = [b - a for a, b in pairwise(told)]
    assert max(gaps) - min(gaps) < 2e-4  # of the 4 ms that reading late would make
    assert stamp(0.0, 1e6) == 1e6  # after a long silence, our own clock
    assert stamp(5.0, 1e6 + 0.01) == 1e6 + 0.01  # never in the future


@given(st.lists(st.lists(st.integers(0, 255), max_size=8), max_size=40), st.booleans())
def test_any_bytes_leave_a_decoder_that_works(messages, wide):
    decoder = Decoder(everything_wide if wide else nothing_wide, Clock())
    for number, message in enumerate(messages):
        try:
            touches = decoder.feed(message, number * 0.001)
        except ValueError as error:
            assert str(error)
            continue
        for touch in [*touches, *decoder.due(number * 0.001)]:
            assert 0.0 <= touch.travel <= 1.0 and touch.down in (True, False)
    decoder.due(1e9)
    assert decoder.feed([0x92, 60, 100], 0.0) == [Touch("note", 60, 100, 3)]
    assert decoder.feed([0xB0, 70, 5], 0.0) == [Touch("cc", 70, 5, 1)]


@given(st.lists(st.integers(0, 16383), min_size=1, max_size=50), st.sampled_from(["pair", "nrpn"]))
def test_of_any_storm_of_fine_moves_the_last_arrives_exactly(values, how):
    decoder = Decoder(everything_wide)
    touches = [] if how == "pair" else feed(decoder, cc(99, 3), cc(98, 4))
    coarse, fine = (16, 48) if how == "pair" else (6, 38)
    for number, value in enumerate(values):
        at = number * 0.001
        touches += feed(decoder, cc(coarse, value >> 7), cc(fine, value & 127), at=at) + decoder.due(at)
    kind, key = ("cc14", 16) if how == "pair" else ("nrpn", 3 * 128 + 4)
    assert [touch for touch in touches if (touch.kind, touch.key) == (kind, key)][-1].value == values[-1]


@pytest.mark.parametrize(
    ("data", "touch"),
    [
        ([0xB0, 7, 100], Touch("cc", 7, 100, 1)),
        ([0xBF, 7, 100], Touch("cc", 7, 100, 16)),
        ([0x99, 36, 90], Touch("note", 36, 90, 10)),
        ([0x99, 36, 0], Touch("note", 36, 0, 10)),
        ([0x89, 36, 64], Touch("note", 36, 0, 10)),
        ([0xE0, 0, 64], Touch("pitch", 0, 0, 1)),
        ([0xE1, 127, 127], Touch("pitch", 0, 8191, 2)),
        ([0xF8], None),
        ([0xF0, 1, 2, 0xF7], None),
        ([0xC0, 5], Touch("program", 5, 5, 1)),
        ([0xD2, 9], Touch("pressure", 0, 9, 3)),
        ([0xA0, 36, 9], Touch("poly", 36, 9, 1)),
        ([0xF0, 0x7F, 0x7F, 6, 1, 0xF7], Touch("mmc", "stop", 1)),
        ([0xF0, 0x7F, 0x7F, 6, 1, 0, 0xF7], None),
    ],
)
def test_bytes_become_touches(data, touch):
    assert touch_of(data) == touch


@given(st.lists(st.integers(0, 255), max_size=6))
def test_bytes_that_are_not_midi_are_a_value_error(data):
    try:
        touch_of(data)
    except ValueError as error:
        assert str(error)


def test_of_a_knob_only_the_latest_is_kept_of_a_pad_everything():
    knob, pad = [Touch("cc", 1, v, 1) for v in range(5)], [Touch("note", 36, v, 1) for v in (9, 0, 9)]
    mixed = [knob[0], pad[0], knob[1], pad[1], knob[2], knob[3], pad[2], knob[4]]

    def played(touches, counts):
        return [touches[index] for index in worth_playing(touches, counts)]

    assert played(mixed, lambda touch: False) == [*pad, knob[4]]
    assert played(mixed, lambda touch: touch.key == 1) == mixed
    other = Touch("cc", 1, 5, 2)
    assert played([knob[0], other, knob[1]], lambda touch: False) == [other, knob[1]]
