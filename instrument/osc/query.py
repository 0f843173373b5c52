"""OSCQuery: other programs find every parameter over HTTP, with its range and value, and follow it over a websocket.

Served on the page's port and guarded like the page. GET an address for its node, `?VALUE` for one attribute,
`?HOST_INFO` for the ports. Over the websocket `LISTEN` and `IGNORE` choose what is told; binary messages are OSC
packets, both ways; `PATH_ADDED`, `PATH_REMOVED` and `PATH_CHANGED` tell of a new patch. Everything here runs in the
page's event loop. After the OSCQuery proposal (github.com/Vidvox/OSCQueryProposal).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from instrument.osc.codec import encode
from instrument.osc.feedback import BEAT, MOST_AT_ONCE, STATUS_EVERY, Changes, Subscription, status_values
from instrument.osc.router import Router, Sender
from instrument.osc.tree import ATTRIBUTES, differences, find, tree
from instrument.parameters.params import BadValue, ParamSet
from instrument.parameters.touch import OscSources
from instrument.sockets import accept, asks_for_socket, close, converse, report

log = logging.getLogger(__name__)

NAME = "AttentionBender"
LARGEST_MESSAGE = 64 * 1024  # bytes from a client
MOST_CLIENTS = 16  # websockets at once
HEARTBEAT = 20.0  # seconds; some clients answer slowly
_WAITING = 256  # answers and events to one client
EXTENSIONS = {
    **dict.fromkeys(("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TAGS", "UNIT", "CRITICAL", "CLIPMODE"), True),
    **dict.fromkeys(("EXTENDED_TYPE", "LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED"), True),
    **dict.fromkeys(("OVERLOADS", "HTML", "PATH_RENAMED"), False),
}


class OscQuery:
    """Answers for one ParamSet. `osc` is where OSC is listened to, (host, port), or None."""

    def __init__(
        self,
        params: ParamSet,
        status: Callable[[], dict[str, Any]] = dict,
        osc: tuple[str, int] | None = None,
        mapping: OscSources | None = None,
        notices: Callable[[str], None] | None = None,
    ) -> None:
        self._params, self._status, self._osc = params, status, osc
        self.router = Router(params, mapping, notices)
        self.router.commands |= dict.fromkeys(("/subscribe", "/unsubscribe"), _other_way)
        self._clients: set[Client] = set()
        self._numbers = itertools.count(1)
        self._ticking: asyncio.Task[None] | None = None

    # --- HTTP ---

    def wants(self, request: web.Request) -> bool:
        """Whether a request for `/` is meant for OSCQuery: browsers ask for HTML there, clients do not."""
        asks = any(key in ATTRIBUTES or key == "HOST_INFO" for key in request.query)
        return asks or asks_for_socket(request) or "text/html" not in request.headers.get("Accept", "")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A node, an attribute, HOST_INFO, or a websocket. 404: no such node; 400: no such attribute; 204: the node has
        no such attribute."""
        if asks_for_socket(request):
            return await self._serve(request)
        attribute = next(iter(request.query), None)
        if attribute == "HOST_INFO":
            return web.json_response(self._host_info(request))
        node = find(tree(self._params, self._how_it_plays()), request.path)
        if node is None:
            raise web.HTTPNotFound(text="there is no such page and no such OSC address; the tree is at /\n")
        if attribute is None:
            return web.json_response(node)
        if attribute not in ATTRIBUTES:
            raise web.HTTPBadRequest(text=f"there is no such attribute; ask for one of {', '.join(ATTRIBUTES)}\n")
        if attribute not in node:
            return web.Response(status=204)
        return web.json_response({attribute: node[attribute]})

    def _host_info(self, request: web.Request) -> dict[str, Any]:
        """Addresses as the one who asks can reach them: those at which it reached this server."""
        address = request.transport.get_extra_info("sockname") if request.transport else None
        host, port = (address[0], address[1]) if address else ("127.0.0.1", None)
        info = {"NAME": NAME, "EXTENSIONS": EXTENSIONS, "WS_IP": host, "WS_PORT": port}
        if self._osc is not None:
            bound, osc_port = self._osc
            info |= {"OSC_IP": host if bound in ("0.0.0.0", "::", "") else bound}
            info |= {"OSC_PORT": osc_port, "OSC_TRANSPORT": "UDP"}
        return info

    # --- websockets ---

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_CLIENTS} clients are connected already; close one\n")
        socket = await accept(request, LARGEST_MESSAGE, HEARTBEAT)
        client = Client(socket, self._params, next(self._numbers), request.remote or "")
        self._clients.add(client)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
            self._ticking.add_done_callback(partial(report, who="OSCQuery clients"))

        async def receive(message: WSMessage) -> None:
            if message.type == WSMsgType.BINARY:
                self.router.take(message.data, client.sender)
            else:
                client.obey(message.data)

        try:
            await converse(socket, client.send_forever(), receive, client.sender.name)
        finally:
            self._clients.discard(client)
        return socket

    async def _tick(self) -> None:
        """Once for all clients: what changed, what the show tells, what came and went. Ends with the last client."""
        changes, before = Changes(self._params), self._bare()
        structure, status_at = self._params.structure, 0.0
        while self._clients:
            await asyncio.sleep(BEAT)
            self.router.play_due()
            senders = {client.sender.origin: client.sender for client in self._clients}
            self.router.answer(senders.get)
            noted, status = changes.take(), {}
            if time.monotonic() >= status_at:
                status_at = time.monotonic() + STATUS_EVERY
                status = status_values(self._how_it_plays())
            events: list[tuple[str, str]] = []
            if structure != self._params.structure:
                structure, after = self._params.structure, self._bare()
                events, before = differences(before, after), after
            for client in self._clients:
                client.note(events, status)
                client.subscription.note(noted)
                client.wake()
        self._ticking = None

    def _how_it_plays(self) -> dict[str, Any]:
        """The show's status; nothing where asking failed, because the values must go on."""
        try:
            return self._status()
        except Exception as problem:
            log.debug("no status", exc_info=problem)
            return {}

    def _bare(self) -> dict[str, Any]:
        return tree(self._params, {})

    async def close(self, app: web.Application | None = None) -> None:
        """Disconnect every client."""
        for client in list(self._clients):
            await close(client.socket)
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None


