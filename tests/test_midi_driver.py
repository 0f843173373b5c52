"""Drivers and names of ports: machines without any, and ports closed while cables are pulled."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from instrument.midi import driver as midi_driver
from instrument.midi import ports as midi
from instrument.midi.driver import list_ports, port_matches
from instrument.midi.ports import MidiPorts
from tests.midiing import Recorder

ROOT = Path(__file__).parent.parent


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


def test_all_ports_are_listed(plug):
    plug("listed")
    assert "listed:out" in list_ports("JACK")


CLOSING = """
import sys
from instrument.midi.ports import MidiPorts
from tests.jack import Controller
for turn in range(int(sys.argv[1])):
    box = Controller("box", lights=True)
    ports = MidiPorts("box", lambda touch, origin: None, lambda text: None, api="JACK")
    ports.start()
    box.send(0xB0, 1, 5)
    box.unplug()  # the graph changes, and at once
    ports.close()
print("all closed")
"""


@pytest.mark.slow
def test_ports_are_closed_safely_while_a_cable_is_pulled(jack):
    """Without the pause in `driver.close` the process died in libjack in two of four runs of 200 to 300 turns."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSING, "300"], capture_output=True, text=True, timeout=280, cwd=ROOT, check=False
    )
    assert done.returncode == 0 and "all closed" in done.stdout, done.stderr[-2000:]
