"""MIDI in and out: ports opened by name, polled by one thread, and opened again when a cable comes back.

The driver's callbacks are never used: they run in the audio server's thread and lose messages there when Python is
busy. This file knows when ports come and go; what a touch means, and what a controller shows, is the listener's
business.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from instrument.midi import driver as midi_driver
from instrument.midi.decode import ClockListener, Decoder, Stamp, worth_playing
from instrument.midi.driver import ANY, QUEUE, Api, answering, close, numbered, port_matches
from instrument.midi.lead import Lead
from instrument.parameters.touch import Touch

log = logging.getLogger(__name__)

_POLL, _IDLE = 0.002, 0.05  # seconds between looks at what has arrived; and where no port is open
_SHOW = 1 / 30  # seconds between two looks at what the controllers should show
_SCAN = 0.5  # seconds between looks at which ports there are
_FLUSH = 0.03  # seconds that the last messages may take to leave

VIRTUAL = "midi:virtual"  # the port that is ours: whoever connects to it has chosen to, so every mapping hears it
Send = Callable[[list[int]], None]


@runtime_checkable
class Listener(Protocol):
    """Who hears the touches and has a say in what controllers show; a Rig is one. All of it happens in one thread.

    Everything but `handle` has a harmless default. `origin` is `midi:` and the port's name.
    """

    @abstractmethod
    def handle(self, touch: Touch, origin: str = "", at: float | None = None) -> object:
        """One touch; `at` is when it arrived, on `time.monotonic`."""

    def counts(self, touch: Touch) -> bool:
        """Whether every such message matters; of others only the latest of each poll is handed on."""
        return True

    def wide(self, origin: str, key: int, channel: int) -> bool:
        """Whether controllers `key` and `key` + 32 are the halves of one value."""
        return False

    def devices(self) -> list[str]:
        """The patterns of the ports it wants, where whoever opens them does not say otherwise."""
        return [""]

    def plugged(self, origin: str, send: Send | None) -> None:
        """A port is open; called again with `send`, which takes the bytes of one message, once there is a way back."""

    def unplugged(self, origin: str) -> None:
        """A port is gone."""

    def farewell(self, origin: str) -> None:
        """The port is about to be closed: the last chance to put the lights out."""

    def show(self, now: float) -> None:
        """Called thirty times a second: bring every controller up to date."""

    def refresh(self, now: float) -> None:
        """Called twice a second: look whether files have changed."""


class _Caller(Listener):
    """A plain function as a Listener that wants everything."""

    def __init__(self, function: Callable[[Touch, str], object]) -> None:
        self._function = function

    def handle(self, touch: Touch, origin: str = "", at: float | None = None) -> object:
        return self._function(touch, origin)


class _Port:
    """One open device: its input, the way back to it, and what its messages have said so far."""

    def __init__(self, origin: str, input: Any, output: Any, decoder: Decoder) -> None:
        self.origin, self.input, self.output = origin, input, output
        self.decoder, self.stamp = decoder, Stamp()
        self.back: tuple[str, int] | None = None  # the name of the output
        self.dark = False  # there is no way to show anything on it; do not look for one again

    def close(self) -> None:
        close(self.input)
        if self.output is not None:
            close(self.output)
            self.output = None


class MidiPorts:
    """Listens to every port whose name matches, and to a virtual port of its own, until `close()`.

    Ports may come and go. A machine without MIDI gets one notice and is otherwise left in peace.
    """

    def __init__(
        self,
        pattern: str | None,
        listener: Listener | Callable[[Touch, str], object],
        notices: Callable[[str], None] | None = None,
        *,
        name: str = "bender",
        api: Api | None = None,
        virtual: bool = True,
        clock: ClockListener | None = None,
    ) -> None:
        """`pattern` None: the listener's own `devices`. A plain function as listener wants everything."""
        self.pattern, self.name = pattern, name
        self.received = 0
        self.bad = 0
        self._listener = listener if isinstance(listener, Listener) else _Caller(listener)
        self._notices = notices or log.warning
        self._lead = Lead(clock) if clock is not None else None
        self._wanted_api, self._api = api, api
        self._virtual = virtual
        self._ours = re.compile(rf"{re.escape(name)}(-\d+)?:")  # our own ports, and those of a second such program
        self._own: Any = None  # our client: it looks for ports and carries the virtual input
        self._looking: Any = None  # the same for outputs
        self._own_port: _Port | None = None
        self._ports: dict[tuple[str, int], _Port] = {}
        self._server: str | None = None
        self._not_before = 0.0
        self._told: set[str] = set()
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns once the ports that are there now are open. Never raises for want of MIDI."""
        self._stopping.clear()
        self._looked.clear()
        self._thread = threading.Thread(target=self._run, name="midi", daemon=True)
        self._thread.start()
        self._looked.wait(timeout=5.0)

    def close(self) -> None:
        """Put out the lights and close every port; harmless twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def status(self) -> dict[str, Any]:
        """JSON-ready: driver, open ports, those that can show something, own virtual port, counts of messages."""
        ports = dict(self._ports)
        return {
            "api": self._api if self._own is not None else None,
            "pattern": ", ".join(self._patterns()),
            "ports": sorted(name for name, _ in ports),
            "lit": sorted(name for (name, _), port in ports.items() if port.output is not None),
            "virtual": f"{self.name}:in" if self._virtual and self._own is not None else None,
            "received": self.received,
            "bad": self.bad,
        }

    def _patterns(self) -> list[str]:
        return self._listener.devices() if self.pattern is None else [self.pattern]

    # --- the thread ---

    def _run(self) -> None:
        next_scan = next_show = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= next_scan:
                next_scan = now + _SCAN
                self._guarded(self._listener.refresh, now)
                self._guarded(self._scan, now)
                self._looked.set()
            for port in self._open_ports():
                self._guarded(self._drain, port)
            if now >= next_show:
                next_show = now + _SHOW
                self._guarded(self._listener.show, now)
            self._stopping.wait(_POLL if self._open_ports() else _IDLE)
        self._let_go(politely=True)

    def _open_ports(self) -> list[_Port]:
        return [*self._ports.values(), *([self._own_port] if self._own_port else [])]

    def _guarded(self, function: Callable[..., object], *arguments: Any) -> None:
        """The show goes on without this message, port or file."""
        try:
            function(*arguments)
        except Exception as problem:
            self._tell(f"MIDI: {type(problem).__name__}: {problem}")

    # --- messages ---

    def _drain(self, port: _Port) -> None:
        touches: list[Touch] = []
        arrived: list[float] = []  # when, one each
        now = time.monotonic()
        for _ in range(QUEUE):
            message = port.input.get_message()
            if message is None:
                break
            self.received += 1
            try:
                at = port.stamp(message[1], now)
                touches += port.decoder.feed(message[0], now, at)
                arrived += [at] * (len(touches) - len(arrived))
            except ValueError:
                self.bad += 1
        touches += port.decoder.due(now)
        arrived += [now] * (len(touches) - len(arrived))
        for index in worth_playing(touches, self._listener.counts):
            self._guarded(self._listener.handle, touches[index], port.origin, arrived[index])

    def _send(self, port: _Port, data: list[int]) -> None:
        """A message to a controller; one that cannot take it is left dark rather than asked again and again."""
        if port.output is None:
            return
        try:
            port.output.send_message(data)
        except Exception as problem:
            if port is not self._own_port:  # which looks for ports too
                close(port.output)
            port.output, port.dark = None, True
            self._tell(f"MIDI: nothing can be shown on {port.origin.removeprefix('midi:')}: {problem}")

    # --- ports ---

    def _scan(self, now: float) -> None:
        self._check_server(now)
        if now < self._not_before or (self._own is None and not self._begin()):
            return
        patterns = self._patterns()
        names = self._own.get_ports()
        there = numbered(names, lambda name: self._means(patterns, name))
        for key in [key for key in self._ports if key not in there]:
            self._lose(key)
            if self._means(patterns, key[0]):
                self._notices(f"MIDI port '{key[0]}' is gone; it is opened again when it comes back")
            else:  # the mappings were swapped for others
                self._notices(f"MIDI port '{key[0]}' is let go; no mapping asks for it any more")
        for key, index in there.items():
            if key not in self._ports:
                self._guarded(self._open, key, index)
        if any(port.output is None and not port.dark for port in self._ports.values()):
            self._answer(numbered(self._looking.get_ports(), lambda name: self._means(patterns, name)))
        wanting = [pattern for pattern in patterns if not any(port_matches(pattern, name) for name, _ in self._ports)]
        for pattern in wanting:
            if pattern not in ANY:
                now_there = ", ".join(name for name in dict.fromkeys(names) if not self._ours.match(name)) or "none"
                self._tell(f"no MIDI port matches '{pattern}'; ports now: {now_there}; it is opened when it appears")

    def _means(self, patterns: list[str], name: str) -> bool:
        return not self._ours.match(name) and any(port_matches(pattern, name) for pattern in patterns)

    def _begin(self) -> bool:
        """Choose the driver and make our own client; False if that is not possible yet."""
        self._api = self._wanted_api or midi_driver.choose_api()
        if self._api is None or (self._api == "JACK" and midi_driver.jack_server() is None):
            self._tell(midi_driver.why_none())
            return False
        try:
            own = midi_driver.make_input(self._api, self.name)
            looking = midi_driver.make_output(self._api, self.name)
        except OSError as problem:
            self._tell(f"no MIDI: {problem}")
            return False
        self._own, self._looking = own, looking
        self._server = midi_driver.jack_server() if self._api == "JACK" else None
        if self._virtual:
            try:
                own.open_virtual_port("in")
                looking.open_virtual_port("out")
            except (OSError, NotImplementedError):  # Windows has none
                self._virtual = False
            else:
                self._own_port = self._made(VIRTUAL, own, looking)
        return True

    def _made(self, origin: str, input: Any, output: Any) -> _Port:
        clock = self._lead.of(origin) if self._lead is not None else None
        port = _Port(origin, input, output, Decoder(partial(self._listener.wide, origin), clock))
        self._guarded(self._listener.plugged, origin, partial(self._send, port) if output is not None else None)
        return port

    def _open(self, key: tuple[str, int], index: int) -> None:
        port = midi_driver.make_input(self._api, self.name)
        try:
            port.open_port(index, "in")
        except (OSError, ValueError) as problem:
            port.delete()
            self._tell(f"MIDI port '{key[0]}' cannot be opened: {problem}")
            return
        self._ports[key] = self._made(f"midi:{key[0]}{'' if key[1] == 1 else f' #{key[1]}'}", port, None)

    def _answer(self, outputs: dict[tuple[str, int], int]) -> None:
        """Open the way back to each device that has one; it may appear later than the way from it."""
        for port in self._ports.values():
            outputs.pop(port.back, None)
        for key, port in self._ports.items():
            back = answering(key, outputs) if port.output is None and not port.dark else None
            if back is None:
                continue
            output = midi_driver.make_output(self._api, self.name)
            try:
                output.open_port(outputs.pop(back), "out")
            except (OSError, ValueError):  # another program has it: the controller plays all the same, unlit
                output.delete()
                port.dark = True
            else:
                port.output, port.back = output, back
                self._guarded(self._listener.plugged, port.origin, partial(self._send, port))

    def _lose(self, key: tuple[str, int]) -> None:
        port = self._ports.pop(key)
        self._guarded(self._listener.unplugged, port.origin)
        port.close()

    def _check_server(self, now: float) -> None:
        """Let go of a JACK server that died or was replaced.

        Its clients must all be gone before the library meets the next server, or it crashes; so wait a while, lest
        another part of the program is still holding some.
        """
        if self._own is not None and self._api == "JACK" and midi_driver.jack_server() != self._server:
            self._let_go()
            self._not_before = now + 2 * _SCAN
            self._notices("the JACK server is gone; MIDI goes on when it is back")

    def _let_go(self, politely: bool = False) -> None:
        if politely and self._own is not None:
            for port in self._open_ports():
                self._guarded(self._listener.farewell, port.origin)
            time.sleep(_FLUSH)
        for key in list(self._ports):
            self._lose(key)
        if self._own_port is not None:
            self._guarded(self._listener.unplugged, self._own_port.origin)
            self._own_port = None
        for client in (self._own, self._looking):
            if client is not None:
                close(client)
        self._own = self._looking = None

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._notices(text)
