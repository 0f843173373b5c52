"""Learn a binding: wait for a touched control, and write what it is into a mapping file.

The file keeps its comments, order and layout. Where the touches come from is up to the caller: `listening` takes them
from the MIDI ports, a Learner from a show that plays, a test from a list.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from instrument import yamlfile
from instrument.mapping.binding import TARGET
from instrument.mapping.classify import Control, Heard, LearnError, classify, collect, enough
from instrument.mapping.mapping import MappingError, loads, profile
from instrument.mapping.ownfile import UNDER, Change, add, forget, take_back
from instrument.mapping.profile import Profile
from instrument.midi.driver import Api, port_matches, why_none
from instrument.midi.ports import VIRTUAL, Listener, MidiPorts
from instrument.parameters.params import ParamSet, UnknownParameter
from instrument.parameters.touch import Touch
from instrument.yamlfile import FileError
from pipelines.spec import SwitchSpec, TextSpec, TriggerSpec

_FLAGS = ("pitch", "pressure")


def binding_for(
    control: Control, target: str, params: ParamSet | None = None, controller: Profile | None = None
) -> dict[str, Any]:
    """The line of the mapping, as plain data. With `params`, triggers and switches get what suits them; with
    `controller`, a control that it knows goes by its name.

    Raises UnknownParameter for a target that is in neither `params` nor a pattern.
    """
    spec = None
    if params is not None and "*" not in target:
        if target not in params:
            raise UnknownParameter(target, params.names())
        spec = params[target].spec
    name, key = control.source
    part = controller.part_of(name, key, control.channel) if controller else None
    line: dict[str, Any] = {name: True if name in _FLAGS else key, "channel": control.channel}
    if part is not None:
        line = {"control": part.name}
    if isinstance(spec, TriggerSpec):
        return {**line, "trigger": target}
    return {**line, "to": target, **_manner(control, spec, part)}


def _manner(control: Control, spec: object, part: profile.Part | None) -> dict[str, Any]:
    """How the control should move a value that is no trigger."""
    if control.relative:
        return {} if part and part.relative == control.relative else {"relative": control.relative}
    button = control.kind in ("pad", "button")
    if isinstance(spec, SwitchSpec) and button:
        return {"mode": "toggle"}
    if control.kind == "knob" and not isinstance(spec, SwitchSpec):
        return {"takeover": "pickup"}
    return {"mode": "gate"} if control.kind == "button" else {}


def device_of(origin: str) -> str:
    """`midi:nanoKONTROL2:nanoKONTROL2 _ CTRL 20:0` -> `nanoKONTROL2`: what a mapping should call the device."""
    name = re.sub(r" #\d+$", "", origin.removeprefix("midi:")).split(":")[0]
    return re.sub(r"[*\s]+", " ", name).strip()


def header_of(origin: str, folder: Path | None = None) -> dict[str, str]:
    """What a new mapping for the controller at this port begins with: its profile where there is one, else its name."""
    if origin == VIRTUAL:
        return {"device": ""}
    for name in profile.available(folder):
        try:
            known, _ = profile.load(name, folder)
        except FileError:
            continue  # somebody's own, half written
        if known.device and port_matches(known.device, origin.removeprefix("midi:")):
            return {"profile": name}
    return {"device": device_of(origin)}


class Place(NamedTuple):
    """Where a line is to be written; a new file lies `over` that mapping."""

    path: Path
    over: str = ""


class Learnt(NamedTuple):
    """What was caught, the line for it, and what was done to the file; None where the line stood there already."""

    control: Control
    line: dict[str, Any]
    change: Change | None

    @property
    def words(self) -> str:
        """What is to be known beside that: what the control moved before, say; empty for nothing."""
        return self.change.words if self.change else ""


def _bind(
    control: Control, place: Place, target: str, params: ParamSet | None, origin: str, emptied: str = ""
) -> Learnt:
    """Write the line for a control into a mapping; raises as `learn` does. `emptied`: the text that learning itself
    left there; as long as that is all, any controller may begin the file anew."""
    path, over = place
    text = yamlfile.read_text(path, MappingError) if path.exists() else ""
    file = loads(text, str(path), path.parent)
    anew = text == emptied
    if anew:
        over = over or file.over
        file = loads("", str(path), path.parent)
    header: dict[str, str] = {}
    controller = file.controller
    if not (file.bindings or file.device or file.profile):
        header = header_of(origin, path.parent) | ({"over": over} if over else {})
        if "profile" in header:
            controller, _ = profile.load(header["profile"], path.parent)
    elif not _hears(file.port, origin):
        raise LearnError(
            f'{path} is for {file.port}, and this came from {device_of(origin)}; write device: "*" in it, or play '
            "another beside it: --mapping other.yaml"
        )
    line = binding_for(control, target, params, controller)
    return Learnt(control, line, add(path, line, header, origin, anew))


def _hears(port: str, origin: str) -> bool:
    """Whether a mapping for that port hears what comes from there; our virtual port is heard by every one."""
    return origin in ("", VIRTUAL) or port_matches(port, origin.removeprefix("midi:"))


def check_target(target: str, params: ParamSet | None) -> None:
    """Raises LearnError for what is no id at all, UnknownParameter for one that `params` lacks."""
    if not TARGET.fullmatch(target):
        raise LearnError(f"'{target}' is not a parameter id such as petals.gain")
    if params is not None and "*" not in target and target not in params:
        if params.is_range(target):
            raise LearnError(f"'{target}' is two numbers, and a control moves one: {target}.center or {target}.width")
        raise UnknownParameter(target, params.names())
    if params is not None and target in params and isinstance(params[target].spec, TextSpec):
        raise LearnError(f"'{target}' is a text, and a control sends numbers")


def learn(
    path: Path,
    target: str,
    heard: Iterable[Heard],
    params: ParamSet | None = None,
    origin: Callable[[], str] = str,
    timeout: float = 30.0,
) -> Learnt:
    """Wait for a control, and bind it to `target` in the mapping at `path`.

    `origin()` is asked for the port it was heard on when the file is new. Raises UnknownParameter at once if `params`
    has no such target, LearnError, or MappingError (then the file is untouched).
    """
    check_target(target, params)
    return _bind(classify(collect(heard, timeout)), Place(path, UNDER), target, params, origin())


def _nowhere(origin: str) -> Place:
    raise LearnError("nothing is to be learnt")


class Learner:
    """Learning while the show plays: armed with a target, it catches the next control and writes the line.

    `arm`, `disarm` and `status` may be called from any thread, the page's say, and never wait for a disk; the rest is
    called by the MIDI thread, which alone writes files: one after the other, and without the lock.
    """

    def __init__(self, params: ParamSet) -> None:
        self._params = params
        self._lock = threading.Lock()
        self._place: Callable[[str], Place] = _nowhere
        self._touches: list[Touch] = []
        self._origin = ""
        self._first = 0.0
        self._emptied: dict[Path, str] = {}  # the text of each mapping that was begun and taken back
        self._done: list[tuple[str, Change]] = []  # what was learnt or forgotten, by target, the last one last
        # of the last time, another dict each: target; and caught, line, file, words; or forgot, file; or error
        self.result: dict[str, Any] = {}
        self.armed: str | None = None

    def arm(self, target: str, place: Callable[[str], Place]) -> None:
        """`place(origin)` tells where the line for a control at that port goes. Raises LearnError, UnknownParameter;
        then nothing is armed."""
        check_target(target, self._params)
        with self._lock:
            self.armed, self._place, self._touches, self.result = target, place, [], {}

    def disarm(self) -> None:
        with self._lock:
            self.armed = None

    def hear(self, touch: Touch, origin: str) -> bool:
        """Whether the touch was caught; it should move nothing then."""
        with self._lock:
            if self.armed is None:
                return False
            if not self._touches:
                self._first, self._origin = time.monotonic(), origin
            if origin == self._origin:
                self._touches.append(touch)
            return True

    def poll(self, now: float) -> Path | None:
        """Work out what was touched once it has been heard for long enough; the file that has a line for it now, if
        any."""
        with self._lock:
            if self.armed is None or not self._touches or not enough(self._touches, now - self._first):
                return None
            target, touches, where, origin = self.armed, self._touches, self._place, self._origin
        try:
            return self._learn(target, list(touches), where, origin)
        finally:
            with self._lock:
                if self._touches is touches:  # else it was armed anew meanwhile
                    self.armed = None

    def _learn(self, target: str, touches: list[Touch], where: Callable[[str], Place], origin: str) -> Path | None:
        try:
            place = where(origin)
            emptied = self._emptied.get(place.path, "")
            learnt = _bind(classify(touches), place, target, self._params, origin, emptied)
        except (LearnError, UnknownParameter, FileError) as problem:
            self.result = {"target": target, "error": str(problem)}
            return None
        self._done += [(target, learnt.change)] if learnt.change else []
        told = {"caught": str(learnt.control), "line": learnt.line, "words": learnt.words}
        self.result = {"target": target, **told, "file": str(place.path)}
        return place.path

    def forget(self, target: str, paths: Iterable[Path]) -> None:
        """Take what binds a control to the target out of the first of these files that has it. Raises LearnError,
        MappingError."""
        try:
            change = self._forgotten(target, paths)
        except (LearnError, FileError) as problem:
            self.result = {"target": target, "error": str(problem)}
            raise
        self._done.append((target, change))
        self.result = {"target": target, "forgot": change.words, "file": str(change.path)}

    def _forgotten(self, target: str, paths: Iterable[Path]) -> Change:
        problem = LearnError("there is no mapping of your own to forget it in")
        for path in paths:
            if not path.exists():
                continue
            try:
                return forget(path, target)
            except LearnError as refusal:
                problem = refusal
        raise problem

    def undo(self) -> None:
        """Take back what was learnt or forgotten last, and not been taken back yet. Raises LearnError, MappingError."""
        if not self._done:
            raise LearnError("nothing was learnt since the start that could be undone")
        target, change = self._done[-1]
        left = take_back(change)
        self._done.pop()
        if change.before is None:
            self._emptied[change.path] = left
        self.result = {"target": target, "forgot": "as it was before", "file": str(change.path)}

    def status(self) -> dict[str, Any]:
        """JSON-ready: `armed` (a target or None), `heard` so far, and `result`."""
        with self._lock:
            return {"armed": self.armed, "heard": len(self._touches) if self.armed else 0, **self.result}


class Ear(Listener):
    """A listener that queues what it hears; iterate it for `learn`. `origin()` is the port heard last."""

    def __init__(self) -> None:
        self._heard: queue.SimpleQueue[tuple[float, Touch]] = queue.SimpleQueue()
        self._origin = ""

    def handle(self, touch: Touch, origin: str = "", at: float | None = None) -> None:
        self._origin = origin
        self._heard.put((time.monotonic(), touch))

    def origin(self) -> str:
        return self._origin

    def __iter__(self) -> Iterator[Heard]:
        while True:
            try:
                yield self._heard.get(timeout=0.02)
            except queue.Empty:
                yield time.monotonic(), None


@contextmanager
def listening(pattern: str = "", api: Api | None = None, notices: Callable[[str], None] | None = None) -> Iterator[Ear]:
    """The touches of every MIDI port that `pattern` means: `with listening() as ear: learn(path, id, ear, ...)`.

    Raises LearnError on a machine without MIDI.
    """
    ear = Ear()
    midi = MidiPorts(pattern, ear, notices, name="bender learn", api=api, virtual=False)
    midi.start()
    try:
        if midi.status()["api"] is None:
            raise LearnError(why_none())
        yield ear
    finally:
        midi.close()


def learn_from_port(
    path: Path,
    target: str,
    pattern: str = "",
    timeout: float = 30.0,
    params: ParamSet | None = None,
    api: Api | None = None,
) -> str:
    """`learn` from the ports that `pattern` means; returns a line to show. Raises as `learn` and `listening` do."""
    with listening(pattern, api) as ear:
        learnt = learn(path, target, ear, params, ear.origin, timeout)
    line = ", ".join(f"{key}: {value}" for key, value in learnt.line.items())
    return f"{learnt.control}; wrote {{{line}}} to {path}{f'; {learnt.words}' if learnt.words else ''}"
