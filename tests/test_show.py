"""A whole show on the tiny model: its clock, and MIDI clock from another program through to bars and modulators."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instrument import show as whole_show
from instrument.mapping.rig import Rig
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines.systems import System
from tests import tiny
from tests.engine import Encoder
from tests.jack import Controller, running_jack
from tests.playing import wait_until

PATCH = """
prompt: a purple tulip swaying
bends: [{name: loud, lever: ffn.out.gain}]
modulators: [{envelope: ad, by: bar, attack: 0 ms, decay: 20 s, to: loud.gain, depth: 0.5, name: thump}]
"""
CLOCK, START, CONTINUE, STOP, POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2


@contextmanager
def playing(midi: str = "nobody") -> Iterator[Show]:
    system = System(tiny.RECIPE, tiny.wan(), tiny.taehv(), Encoder())
    show = Show(system, loads(PATCH), [], None, 1)
    show.start(Doors(osc_port=None, page_port=None, mdns=False), Rig(show.params, show.notices.tell, midi))
    try:
        yield show
    finally:
        show.close()


def test_a_show_starts_in_bar_one_however_long_the_machine_is_up() -> None:
    with playing() as show:
        began = time.monotonic()
        show.params.set("clock.tempo", 60)
        status = show.status()
        assert status["bar"] == 1 and status["beat"] < 2 * (time.monotonic() - began + 2)
        assert wait_until(lambda: show.status()["beat"] > status["beat"] + 1)
        assert show.status()["bar"] <= 1 + (time.monotonic() - began + 2) * 2 / 4


def test_a_chunk_that_does_not_end_keeps_nobody_from_keeping_what_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_show, "PATIENCE", 0.1)
    go = threading.Event()
    with playing() as show:
        desk, denoise = show.engine.desk, show.engine._denoise
        desk.folder, desk.autosave.every, desk.autosave._next = tmp_path, 3600, 0.0
        show.params.set("loud.gain", 1.25)
        assert wait_until(lambda: desk.autosave._text is not None)  # how it began
        show.engine._denoise = lambda *given, **more: go.wait(30) and denoise(*given, **more)
        assert wait_until(lambda: show.engine.stream is not None)
        show.params.set("loud.gain", 1.5)
        show.close()
        assert "loud.gain: 1.5" in (tmp_path / "autosave.yaml").read_text()
        go.set()


class Sequencer:
    """Another program's clock: 24 ticks a beat from a thread, at times that are kept."""

    def __init__(self, controller: Controller, bpm: float) -> None:
        self._controller, self._period = controller, 60 / bpm / 24
        self._stop = threading.Event()
        self.sent: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        start = time.monotonic()
        while not self._stop.is_set():
            self._controller.send(CLOCK)
            self.sent.append(time.monotonic())
            time.sleep(max(0.0, start + len(self.sent) * self._period - time.monotonic()))

    def __enter__(self) -> Sequencer:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def bpm(self) -> float:
        """As it really was, over the last two seconds."""
        ticks = self.sent[-int(2 / self._period) :]
        return 60 / 24 * (len(ticks) - 1) / (ticks[-1] - ticks[0])


@pytest.fixture
def controller() -> Iterator[Controller]:
    with running_jack():
        plugged = Controller("sequencer")
        yield plugged
        plugged.unplug()


def test_midi_clock_leads_a_running_show(controller: Controller) -> None:
    """Tempo, start, bars, modulators by the bar, song position, stop: all through a real port."""
    with playing("sequencer*") as show:
        assert wait_until(lambda: any("sequencer" in port for port in show.status()["midi"]))
        show.params.set("clock.source", "midi")
        assert wait_until(lambda: show.engine.console.clock.source == "midi")
        controller.send(START)
        with Sequencer(controller, 150) as sequencer:
            assert wait_until(lambda: len(sequencer.sent) > 24 * 6)
            assert wait_until(lambda: abs(show.status()["tempo"] / sequencer.bpm - 1) < 0.03)
            assert abs(show.params["clock.tempo"].base / sequencer.bpm - 1) < 0.05
            assert show.params["clock.tempo"].origin == "midi"  # where surfaces see it
            sent, beat = len(sequencer.sent), show.status()["beat"]
            assert abs(beat - (sent - 1) / 24) < 0.5
            assert show.status()["bar"] == int(show.status()["beat"] // 4) + 1
            assert wait_until(lambda: show.params.heard("loud.gain") > 1)  # the envelope fires by the bar
        controller.send(STOP)
        assert wait_until(lambda: not show.engine.console.clock.running)
        stood = show.status()["beat"]
        time.sleep(0.3)
        assert show.status()["beat"] == stood
        controller.send(POSITION, 64, 0)  # sixteenths: beat 16, the fifth bar
        controller.send(CONTINUE)
        with Sequencer(controller, 90) as sequencer:
            assert wait_until(lambda: len(sequencer.sent) > 24 * 3)
            assert wait_until(lambda: abs(show.status()["tempo"] / sequencer.bpm - 1) < 0.03)
            assert abs(show.status()["beat"] - 16 - (len(sequencer.sent) - 1) / 24) < 0.5
            assert show.status()["bar"] >= 5 and not show.engine.fault
