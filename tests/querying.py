"""A tree that is served beside the page, and the other end of a websocket to it."""

import asyncio
import json
import time
from contextlib import contextmanager

import websockets

from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.osc.codec import decode, encode
from instrument.osc.query import OscQuery
from instrument.surface.server import Surface
from tests.oscing import some_params

STATUS = {"fps": 17.5, "latency_ms": None, "chunks": 42, "outputs_told": "dummy plays"}


@contextmanager
def serving(params=None, osc=("127.0.0.1", 9000)):
    params = params or some_params()
    bound = Mapping(mapping.loads("bindings: [{osc: /1/fader1, to: petals.gain}]"), params, lambda text: None)
    query = OscQuery(params, lambda: STATUS, osc, bound, lambda text: None)
    surface = Surface(params, lambda: STATUS, port=0, query=query)
    surface.start()
    try:
        yield surface
    finally:
        surface.close()


class Socket:
    """A websocket of another library's, with what it heard."""

    def __init__(self, ws):
        self.ws, self.messages, self.events = ws, [], []

    async def command(self, command, address):
        await self.ws.send(json.dumps({"COMMAND": command, "DATA": address}))

    async def send(self, address, *args):
        await self.ws.send(encode(address, *args))

    async def until(self, true, seconds=10.0):
        end = time.monotonic() + seconds
        while not true():
            try:
                data = await asyncio.wait_for(self.ws.recv(), end - time.monotonic())
            except asyncio.TimeoutError:
                raise AssertionError(f"did not happen: {self.messages} {self.events}") from None
            if isinstance(data, bytes):
                self.messages += [(m.address, *m.args) for bundle in decode(data) for m in bundle.messages]
            else:
                event = json.loads(data)
                self.events.append((event["COMMAND"], event["DATA"]))

    async def settle(self):
        """What was sent has been taken."""
        self.messages = [m for m in self.messages if m[0] != "/bender/pong"]
        await self.send("/bender/ping")
        await self.until(lambda: ("/bender/pong",) in self.messages)


def on_socket(play, params=None):
    """Run `play(socket, params)` against a served tree."""
    params = params or some_params()

    async def connect(url):
        async with websockets.connect(url) as ws:
            await play(Socket(ws), params)

    with serving(params) as surface:
        asyncio.run(connect(surface.url.replace("http", "ws")))
