"""One touch by two ways is one touch: mirrored ports, through the rig and through a real server."""

import random

import pytest

from instrument.mapping import mapping
from instrument.mapping.doubles import KEPT, MOMENT, Doubles
from instrument.mapping.rig import Rig
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec, SwitchSpec, TriggerSpec
from tests.midiing import wait_until

MAPPING = """
device: pad
bindings:
  - {note: 1, to: freeze, mode: toggle}
  - {cc: 9, to: gain, relative: twos, notches: 100}
  - {cc: 7, to: mix}
  - {note: 2, trigger: panic}
"""


@pytest.fixture
def params():
    params = ParamSet()
    params.add("gain", ControlSpec(0, 100, 0))
    params.add("mix", ControlSpec(0, 127, 0))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


@pytest.fixture
def rig(params):
    rig = Rig(params)
    rig.add(mapping.loads(MAPPING))
    return rig


def test_two_ports_that_mirror_each_other_toggle_once_and_turn_one_notch(rig, params):
    ways = ("midi:pad MIDI 1", "midi:pad MIDI 2", "midi:virtual")
    for at, count in ((1.0, 1), (2.0, 2)):
        for value in (100, 0):
            for late, way in enumerate(ways):
                assert rig.handle(Touch("note", 1, value, 1), way, at + late * 0.01)
        assert params["freeze"].base is (count == 1)
    for at in range(50):  # a spun knob, one way later than the other
        rig.handle(Touch("cc", 9, 1, 1), ways[0], 3 + at / 500)
        if at >= 5:
            rig.handle(Touch("cc", 9, 1, 1), ways[1], 3 + at / 500)
    for at in range(5):
        rig.handle(Touch("cc", 9, 1, 1), ways[1], 3.1 + at / 500)
    assert params["gain"].base == pytest.approx(50)


def test_what_one_port_says_twice_is_said_twice(rig, params):
    for count in range(10):
        rig.handle(Touch("note", 2, 100, 1), "midi:pad", 1 + count / 1000)
    assert params["panic"].base == 10
    for number in ("", " #2"):  # two units of one model, both pressed at once
        rig.handle(Touch("note", 2, 100, 1), f"midi:pad{number}", 2.0)
    assert params["panic"].base == 12
    for way in ("A", "B"):  # one hand after the other
        rig.handle(Touch("note", 2, 90, 1), f"midi:pad {way}", 3.0 if way == "A" else 3.001 + MOMENT)
    assert params["panic"].base == 14


def test_mappings_of_two_controllers_do_not_take_each_others_touches(rig, params):
    rig.add(mapping.loads("device: desk\nbindings: [{note: 1, trigger: panic}]"))
    rig.handle(Touch("note", 1, 100, 1), "midi:pad", 1.0)
    rig.handle(Touch("note", 1, 100, 1), "midi:desk", 1.0)
    assert params["freeze"].base is True and params["panic"].base == 1


def test_the_last_place_of_a_fader_is_never_taken_for_a_double(rig, params):
    rig.handle(Touch("cc", 7, 65, 1), "midi:pad A", 1.0)  # of 64, 65 read together only the last is handed on
    rig.handle(Touch("cc", 7, 64, 1), "midi:pad B", 1.004)
    rig.handle(Touch("cc", 7, 65, 1), "midi:pad B", 1.006)
    assert params["mix"].base == 65


def test_nothing_is_kept_for_long():
    doubles, chance = Doubles(), random.Random(1)
    for step in range(5000):
        touch = Touch("note", chance.randrange(128), chance.randrange(128), 1)
        doubles.again(touch, chance.choice("ab"), step / 1000)
    assert len(doubles._lately) <= 1000 * KEPT + 1
    assert sum(map(len, doubles._heard.values())) == len(doubles._lately)


def test_mirrored_ports_of_a_real_server(plug, listen, rig, params):
    ports = [plug(f"pad MIDI {number}") for number in (1, 2)]
    listen(None, rig)
    for press in range(1, 6):
        for value in (100, 0):
            for port in ports:
                port.send(0x90, 1, value)
        assert wait_until(lambda press=press: params["freeze"].base is (press % 2 == 1))
    for _ in range(20):
        for port in ports:
            port.send(0xB0, 9, 1)
    for value in range(128):
        for port in ports:
            port.send(0xB0, 7, value)
    assert wait_until(lambda: params["mix"].base == 127)
    assert params["gain"].base == pytest.approx(20)
