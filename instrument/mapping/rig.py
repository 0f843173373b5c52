"""The rig: every mapping that plays in a show, its files watched, its controllers lit, and learning from a touch.

One thing for ports, OSC and the page to talk to. It sends each touch to the mappings of that controller, reads a
mapping again when its file is saved (a broken one is told about, and the last good one plays on), and resends what
controllers show when they come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from instrument.mapping import mapping as mappings
from instrument.mapping.feedback import Lights, Send
from instrument.mapping.learn import Learner, LearnError, Place
from instrument.mapping.live import Mapping
from instrument.mapping.mapping import MappingError, MappingFile
from instrument.mapping.ownfile import begun, beside
from instrument.mapping.rigdesk import RigDesk
from instrument.mapping.slot import Slot, own_file, stamps_of
from instrument.midi.driver import port_matches
from instrument.midi.ports import VIRTUAL, Listener
from instrument.parameters.answers import Tell
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from instrument.yamlfile import FileError

log = logging.getLogger(__name__)


class Rig(Listener):
    """Several mappings as one listener. `handle` may be called from any thread, the rest from the MIDI thread."""

    def __init__(
        self,
        params: ParamSet,
        notices: Callable[[str], None] | None = None,
        device: str | None = None,
        own: Path | None = None,
    ) -> None:
        """`device`: a pattern instead of those of the mappings; then every mapping hears every port. `own`: the file
        that learning begins where no other file of the player's own plays; files in its folder may be loaded."""
        self._params = params
        self._notices = Tell(notices or log.warning, params.answers)
        self._device, self._own = device, own
        self._slots: list[Slot] = []
        self._ports: dict[str, Send | None] = {}
        self._lights: dict[str, list[Lights]] = {}  # by port
        self._named: dict[str, tuple[str | Path, Path | None]] = {}  # asked for at the start, as surfaces see the name
        self._folder: Path | None = None
        self._structure = params.structure  # when the mappings were last looked at
        self.learner = Learner(params)
        self._desk = RigDesk(params, self, self._notices)

    # --- which mappings ---

    def load(self, which: str | Path, folder: Path | None = None) -> MappingFile:
        """Add a mapping by name or file, and watch it; a Path where there is no file begins an empty one. Raises
        MappingError, ProfileError."""
        new = isinstance(which, Path) and not which.exists()
        slot = self._slot(which, folder, begun(which) if new else mappings.load(which, folder))
        self._named[slot.name], self._folder = (which, folder), folder or self._folder
        self._play([*self._asked, slot])
        self._desk.tick()
        return slot.playing.file

    def _slot(self, which: str | Path | None, folder: Path | None, file: MappingFile) -> Slot:
        return Slot(which, folder, file, Mapping(file, self._params, self._notices))

    def add(self, file: MappingFile) -> None:
        """Add a mapping that is not watched."""
        self._slots.append(self._slot(None, None, file))

    def swap(self, names: list[str], origin: str = "") -> None:
        """Play these mappings instead, as `origin` wished: names, files beside the player's own, or what was given to
        `load`. Those that play already go on where they are. Raises MappingError, ProfileError; then nothing has
        changed."""
        if not names:
            raise MappingError("mapping.load", 0, f"name one; there are: {', '.join(mappings.available(self._folder))}")
        playing = {slot.name: slot for slot in self._slots if slot.which is not None}
        slots = [playing.get(name) or self._wished(name) for name in dict.fromkeys(names)]
        files = {own_file(slot) or slot.name: slot for slot in reversed(slots)}  # a file by two names plays once
        self._play([slot for slot in slots if slot in files.values()], origin)

    def _wished(self, name: str) -> Slot:
        """A mapping that somebody on the network names: it cannot lead out of the folders."""
        near = beside(self._own, name) if self._own else None
        which, folder = self._named.get(name) or (near or name, self._folder)
        if isinstance(which, Path) and name in self._named and not which.exists():
            return self._slot(which, folder, begun(which))
        return self._slot(which, folder, mappings.load(which, folder))

    @property
    def _asked(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.asked]

    def _play(self, asked: list[Slot], origin: str = "") -> None:
        """Play these, and those that they lie over. Raises MappingError, ProfileError; then nothing has changed."""
        slots = self._with_those_under(asked)
        for port in self._lights:
            self._darken(port)
        for slot in set(self._slots) - set(slots):
            slot.playing.let_go()
        fresh = [slot for slot in slots if slot not in self._slots]
        self._slots = slots
        for slot in slots:
            slot.asked = slot in asked
        for slot in fresh:
            self._warn(slot, origin)
        for port in self._ports:
            self._light(port)

    def _with_those_under(self, asked: list[Slot]) -> list[Slot]:
        slots = list(asked)
        for slot in asked:
            under = slot.playing.file.over
            if under and not any(slot.lies_over(other) for other in slots):
                there = [other for other in self._slots if slot.lies_over(other)]
                folder = slot.which.parent if isinstance(slot.which, Path) else slot.folder
                slots.append(there[0] if there else self._slot(under, folder, mappings.load(under, folder)))
        return slots

    @property
    def mappings(self) -> list[Mapping]:
        return [slot.playing for slot in self._slots]

    def available(self) -> list[str]:
        """Names of mappings that `swap` finds, those given to `load` too. Reads a disk."""
        return sorted({*mappings.available(self._folder), *self._named})

    @property
    def names(self) -> list[str]:
        """What the mappings are called, as they were asked for; not those that others lie over."""
        return [slot.name for slot in self._asked]

    def described(self) -> list[str]:
        """The mappings for the start sheet, one a line."""
        lines = []
        for slot in self._asked:
            begins = "there is no such file yet; learning begins it" if slot.begins else ""
            over = f"over {slot.playing.file.over}" if slot.playing.file.over else ""
            lines.append(": ".join(filter(None, [" ".join(filter(None, [slot.name, over])), begins])))
        return lines

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
        hearing = [slot for slot in self._slots if self._hears(slot, touch, origin)]
        slots = [slot for slot in hearing if slot.playing.waits_for(touch) or not self._covered(slot, touch, origin)]
        return any([self._hear(slot, touch, origin, at, refused) for slot in slots])

    def _hears(self, slot: Slot, touch: Touch, origin: str) -> bool:
        return touch.kind == "osc" or self._plays(slot.playing, origin)

    def _covered(self, under: Slot, touch: Touch, origin: str) -> bool:
        """Whether a mapping that lies over this one binds the control."""
        over = [slot for slot in self._slots if slot.lies_over(under)]
        return any(self._hears(slot, touch, origin) and slot.playing.binds(touch, origin) for slot in over)

    def _hear(self, slot: Slot, touch: Touch, origin: str, at: float | None, refused: list[str] | None) -> bool:
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
        plain = Touch("cc", key, 0, channel)
        wide = [slot for slot in self._slots if slot.playing.wide(key, channel) and self._plays(slot.playing, origin)]
        return any(not self._covered(slot, plain, origin) for slot in wide)

    # --- ports ---

    def devices(self) -> list[str]:
        if self._device is not None:
            return [self._device]
        return list(dict.fromkeys(mapping.device for mapping in self.mappings)) or [""]

    def plugged(self, origin: str, send: Send | None) -> None:
        self._ports[origin] = send
        self._light(origin)

    def _light(self, port: str) -> None:
        """Light a controller anew. Where two mappings light one control, the one that lies over the other does."""
        send = self._ports[port]
        lit = [(slot, Lights(slot.playing, send)) for slot in self._slots if send and self._plays(slot.playing, port)]
        for over, lights in lit:
            for under, others in lit:
                if over.lies_over(under):
                    others.leave(lights.bound)
                    lights.leave(others.all)
        self._lights[port] = [lights for _, lights in lit]
        for lights in self._lights[port]:
            lights.start()

    def _darken(self, port: str) -> None:
        for lights in self._lights.get(port, ()):
            lights.off()
        self._lights[port] = []

    def unplugged(self, origin: str) -> None:
        self._ports.pop(origin, None)
        self._lights.pop(origin, None)
        for mapping in self.mappings:
            if self._plays(mapping, origin):
                mapping.let_go(origin)

    def farewell(self, origin: str) -> None:
        for lights in self._lights.get(origin, ()):
            lights.off()

    def show(self, now: float) -> None:
        for lights in [one for lit in self._lights.values() for one in lit]:
            lights.show()
        if (learnt := self.learner.poll(now)) is not None:
            self._take_up(learnt, now)
        self._look()
        self._desk.tick()

    # --- files ---

    def refresh(self, now: float) -> None:
        """Read again what has been saved since, but nothing that is away for a moment."""
        for slot in list(self._slots):
            stamps = stamps_of(slot.stamps)
            if slot.which is not None and stamps != slot.stamps and None not in stamps.values():
                self._reload(slot)

    def reload(self, origin: str = "") -> None:
        """Read all files again, saved or not, as `origin` wished."""
        for slot in list(self._slots):
            if slot.which is not None and not (slot.begins and None in stamps_of(slot.stamps).values()):
                self._reload(slot, origin)

    def _reload(self, slot: Slot, origin: str = "") -> None:
        slot.stamps = stamps_of(slot.stamps)
        try:
            file = mappings.load(slot.which, slot.folder)
        except FileError as problem:
            self._notices(f"{problem}; the mapping as it was plays on", origin)
            return
        fresh = Mapping(file, self._params, self._notices)
        fresh.adopt(slot.playing)
        slot.playing.let_go()  # what its buttons began ends; the new ones hear only what is pressed from now on
        slot.playing, slot.stamps, slot.begins = fresh, stamps_of(file.files), False
        try:
            self._play(self._asked)
        except FileError as problem:  # of the one under it
            self._notices(str(problem), origin)
        self._notices(f"mapping {slot.which} read again: {len(file.bindings)} bindings")
        slot.astray.clear()
        self._warn(slot, origin)

    def _look(self) -> None:
        """Parameters have come or gone, with another patch say: tell what has nothing to move from now on."""
        if self._structure != self._params.structure:
            self._structure = self._params.structure
            for slot in self._slots:
                self._warn(slot)

    def _warn(self, slot: Slot, origin: str = "") -> None:
        """Say what of a mapping of the player's own does nothing with the patch that plays, and was not told to do so
        before: one line, however much."""
        found = slot.playing.problems(certain=True) if own_file(slot) else {}
        fresh = [words for index, words in found.items() if index not in slot.astray]
        slot.astray = set(found)
        if fresh:
            more = f" (and {len(fresh) - 1} more: bender mapping check {slot.which})" if fresh[1:] else ""
            self._notices.notice(fresh[0] + more, origin)

    # --- learning ---

    def arm(self, target: str, path: Path | None = None) -> None:
        """Let the next control that is touched be bound to `target`, in `path` or where `_place` says.

        Raises UnknownParameter, LearnError. `learner.status()` tells what came of it; `learner.disarm()` gives up.
        """
        if path is None and self._own is None and not self._own_files():
            raise LearnError("there is no mapping of your own to write to; play with --mapping my.yaml")
        self.learner.arm(target, self._place if path is None else lambda origin: Place(path, self._under(origin)))

    def forget(self, target: str) -> None:
        """Take what binds a control to `target` out of the first file of the player's own that has it. Raises
        LearnError, MappingError."""
        self.learner.forget(target, self._own_files())
        self.refresh(0.0)

    def undo(self) -> None:
        """Take back what was learnt or forgotten last. Raises LearnError, MappingError."""
        self.learner.undo()
        self.refresh(0.0)

    def _own_files(self) -> list[Path]:
        return [file for file in map(own_file, self._slots) if file is not None]

    def _place(self, origin: str) -> Place:
        """Where the line for a control at this port goes: the first file of the player's own that plays there, else a
        new one, over what plays there now."""
        own = [(slot, file) for slot in self._slots if (file := own_file(slot)) is not None]
        for slot, file in own:
            if self._plays(slot.playing, origin):
                return Place(file, slot.playing.file.over)
        if self._own is not None and self._own not in self._own_files():
            return Place(self._own, self._under(origin))
        return Place(own[0][1])

    def _under(self, origin: str) -> str:
        """The first mapping that ships and plays this port."""
        shipped = [slot for slot in self._slots if isinstance(slot.which, str) and own_file(slot) is None]
        return next((slot.name for slot in shipped if self._plays(slot.playing, origin)), "")

    def _take_up(self, path: Path, now: float) -> None:
        """Something was learnt in this file: play it at once."""
        if path != self._own or path in self._own_files():
            self.refresh(now)
            return
        try:
            self.load(path)
        except FileError as problem:
            self._notices(str(problem))
        else:
            self._notices(f"{path} plays from now on: a plain bender play finds it, others with --mapping {path}")

    def status(self) -> dict[str, Any]:
        """JSON-ready: the pages that are open, by mapping, and what is being learnt."""
        pages = {str(slot.which): slot.playing.page_name for slot in self._slots if slot.playing.file.pages}
        return {"pages": pages, "learn": self.learner.status()}
