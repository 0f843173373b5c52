"""What listeners are told: every change of a parameter, the latest value at most 60 times a second, and how it plays.

A Subscription is what one listener wants and has not been told yet; nothing queues up in it but addresses, so a slow
listener hears the latest values, never old ones. A change is not told to whoever made it. Feedback keeps the
subscriptions of programs that asked by OSC, and those that were named at the start. Knows nothing of sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from instrument.osc.codec import OscError, encode, is_pattern, matches
from instrument.osc.router import address_of
from instrument.parameters.params import BadValue, Parameter, ParamSet, UnknownParameter
from pipelines.spec import ControlSpec, SwitchSpec, TextSpec, TriggerSpec

log = logging.getLogger(__name__)

BEAT = 1 / 60  # seconds between two messages to one address
STATUS_EVERY = 0.25  # seconds
MOST_AT_ONCE = 64  # messages to one listener in a beat: a full state must not overrun its buffer
MOST_WANTED = 1024  # addresses and patterns of one listener
MOST_LISTENERS = 32
EXPIRES = 60.0  # seconds after the last message from a listener
AGAIN = 5.0  # seconds in which everything is said once more where it may have been lost, or nobody was there yet

TEXT = "text"  # instead of a unit
# /status/<name>: the key of the show's status, its unit, and what it is. Keys that are absent or None are not told.
STATUS = {
    "fps": ("fps", "frames/s", "frames a second that are made"),
    "sent": ("fps_sent", "frames/s", "frames a second that are sent"),
    "latency": ("latency_ms", "time.ms", "from a knob to the first frame that shows it, median"),
    "step": ("step_ms", "time.ms", "a denoising step"),
    "chunk": ("chunks", "", "chunks made since the start"),
    "beat": ("beat", "beats", "beats of the clock since its start"),
    "bpm": ("tempo", "time.bpm", "tempo of the clock"),
    "recording": ("recording_s", "time.second", "how long the oldest recording has run that runs now; 0: none"),
    "outputs": ("outputs_told", TEXT, "every output, that it plays, what it records, or why it fails"),
}


class Change(NamedTuple):
    """A parameter that changed, and who set it; or one whose source must be told what was made of its value."""

    id: str
    origin: str
    corrected: bool = False


class Place(NamedTuple):
    """An address that shows parameters: an id's, an alias's or a range's, in plain units or as knob travel."""

    name: str
    normalised: bool


