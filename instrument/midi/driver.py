"""Which MIDI driver there is, which ports it has, and what their names mean. The one file that touches python-rtmidi.

A machine without a driver, or whose driver comes later, is normal here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

_REST = 0.03  # seconds in which JACK tells its clients of a change, with a wide margin
QUEUE = 16384  # messages the driver keeps between two polls
ANY = ("", "*")  # patterns that mean every port
_ALSA_NUMBERS = re.compile(r" \d+:\d+$")  # they change from one plugging-in to the next
_NAMES = {"ALSA": "LINUX_ALSA", "JACK": "UNIX_JACK", "CoreMIDI": "MACOSX_CORE", "WinMM": "WINDOWS_MM"}
_WINDOWS = re.compile(r"^midi(in|out)(\d*) \((.*)\)( \d+)?$")  # how Windows names the second port of a device

Api = Literal["ALSA", "JACK", "CoreMIDI", "WinMM"]


def driver() -> tuple[ModuleType | None, str]:
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
    rtmidi, _ = driver()
    compiled = rtmidi.get_compiled_api() if rtmidi else []
    usable = {"ALSA": Path("/dev/snd/seq").exists(), "JACK": jack_server() is not None}
    for api, name in _NAMES.items():
        if rtmidi and getattr(rtmidi, f"API_{name}") in compiled and usable.get(api, True):
            return api
    return None


def _number(api: Api) -> tuple[ModuleType, int]:
    rtmidi, problem = driver()
    if rtmidi is None:
        raise OSError(problem)
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    return rtmidi, getattr(rtmidi, f"API_{_NAMES[api]}")


def make_input(api: Api, name: str) -> Any:
    """An input of the driver, not yet connected; raises OSError where the driver refuses."""
    rtmidi, number = _number(api)
    made = rtmidi.MidiIn(number, name=name, queue_size_limit=QUEUE)
    made.ignore_types(False, False, True)  # active sensing only
    return made


def make_output(api: Api, name: str) -> Any:
    """An output of the driver, not yet connected; raises OSError where the driver refuses."""
    rtmidi, number = _number(api)
    return rtmidi.MidiOut(number, name=name)


def close(port: Any) -> None:
    """Close a port and its client for good.

    Whenever the graph changes, libjack walks a client's list of ports in a thread of its own, and falls over one that
    is taken out meanwhile (1.9.22: JackClient::HandleLatencyCallback against jack_port_unregister; no lock is held). A
    cable that was pulled, or the port closed just before, is such a change: so the graph is given time to come to rest.
    """
    if port.get_current_api() == _number("JACK")[1]:
        time.sleep(_REST)
    port.close_port()
    port.delete()


def list_ports(api: Api | None = None) -> list[str]:
    """Names of the ports that can be listened to now; where there is no MIDI at all, one line that says why."""
    api = api or choose_api()
    if api is None:
        return [why_none()]
    try:
        looking = make_input(api, "bender list")
    except OSError as problem:
        return [f"no MIDI: {problem}"]
    names = looking.get_ports()
    looking.delete()
    return names


def why_none() -> str:
    """Why there is no MIDI on this machine now, in one line."""
    rtmidi, problem = driver()
    if rtmidi is None:
        return problem
    return "no MIDI: the kernel has no ALSA sequencer and no JACK server runs; it is used as soon as there is one"


# --- names ---


def port_matches(pattern: str, port: str) -> bool:
    """Whether a device name from a mapping means this port: part of its name, or a pattern with *; case is ignored."""
    pattern, port = pattern.strip().lower(), _ALSA_NUMBERS.sub("", port).lower()
    if pattern in ANY:
        return not port.startswith("midi through")
    return fnmatchcase(port, pattern) if "*" in pattern else pattern in port


def numbered(names: list[str], wanted: Callable[[str], bool]) -> dict[tuple[str, int], int]:
    """(name, which of those so called) -> the driver's index, for the names that are wanted."""
    seen: dict[str, int] = {}
    found = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if wanted(name):
            found[name, seen[name]] = index
    return found


def _device(name: str) -> tuple[str, str]:
    """(device, which of its ports) as far as a port's name tells: part before ':', and the end of the name."""
    name = _ALSA_NUMBERS.sub("", name).lower()
    windows = _WINDOWS.match(name)
    if windows:
        return windows[3], windows[2]
    return name.split(":")[0], name.partition(":")[2]


def answering(heard: tuple[str, int], outputs: dict[tuple[str, int], int]) -> tuple[str, int] | None:
    """Of the outputs that may still be had, the one that leads back to the device behind an input; None if none does.

    ALSA and the Mac call both ends alike; JACK, Windows and some makers (nanoKONTROL2: SLIDER/KNOB in, CTRL out) do
    not, so the device's part of the name decides then, and the order.
    """
    if heard in outputs:
        return heard
    device, port = _device(heard[0])
    same = [key for key in outputs if key[1] == heard[1] and _device(key[0])[0] == device]
    if not same:
        first = device.split(" ")[0]
        same = [key for key in outputs if key[1] == heard[1] and _device(key[0])[0].split(" ")[0] == first]
        same = [] if first in ("", "midi", "usb") else same  # words that say nothing
    return next((key for key in same if _device(key[0])[1] == port), same[0] if same else None)
