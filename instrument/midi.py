"""MIDI in: ports opened by name, polled by one thread, and opened again when a cable comes back.

The driver's callbacks are never used: they run in the audio server's thread and lose messages there when Python is
busy. This file knows ports and bytes; what a touch means is the listener's business.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import mido

from instrument.mapping import Touch

log = logging.getLogger(__name__)

_QUEUE = 16384  # messages the driver keeps between two polls
_POLL = 0.002  # seconds
_SCAN = 0.5  # seconds between looks at which ports there are
_ALSA_NUMBERS = re.compile(r" \d+:\d+$")  # they change from one plugging-in to the next
ANY = ("", "*")  # patterns that mean every port
_NAMES = {"ALSA": "LINUX_ALSA", "JACK": "UNIX_JACK", "CoreMIDI": "MACOSX_CORE", "WinMM": "WINDOWS_MM"}

Api = Literal["ALSA", "JACK", "CoreMIDI", "WinMM"]


class Listener(Protocol):
    """Who hears the touches; a Mapping is one."""

    def handle(self, touch: Touch, origin: str = "") -> object: ...

    def counts(self, touch: Touch) -> bool:
        """Whether every such message matters; of others only the latest of each poll is handed on."""


class _Caller:
    """A plain function as a Listener that wants everything."""

    def __init__(self, function: Callable[[Touch, str], object]) -> None:
        self.handle = function

    def counts(self, touch: Touch) -> bool:
        return True


# --- which driver there is ---


def _driver() -> tuple[ModuleType | None, str]:
    """python-rtmidi, or why it cannot be loaded; it needs a system library that servers often lack."""
    try:
        import rtmidi
    except ImportError as problem:
        return None, f"no MIDI: python-rtmidi cannot be loaded ({problem}); on Debian: apt install libasound2"
    return rtmidi, ""


def jack_server() -> str | None:
    """What tells the running JACK server from any other, None if none runs. Never starts one, never connects.

    A dead server leaves its socket file behind, so the kernel's list of listening sockets is read instead.
    """
    name = f"jack_{os.environ.get('JACK_DEFAULT_SERVER', 'default')}_{os.getuid()}_0" if hasattr(os, "getuid") else ""
    sockets = Path("/proc/net/unix")
    if not name or not sockets.exists():
        return None
    for line in sockets.read_text(errors="replace").splitlines():
        columns = line.split()
        if len(columns) >= 8 and columns[7].endswith("/" + name) and columns[3] == "00010000":
            return columns[6]
    return None


def choose_api() -> Api | None:
    """The driver to use on this machine now: ALSA where the kernel has it, else JACK if its server already runs."""
    rtmidi, _ = _driver()
    compiled = rtmidi.get_compiled_api() if rtmidi else []
    usable = {"ALSA": Path("/dev/snd/seq").exists(), "JACK": jack_server() is not None}
    for api, name in _NAMES.items():
        if rtmidi and getattr(rtmidi, f"API_{name}") in compiled and usable.get(api, True):
            return api
    return None


def _make(api: Api, name: str) -> Any:
    """An input of the driver, not yet connected; raises OSError where the driver refuses."""
    rtmidi, problem = _driver()
    if rtmidi is None:
        raise OSError(problem)
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    number = getattr(rtmidi, f"API_{_NAMES[api]}")
    made = rtmidi.MidiIn(number, name=name, queue_size_limit=_QUEUE)
    made.ignore_types(False, False, True)  # active sensing only
    return made


def list_ports(api: Api | None = None) -> list[str]:
    """Names of the ports that can be listened to now; where there is no MIDI at all, one line that says why."""
    api = api or choose_api()
    if api is None:
        return [why_none()]
    try:
        looking = _make(api, "bender list")
    except OSError as problem:
        return [f"no MIDI: {problem}"]
    names = looking.get_ports()
    looking.delete()
    return names


def why_none() -> str:
    """Why there is no MIDI on this machine now, in one line."""
    rtmidi, problem = _driver()
    if rtmidi is None:
        return problem
    return "no MIDI: the kernel has no ALSA sequencer and no JACK server runs; it is used as soon as there is one"


# --- names, types, order ---


def port_matches(pattern: str, port: str) -> bool:
    """Whether a device name from a mapping means this port: part of its name, or a pattern with *; case is ignored."""
    pattern, port = pattern.strip().lower(), _ALSA_NUMBERS.sub("", port).lower()
    if pattern in ANY:
        return not port.startswith("midi through")
    return fnmatchcase(port, pattern) if "*" in pattern else pattern in port


def touch_of(data: Iterable[int]) -> Touch | None:
    """The bytes of one MIDI message as a Touch; None for clock, system exclusive and whatever else is no touch.

    Raises ValueError for bytes that are not MIDI.
    """
    try:
        message = mido.Message.from_bytes(data)
    except IndexError:
        raise ValueError("a MIDI message breaks off") from None
    if message.type == "control_change":
        return Touch("cc", message.control, message.value, message.channel + 1)
    if message.type == "note_on":
        return Touch("note", message.note, message.velocity, message.channel + 1)
    if message.type == "note_off":
        return Touch("note", message.note, 0, message.channel + 1)
    if message.type == "pitchwheel":
        return Touch("pitch", 0, message.pitch, message.channel + 1)
    return None


def coalesce(touches: list[Touch], counts: Callable[[Touch], bool]) -> list[Touch]:
    """Of each control only the latest, in the order of the latest; notes, and what `counts`, all and in order."""
    latest = {(t.kind, t.key, t.channel): i for i, t in enumerate(touches)}
    return [t for i, t in enumerate(touches) if latest[t.kind, t.key, t.channel] == i or t.kind == "note" or counts(t)]


# --- the thread ---


class MidiInput:
    """Listens to every port whose name matches `pattern`, and to a virtual port of its own, until `close()`.

    Ports may come and go. A machine without MIDI gets one notice and is otherwise left in peace.
    """

    def __init__(
        self,
        pattern: str,
        listener: Listener | Callable[[Touch, str], object],
        notices: Callable[[str], None] | None = None,
        *,
        name: str = "bender",
        api: Api | None = None,
        virtual: bool = True,
    ) -> None:
        """`listener` is a Mapping or the like; of a plain function every touch is taken to count."""
        self.pattern, self.name = pattern, name
        self.received = 0
        self.bad = 0
        self._listener = listener if hasattr(listener, "handle") else _Caller(listener)
        self._notices = notices or log.warning
        self._wanted_api, self._api = api, api
        self._virtual = virtual
        self._own: Any = None  # our client: it looks for ports and carries the virtual one
        self._ports: dict[tuple[str, int], Any] = {}
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
        """Close every port; harmless twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def status(self) -> dict[str, Any]:
        """JSON-ready: driver, open ports, own virtual port, messages received, messages that were no MIDI."""
        return {
            "api": self._api if self._own is not None else None,
            "pattern": self.pattern,
            "ports": sorted(name for name, _ in dict(self._ports)),
            "virtual": f"{self.name}:in" if self._virtual and self._own is not None else None,
            "received": self.received,
            "bad": self.bad,
        }

    def _run(self) -> None:
        next_scan = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            try:
                if now >= next_scan:
                    self._scan(now)
                    next_scan = now + _SCAN
                    self._looked.set()
                for (device, _), port in self._ports.items():
                    self._drain(port, device)
                if self._own is not None and self._virtual:
                    self._drain(self._own, "virtual")
            except Exception as problem:  # the show goes on without this message or port
                self._tell(f"MIDI: {type(problem).__name__}: {problem}")
                self._looked.set()
            time.sleep(_POLL)
        self._let_go()

    # --- messages ---

    def _drain(self, port: Any, device: str) -> None:
        touches = []
        for _ in range(_QUEUE):
            message = port.get_message()
            if message is None:
                break
            self.received += 1
            try:
                touch = touch_of(message[0])
            except ValueError:
                self.bad += 1
                continue
            if touch is not None:
                touches.append(touch)
        for touch in coalesce(touches, self._listener.counts):
            self._listener.handle(touch, f"midi:{device}")

    # --- ports ---

    def _scan(self, now: float) -> None:
        self._check_server(now)
        if now < self._not_before or (self._own is None and not self._begin()):
            return
        seen: dict[str, int] = {}
        there = {}
        for index, name in enumerate(self._own.get_ports()):
            seen[name] = seen.get(name, 0) + 1
            if port_matches(self.pattern, name) and not name.startswith(f"{self.name}:"):
                there[name, seen[name]] = index
        for key in [key for key in self._ports if key not in there]:
            self._close(self._ports.pop(key))
            self._notices(f"MIDI port '{key[0]}' is gone; it is opened again when it comes back")
        for key, index in there.items():
            if key not in self._ports:
                self._open(key, index)
        if not self._ports and self.pattern not in ANY:
            names = ", ".join(seen) or "none"
            self._tell(f"no MIDI port matches '{self.pattern}'; ports now: {names}; it is opened when it appears")

    def _begin(self) -> bool:
        """Choose the driver and make our own client; False if that is not possible yet."""
        self._api = self._wanted_api or choose_api()
        if self._api is None or (self._api == "JACK" and jack_server() is None):
            self._tell(why_none())
            return False
        try:
            own = _make(self._api, self.name)
        except OSError as problem:
            self._tell(f"no MIDI: {problem}")
            return False
        self._own = own
        self._server = jack_server() if self._api == "JACK" else None
        if self._virtual:
            try:
                own.open_virtual_port("in")
            except (OSError, NotImplementedError):  # Windows has none
                self._virtual = False
        return True

    def _open(self, key: tuple[str, int], index: int) -> None:
        port = _make(self._api, self.name)
        try:
            port.open_port(index, "in")
        except (OSError, ValueError) as problem:
            port.delete()
            self._tell(f"MIDI port '{key[0]}' cannot be opened: {problem}")
            return
        self._ports[key] = port

    def _check_server(self, now: float) -> None:
        """Let go of a JACK server that died or was replaced.

        Its clients must all be gone before the library meets the next server, or it crashes; so wait a while, lest
        another part of the program is still holding some.
        """
        if self._own is not None and self._api == "JACK" and jack_server() != self._server:
            self._let_go()
            self._not_before = now + 2 * _SCAN
            self._notices("the JACK server is gone; MIDI goes on when it is back")

    def _let_go(self) -> None:
        for port in self._ports.values():
            self._close(port)
        self._ports = {}
        if self._own is not None:
            self._close(self._own)
            self._own = None

    def _close(self, port: Any) -> None:
        port.close_port()
        port.delete()

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._notices(text)
