"""From an OSC packet to parameters: what every message means, when a dated bundle is played, and what is answered.

`/petals/gain 2.0` sets parameter `petals.gain`; `/petals/gain/n 0.5` sets its knob travel; `/panic` without argument
fires a trigger or flips a switch; `/petals/layers 8 19` sets a range. What cannot be done is answered to the sender
with `/error <text>`; what is to be known of something that was done, with `/notice <text>`. Knows nothing of sockets: a
Sender is who a packet came from and how to answer it. A Router is used by one thread; each door (UDP and TCP together,
the page's websockets) has its own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from instrument.osc.codec import IMPULSE, Bundle, Message, OscError, decode, encode, is_pattern, matches
from instrument.osc.complaints import Complaints
from instrument.parameters.params import BadValue, ParamSet, UnknownParameter, shorten
from instrument.parameters.touch import OscSources, Touch
from instrument.parameters.values import closest
from pipelines.spec import ControlSpec, SwitchSpec, TextSpec, TriggerSpec

log = logging.getLogger(__name__)

ERROR, NOTICE = _WORDS = "/error", "/notice"  # what was not done, and what is to be known of what was
_WAITING, _HELD = 4096, 16 * 2**20  # bundles dated ahead, and the bytes of their packets
_HORIZON = 600.0  # seconds ahead that a bundle may be dated
_ROW = 1 / 60  # seconds that a storm's row may last; faster than any picture
_AT_A_TIME = 64  # dated bundles played before other packets have a turn
_MOMENT = 0.02  # seconds that one bundle may keep the engine waiting; a longer one is played in several moments
_WORDS_A_SECOND = 20  # log lines and /error answers
_REPEATED = 1.0  # seconds in which the same complaint is made to the same sender once
_REFUSED = 60.0  # the same, for bundles dated too far ahead: a clock that is wrong stays wrong
_PLAIN = {b",f\0\0": struct.Struct(">f"), b",i\0\0": struct.Struct(">i")}  # the tags of one number


@dataclass(frozen=True)
class Sender:
    """Where a packet came from: `host` and `name` for people, `origin` for parameters; `send` takes packets back and
    never raises or waits; so does `errors`, where those go elsewhere."""

    host: str
    name: str
    origin: str
    send: Callable[[bytes], None]
    errors: Callable[[bytes], None] | None = None

    def reply(self, address: str, *args: Any) -> None:
        """Answer, if it can be encoded."""
        try:
            (self.errors if self.errors and address in _WORDS else self.send)(encode(address, *args))
        except OscError as problem:
            log.debug("no answer to %s: %s", self.name, problem)


Command = Callable[[tuple[Any, ...], Sender], None]
Put = Callable[[str, tuple[Any, ...], str], None]


class Router:
    """Plays packets on a ParamSet.

    `commands` may hold further addresses: `commands["/x"] = f` calls f(args, sender) in the receiving thread; it may
    raise BadValue.
    """

    def __init__(
        self,
        params: ParamSet,
        mapping: OscSources | None = None,
        notices: Callable[[str], None] | None = None,
    ) -> None:
        self.mapping = mapping
        self.received = 0
        self.bad = 0
        self.commands: dict[str, Command] = {
            "/bender/ping": lambda args, sender: sender.reply("/bender/pong", *args),
            **dict.fromkeys(_WORDS, lambda args, sender: None),  # never answered, or two programs could argue for ever
        }
        self._params = params
        self._notices = notices or log.warning
        self._later: list[tuple[float, int, Bundle, Sender, int]] = []
        self._held = 0
        self._latest: dict[str, tuple[float, bytes, Sender]] = {}  # a row of plain numbers, by parameter
        self._settle_at: float | None = None
        self._gathered = 0
        self._order = itertools.count()
        self._complaints = Complaints(_WORDS_A_SECOND)
        self._late = Complaints(_WORDS_A_SECOND)  # of their own: a storm of mistakes must not take them from a wish
        self._answered, _ = params.answers.since(0)  # what came before is no answer to anybody here
        self._matched: dict[str, list[str]] = {}
        self._routes: dict[str, tuple[Put, str]] = {}
        self._heads: dict[bytes, tuple[str, struct.Struct]] = {}  # a packet but for its number
        self._structure = -1

    @property
    def waiting(self) -> int:
        """Bundles whose time has not come."""
        return len(self._later)

    def due_in(self) -> float | None:
        """Seconds until the next dated bundle, or the end of a row, 0.0 if it is late; None without any."""
        waits = [self._later[0][0] - time.time()] if self._later else []
        waits += [self._settle_at - time.monotonic()] if self._settle_at is not None else []
        return max(0.0, min(waits)) if waits else None

    def play_due(self) -> None:
        """Play what has gathered, and bundles whose time has come; some at a time, then `due_in` is 0.0."""
        if self._settle_at is not None and time.monotonic() >= self._settle_at:
            self._settle()
        now = time.time()
        for _ in range(_AT_A_TIME):
            if not self._later or self._later[0][0] > now:
                return
            _, _, bundle, sender, size = heapq.heappop(self._later)
            self._held -= size
            self._apply(bundle, sender)

    def take(self, packet: bytes, sender: Sender) -> None:
        """Play one packet, or keep it for its time. Never raises for what the packet holds."""
        if self._latest:
            self._settle()
        self.received += 1
        try:
            bundles = decode(packet)
        except OscError as problem:
            self.refuse(f"not OSC: {problem}", sender)
            return
        for bundle in bundles:
            if bundle.when and bundle.when > time.time():
                self._postpone(bundle, sender, len(packet))
            else:
                self._apply(bundle, sender)

    def take_all(self, packets: Iterable[tuple[bytes, Sender]], storm: bool = False) -> None:
        """Play packets in order. Where several set one parameter in a row of plain numbers only the last is played:
        nobody could have seen the others, and plain numbers are what storms are made of. In a `storm` a row goes on
        with the next call, for a sixtieth of a second."""
        self._notice_structure()
        for packet, sender in packets:
            known = self._heads.get(packet[:-4])
            if known is not None:
                id, form = known
                value = form.unpack_from(packet, len(packet) - 4)[0]
                if value == value:
                    self._latest[id] = value, packet, sender
                    self._gathered += 1
                    continue
            self.take(packet, sender)
            self._learn(packet)
        if not storm:
            self._settle()
        elif self._settle_at is None:
            self._settle_at = time.monotonic() + _ROW

    def _settle(self) -> None:
        """Play the row that has gathered."""
        latest, self._latest, self._settle_at = self._latest, {}, None
        gathered, self._gathered = self._gathered, 0
        for id, (value, packet, sender) in latest.items():
            try:
                self._params.set(id, value, sender.origin)
            except (UnknownParameter, BadValue):  # the patch has changed this very moment
                gathered -= 1
                self.take(packet, sender)
        self.received += gathered

    def _learn(self, packet: bytes) -> None:
        """Know such a packet next time, if all it does is set one number."""
        form = _PLAIN.get(packet[-8:-4])
        if form is None or packet[:1] != b"/":
            return
        try:
            address, args = decode(packet)[0].messages[0]
        except OscError:
            return
        if packet[len(address.encode()) : -8].strip(b"\0"):
            return  # one address filled up in countless ways would be as many packets to know
        put, id = self._routes.get(address, (None, ""))
        number = put == self._set and id in self._params and isinstance(self._params[id].spec, ControlSpec)
        if number and len(args) == 1 and address not in self.commands:
            self._heads[packet[:-4]] = self._params[id].id, form

    def _postpone(self, bundle: Bundle, sender: Sender, size: int) -> None:
        if bundle.when > time.time() + _HORIZON:
            text = f"a bundle is dated more than {_HORIZON:g} s ahead; are both clocks right?"
            self.refuse(text, sender, _REFUSED)
        elif len(self._later) >= _WAITING:
            self.refuse(f"more than {_WAITING} bundles wait for their time; date them closer to now", sender)
        elif self._held + size > _HELD:
            self.refuse(f"more than {_HELD >> 20} MB of bundles wait for their time; date them closer to now", sender)
        else:
            self._held += size
            heapq.heappush(self._later, (bundle.when, next(self._order), bundle, sender, size))

    def _apply(self, bundle: Bundle, sender: Sender) -> None:
        """All of a bundle at one moment, as the engine sees it."""
        messages, at = bundle.messages, 0
        if len(messages) == 1:
            self._dispatch(messages[0], sender)
            return
        while at < len(messages):
            with self._params.together():
                end = time.monotonic() + _MOMENT
                while at < len(messages) and time.monotonic() < end:
                    self._dispatch(messages[at], sender)
                    at += 1
            if at < len(messages):
                time.sleep(0.001)  # the engine's turn

    # --- one message ---

    def _dispatch(self, message: Message, sender: Sender) -> None:
        address, args = message
        if args and args[0] is IMPULSE:
            args = args[1:]
        try:
            command = self.commands.get(address)
            if command is not None:
                command(args, sender)
            elif self._to_parameter(address, args, sender.origin) or self._to_mapping(address, args, sender):
                return
            else:
                self._to_matching(address, args, sender.origin)
        except UnknownParameter as problem:
            self.bad += 1
            # asked before the words are made: did-you-mean takes time
            if self._complaints.allows((sender.name, address[:80]), _REPEATED, sender.name):
                self._tell(self._unknown(address, problem), sender)
        except (BadValue, OscError) as problem:
            self.refuse(f"{shorten(address)}: {problem}", sender)
        except Exception as problem:  # a fault of ours; the next message must be heard
            self.bad += 1
            log.debug("OSC message %s", shorten(address), exc_info=problem)
            if self._complaints.allows(("fault", str(problem))):
                self._notices(f"OSC: {shorten(address)}: {type(problem).__name__}: {problem}")

    def _to_parameter(self, address: str, args: tuple[Any, ...], origin: str) -> bool:
        """Whether the address was a parameter's, and the value is set."""
        self._notice_structure()
        route = self._routes.get(address)
        if route is None:
            route = self._route(address)
            if route is None:
                return False
            self._routes[address] = route
        put, id = route
        put(id, args, origin)
        return True

    def _route(self, address: str) -> tuple[Put, str] | None:
        """How and where to put the arguments; None if the address is no parameter's."""
        params, id = self._params, address[1:].replace("/", ".")
        if id in params or params.is_range(id):
            return self._plain(id), id
        if address.endswith("/n") and (id[:-2] in params or params.is_range(id[:-2])):
            return self._set_normalised, id[:-2]
        return None

    def _notice_structure(self) -> None:
        """What was looked up holds until parameters come or go."""
        if self._structure != self._params.structure:
            self._structure = self._params.structure
            self._matched.clear()
            self._routes.clear()
            self._heads.clear()

    def _to_mapping(self, address: str, args: tuple[Any, ...], sender: Sender) -> bool:
        if self.mapping is None or not self.mapping.answers(address):
            return False
        value = args[0] if args else 1.0
        if not isinstance(value, (int, float, str)) or value != value:
            raise BadValue(f"cannot be {value!r}; send a number from 0 to 1, or text")
        refused: list[str] = []
        heard = self.mapping.handle(Touch("osc", address, value), sender.origin, refused=refused)
        for text in refused[:1]:  # the player is told by the mapping
            self.bad += 1
            if self._complaints.allows((sender.name, text), _REPEATED, sender.name):
                sender.reply(ERROR, text)
        return heard

    def _to_matching(self, address: str, args: tuple[Any, ...], origin: str) -> None:
        """An address pattern: to every parameter that it matches and that can take the value."""
        if not is_pattern(address):
            raise UnknownParameter(address[1:].replace("/", "."), ())
        normalised = address.endswith("/n")
        ids = self._matching(address.removesuffix("/n"))
        refusals = []
        for id in ids:
            try:
                (self._set_normalised if normalised else self._plain(id))(id, args, origin)
            except BadValue as problem:
                refusals.append(problem)
        if not ids:
            raise BadValue("matches no parameter")
        if len(refusals) == len(ids):
            raise refusals[0]

    def _matching(self, pattern: str) -> list[str]:
        """Ids and ranges that match."""
        if pattern not in self._matched:
            if len(self._matched) > 256:
                self._matched.clear()
            aliases = self._params.aliases()
            names = (name for name in self._params.names() if name not in aliases)
            self._matched[pattern] = [name for name in names if matches(pattern, address_of(name))]
        return self._matched[pattern]

    def _plain(self, id: str) -> Put:
        """How values in plain units get to a parameter or a range."""
        text = id in self._params and isinstance(self._params[id].spec, TextSpec)
        return self._write if text else self._set

    def _set(self, id: str, args: tuple[Any, ...], origin: str) -> None:
        if args:
            self._params.set(id, _alone(args), origin)
        else:
            self._bang(id, origin)

    def _write(self, id: str, args: tuple[Any, ...], origin: str) -> None:
        if not args:
            raise BadValue(f"{id} needs a value; send text")
        self._params.set(id, _text(id, args), origin)

    def _set_normalised(self, id: str, args: tuple[Any, ...], origin: str) -> None:
        self._params.set_normalised(id, _alone(args), origin)

    def _bang(self, id: str, origin: str) -> None:
        """No argument: fire a trigger, flip a switch."""
        with self._params.together():
            spec = self._params[id].spec if id in self._params else None
            if isinstance(spec, TriggerSpec):
                self._params.trigger(id, origin)
            elif isinstance(spec, SwitchSpec):
                self._params.set(id, not self._params[id].base, origin)
            else:
                raise BadValue(f"{id} needs a value; only triggers and switches do without")

    # --- answers ---

    def _unknown(self, address: str, problem: UnknownParameter) -> str:
        names = self._params.names()
        others = self.commands.keys() - set(_WORDS) | set(self.mapping.addresses if self.mapping else ())
        close = closest(address, [*map(address_of, names), *sorted(others)])
        if close in others:
            return f"{shorten(address)}: no such address; did you mean {close}?"
        return f"{shorten(address)}: {UnknownParameter(problem.name, names)}"

    def refuse(self, text: str, sender: Sender, quiet: float = _REPEATED) -> None:
        """Count something that cannot be done, and say so to the player and the sender: the same words once in `quiet`
        seconds."""
        self.bad += 1
        if self._complaints.allows((sender.name, text), quiet, sender.name):
            self._tell(text, sender)

    def answer(self, known: Callable[[str], Sender | None]) -> None:
        """Say to senders, `known` by their origins, what became of wishes that could not be answered at once."""
        self._answered, words = self._params.answers.since(self._answered)
        for origin, text, refused in words:
            sender = known(origin)
            if sender is not None and self._late.allows((sender.name, text), _REPEATED):
                sender.reply(ERROR if refused else NOTICE, text)

    def _tell(self, text: str, sender: Sender) -> None:
        more = self._complaints.take_missed()
        more = f" ({more} more like this not shown)" if more else ""
        self._notices(f"OSC from {sender.name}: {text}{more}")
        sender.reply(ERROR, text)


def address_of(name: str) -> str:
    """The OSC address of an id, an alias or a range."""
    return "/" + name.replace(".", "/")


def _alone(args: tuple[Any, ...]) -> Any:
    """One argument as it is, also out of an array of one; several as they came."""
    if len(args) == 1:
        return args[0][0] if isinstance(args[0], list) and len(args[0]) == 1 else args[0]
    return args


def _text(id: str, args: tuple[Any, ...]) -> str:
    """Text, as clients send it that put every word, and every number, into an argument of its own."""
    for word in args:
        if isinstance(word, bool) or not isinstance(word, (str, int, float)):
            raise BadValue(f"{id} cannot be {word!r}; send text")
    return " ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in args)
