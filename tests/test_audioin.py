"""A sound card's input for real: another program plays into it through JACK."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from instrument.modulation.audioin import AudioError, DeviceEar
from tests.jack import running_jack

PLAYER = """
import sys, time
import numpy as np, sounddevice as sd
at = 0
def play(out, frames, *_):
    global at
    out[:, 0] = 0.5 * np.sin(2 * np.pi * 440 * (at + np.arange(frames)) / 48000)
    at += frames
with sd.OutputStream(samplerate=48000, channels=1, callback=play):
    sys.stdin.read()
"""
LISTENER = """
import sys, time
from instrument.modulation.audioin import DeviceEar, AudioError
ear = DeviceEar(sys.argv[1])
print("open", flush=True)
end = time.monotonic() + 40
while ear.hear(0).features["level"] < 0.5 and time.monotonic() < end:
    time.sleep(0.05)
time.sleep(0.3)
heard = ear.hear(0)
print(heard.features["level"], 55 * 2 ** (5 * heard.features["pitch"]), heard.onsets, flush=True)
ear.close()
try:
    DeviceEar("no such device")
except AudioError as problem:
    print(problem)
"""


def leave(process: subprocess.Popen) -> None:
    """End it gently: the server does not forget a client that was killed."""
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def ports(server: str) -> list[str]:
    listed = subprocess.run(["jack_lsp", "-s", server], capture_output=True, text=True)
    return listed.stdout.split()


def port(server: str, end: str, but: tuple[str, ...] = ()) -> str:
    """The PortAudio port with this ending, once it is there."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [name for name in ports(server) if "PortAudio" in name and end in name and name not in but]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {end} among {ports(server)}")


def test_what_another_program_plays_is_heard():
    pytest.importorskip("sounddevice", reason="pip install sounddevice", exc_type=(ImportError, OSError))
    with running_jack() as jack:
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": dict(os.environ)}
        player = subprocess.Popen([sys.executable, "-c", PLAYER], **piped)
        listener = subprocess.Popen([sys.executable, "-c", LISTENER, "system"], **piped)
        try:
            assert listener.stdout.readline() == "open\n"
            out, into = port(jack.name, ":out_0"), port(jack.name, ":in_0")
            subprocess.run(["jack_connect", "-s", jack.name, out, into], check=True)
            level, pitch, onsets = map(float, listener.stdout.readline().split())
            assert level == pytest.approx(0.8, abs=0.05)  # -12 dB: one of two channels plays at -6 dB
            assert pitch == pytest.approx(440, rel=0.02) and onsets >= 1
            refused = listener.stdout.read()
            assert "no sound from 'no such device'" in refused and "inputs here: system" in refused
            assert listener.wait(30) == 0
        finally:
            for process in (player, listener):
                leave(process)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"attentionbender\[audio\].*libportaudio2"):
        DeviceEar("default")


class Card:
    """A sound card as sounddevice gives it, which breaks where it is told to."""

    fails = False

    def __init__(self, callback, **_):
        self.take, self.doings = callback, []
        cards.append(self)

    def start(self):
        self.doings.append("start")
        if self.fails:
            raise PortAudioError("Device unavailable")

    def stop(self):
        self.doings.append("stop")

    def close(self):
        self.doings.append("close")


class PortAudioError(Exception):
    pass


cards: list[Card] = []


@pytest.fixture
def card(monkeypatch):
    cards.clear()
    library = SimpleNamespace(InputStream=Card, PortAudioError=PortAudioError, query_devices=lambda: [])
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return Card


def test_a_card_that_does_not_start_is_let_go_of_and_said(card, monkeypatch):
    monkeypatch.setattr(card, "fails", True)
    before = threading.active_count()
    with pytest.raises(AudioError, match="no sound from 'default': Device unavailable; inputs here: none"):
        DeviceEar("default")
    assert cards[0].doings == ["start", "close"] and threading.active_count() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_closes_though_its_thread_has_died(card):
    ear = DeviceEar("default")
    ear._blocks.put("no sound")
    ear._thread.join(10)
    assert not ear._thread.is_alive()
    for _ in range(100):
        cards[0].take(np.zeros((512, 1), np.float32), 512, None, None)
    closing = threading.Thread(target=ear.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive() and cards[0].doings == ["start", "stop", "close"] and ear.lost > 0
