"""The rig: every mapping that plays in a show, its files watched, its controllers lit, and learning from a touch.

One thing for ports, OSC and the page to talk to. It sends each touch to the mappings of that controller, reads a
mapping again when its file is saved (a broken one is told about, and the last good one plays on), and resends what
controllers show when they come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from instrument.mapping import mapping as mappings
from instrument.mapping.doubles import Doubles
from instrument.mapping.feedback import Lights, Send
from instrument.mapping.learn import Learner
from instrument.mapping.mapping import Mapping, MappingError, MappingFile
from instrument.mapping.rigdesk import RigDesk
from instrument.midi.driver import port_matches
from instrument.midi.ports import Listener
from instrument.parameters.answers import Tell
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from instrument.yamlfile import FileError

log = logging.getLogger(__name__)

VIRTUAL = "midi:virtual"  # hears for every mapping: whoever connects to it has chosen to


class _Slot:
    """One mapping, where it came from, and what its files looked like when they were read."""

    def __init__(self, which: str | Path | None, folder: Path | None, file: MappingFile, playing: Mapping) -> None:
        self.which, self.folder = which, folder
        self.playing = playing
        self.doubles = Doubles()
        self.astray: set[int] = set()  # bindings that do nothing with the parameters there are, as was told
        self.stamps = _stamps(file.files)


def _stamps(files: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    found: dict[Path, tuple[int, int] | None] = {}
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # an editor may take a file away for a moment while it saves
            found[file] = None
        else:
            found[file] = (stat.st_mtime_ns, stat.st_size)
    return found


def _own_file(slot: _Slot) -> Path | None:
    """The file of a mapping, if it is the player's and none that ships."""
    if isinstance(slot.which, Path):
        return slot.which
    inside = [file for file in slot.playing.file.files if slot.folder and file.parent == slot.folder]
    return inside[0] if inside else None


