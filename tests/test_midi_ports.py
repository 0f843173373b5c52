"""MIDI through a real server: nothing lost, ports that come and go, machines without any."""

import shutil
import subprocess
import time
from itertools import pairwise

import pytest

from instrument.mapping import mapping
from instrument.mapping.rig import Rig
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec, TriggerSpec
from tests.jack import Controller
from tests.midiing import Recorder, reach, wait_until


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
        reach(running, plugged)
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
    reach(running, plugged)
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
    assert 0.9 < gap / (60 / 120 / 24) < 1.5  # on a busy machine the dummy server runs slow; two would be ticks lost


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
    assert wait_until(lambda: running.status()["ports"] == ["phoenix:out"])
    reach(running, plugged)
    plugged.send(0xB0, 1, 1)
    assert wait_until(lambda: len(heard.touches) == 1)
    jack.stop()
    assert wait_until(lambda: running.status()["api"] is None)
    plugged.unplug()
    jack.start()
    plugged = Controller("phoenix")
    assert wait_until(lambda: running.status()["ports"] == ["phoenix:out"])
    reach(running, plugged)
    plugged.send(0xB0, 1, 2)
    assert wait_until(lambda: len(heard.touches) == 2)
    plugged.unplug()
    assert "the JACK server is gone; MIDI goes on when it is back" in told
