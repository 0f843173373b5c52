"""OSC over UDP: a thread that turns packets into parameter changes at once.

`/petals/gain 2.0` sets parameter `petals.gain`; `/petals/gain/n 0.5` sets its knob travel; `/panic` without argument
fires a trigger or flips a switch; `/petals/layers 8 19` sets a range. What cannot be done is answered to the sender
with `/error <text>`. Nothing a packet holds can stop the thread.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from instrument.mapping import Mapping, Touch
from instrument.osc_codec import IMPULSE, Bundle, Message, OscError, decode, encode, is_pattern, matches
from instrument.params import BadValue, ParamSet, UnknownParameter, shorten
from pipelines.spec import SwitchSpec, TextSpec, TriggerSpec

log = logging.getLogger(__name__)

_BUFFER = 4 * 1024 * 1024  # a burst of several thousand packets waits in the kernel while a long message is handled
_WAITING = 4096  # bundles dated ahead
_HORIZON = 600.0  # seconds ahead that a bundle may be dated
_WORDS_A_SECOND = 20  # log lines and /error answers


class OscPortError(OSError):
    """The port cannot be listened on; the text names it and the remedy."""


class OscServer:
    """Listens from `start()` to `close()`.

    `commands` may hold further addresses: `commands["/x"] = f` calls f(args, reply) in the receiving thread, where
    reply(address, *args) answers the sender.
    """

    def __init__(
        self,
        params: ParamSet,
        mapping: Mapping | None = None,
        host: str = "127.0.0.1",
        port: int = 9000,
        notices: Callable[[str], None] | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.mapping = mapping
        self.received = 0
        self.bad = 0
        self.commands: dict[str, Callable[[tuple[Any, ...], Callable[..., None]], None]] = {
            "/bender/ping": lambda args, reply: reply("/bender/pong", *args),
            "/error": lambda args, reply: None,  # never answered, or two programs could argue for ever
        }
        self._params = params
        self._notices = notices or log.warning
        self._socket: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._later: list[tuple[float, int, Bundle, tuple[str, int]]] = []
        self._order = itertools.count()
        self._words = RateLimit(_WORDS_A_SECOND)
        self._matched: dict[str, list[str]] = {}
        self._structure = -1

    # --- life ---

    def start(self) -> None:
        """Open the port (0: any free one; `port` then tells which). Raises OscPortError."""
        self._socket = self._open()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self.port = self._socket.getsockname()[1]
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self._thread.start()

    def _open(self) -> socket.socket:
        made = None
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0][0]
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            made.bind((self.host, self.port))
        except (OSError, OverflowError) as problem:
            if made is not None:
                made.close()
            raise OscPortError(self._explain(problem)) from None
        made.setblocking(False)
        return made

    def _explain(self, problem: Exception) -> str:
        where = f"OSC port {self.port} on {self.host}"
        if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
            return f"{where} is in use by another program; close that, or choose another port with --osc-port"
        return f"{where} cannot be opened ({problem}); choose another port with --osc-port"

    def close(self) -> None:
        """Stop listening and free the port; harmless twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def status(self) -> dict[str, Any]:
        """JSON-ready: host, port, packets received, packets that were bad, bundles waiting for their time."""
        return {
            "host": self.host,
            "port": self.port,
            "received": self.received,
            "bad": self.bad,
            "waiting": len(self._later),
        }

    # --- receiving ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wait_and_take()
            except Exception as problem:  # whatever a packet did, the next one must be heard
                self._say(f"OSC: {type(problem).__name__}: {problem}", None)
                self._stopping.wait(0.01)

    def _wait_and_take(self) -> None:
        due = self._later[0][0] - time.time() if self._later else 0.1
        ready = self._selector.select(min(max(due, 0.0), 0.1))
        for _ in range(256 if ready else 0):  # then look at the clock again
            try:
                packet, sender = self._socket.recvfrom(65536)
            except BlockingIOError:
                break
            except OSError:  # Windows reports here that an earlier answer found nobody
                continue
            self._take(packet, sender)
        now = time.time()
        while self._later and self._later[0][0] <= now:
            _, _, bundle, sender = heapq.heappop(self._later)
            self._apply(bundle, sender)

    def _take(self, packet: bytes, sender: tuple[str, int]) -> None:
        self.received += 1
        try:
            bundles = decode(packet)
        except OscError as problem:
            self.bad += 1
            self._say(f"not OSC: {problem}", sender)
            return
        for bundle in bundles:
            if bundle.when and bundle.when > time.time():
                self._postpone(bundle, sender)
            else:
                self._apply(bundle, sender)

    def _postpone(self, bundle: Bundle, sender: tuple[str, int]) -> None:
        if bundle.when > time.time() + _HORIZON:
            self._refuse(f"a bundle is dated more than {_HORIZON:g} s ahead; are both clocks right?", sender)
        elif len(self._later) >= _WAITING:
            self._refuse(f"more than {_WAITING} bundles wait for their time; date them closer to now", sender)
        else:
            heapq.heappush(self._later, (bundle.when, next(self._order), bundle, sender))

    def _apply(self, bundle: Bundle, sender: tuple[str, int]) -> None:
        origin = f"osc:{sender[0]}:{sender[1]}"
        if len(bundle.messages) == 1:
            self._dispatch(bundle.messages[0], origin, sender)
            return
        with self._params.together():
            for message in bundle.messages:
                self._dispatch(message, origin, sender)

    # --- one message ---

    def _dispatch(self, message: Message, origin: str, sender: tuple[str, int]) -> None:
        address, args = message
        if args and args[0] is IMPULSE:
            args = args[1:]
        try:
            command = self.commands.get(address)
            if command is not None:
                command(args, lambda reply, *values: self._send(sender, reply, *values))
            elif not self._to_parameter(address, args, origin) and not self._to_mapping(address, args, origin):
                self._to_matching(address, args, origin)
        except UnknownParameter as problem:
            if self._words.allows():  # its did-you-mean takes time, so it is made only where it is told
                self._tell(self._unknown(address, problem), sender)
            self.bad += 1
        except (BadValue, OscError) as problem:
            self._refuse(f"{shorten(address)}: {problem}", sender)

    def _to_parameter(self, address: str, args: tuple[Any, ...], origin: str) -> bool:
        """Whether the address was a parameter's, and the value is set."""
        id = address[1:].replace("/", ".")
        if id in self._params or self._params.is_range(id):
            self._set(id, args, origin)
        elif address.endswith("/n") and (id[:-2] in self._params or self._params.is_range(id[:-2])):
            self._set_normalised(id[:-2], args, origin)
        else:
            return False
        return True

    def _to_mapping(self, address: str, args: tuple[Any, ...], origin: str) -> bool:
        if self.mapping is None or not self.mapping.answers(address):
            return False
        value = args[0] if args else 1.0
        if not isinstance(value, (int, float, str)) or value != value:
            raise BadValue(f"cannot be {value!r}; send a number from 0 to 1, or text")
        return self.mapping.handle(Touch("osc", address, value), origin)

    def _to_matching(self, address: str, args: tuple[Any, ...], origin: str) -> None:
        """An address pattern: to every parameter that it matches and that can take the value."""
        if not is_pattern(address):
            raise UnknownParameter(address[1:].replace("/", "."), ())
        normalised = address.endswith("/n")
        pattern = address.removesuffix("/n")
        ids = self._matching(pattern)
        refusals = []
        for id in ids:
            try:
                (self._set_normalised if normalised else self._set)(id, args, origin)
            except BadValue as problem:
                refusals.append(problem)
        if not ids:
            raise BadValue("matches no parameter")
        if len(refusals) == len(ids):
            raise refusals[0]

    def _matching(self, pattern: str) -> list[str]:
        """Ids and ranges that match, remembered until parameters come or go."""
        if self._structure != self._params.structure or len(self._matched) > 256:
            self._matched.clear()
            self._structure = self._params.structure
        if pattern not in self._matched:
            aliases = self._params.aliases()
            names = (name for name in self._params.names() if name not in aliases)
            self._matched[pattern] = [name for name in names if matches(pattern, "/" + name.replace(".", "/"))]
        return self._matched[pattern]

    def _set(self, id: str, args: tuple[Any, ...], origin: str) -> None:
        if len(args) == 1:
            self._params.set(id, args[0], origin)
        elif not args:
            self._bang(id, origin)
        elif id in self._params and isinstance(self._params[id].spec, TextSpec):
            self._params.set(id, " ".join(str(word) for word in args), origin)  # clients that send word by word
        else:
            self._params.set(id, args, origin)

    def _set_normalised(self, id: str, args: tuple[Any, ...], origin: str) -> None:
        self._params.set_normalised(id, args[0] if len(args) == 1 else args, origin)

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
        named = UnknownParameter(problem.name, self._params.names())
        return f"{shorten(address)}: {named}"

    def _refuse(self, text: str, sender: tuple[str, int] | None) -> None:
        self.bad += 1
        self._say(text, sender)

    def _say(self, text: str, sender: tuple[str, int] | None) -> None:
        if self._words.allows():
            self._tell(text, sender)

    def _tell(self, text: str, sender: tuple[str, int] | None) -> None:
        more = self._words.take_missed()
        more = f" ({more} more like this not shown)" if more else ""
        if sender is None:
            self._notices(text + more)
            return
        self._notices(f"OSC from {sender[0]}:{sender[1]}: {text}{more}")
        self._send(sender, "/error", text)

    def _send(self, sender: tuple[str, int], address: str, *args: Any) -> None:
        try:
            self._socket.sendto(encode(address, *args), sender)
        except (OSError, OscError) as problem:  # the sender is gone, or sent from a port nobody can answer
            log.debug("no answer to %s: %s", sender, problem)


class RateLimit:
    """Allows `most` events in any second on the clock, and counts those it did not allow."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._used = 0
        self._missed = 0

    def allows(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._used = second, 0
        self._used += 1
        if self._used > self._most:
            self._missed += 1
        return self._used <= self._most

    def take_missed(self) -> int:
        """How many were not allowed since the last call."""
        missed, self._missed = self._missed, 0
        return missed
