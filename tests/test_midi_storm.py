"""Storms and noise: nothing lost, the last position always arrives, and no bytes stop the thread."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.rig import Rig
from instrument.midi.decode import worth_playing
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec
from tests.midiing import Recorder, wait_until


def test_a_burst_arrives_whole_and_in_order(plug, listen):
    heard = Recorder()
    plugged = plug("burst")
    running = listen("burst", heard)
    sent = [Touch("cc", i // 128 % 128, i % 128, 1 + i % 16) for i in range(4096)]
    for i, touch in enumerate(sent):
        plugged.send(0xB0 + touch.channel - 1, touch.key, touch.value)
        if i % 256 == 255:  # the driver's own buffer is no part of the instrument
            assert wait_until(lambda i=i: len(heard.touches) > i - 1024)
    assert wait_until(lambda: len(heard.touches) == len(sent))
    assert heard.touches == sent and running.status()["received"] == 4096


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 127)), min_size=1, max_size=200))
def test_of_any_storm_the_last_position_of_every_knob_arrives(moves):
    """As the thread does it: touches of one poll are thinned out, then handed on."""
    params = ParamSet()
    for key in range(4):
        params.add(f"p{key}", ControlSpec(0, 127, 0))
    rig = Rig(params)
    rig.add(mapping.loads("bindings: [{cc: 0, to: p0}, {cc: 1, to: p1}, {cc: 2, to: p2}, {cc: 3, to: p3}]"))
    touches = [Touch("cc", key, value, 1) for key, value in moves]
    for touch in map(touches.__getitem__, worth_playing(touches, rig.counts)):
        rig.handle(touch, "midi:x")
    for key, value in dict(moves).items():
        assert params[f"p{key}"].base == value


def test_a_storm_through_a_real_port_ends_at_the_last_position(plug, listen):
    params = ParamSet()
    for key in range(16):
        params.add(f"p{key}", ControlSpec(0, 127, 0))
    rig = Rig(params)
    rig.add(mapping.loads(f"device: storm\nbindings: [{', '.join(f'{{cc: {k}, to: p{k}}}' for k in range(16))}]"))
    plugged = plug("storm")
    running = listen(None, rig)
    for number in range(6000):
        plugged.send(0xB0, number % 16, number * 37 % 128)
        if number % 200 == 199:
            assert wait_until(lambda number=number: running.status()["received"] > number - 1000)
    last = {number % 16: number * 37 % 128 for number in range(6000)}
    assert wait_until(lambda: running.status()["received"] == 6000)
    assert wait_until(lambda: [params[f"p{key}"].base for key in range(16)] == [last[key] for key in range(16)])


def test_bytes_that_mean_nothing_pass_and_a_good_message_right_after_plays(plug, listen, told):
    heard = Recorder()
    plugged = plug("noise")
    listen("noise", heard)
    random = Random(5)
    for _ in range(300):
        status = random.choice([0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF1, 0xF2, 0xF3, 0xF6, 0xF8, 0xFA, 0xFC])
        length = {0xC0: 2, 0xD0: 2, 0xF1: 2, 0xF3: 2, 0xF6: 1, 0xF8: 1, 0xFA: 1, 0xFC: 1}.get(status, 3)
        channel = random.randrange(16) if status < 0xF0 else 0
        plugged.send(status | channel, *[random.randrange(128) for _ in range(length - 1)])
    plugged.send(0xF0, *[random.randrange(128) for _ in range(200)], 0xF7)
    plugged.send(0xB6, 77, 99)
    assert wait_until(lambda: heard.touches[-1:] == [Touch("cc", 77, 99, 7)])
    assert told == []