class Subscription:
    """What one listener wants of a ParamSet, and what it is still to be told. One thread.

    `own`: the origin of its own changes, or the beginning of it up to a colon. `wanted`: addresses and patterns, which
    may name aliases, ranges and `/n` too; None for every parameter at its own address. `switches_as` is `bool` for
    listeners that know the types T and F.
    """

    def __init__(
        self, params: ParamSet, own: str, wanted: Iterable[str] | None = None, switches_as: type[int] = int
    ) -> None:
        self._params = params
        self.own = own
        self._wanted = None if wanted is None else dict.fromkeys(wanted)
        self._switches_as = switches_as
        self._structure = -1
        self._places: dict[str, Place] = {}  # by address
        self._showing: dict[str, list[str]] = {}  # id -> addresses
        self._pending: dict[str, None] = {}  # addresses, the longest unsaid first
        self._again: list[str] = []  # addresses still to be said again in this round, the next one last
        self._owed = 0.0  # addresses, and parts of one, by which saying again is behind
        self._astray: set[str] = set()  # addresses where its own word was corrected
        self._greeted: list[str] = []  # newly wanted, to be told their values

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._pending or self._greeted)

    def tell_all(self) -> None:
        """The full state next, but for triggers, which have none."""
        self._look()
        for address, place in self._places.items():
            if not self._is_trigger(place):
                self._pending[address] = None

    def remind(self, share: float) -> None:
        """Say a share of everything again, the next part with every call; but not what the listener itself has set."""
        self._look()
        self._owed += share * len(self._places)
        while self._owed >= 1.0:
            self._owed -= 1.0
            self._again = self._again or list(self._places)[::-1]
            address = self._again.pop()
            place = self._places.get(address)
            known = address not in self._astray and place is not None and self._is_own(place)
            if place is not None and not self._is_trigger(place) and not known:
                self._pending.setdefault(address)

    def listen(self, address: str) -> None:
        """Want one more address; its value is told next. Raises BadValue for too many."""
        wanted = self._wanted if self._wanted is not None else {}
        if len(wanted) >= MOST_WANTED and address not in wanted:
            raise BadValue(f"more than {MOST_WANTED} addresses are listened to; IGNORE some")
        wanted[address] = None
        self._wanted, self._structure = wanted, -1
        self._greeted.append(address)

    def ignore(self, address: str) -> None:
        """Want an address no longer."""
        if self._wanted is not None:
            self._wanted.pop(address, None)
            self._structure = -1

    def lacking(self) -> list[str]:
        """Addresses wanted by name that show nothing now."""
        self._look()
        own = {f"/status/{name}" for name in STATUS}
        return [one for one in self._wanted or () if not (is_pattern(one) or one in self._places or one in own)]

    def wants(self, address: str) -> bool:
        """Whether an address that is no parameter's is wanted."""
        return self._wanted is None or any(address == one or self._matches(one, address) for one in self._wanted)

    def note(self, changes: Iterable[Change]) -> None:
        """Remember what changed. Its own changes it knows, unless something else was made of them; what it had not yet
        been told of them is old by now."""
        self._look()
        for id, origin, corrected in changes:
            own = self._made(origin)
            for address in self._showing.get(id, ()) if own or not corrected else ():
                self._astray.discard(address)
                if not own or corrected:
                    self._pending[address] = None
                    self._astray |= {address} if own else set()
                elif not self._params.is_range(self._places[address].name):  # whose other half may be another's
                    self._pending.pop(address, None)

    def _made(self, origin: str) -> bool:
        return origin == self.own or origin.startswith(self.own + ":")

    def _is_own(self, place: Place) -> bool:
        ids = self._ids(place.name, self._params.aliases())
        return all(id in self._params and self._made(self._params[id].origin) for id in ids)

    def take(self, most: int = MOST_AT_ONCE) -> list[bytes]:
        """Messages with the latest values of what is still to be told."""
        self._look()
        messages = []
        for address in list(self._pending)[:most]:
            del self._pending[address]
            place = self._places.get(address)
            if place is not None:
                messages += self._message(address, place)
        return messages

    # --- which address shows what ---

    def _look(self) -> None:
        """Find the addresses anew where parameters have come or gone."""
        if self._structure == self._params.structure:
            return
        with self._params.together():
            self._structure = self._params.structure
            self._places = self._find()
            self._showing = {}
            aliases = self._params.aliases()
            for address, place in self._places.items():
                for id in self._ids(place.name, aliases):
                    self._showing.setdefault(id, []).append(address)
        greeted, self._greeted = self._greeted, []
        for address, place in self._places.items() if greeted else ():
            if not self._is_trigger(place) and any(address == one or self._matches(one, address) for one in greeted):
                self._pending[address] = None

    def _find(self) -> dict[str, Place]:
        if self._wanted is None:
            return {address_of(id): Place(id, False) for id in self._params.ids()}
        every = {address_of(name): Place(name, False) for name in self._params.names()}
        every |= {f"{address}/n": Place(place.name, True) for address, place in every.items() if self._travels(place)}
        exact = {address: every[address] for address in self._wanted if address in every}
        patterns = [one for one in self._wanted if is_pattern(one)]
        return exact | {a: place for a, place in every.items() if any(self._matches(one, a) for one in patterns)}

    def _travels(self, place: Place) -> bool:
        spec = self._params[place.name].spec if place.name in self._params else None
        return not isinstance(spec, (TextSpec, TriggerSpec))

    def _is_trigger(self, place: Place) -> bool:
        return place.name in self._params and isinstance(self._params[place.name].spec, TriggerSpec)

    def _ids(self, name: str, aliases: dict[str, str]) -> list[str]:
        if self._params.is_range(name):
            return [f"{name}.center", f"{name}.width"]
        return [aliases.get(name, name)]

    @staticmethod
    def _matches(pattern: str, address: str) -> bool:
        try:
            return is_pattern(pattern) and matches(pattern, address)
        except OscError:
            return False

    # --- messages ---

    def _message(self, address: str, place: Place) -> list[bytes]:
        """One message, or none where the parameter has gone meanwhile."""
        try:
            if self._params.is_range(place.name):
                args = ends(self._params, place.name, place.normalised)
            else:
                args = [self._value(self._params[place.name], place.normalised)]
            return [encode(address, *(arg for arg in args if arg is not None))]
        except (OscError, UnknownParameter) as problem:
            log.debug("%s is not told: %s", address, problem)
            return []

    def _value(self, parameter: Parameter, normalised: bool) -> Any:
        if isinstance(parameter.spec, TriggerSpec):
            return None  # an event without a value
        if normalised:
            return float(parameter.travel)
        if isinstance(parameter.spec, SwitchSpec):
            return self._switches_as(parameter.base)
        return parameter.base


def ends(params: ParamSet, name: str, normalised: bool = False) -> list[float]:
    """A range's [lo, hi], within what its center can be; in knob travel if `normalised`. Raises UnknownParameter."""
    with params.together():
        center, width = params[f"{name}.center"], params[f"{name}.width"]
        spec = center.spec
        both = [center.base - width.base / 2, center.base + width.base / 2]
    if not isinstance(spec, ControlSpec):
        return both
    return [spec.unmap(end) if normalised else float(min(max(end, spec.lo), spec.hi)) for end in both]