class Rig(Listener):
    """Several mappings as one listener. `handle` may be called from any thread, the rest from the MIDI thread."""

    def __init__(
        self, params: ParamSet, notices: Callable[[str], None] | None = None, device: str | None = None
    ) -> None:
        """`device`: a pattern instead of those of the mappings; then every mapping hears every port."""
        self._params = params
        self._notices = Tell(notices or log.warning, params.answers)
        self._device = device
        self._slots: list[_Slot] = []
        self._ports: dict[str, Send | None] = {}
        self._lights: dict[tuple[str, int], Lights] = {}  # (port, which mapping)
        self._named: dict[str, str | Path] = {}  # what was asked for at the start, by the name that surfaces see
        self._folder: Path | None = None
        self._structure = params.structure  # when the mappings were last looked at
        self.learner = Learner(params)
        self._desk = RigDesk(params, self, self._notices)

    def load(self, which: str | Path, folder: Path | None = None) -> MappingFile:
        """Add a mapping by name or file, and watch it. Raises MappingError, ProfileError."""
        slot = self._read(which, folder)
        self._named[str(which)], self._folder = which, folder or self._folder
        self._slots.append(slot)
        self._warn(slot)
        self._desk.tick()
        return slot.playing.file

    def _read(self, which: str | Path, folder: Path | None) -> _Slot:
        file = mappings.load(which, folder)
        return _Slot(which, folder, file, Mapping(file, self._params, self._notices))

    def add(self, file: MappingFile) -> None:
        """Add a mapping that is not watched."""
        self._slots.append(_Slot(None, None, file, Mapping(file, self._params, self._notices)))

    def swap(self, names: list[str], origin: str = "") -> None:
        """Play these mappings instead, as `origin` wished: names, or what was given to `load`. Those that play already
        go on where they are. Raises MappingError, ProfileError; then nothing has changed."""
        if not names:
            raise MappingError("mapping.load", 0, f"name one; there are: {', '.join(mappings.available(self._folder))}")
        playing = {str(slot.which): slot for slot in self._slots if slot.which is not None}
        slots = [
            playing.get(name) or self._read(self._named.get(name, name), self._folder) for name in dict.fromkeys(names)
        ]
        for lights in self._lights.values():
            lights.off()
        for slot in set(self._slots) - set(slots):
            slot.playing.let_go()
        for slot in [slot for slot in slots if slot not in self._slots]:
            self._warn(slot, origin)
        self._lights, self._slots = {}, slots
        for port in self._ports:
            for index in range(len(slots)):
                self._light(port, index)

    @property
    def mappings(self) -> list[Mapping]:
        return [slot.playing for slot in self._slots]

    def available(self) -> list[str]:
        """Names of mappings that `swap` finds. Reads a disk."""
        return mappings.available(self._folder)

    @property
    def names(self) -> list[str]:
        """What the mappings are called, as they were asked for."""
        return [str(slot.which or "mapping") for slot in self._slots]

    @property
    def page(self) -> int:
        """The page that is open, from 1: of the first mapping that has any."""
        return next((slot.playing.page + 1 for slot in self._slots if slot.playing.file.pages), 1)

    def go(self, page: int) -> None:
        """Open a page, from 1, of every mapping that has so many. Raises LookupError where none has."""
        having = [mapping for mapping in self.mappings if page <= len(mapping.file.pages)]
        if not having:
            raise LookupError(f"mapping.page {page}: no mapping that plays has so many pages")
        for mapping in having:
            mapping.go(page)

    # --- touches ---

    @property
    def addresses(self) -> list[str]:
        """OSC addresses that any mapping answers to."""
        return [address for mapping in self.mappings for address in mapping.addresses]

    def answers(self, address: str) -> bool:
        """Whether an OSC address is a source here."""
        return any(mapping.answers(address) for mapping in self.mappings)

    def handle(self, touch: Touch, origin: str = "", at: float | None = None, refused: list[str] | None = None) -> bool:
        """Apply one touch; True if any binding listens to it. `refused` takes why one does nothing. While learning, a
        touch of MIDI is caught instead, unless it lets go a button that was held before."""
        caught = touch.kind != "osc" and self.learner.hear(touch, origin)
        if caught and not any(mapping.waits_for(touch) for mapping in self.mappings):
            return True
        slots = [slot for slot in self._slots if self._hears(slot, touch, origin)]
        return any([self._hear(slot, touch, origin, at, refused) for slot in slots])

    def _hears(self, slot: _Slot, touch: Touch, origin: str) -> bool:
        return touch.kind == "osc" or self._plays(slot.playing, origin)

    def _hear(self, slot: _Slot, touch: Touch, origin: str, at: float | None, refused: list[str] | None) -> bool:
        """One mapping hears a touch; where every one counts, what another of its ports has just said is no second."""
        mapping = slot.playing
        counts = touch.kind != "osc" and (touch.kind == "note" or mapping.counts(touch))
        if counts and slot.doubles.again(touch, origin, time.monotonic() if at is None else at):
            return True
        return mapping.handle(touch, origin, at, refused)

    def _plays(self, mapping: Mapping, origin: str) -> bool:
        """Whether a mapping is for this port."""
        if self._device is not None or origin in ("", VIRTUAL):
            return True
        return port_matches(mapping.device, origin.removeprefix("midi:"))

    def counts(self, touch: Touch) -> bool:
        return self.learner.armed is not None or any(mapping.counts(touch) for mapping in self.mappings)

    def wide(self, origin: str, key: int, channel: int) -> bool:
        if self.learner.armed is not None:  # both halves are to be seen
            return False
        return any(mapping.wide(key, channel) for mapping in self.mappings if self._plays(mapping, origin))

    # --- ports ---

    def devices(self) -> list[str]:
        if self._device is not None:
            return [self._device]
        return list(dict.fromkeys(mapping.device for mapping in self.mappings)) or [""]

    def plugged(self, origin: str, send: Send | None) -> None:
        self._ports[origin] = send
        for index in range(len(self._slots)):
            self._light(origin, index)

    def _light(self, origin: str, index: int) -> None:
        send, mapping = self._ports[origin], self._slots[index].playing
        if send is not None and self._plays(mapping, origin):
            self._lights[origin, index] = Lights(mapping, send)
            self._lights[origin, index].start()

    def unplugged(self, origin: str) -> None:
        self._ports.pop(origin, None)
        self._lights = {key: lights for key, lights in self._lights.items() if key[0] != origin}
        for mapping in self.mappings:
            if self._plays(mapping, origin):
                mapping.let_go(origin)

    def farewell(self, origin: str) -> None:
        for (port, _), lights in self._lights.items():
            if port == origin:
                lights.off()

    def show(self, now: float) -> None:
        for lights in list(self._lights.values()):
            lights.show()
        self.learner.poll(now)
        self._look()
        self._desk.tick()

    # --- files ---

    def refresh(self, now: float) -> None:
        """Read again what has been saved since, but nothing that is away for a moment."""
        for index, slot in enumerate(self._slots):
            stamps = _stamps(slot.stamps)
            if slot.which is not None and stamps != slot.stamps and None not in stamps.values():
                self._reload(index, slot)

    def reload(self, origin: str = "") -> None:
        """Read all files again, saved or not, as `origin` wished."""
        for index, slot in enumerate(self._slots):
            if slot.which is not None:
                self._reload(index, slot, origin)

    def _reload(self, index: int, slot: _Slot, origin: str = "") -> None:
        slot.stamps = _stamps(slot.stamps)
        try:
            file = mappings.load(slot.which, slot.folder)
        except FileError as problem:
            self._notices(f"{problem}; the mapping as it was plays on", origin)
            return
        fresh = Mapping(file, self._params, self._notices)
        fresh.adopt(slot.playing)
        slot.playing.let_go()  # what its buttons began ends; the new ones hear only what is pressed from now on
        slot.playing, slot.stamps = fresh, _stamps(file.files)
        for key in [key for key in self._lights if key[1] == index]:
            self._lights.pop(key).off()
        for port in list(self._ports):
            self._light(port, index)
        self._notices(f"mapping {slot.which} read again: {len(file.bindings)} bindings")
        slot.astray.clear()
        self._warn(slot, origin)

    def _look(self) -> None:
        """Parameters have come or gone, with another patch say: tell what has nothing to move from now on."""
        if self._structure != self._params.structure:
            self._structure = self._params.structure
            for slot in self._slots:
                self._warn(slot)

    def _warn(self, slot: _Slot, origin: str = "") -> None:
        """Say what of a mapping of the player's own does nothing with the patch that plays, and was not told to do so
        before: one line, however much."""
        found = slot.playing.problems(certain=True) if _own_file(slot) else {}
        fresh = [words for index, words in found.items() if index not in slot.astray]
        slot.astray = set(found)
        if fresh:
            more = f" (and {len(fresh) - 1} more: bender mapping check {slot.which})" if fresh[1:] else ""
            self._notices.notice(fresh[0] + more, origin)

    # --- learning ---

    def arm(self, target: str, path: Path | None = None) -> None:
        """Let the next control that is touched be bound to `target`, in `path` or the first mapping that is a
        file of the player's own.

        Raises UnknownParameter, LearnError. `learner.status()` tells what came of it; `learner.disarm()` gives up.
        """
        self.learner.arm(target, path or next(filter(None, map(_own_file, self._slots)), None))

    def status(self) -> dict[str, Any]:
        """JSON-ready: the pages that are open, by mapping, and what is being learnt."""
        pages = {str(slot.which): slot.playing.page_name for slot in self._slots if slot.playing.file.pages}
        return {"pages": pages, "learn": self.learner.status()}
