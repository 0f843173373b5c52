"""A show: everything that plays together, started in order and stopped in reverse.

The engine has a thread of its own, as do control, pacing, outputs and the page; the caller's thread keeps the status
line. This file connects the parts; what each does is in its own file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from instrument.engine.curtain import Curtain
from instrument.engine.engine import Engine
from instrument.engine.inside import Inside
from instrument.engine.pacer import Pacer
from instrument.engine.portrait import Portrait
from instrument.engine.status import Latency, Notices, StatusLine
from instrument.engine.switch import Crossing, Ready, warm_up
from instrument.mapping.rig import Rig
from instrument.midi.ports import MidiPorts
from instrument.osc import PORT as OSC_PORT
from instrument.osc.announce import Announcement
from instrument.osc.query import OscQuery
from instrument.osc.server import OscServer
from instrument.outputs import Output, OutputGroup
from instrument.outputs import desk as outdesk
from instrument.outputs.desk import OutputDesk, Rule
from instrument.outputs.testcard import draw_card
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch
from instrument.surface import PORT as PAGE_PORT
from instrument.surface.pin import is_loopback, new_pin
from instrument.surface.server import Surface
from pipelines.quicken import make_stream
from pipelines.recipes import Recipe
from pipelines.systems import System

REFRESH = 0.5  # seconds between two status lines
PATIENCE = 5.0  # seconds for the engine to end, once the files are finished


@dataclass(frozen=True)
class Doors:
    """Where control comes in; a port of None keeps that door shut."""

    host: str = "127.0.0.1"
    osc_port: int | None = OSC_PORT
    page_port: int | None = PAGE_PORT
    osc_out: tuple[str, ...] = ()  # who is told what changes without asking, see osc.Target
    mdns: bool = True
    live_out: Rule = "local"  # which outputs the network may add, see outputs/desk.py
    out_dir: Path = Path()  # where files added so go
    pin: str | None = None  # of the page; where None, one of its own wherever other machines can reach it


class Show:
    """One system, one patch, its doors and its outputs."""

    def __init__(
        self,
        system: System,
        patch: Patch,
        outputs: list[Output],
        fps: float | None,
        threads: int,
        open_system: Callable[[Recipe], System] | None = None,
    ) -> None:
        """`fps` None: the output rate follows the engine. `open_system` loads another model while this one plays.
        Raises PatchError when the patch does not fit the model."""
        self.notices = Notices()
        self.params = ParamSet(self.notices.tell)
        outdesk.declare(self.params)
        self.latency = Latency()
        self.outputs = OutputGroup(outputs)
        self.surface: Surface | None = None
        card = draw_card(system.recipe.width, system.recipe.height)
        self.pacer = Pacer(self._send, fps, card=card, on_sent=self.latency.sent)
        stream = make_stream(system, patch.seed)
        self._wanted_fps = fps
        self.engine = Engine(stream, system.encoder, self.params, self.pacer.push, self._most(system), threads)
        self.engine.tell = self.notices.tell
        self.engine.on_switch = self._switched
        self.engine.switch.play(system, open_system)
        self.engine.load(patch)
        self._curtain = Curtain(self.params)
        self.threads = threads
        self._pin: str | None = None
        self._osc: OscServer | None = None
        self._midi: MidiPorts | None = None
        self._rig: Rig | None = None
        stream.read_prompt(self.engine.prompts.first(patch))
        self.pace = warm_up(stream, self._most(system))
        self._threads = ExitStack()
        self._playing: threading.Thread | None = None

    @property
    def system(self) -> System:
        """The one that plays."""
        return self.engine.switch.system

    def _most(self, system: System) -> float:
        """Frames a second that are worth making: a faster output repeats them."""
        return min(self._wanted_fps or system.recipe.fps, system.recipe.fps)

    def _switched(self, ready: Ready) -> None:
        """Another system has come on."""
        self.engine.tempo.most = self._most(ready.system)
        self.pace = replace(ready.pace, frame=1 / self._most(ready.system))

    def start(self, doors: Doors, rig: Rig) -> None:
        """Open every port and output, then play. What refuses raises its own error, and all is closed again."""
        self._rig = rig
        recipe = self.system.recipe
        with ExitStack() as opening:
            self._open_osc(doors, rig, opening)
            self._midi = MidiPorts(None, rig, self.notices.tell, clock=self.engine.console.clock)
            opening.callback(self._midi.close)
            self._midi.start()
            self._open_page(doors, rig, opening)
            self.outputs.start(recipe.width, recipe.height, self.pacer.fps or recipe.fps)
            desk = OutputDesk(self.params, self.outputs, self.notices.tell, doors.out_dir, doors.live_out)
            # Closed from the last to the first: files are finished before anything else is waited for.
            for end in (self._join, desk.close, self.outputs.close, self.pacer.close, self.engine.stop):
                opening.callback(end)
            desk.start()
            self.pacer.start()
            self.params.take_change()  # what was set before the first chunk is no turn of a knob
            self._playing = threading.Thread(target=self.engine.run, name="engine", daemon=True)
            self._playing.start()
            self._threads = opening.pop_all()

    def _join(self) -> None:
        """Wait for the chunk under way, or for a model that the engine loads itself, but not for ever: then what plays
        is kept from here."""
        if self._playing is not None:
            self._playing.join(PATIENCE)
            if self._playing.is_alive():
                self.engine.desk.close()

    @property
    def busy(self) -> bool:
        """Whether, after `close`, something works on that cannot be told to stop: a model that was being loaded."""
        return self.engine.busy or (self._playing is not None and self._playing.is_alive())

    def _open_osc(self, doors: Doors, rig: Rig, opening: ExitStack) -> None:
        if doors.osc_port is None:
            return
        self._osc = OscServer(self.params, rig, doors.host, doors.osc_port, self.notices.tell, self.status)
        self._osc.start(doors.osc_out)
        opening.callback(self._osc.close)

    def _open_page(self, doors: Doors, rig: Rig, opening: ExitStack) -> None:
        osc = (self._osc.host, self._osc.port) if self._osc else None
        if doors.page_port is not None:
            query = OscQuery(self.params, self.status, osc, rig, self.notices.tell)
            play = Portrait(self.engine, rig)
            self.surface = Surface(self.params, self.status, doors.host, doors.page_port, query, play)
            self._pin = doors.pin or (None if is_loopback(doors.host) else new_pin())
            if self._pin:
                self.surface.ask_for(self._pin)
            self.surface.look_inside(Inside(self.engine, self._plotted))
            self.surface.start()
            opening.callback(self.surface.close)
        if doors.mdns:
            page_port = self.surface.port if self.surface else None
            announcement = Announcement(doors.host, page_port, osc[1] if osc else None, self.notices.tell)
            announcement.start()
            opening.callback(announcement.close)

    def close(self) -> None:
        """Stop playing; files are finished and ports are free when this returns. See `busy`."""
        self._threads.close()

    def _send(self, frame: np.ndarray, stamp: object) -> None:
        if isinstance(stamp, Crossing):
            self._curtain.cross(stamp, stamp.seconds)
        frame = self._curtain(frame)
        self.outputs.send(frame, stamp)
        if self.surface is not None:
            self.surface.show(frame)

    def facts(self) -> dict[str, Any]:
        """The start-up sheet."""
        recipe, stream = self.system.recipe, self.engine.stream
        frames = recipe.frames
        return {
            "model": f"{recipe.name} ({recipe.licence})",
            "device": f"{stream.device.type} {str(stream.dtype).removeprefix('torch.')}, "
            f"CPU threads: {self.threads} for the model, 1 to decode",
            **self.system.notes,
            "picture": f"{recipe.width}x{recipe.height}, {recipe.fps:g} fps at most",
            "chunk": f"{frames} frames, {stream.steps} steps",
            "latency": f"about {self._expected_ms():.0f} ms from knob to frame",
            "patch": f"{self.engine.stage.patch.name}: {self.params['prompt.text'].base}",
            "bends": [f"{bend.name}: {bend.lever.id}" for bend in stream.bank.bends] or "none",
            "outputs": [runner.name for runner in self.outputs.runners] or "the page only",
            "page": self.surface.url if self.surface else "off",
            **({"page for others": self.surface.urls[1:]} if self.surface and self.surface.urls[1:] else {}),
            **({"PIN": f"{self._pin} for the page and OSCQuery; OSC itself asks for none"} if self._pin else {}),
            "osc": f"{'udp and tcp' if self._osc.tcp else 'udp'} {self._osc.host}:{self._osc.port}"
            if self._osc
            else "off",
            "midi": self._midi_ports() or "no ports now; they are used as soon as they appear",
            "mapping": ", ".join(self._rig.described()) if self._rig else "none",
        }

    def _midi_ports(self) -> list[str]:
        """The ports listened to now."""
        status = self._midi.status() if self._midi else {"ports": [], "virtual": None}
        return [*status["ports"], *([f"{status['virtual']} (virtual)"] if status["virtual"] else [])]

    def _expected_ms(self) -> float:
        return self.pace.expected_ms(self.engine.stream.steps, self.system.recipe.frames)

    def _plotted(self) -> dict[str, float | None]:
        """How it plays, as plots follow it; None where there is nothing to measure yet."""
        timing, latency = self.engine.timing, self.latency.percentile_ms(0.5)
        times = {"step_ms": timing.step_ms, "chunk_ms": timing.chunk_ms, "latency_ms": latency}
        return {"fps": timing.fps or None, "fps_sent": self.pacer.stats().fps_out, **times}

    def status(self) -> dict[str, Any]:
        """Numbers for the status line and the page; JSON-ready."""
        timing, pacing = self.engine.timing, self.pacer.stats()
        cache = self.engine.stream.cache
        outputs = self.outputs.stats()
        failing = [stats.error for stats in outputs if stats.error]
        moment = self.engine.console.clock.moment(self.engine.clock())
        return {
            "fps": round(timing.fps, 1),
            "fps_sent": round(pacing.fps_out, 1),
            "step_ms": round(timing.step_ms, 1),
            "chunk_ms": round(timing.chunk_ms, 1),
            "chunks": timing.chunks,
            "expected_ms": round(self._expected_ms(), 1),
            "latency_ms": self.latency.percentile_ms(0.5),
            "latency_p95_ms": self.latency.percentile_ms(0.95),
            "target_ms": round(self.pace.target_ms(self.system.recipe.frames), 1),
            "jitter_ms": round(pacing.jitter_ms, 1),
            "waited_ms": round(pacing.latency_ms, 1),
            "cache": f"{min(cache.end, cache.window)}/{cache.window}",
            "midi": self._midi_ports(),
            "mapping": self._rig.status() if self._rig else None,
            "tempo": round(moment.tempo, 2),
            "bar": moment.bar + 1,  # as musicians count
            "beat": round(moment.beat, 3),
            "held": self.engine.held,
            "muted": self.engine.guard.muted,
            "system": f"{self.system.recipe.name} {self.system.recipe.width}x{self.system.recipe.height}",
            "patch": self.engine.stage.patch.name,
            "prompt": self.params["prompt.text"].base,
            "fault": self.engine.fault,
            "outputs": [asdict(stats) for stats in outputs],
            "outputs_told": "; ".join(stats.told for stats in outputs) or "none",
            "recording_s": max((stats.seconds for stats in outputs if stats.writing), default=0.0),
            "warnings": list(dict.fromkeys([*self.engine.notices, *failing, *self.notices.current()])),
        }


def watch(line: StatusLine, stopping: threading.Event, seconds: float | None, also: Callable[[], None]) -> None:
    """Keep the status line, and do what else is to be done as often, until `stopping` is set or the time is over."""
    end = None if seconds is None else time.monotonic() + seconds
    while not stopping.wait(REFRESH if end is None else max(0.0, min(REFRESH, end - time.monotonic()))):
        line.refresh()
        also()
        if end is not None and time.monotonic() >= end:
            return