class Changes:
    """A ParamSet's changes since the last look, with who made them. A trigger that has just come is no event."""

    def __init__(self, params: ParamSet) -> None:
        self._params = params
        self._version = params.version  # what came before is no change
        self._corrected, _ = params.corrections.since(2**62)

    def take(self) -> list[Change]:
        with self._params.together():  # an id and its origin from the same moment
            self._version, ids = self._params.changed(self._version)
            changed = [self._params[id] for id in ids]
            self._corrected, pairs = self._params.corrections.since(self._corrected)
        found = [Change(p.id, p.origin) for p in changed if p.base or not isinstance(p.spec, TriggerSpec)]
        return found + [Change(id, origin, corrected=True) for id, origin in pairs]


def status_values(status: dict[str, Any]) -> dict[str, float | str]:
    """/status/<name> -> value, of what the show's status holds."""
    found = {}
    for name, (key, unit, _) in STATUS.items():
        value = status.get(key)
        if isinstance(value, str if unit == TEXT else (int, float)) and not isinstance(value, bool):
            found[f"/status/{name}"] = value
    return found


@dataclass
class Listener:
    """Somebody who is told: where, how, whether it can take more now, when it is forgotten (None: never).

    `asked`: it said so itself, or was named at the start. `surely`: what is sent arrives, so once is enough.
    """

    to: str
    subscription: Subscription
    send: Callable[[bytes], None]
    ready: Callable[[], bool]
    expires: float | None
    asked: bool = True
    surely: bool = False


class Feedback:
    """Tells listeners, by their key; every method in the thread that owns the sockets."""

    def __init__(self, params: ParamSet, status: Callable[[], dict[str, Any]] = dict) -> None:
        self._params, self._status = params, status
        self._changes = Changes(params)
        self._listeners: dict[str, Listener] = {}
        self._next = self._status_at = 0.0

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, key: str, listener: Listener) -> None:
        """Tell this one too, from its full state on; instead of another in the same place. Raises BadValue where there
        are too many."""
        for other in [other for other, held in self._listeners.items() if held.to == listener.to]:
            if self._listeners.pop(other).expires is None:
                listener.expires = None  # named at the start, so not forgotten
        if key not in self._listeners and len(self._listeners) >= MOST_LISTENERS and not self._make_room():
            raise BadValue(
                f"{MOST_LISTENERS} programs are told already; let one /unsubscribe, or wait until one expires"
            )
        if not self._listeners:
            self._changes.take()
        listener.subscription.tell_all()
        self._listeners[key] = listener

    def _make_room(self) -> bool:
        """Forget whoever has been silent the longest of those that never asked; whether there was one."""
        unasked = [key for key, held in self._listeners.items() if not held.asked]
        if unasked:
            del self._listeners[min(unasked, key=lambda key: self._listeners[key].expires or 0.0)]
        return bool(unasked)

    def remove(self, key: str) -> bool:
        """Whether there was one."""
        return self._listeners.pop(key, None) is not None

    def remove_at(self, place: str) -> bool:
        """As `remove`, by HOST:PORT where it listens; but none that was named at the start."""
        found = [key for key, held in self._listeners.items() if held.to == place and held.expires is not None]
        return any(map(self.remove, found))

    def ear(self, key: str, otherwise: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Where the listener of that key is told things, as long as there is one."""
        listener = self._listeners.get(key)
        return otherwise if listener is None else listener.send

    def heard(self, key: str) -> bool:
        """The listener is alive; False if there is none."""
        listener = self._listeners.get(key)
        if listener is not None and listener.expires is not None:
            listener.expires = time.monotonic() + EXPIRES
        return listener is not None

    def due_in(self) -> float | None:
        """Seconds until the next beat; None without listeners."""
        return max(0.0, self._next - time.monotonic()) if self._listeners else None

    def beat(self) -> None:
        """Tell everybody what is new, if it is time."""
        now = time.monotonic()
        if not self._listeners or now < self._next:
            return
        self._next = max(self._next + BEAT, now + BEAT / 2)
        self._forget(now)
        changes = self._changes.take()
        status = self._status_messages(now)
        for listener in self._listeners.values():
            listener.subscription.note(changes)
            if status and not listener.surely:
                listener.subscription.remind(STATUS_EVERY / AGAIN)
            if listener.ready():
                wanted = [message for address, message in status.items() if listener.subscription.wants(address)]
                for message in listener.subscription.take() + wanted:
                    listener.send(message)

    def _forget(self, now: float) -> None:
        for key, listener in list(self._listeners.items()):
            if listener.expires is not None and listener.expires < now:
                del self._listeners[key]

    def _status_messages(self, now: float) -> dict[str, bytes]:
        if now < self._status_at:
            return {}
        self._status_at = now + STATUS_EVERY
        return {address: encode(address, value) for address, value in status_values(self._status()).items()}
