"""MIDI through a real server: nothing lost, ports that come and go, machines without any."""

import shutil
import subprocess
import sys
import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.rig import Rig
from instrument.midi import driver as midi_driver
from instrument.midi import ports as midi
from instrument.midi.decode import coalesce, touch_of
from instrument.midi.driver import list_ports, port_matches
from instrument.midi.ports import Listener, MidiPorts
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec, TriggerSpec
from tests.jack import Controller, running_jack


def wait_until(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


class Recorder(Listener):
    """A listener that keeps everything."""

    def __init__(self):
        self.touches = []
        self.origins = set()

    def handle(self, touch, origin="", at=None):
        self.touches.append(touch)
        self.origins.add(origin)

    def counts(self, touch):
        return True


@pytest.fixture(scope="module")
def jack():
    with running_jack() as server:
        yield server


@pytest.fixture
def plug(jack):
    """plug(name) -> a Controller, unplugged after the test."""
    plugged = []

    def plug(name):
        plugged.append(Controller(name))
        return plugged[-1]

    yield plug
    for controller in plugged:
        controller.unplug()


@pytest.fixture
def told():
    return []


@pytest.fixture
def listen(jack, told):
    """listen(pattern, listener) -> a MidiPorts that runs until the end of the test."""
    running = []

    def listen(pattern, listener, **options):
        running.append(MidiPorts(pattern, listener, told.append, api="JACK", **options))
        running[-1].start()
        return running[-1]

    yield listen
    for one in running:
        one.close()


# --- without ports ---


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


@pytest.mark.parametrize(
    ("pattern", "port", "expected"),
    [
        ("nanoKONTROL2", "nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL 20:0", True),
        ("nanokontrol2", "nanoKONTROL2 SLIDER/KNOB", True),
        ("nano*ctrl", "nanoKONTROL2:nanoKONTROL2 _ CTRL 24:0", True),
        ("nano*", "MIDI Mix", False),
        ("LPD8", "MIDI Mix:MIDI Mix MIDI 1 28:0", False),
        ("", "MIDI Mix", True),
        ("*", "MIDI Mix", True),
        ("*", "Midi Through:Midi Through Port-0 14:0", False),
        ("", "Midi Through:Midi Through Port-0 14:0", False),
        ("through", "Midi Through:Midi Through Port-0 14:0", True),
        ("x [1]", "x [1] y", True),
    ],
)
def test_ports_are_meant_by_part_of_their_name(pattern, port, expected):
    assert port_matches(pattern, port) is expected


def test_of_a_knob_only_the_latest_is_kept_of_a_pad_everything():
    knob, pad = [Touch("cc", 1, v, 1) for v in range(5)], [Touch("note", 36, v, 1) for v in (9, 0, 9)]
    mixed = [knob[0], pad[0], knob[1], pad[1], knob[2], knob[3], pad[2], knob[4]]
    assert coalesce(mixed, lambda touch: False) == [*pad, knob[4]]
    assert coalesce(mixed, lambda touch: touch.key == 1) == mixed
    other = Touch("cc", 1, 5, 2)
    assert coalesce([knob[0], other, knob[1]], lambda touch: False) == [other, knob[1]]


def test_a_machine_without_midi_starts_with_one_notice(monkeypatch, told):
    monkeypatch.setattr(midi_driver, "choose_api", lambda: None)
    monkeypatch.setattr(midi, "_SCAN", 0.01)
    silent = MidiPorts("nanoKONTROL2", Recorder(), told.append)
    silent.start()
    time.sleep(0.1)
    assert silent.status()["api"] is None and silent.status()["ports"] == []
    silent.close()
    silent.close()
    assert len(told) == 1 and told[0].startswith("no MIDI: ") and "\n" not in told[0]
    assert list_ports() == told


def test_a_machine_without_the_library_starts_too(monkeypatch, told):
    monkeypatch.setitem(sys.modules, "rtmidi", None)  # import rtmidi now fails
    silent = MidiPorts("", Recorder(), told.append)
    silent.start()
    silent.close()
    assert len(told) == 1 and "python-rtmidi cannot be loaded" in told[0] and "libasound2" in told[0]


def test_no_server_is_ever_started(monkeypatch):
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "bender-nobody")
    assert midi_driver.jack_server() is None
    lost = MidiPorts("", Recorder(), api="JACK", notices=lambda text: None)
    lost.start()
    assert lost.status()["api"] is None
    lost.close()
    assert midi_driver.jack_server() is None


# --- through a real server ---


def test_a_knob_and_a_pad_play_a_parameter_and_a_trigger(plug, listen):
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1))
    params.add("panic", TriggerSpec())
    plugged = plug("nanoTEST")
    rig = Rig(params)
    rig.add(mapping.loads("device: nanotest\nbindings: [{cc: 0, to: petals.gain}, {note: 36, trigger: panic}]"))
    listen(None, rig)
    for value in range(128):
        plugged.send(0xB0, 0, value)
    for _ in range(5):
        plugged.send(0x90, 36, 100)
        plugged.send(0x80, 36, 0)
    assert wait_until(lambda: params["panic"].base == 5)
    assert params["petals.gain"].base == 8
    assert params["petals.gain"].origin == "midi:nanoTEST:out"


