"""A real JACK server without a sound card, under a name of its own, for tests that need a real MIDI loop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from instrument.midi.driver import close, jack_server


class Jack:
    """One server; it can be stopped and started again under the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        # What is under way is lost where a cycle comes too late, which short ones do as soon as a machine is busy; and
        # clients that answer late would be dropped after half a second.
        own = ["jackd", "-r", "-S", "-t", "10000", "-n", self.name]
        command = [*own, "-d", "dummy", "-r", "48000", "-p", "512"]
        for _ in range(3):  # servers that somebody killed may be in the way of the first
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait = ["jack_wait", "-s", self.name, "-w", "-t", "10"]
            if subprocess.run(wait, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                break
            self.stop()
        else:
            raise RuntimeError(f"no JACK server {self.name} could be started")
        end = time.monotonic() + 5
        while jack_server() is None and time.monotonic() < end:
            time.sleep(0.01)

    def hang(self) -> None:
        """Answer nobody any more, but be there."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """As a server that crashes; one that is held still is gone, too."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@contextmanager
def running_jack() -> Iterator[Jack]:
    """Skips the test where there is no JACK to be had."""
    for program in ("jackd", "jack_wait"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; on Debian: apt install jackd2 jack-tools libasound2")
    pytest.importorskip("rtmidi", reason="python-rtmidi cannot be loaded; on Debian: apt install libasound2")
    jack = Jack(f"bender-test-{os.getpid()}")
    before = {key: os.environ.get(key) for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")}
    os.environ.update(JACK_DEFAULT_SERVER=jack.name, JACK_NO_START_SERVER="1")
    try:
        jack.start()
        yield jack
    finally:
        jack.stop()
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


class Controller:
    """A controller as the instrument sees it: a MIDI output with a name, plugged in until `unplug`.

    One with `lights` has an input too; `shown` is what was last sent there, by the first two bytes of the message.
    """

    def __init__(self, name: str, lights: bool = False) -> None:
        import rtmidi

        self.name = name
        self._out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name=name)
        self._out.open_virtual_port("out")
        self._in = None
        self.messages: list[list[int]] = []
        if lights:  # a client of its own, as JACK has it; the device's part of the name is the same
            self._in = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name=f"{name} lights", queue_size_limit=16384)
            self._in.ignore_types(False, False, True)
            self._in.open_virtual_port("in")

    def hear(self) -> list[list[int]]:
        """Every message that has come to its lights so far."""
        while self._in is not None and (message := self._in.get_message()) is not None:
            self.messages.append(message[0])
        return self.messages

    @property
    def shown(self) -> dict[tuple[int, int], int]:
        return {(data[0], data[1]): data[2] for data in self.hear() if len(data) == 3 and data[0] < 0xF0}

    def send(self, *data: int) -> None:
        self._out.send_message(data)

    def unplug(self) -> None:
        for end in (self._out, self._in):
            if end is not None:
                close(end)
        self._out = self._in = None
