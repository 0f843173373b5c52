"""OSC over UDP and TCP: one thread that plays packets at once and tells listeners what changes.

What a message means is in router.py, what listeners are told in feedback.py, the framing of TCP in stream.py. This
file owns the sockets. Nothing a packet holds can stop the thread, and nobody who does not read can hold it up.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from instrument.addresses import wrong_host
from instrument.osc import PORT
from instrument.osc.feedback import EXPIRES, Feedback, Listener, Subscription
from instrument.osc.router import NOTICE, Router, Sender
from instrument.osc.stream import Connection, StreamError
from instrument.osc.subscribing import listening_port, subscriber, words_on_lacking
from instrument.osc.target import OscPortError, Target
from instrument.parameters.params import BadValue, ParamSet
from instrument.parameters.touch import OscSources

log = logging.getLogger(__name__)

_BUFFER = 4 * 1024 * 1024  # a burst of several thousand packets waits in the kernel while a long message is handled
_IN_A_ROW = 1024  # packets of one socket before the clock is looked at
_STORM, _GATHER = 16, 0.004  # so many packets in a row are a storm; seconds in which its next row gathers
_MOST_CONNECTIONS = 32
_TRIES = 8  # for a port that is free for both UDP and TCP


class OscServer:
    """Listens from `start()` to `close()`. `commands` and `mapping` are the router's.

    A connection or an address that sends `/subscribe` is told what changes; `outs` are told without asking.
    """

    def __init__(
        self,
        params: ParamSet,
        mapping: OscSources | None = None,
        host: str = "127.0.0.1",
        port: int = PORT,
        notices: Callable[[str], None] | None = None,
        status: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """`status` is what `/status/...` tells from."""
        self.host, self.port = host, port
        self.router = Router(params, mapping, notices)
        self.commands = self.router.commands
        self.commands |= {"/subscribe": self._subscribe, "/unsubscribe": self._unsubscribe}
        self.feedback = Feedback(params, status)
        self.outs: list[Target] = []
        self._params = params
        self._notices = notices or log.warning
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._connections: dict[str, Connection] = {}
        self._senders: dict[Any, Sender] = {}
        self._opened: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    # --- life ---

    def start(self, outs: Iterable[str] = ()) -> None:
        """Open the port (0: any free one; `port` then tells which) and tell `outs`, as in Target. Raises
        OscPortError."""
        self.outs = Target.parse_all(outs)
        try:
            self._open()
            for target in self.outs:
                if target.host != "sender":
                    self._tell_target(target)
        except OscPortError:
            self.close()
            raise
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        """UDP, and TCP at the same number. Without TCP the show goes on, and says so."""
        for tries in range(_TRIES if self.port == 0 else 1, 0, -1):
            self._udp = self._bound(socket.SOCK_DGRAM, self.port)
            number = self._udp.getsockname()[1]
            try:
                self._tcp = self._bound(socket.SOCK_STREAM, number)
            except OscPortError as problem:
                if tries > 1:
                    self._udp.close()
                    continue
                self._notices(f"no OSC over TCP: {problem}")
            break
        self.port = number
        self._selector.register(self._udp, selectors.EVENT_READ, self._read_udp)
        if self._tcp is not None:
            self._selector.register(self._tcp, selectors.EVENT_READ, self._accept)

    def _bound(self, kind: int, port: int) -> socket.socket:
        made = None
        try:
            family = socket.getaddrinfo(self.host, port, type=kind)[0][0]
            made = socket.socket(family, kind)
            if kind == socket.SOCK_DGRAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            elif hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows; SO_REUSEADDR would share the port there
                made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # right after a show that had connections
            made.bind((self.host, port))
            if kind == socket.SOCK_STREAM:
                made.listen(128)
        except (OSError, OverflowError) as problem:
            if made is not None:
                made.close()
            raise OscPortError(self._explain(problem, port)) from None
        made.setblocking(False)
        return made

    def _explain(self, problem: Exception, port: int) -> str:
        where = f"OSC port {port} on {self.host}"
        if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
            return f"{where} is in use by another program; close that, or choose another port with --osc-port"
        if wrong := wrong_host(self.host, problem):
            return f"{where} cannot be opened: {wrong}"
        return f"{where} cannot be opened ({problem}); choose another port with --osc-port"

    def close(self) -> None:
        """Stop listening and free the port; harmless twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        for connection in list(self._connections.values()):
            self._drop(connection)
        for opened in (self._udp, self._tcp, *self._opened):
            if opened is not None:
                if opened in self._selector.get_map():
                    self._selector.unregister(opened)
                opened.close()
        self._udp = self._tcp = None
        self._opened.clear()

    @property
    def tcp(self) -> bool:
        """Whether TCP is listened to as well."""
        return self._tcp is not None

    @property
    def received(self) -> int:
        """Packets that came."""
        return self.router.received

    @property
    def bad(self) -> int:
        """Messages, and whole packets, that could not be played."""
        return self.router.bad

    def status(self) -> dict[str, Any]:
        """JSON-ready: host, port, packets received, packets that were bad, bundles waiting for their time, TCP
        connections, listeners."""
        return {
            "host": self.host,
            "port": self.port,
            "tcp": self.tcp,
            "received": self.received,
            "bad": self.bad,
            "waiting": self.router.waiting,
            "connections": len(self._connections),
            "listeners": len(self.feedback),
        }

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as problem:  # whatever happened, the next packet must be heard
                log.debug("a turn of the OSC thread failed", exc_info=problem)
                self._notices(f"OSC: {type(problem).__name__}: {problem}")
                self._stopping.wait(0.1)

    def _turn(self) -> None:
        waits = [0.1, self.router.due_in(), self.feedback.due_in()]
        for key, _ in self._selector.select(min(wait for wait in waits if wait is not None)):
            key.data()
        self.router.play_due()
        self.router.answer(self._known)
        self.feedback.beat()

    def _known(self, origin: str) -> Sender | None:
        """Whoever sends from there."""
        connection = self._connections.get(origin)
        if connection is not None:
            return connection.sender
        return next((sender for sender in self._senders.values() if sender.origin == origin), None)

    # --- UDP ---

    def _read_udp(self) -> None:
        """What has come, at most so much in a row. In a storm the next row may gather for a moment: waking for every
        packet would take more from the model than playing them."""
        packets = self._waiting_packets()
        storm = len(packets) >= _STORM
        self.router.take_all(packets, storm)
        if self.feedback or self.outs:
            for sender in {id(sender): sender for _, sender in packets}.values():
                self._heard(sender)
        if storm:
            time.sleep(_GATHER)

    def _waiting_packets(self) -> list[tuple[bytes, Sender]]:
        packets: list[tuple[bytes, Sender]] = []
        for _ in range(_IN_A_ROW):
            try:
                packet, address = self._udp.recvfrom(65536)
            except BlockingIOError:
                break
            except OSError:  # Windows reports here that an earlier answer found nobody
                continue
            packets.append((packet, self._senders.get(address) or self._meet(address)))
        return packets

    def _meet(self, address: Any) -> Sender:
        if len(self._senders) >= 1024:
            self._senders.clear()
        host, port = address[:2]
        origin = f"osc:{host}:{port}"
        send = partial(_post, self._udp, address)
        sender = Sender(host, f"{host}:{port}", origin, send, lambda packet: self.feedback.ear(origin, send)(packet))
        self._senders[address] = sender
        return sender

    def _take(self, packet: bytes, sender: Sender) -> None:
        self.router.take(packet, sender)
        if self.feedback or self.outs:
            self._heard(sender)

    # --- TCP ---

    def _accept(self) -> None:
        try:
            made, address = self._tcp.accept()
        except OSError:  # gone already
            return
        name = f"{address[0]}:{address[1]}"
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._notices(f"OSC from {name}: {_MOST_CONNECTIONS} TCP connections are open already; close one")
            made.close()
            return
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = Connection(made, address[0], name, self._selector)
        self._connections[connection.sender.origin] = connection
        self._selector.register(made, selectors.EVENT_READ, partial(self._serve, connection))

    def _serve(self, connection: Connection) -> None:
        try:
            connection.flush()
            for packet in connection.read():
                self._take(packet, connection.sender)
        except StreamError as problem:
            self.router.refuse(f"TCP: {problem}; the connection is closed", connection.sender)
            self._drop(connection)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.pop(connection.sender.origin, None)
        self.feedback.remove(connection.sender.origin)
        self._selector.unregister(connection.socket)
        connection.socket.close()

    # --- listeners ---

    def _subscribe(self, args: tuple[Any, ...], sender: Sender) -> None:
        port, subscription = subscriber(self._params, args, sender)
        back = port is None or sender.origin in self._connections
        listener = self._back_to(sender, subscription) if back else self._at(sender.host, port, subscription)
        self.feedback.add(sender.origin, listener)
        if words := words_on_lacking(self._params, subscription):
            sender.reply(NOTICE, words)

    def _back_to(self, sender: Sender, subscription: Subscription) -> Listener:
        """A listener on the connection or the port that it sends from."""
        connection = self._connections.get(sender.origin)
        if connection is not None:
            return Listener(sender.origin, subscription, sender.send, connection.ready, None, surely=True)
        return Listener(sender.name, subscription, sender.send, _always, time.monotonic() + EXPIRES)

    def _at(self, host: str, port: int, subscription: Subscription) -> Listener:
        """A listener on a port of a sender's that is not the one it sends from."""
        send = partial(_post, self._udp, (host, port))
        return Listener(f"{host}:{port}", subscription, send, _always, time.monotonic() + EXPIRES)

    def _unsubscribe(self, args: tuple[Any, ...], sender: Sender) -> None:
        port = listening_port(args)
        if port is None and not self.feedback.remove(sender.origin):
            raise BadValue("there is no subscription from this address and port")
        if port is not None and not self.feedback.remove_at(f"{sender.host}:{port}"):
            raise BadValue(f"there is no subscription of this address with port {port}")

    def _heard(self, sender: Sender) -> None:
        """A sign of life; and a new listener, where everybody who sends is told."""
        self.feedback.heard(sender.origin)
        for target in self.outs:
            if target.host == "sender" and not self.feedback.heard(self._key(target, sender)):
                self._answer_sender(target, sender)

    @staticmethod
    def _key(target: Target, sender: Sender) -> str:
        return f"{sender.host} {target.port}" if target.port else sender.origin

    def _answer_sender(self, target: Target, sender: Sender) -> None:
        key, wanted = self._key(target, sender), target.patterns or None
        if target.port:
            listener = self._at(sender.host, target.port, Subscription(self._params, f"osc:{sender.host}", wanted))
        else:
            listener = self._back_to(sender, Subscription(self._params, sender.origin, wanted))
        listener.asked = False
        try:
            self.feedback.add(key, listener)
        except BadValue as problem:
            log.debug("%s is not told: %s", sender.name, problem)

    def _tell_target(self, target: Target) -> None:
        """Feedback to a program named at the start. Its own changes come from its machine; on this machine, where
        several programs play, from the very port that it listens on."""
        try:
            family, _, _, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)[0]
            made = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as problem:
            raise OscPortError(f"--osc-out {target.host}:{target.port} cannot be reached ({problem})") from None
        made.setblocking(False)
        self._opened.append(made)
        local = address[0] in ("127.0.0.1", "::1", self.host)
        own = f"osc:{address[0]}:{target.port}" if local else f"osc:{address[0]}"
        subscription = Subscription(self._params, own, target.patterns or None)
        place = f"{address[0]}:{target.port}"
        self.feedback.add(place, Listener(place, subscription, partial(_post, made, address), _always, None))


def _always() -> bool:
    return True


def _post(through: socket.socket, address: Any, packet: bytes) -> None:
    """A datagram, if it can be sent at all; never waits."""
    try:
        through.sendto(packet, address)
    except (OSError, OverflowError) as problem:  # nobody there, or a port nobody can answer, or a full buffer
        log.debug("nothing sent to %s: %s", address, problem)