def test_a_burst_arrives_whole_and_in_order(plug, listen):
    heard = Recorder()
    plugged = plug("burst")
    running = listen("burst", heard)
    sent = [Touch("cc", i // 128 % 128, i % 128, 1 + i % 16) for i in range(4096)]
    for i, touch in enumerate(sent):
        plugged.send(0xB0 + touch.channel - 1, touch.key, touch.value)
        if i % 256 == 255:
            time.sleep(0.005)
    assert wait_until(lambda: len(heard.touches) == len(sent))
    assert heard.touches == sent and running.status()["received"] == 4096


def test_clock_and_system_exclusive_pass_without_harm(plug, listen):
    heard = Recorder()
    plugged = plug("clock")
    running = listen("clock", heard)
    for data in ([0xF8], [0xFA], [0xF0, 1, 2, 3, 0xF7], [0xF1, 5], [0xF3, 9], [0xB0, 1, 2]):
        plugged.send(*data)
    assert wait_until(lambda: heard.touches == [Touch("cc", 1, 2, 1)])
    assert running.status()["received"] == 6 and running.status()["bad"] == 0


def test_several_ports_at_once_and_only_those_that_match(plug, listen):
    heard = Recorder()
    one, two, other = plug("desk A"), plug("desk B"), plug("piano")
    running = listen("desk", heard)
    assert running.status()["ports"] == ["desk A:out", "desk B:out"]
    for number, plugged in enumerate((one, two, other)):
        plugged.send(0xB0, number, 1)
    assert wait_until(lambda: len(heard.touches) == 2)
    time.sleep(0.05)
    assert {touch.key for touch in heard.touches} == {0, 1}
    assert heard.origins == {"midi:desk A:out", "midi:desk B:out"}


def test_a_controller_may_come_late_go_and_come_back(plug, listen, told):
    heard = Recorder()
    running = listen("late", heard)
    assert running.status()["ports"] == []
    assert len(told) == 1 and told[0].startswith("no MIDI port matches 'late'; ports now: ")
    for value in (1, 2):
        plugged = plug("late")
        assert wait_until(lambda: running.status()["ports"] == ["late:out"])
        plugged.send(0xB0, 1, value)
        assert wait_until(lambda value=value: heard.touches[-1:] == [Touch("cc", 1, value, 1)])
        plugged.unplug()
        assert wait_until(lambda: running.status()["ports"] == [])
    assert wait_until(lambda: len(told) == 3)
    assert told[1:] == ["MIDI port 'late:out' is gone; it is opened again when it comes back"] * 2


def test_other_programs_can_connect_to_the_virtual_port(plug, listen):
    heard = Recorder()
    running = listen("nothing like it", heard, name="bendervirtual")
    plugged = plug("sequencer")
    assert running.status()["virtual"] == "bendervirtual:in"
    if shutil.which("jack_connect") is None:
        pytest.skip("jack_connect is not installed; on Debian: apt install jackd2")
    subprocess.run(["jack_connect", "sequencer:out", "bendervirtual:in"], check=True, timeout=10)
    plugged.send(0xB0, 1, 2)
    assert wait_until(lambda: heard.touches == [Touch("cc", 1, 2, 1)])
    assert heard.origins == {"midi:virtual"}


def test_every_kind_of_message_reaches_its_parameter(plug, listen):
    params = ParamSet(notices=lambda text: None)
    lines = [
        "cc14: 16",
        "nrpn: 130",
        "pitch: true",
        "pressure: true",
        "poly: 36",
        "program: 5",
        "note: 40, mode: velocity",
    ]
    for number, _ in enumerate(lines):
        params.add(f"p{number}", ControlSpec(0, 1, 0))
    params.add("panic", TriggerSpec())
    rig = Rig(params)
    rows = [f"{{{line}, to: p{number}}}" for number, line in enumerate(lines)]
    rig.add(mapping.loads(f"device: every\nbindings: [{', '.join(rows)}, {{mmc: stop, trigger: panic}}]"))
    plugged = plug("every")
    listen(None, rig)
    for data in (
        [0xB0, 16, 100],
        [0xB0, 48, 1],
        [0xB0, 99, 1],
        [0xB0, 98, 2],
        [0xB0, 6, 127],
        [0xB0, 38, 127],
        [0xE0, 0, 96],
        [0xD0, 32],
        [0xA0, 36, 64],
        [0xC0, 5],
        [0x90, 40, 1],
        [0x80, 40, 0],
        [0xF0, 0x7F, 0x7F, 6, 1, 0xF7],
    ):
        plugged.send(*data)
    assert wait_until(lambda: params["panic"].base == 1)
    expected = [12801 / 16383, 1.0, 96 * 128 / 16383, 32 / 127, 64 / 127, 5 / 127, 1 / 127]
    assert [params[f"p{number}"].base for number in range(len(lines))] == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 127)), min_size=1, max_size=200))