def _other_way(args: tuple[Any, ...], sender: Sender) -> None:
    raise BadValue('on a websocket send {"COMMAND": "LISTEN", "DATA": "/petals/gain"}, or IGNORE')


class Client:
    """One websocket: what it listens to, and what waits to be sent to it."""

    def __init__(self, socket: web.WebSocketResponse, params: ParamSet, number: int, host: str) -> None:
        self.socket = socket
        origin = f"osc-ws:{number}"
        self.sender = Sender(host, f"OSCQuery client {number}", origin, self._answer)
        self.subscription = Subscription(params, origin, (), switches_as=bool)
        self._waiting: deque[bytes | str] = deque(maxlen=_WAITING)  # the oldest goes where nobody reads
        self._fresh = asyncio.Event()

    def _answer(self, packet: bytes) -> None:
        self._waiting.append(packet)
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        if self._waiting or self.subscription.waiting:
            self._fresh.set()

    def note(self, events: list[tuple[str, str]], status: dict[str, float | str]) -> None:
        """What came, went or changed in the tree, and those numbers of the show that are listened to."""
        if len(events) > _WAITING // 2:
            events = [("PATH_CHANGED", "/")]
        self._waiting += [json.dumps({"COMMAND": command, "DATA": address}) for command, address in events]
        wanted = (item for item in status.items() if self.subscription.wants(item[0]))
        self._waiting += [encode(address, value) for address, value in wanted]

    def obey(self, text: str) -> None:
        """LISTEN or IGNORE; anything else is not understood and has no effect."""
        try:
            message = json.loads(text)
            command, address = message["COMMAND"], message["DATA"]
            if command not in ("LISTEN", "IGNORE") or not isinstance(address, str) or len(address) > 256:
                raise ValueError("neither LISTEN nor IGNORE of an address")
            (self.subscription.listen if command == "LISTEN" else self.subscription.ignore)(address)
        except (ValueError, TypeError, LookupError, RecursionError, BadValue) as problem:
            log.debug("%s: %s", self.sender.name, problem)
        self.wake()

    async def send_forever(self) -> None:
        """Send what there is until the connection closes; waits for the other side to take it."""
        while not self.socket.closed:
            await self._fresh.wait()
            self._fresh.clear()
            while self._waiting:
                message = self._waiting.popleft()
                await (self.socket.send_str if isinstance(message, str) else self.socket.send_bytes)(message)
            for packet in self.subscription.take(MOST_AT_ONCE):
                await self.socket.send_bytes(packet)
