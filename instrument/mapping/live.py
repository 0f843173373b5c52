"""A mapping at work: touches of controls become `params.set` and `params.trigger` calls.

Knows nothing of ports, sockets or bytes.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase

from instrument.mapping.binding import Bound
from instrument.mapping.link import Link
from instrument.mapping.mapping import MappingFile
from instrument.midi.driver import port_matches
from instrument.parameters.params import BadValue, Parameter, ParamSet, UnknownParameter
from instrument.parameters.touch import Touch
from pipelines.spec import TriggerSpec

log = logging.getLogger(__name__)

_POSITION = re.compile(r"bend\.(\d+)\.")


class Mapping:
    """A MappingFile at work on a ParamSet. May be called from several threads.

    A binding whose target does not exist is told about once, through `notices` (default: the log), and does nothing;
    it works as soon as a patch brings the parameter.
    """

    def __init__(self, file: MappingFile, params: ParamSet, notices: Callable[[str], None] | None = None) -> None:
        self.file = file
        self.params = params
        self.lock = (
            threading.RLock()
        )  # whoever needs the parameters' lock too takes that first: bundles hold it already
        self.page = 0
        self.touches = 0  # heard
        self.state = 0  # grows with whatever changes what the controls mean: pages, modifiers
        self._notices = notices or log.warning
        self._told: set[tuple[int, str]] = set()
        self._links: dict[Bound, list[Link]] = {}
        self._structure = -1
        self._stands: dict[tuple[str, int | str, int], float] = {}  # where each control stands, 0..1
        self._held: set[tuple[str, int | str, int]] = set()
        self._pressed: dict[tuple[str, int | str, int], list[Bound]] = {}  # what hears the button let go
        self._bindings: dict[tuple[str, int | str], list[Bound]] = {}
        for bound in file.bound:
            self._bindings.setdefault(bound.source, []).append(bound)
        self._modifiers = {(kind, key) for bound in file.bound for kind, key, _ in bound.when}

    @property
    def device(self) -> str:
        return self.file.port

    @property
    def addresses(self) -> list[str]:
        """OSC addresses that this mapping answers to."""
        return [key for kind, key in self._bindings if kind == "osc"]

    @property
    def page_name(self) -> str:
        """The page that is open; empty for a mapping without pages."""
        return self.file.pages[self.page] if self.file.pages else ""

    def answers(self, address: str) -> bool:
        """Whether an OSC address is a source here."""
        return ("osc", address) in self._bindings

    def counts(self, touch: Touch) -> bool:
        """Whether each such message matters (buttons, endless knobs), so that none may be left out."""
        source = (touch.kind, touch.key)
        if source in self._modifiers or touch.kind in ("program", "mmc", "nrpn_step", "rpn_step"):
            return True
        return any(bound.counts or self._fires(bound) for bound in self._bindings.get(source, ()))

    def wide(self, key: int, channel: int) -> bool:
        """Whether a controller sends its value in two halves."""
        return any(bound.channel in (None, channel) for bound in self._bindings.get(("cc14", key), ()))

    def _fires(self, bound: Bound) -> bool:
        to = bound.target or ""
        return to in self.params and isinstance(self.params[to].spec, TriggerSpec)

    # --- touches ---

    def handle(self, touch: Touch, origin: str = "", at: float | None = None, refused: list[str] | None = None) -> bool:
        """Apply one touch; True if any binding listens to it. Never raises for a bad value or a missing target: the
        player is told once, and `refused` takes the words each time."""
        source = (touch.kind.removesuffix("_step"), touch.key)
        with self.params.together(), self.lock:
            if source in self._modifiers:
                self._hold(touch)
            found = [b for b in self._bindings.get(source, ()) if self._comes_from(b, touch.channel, origin)]
            last = self._stands.get(touch.place)
            if found:
                self.touches += 1
                self._stands[touch.place] = touch.travel
            for bound in self._meant(found, touch):
                if bound.binding.go is None:
                    words = self._apply(bound, touch, origin, last, at)
                    if refused is not None:
                        refused += words
                elif touch.presses(last):
                    self.go(bound.binding.go)
        return bool(found)

    def binds(self, touch: Touch, origin: str = "") -> bool:
        """Whether any line listens to this control, on whichever page."""
        source = (touch.kind.removesuffix("_step"), touch.key)
        return any(self._comes_from(bound, touch.channel, origin) for bound in self._bindings.get(source, ()))

    def _comes_from(self, bound: Bound, channel: int, origin: str) -> bool:
        device = bound.binding.device
        if device is not None and not port_matches(device, origin.removeprefix("midi:")):
            return False
        return bound.channel in (None, channel)

    def _meant(self, found: list[Bound], touch: Touch) -> list[Bound]:
        """The bindings that hold now. Whatever a button went down on also hears it come up, on whichever page."""
        meant = self.active(found)
        if touch.down:
            self._pressed[touch.place] = [bound for bound in meant if bound.button]
            return meant
        pressed = self._pressed.pop(touch.place, [])
        return [*pressed, *(bound for bound in meant if bound not in pressed and not (pressed and bound.button))]

    def active(self, found: list[Bound]) -> list[Bound]:
        """Of bindings to one source, those on the open page that have most of their modifiers held."""
        here = [b for b in found if (b.pages is None or self.page in b.pages) and all(map(self._is_held, b.when))]
        most = max((len(bound.when) for bound in here), default=0)
        return [bound for bound in here if len(bound.when) == most]

    def _hold(self, touch: Touch) -> None:
        (self._held.add if touch.down else self._held.discard)(touch.place)
        self.state += 1

    def _is_held(self, modifier: tuple[str, int, int | None]) -> bool:
        kind, key, channel = modifier
        return any(place[:2] == (kind, key) and channel in (None, place[2]) for place in self._held)

    def let_go(self, origin: str = "") -> None:
        """A controller went away: nothing is held any more, gates close, and nobody knows where its controls stand."""
        with self.params.together(), self.lock:
            for (kind, key, channel), bounds in list(self._pressed.items()):
                for bound in bounds:
                    if bound.binding.go is None:
                        self._apply(bound, Touch(kind, key, 0, channel), origin, None, None)
            self._held.clear()
            self._pressed.clear()
            self._stands.clear()
            self._release()

    def waits_for(self, touch: Touch) -> bool:
        """Whether a button is let go that went down here: that must be heard, whatever else goes on."""
        return not touch.down and (bool(self._pressed.get(touch.place)) or touch.place in self._held)

    def go(self, page: int | str) -> None:
        """Open a page: `next`, `previous` (both go round), a name, or a number from 1. Takeover begins anew."""
        names = self.file.pages
        if not names:
            return
        with self.lock:
            if page in ("next", "previous"):
                self.page = (self.page + (1 if page == "next" else -1)) % len(names)
            else:
                self.page = names.index(page) if page in names else int(page) - 1
            self._release()

    def _release(self) -> None:
        self.state += 1
        for links in self._links.values():
            for link in links:
                link.release()

    def adopt(self, other: Mapping) -> None:
        """Go on where another version of the same mapping was: its page, and where the controls stand."""
        with self.lock, other.lock:
            self.page = self.file.pages.index(other.page_name) if other.page_name in self.file.pages else 0
            self._stands, self._held = dict(other._stands), set(other._held)

    # --- parameters ---

    def _apply(self, bound: Bound, touch: Touch, origin: str, last: float | None, at: float | None) -> list[str]:
        """Move what a binding means; why it does nothing, if so."""
        problems: dict[str, str] = {}  # what it is about -> the words; each is told once
        for link in self._linked(bound, problems):
            try:
                link.take(self.params, touch, origin, last, at)
            except (BadValue, UnknownParameter) as problem:
                problems[link.id] = str(problem)
        for about, problem in problems.items():
            self._tell(bound, about, problem)
        return [f"{bound.words} does nothing: {problem}" for problem in problems.values()]

    def links(self, bound: Bound) -> list[Link]:
        """Where a binding meets parameters now; empty if it meets none."""
        return self._linked(bound, {})

    def _linked(self, bound: Bound, problems: dict[str, str]) -> list[Link]:
        """The links of a binding, made anew whenever parameters have come or gone."""
        if self._structure != self.params.structure:
            self._links.clear()
            self._structure = self.params.structure
        if bound not in self._links:
            self._links[bound] = self._make(bound, problems)
        elif not self._links[bound]:
            self._make(bound, problems)
        return self._links[bound]

    def _make(self, bound: Bound, problems: dict[str, str]) -> list[Link]:
        target, trigger = bound.target or "", bound.binding.trigger is not None
        found = self._meets(target, trigger)
        if not found:
            problems["missing"] = self._missing(target)
        elif trigger and not isinstance(found[0].spec, TriggerSpec):
            problems["type"] = f"{found[0].id} is not a trigger; write 'to: {target}'"
            found = []
        return [Link(bound, parameter) for parameter in found]

    def _meets(self, target: str, trigger: bool) -> list[Parameter]:
        """The parameters that a target means; those of a pattern are triggers, or none is."""
        if "*" in target:
            found = [p for p in self.params if fnmatchcase(p.id, target)]
            return [p for p in found if isinstance(p.spec, TriggerSpec) == trigger]
        try:
            return [self.params[target]]
        except UnknownParameter:
            return []

    def _missing(self, target: str) -> str:
        position = _POSITION.match(target)
        if position:
            return f"'{target}': this patch has no such bend or amount"
        if "*" in target:
            return f"no parameter matches '{target}'; bender params lists those of a patch"
        return str(UnknownParameter(target, self.params.names()))

    def problems(self, certain: bool = False) -> dict[int, str]:
        """What does not fit the parameters there are now, by the place of its binding in the file: for a check before
        the show. Of a binding that makes a whole row the first that does not fit, and how many more. A place beyond the
        patch's bends is none. `certain`: not targets that are meant for whatever patch plays, by a bend's position or
        by a pattern."""
        found: dict[int, list[str]] = {}
        beyond = self.beyond()
        for bound in self.file.bound:
            here: dict[str, str] = {}
            if bound.target is not None and bound not in beyond and not (certain and _for_any_patch(bound.target)):
                self._make(bound, here)
            found.setdefault(bound.index, []).extend(f"{bound.words}: {problem}" for problem in here.values())
        return {
            index: f"{self.file.where(index)}: {words[0]}"
            + (f" (and {len(words) - 1} more of this row)" if words[1:] else "")
            for index, words in found.items()
            if words
        }

    def beyond(self) -> set[Bound]:
        """The bindings that aim at a bend by its position and have none there now: meant for patches with more."""
        there = {match[1] for name in self.params.names() if (match := _POSITION.match(name))}
        aimed = ((bound, _POSITION.match(bound.target or "")) for bound in self.file.bound)
        return {bound for bound, position in aimed if position and position[1] not in there}

    def _tell(self, bound: Bound, about: str, problem: str) -> None:
        if (bound.index, about) not in self._told:
            self._told.add((bound.index, about))
            self._notices(f"{self.file.where(bound.index)}: {bound.words} does nothing: {problem}")


def _for_any_patch(target: str) -> bool:
    """Whether a target means whatever a patch may have of its kind."""
    return "*" in target or _POSITION.match(target) is not None