def test_of_any_storm_the_last_position_of_every_knob_arrives(moves):
    """As the thread does it: touches of one poll are thinned out, then handed on."""
    params = ParamSet()
    for key in range(4):
        params.add(f"p{key}", ControlSpec(0, 127, 0))
    rig = Rig(params)
    rig.add(mapping.loads("bindings: [{cc: 0, to: p0}, {cc: 1, to: p1}, {cc: 2, to: p2}, {cc: 3, to: p3}]"))
    for touch in coalesce([Touch("cc", key, value, 1) for key, value in moves], rig.counts):
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
            time.sleep(0.004)
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


class Clock:
    def __init__(self):
        self.ticks, self.told = [], []

    def tick(self, at):
        self.ticks.append(at)

    def start(self, at):
        self.told.append("start")

    def stop(self, at):
        self.told.append("stop")

    def position(self, beats):
        self.told.append(beats)


@pytest.mark.skipif(
    shutil.which("jack_midi_clock") is None, reason="jack_midi_clock is not installed (jack-midi-clock)"
)
def test_the_clock_of_another_program_is_followed(jack, listen):
    clock = Clock()
    foreign = subprocess.Popen(["jack_midi_clock", "-b", "120"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        running = listen("jack_midi_clock", Recorder(), clock=clock)
        assert wait_until(lambda: running.status()["ports"] == ["jack_midi_clock:mclk_out"])
        subprocess.run(["jack_transport"], input=b"play\nexit\n", check=True, timeout=10, stdout=subprocess.DEVNULL)
        assert wait_until(lambda: len(clock.ticks) >= 96, 10)
        subprocess.run(["jack_transport"], input=b"stop\nexit\n", check=True, timeout=10, stdout=subprocess.DEVNULL)
        assert wait_until(lambda: "stop" in clock.told)
    finally:
        foreign.terminate()
        foreign.wait(timeout=5)
    assert "start" in clock.told and all(a < b for a, b in pairwise(clock.ticks))
    gap = (clock.ticks[90] - clock.ticks[10]) / 80
    assert gap == pytest.approx(60 / 120 / 24, rel=0.1)  # the dummy driver's own time runs a little wrong


@pytest.mark.skipif(shutil.which("jack_midiseq") is None, reason="jack_midiseq is not installed (jackd2)")
def test_a_foreign_sequencer_is_heard(jack, listen):
    heard = Recorder()
    sequencer = subprocess.Popen(["jack_midiseq", "foreign", "4800", "0", "60", "2400"], stdout=subprocess.DEVNULL)
    try:
        listen("foreign", heard)
        assert wait_until(lambda: len(heard.touches) >= 6)
    finally:
        sequencer.terminate()
        sequencer.wait(timeout=5)
    assert {touch.key for touch in heard.touches} == {60}
    pressed = [touch.value > 0 for touch in heard.touches]
    assert all(a != b for a, b in pairwise(pressed))


def test_a_listener_that_fails_does_not_stop_the_thread(plug, listen, told):
    class Failing(Recorder):
        def handle(self, touch, origin="", at=None):
            super().handle(touch, origin, at)
            raise RuntimeError("broken")

    heard = Failing()
    plugged = plug("failing")
    listen("failing", heard)
    for value in (1, 2):
        plugged.send(0xB0, 1, value)
        assert wait_until(lambda value=value: len(heard.touches) == value)
    assert told == ["MIDI: RuntimeError: broken"]


def test_all_ports_are_listed(plug):
    plug("listed")
    assert "listed:out" in list_ports("JACK")


def test_a_plain_function_hears_everything(plug, listen):
    heard = []
    plugged = plug("plain")
    listen("*", lambda touch, origin: heard.append((touch, origin)))
    for value in range(50):
        plugged.send(0xB0, 1, value)
    assert wait_until(lambda: len(heard) == 50)
    assert heard[-1] == (Touch("cc", 1, 49, 1), "midi:plain:out")


def test_the_server_may_die_and_come_back(jack, listen, told):
    """Last: it takes the server of this module away for a moment."""
    heard = Recorder()
    plugged = Controller("phoenix")
    running = listen("phoenix", heard)
    plugged.send(0xB0, 1, 1)
    assert wait_until(lambda: len(heard.touches) == 1)
    jack.stop()
    assert wait_until(lambda: running.status()["api"] is None)
    plugged.unplug()
    jack.start()
    plugged = Controller("phoenix")
    assert wait_until(lambda: running.status()["ports"] == ["phoenix:out"])
    plugged.send(0xB0, 1, 2)
    assert wait_until(lambda: len(heard.touches) == 2)
    plugged.unplug()
    assert "the JACK server is gone; MIDI goes on when it is back" in told
