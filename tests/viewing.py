"""A tiny show that pages look into over real sockets, and what such a page does, in Python."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import numpy as np

from instrument.engine.engine import Engine
from instrument.engine.inside import Inside
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from instrument.surface.server import Surface
from tests import tiny

PATCH = """
version: 1
prompt: a purple tulip swaying
bends:
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip}}
  - {name: hidden, lever: ffn.hidden.gain}
"""


class Show:
    """A tiny engine, played chunk by chunk or by itself, and the surface that looks inside it."""

    def __init__(self) -> None:
        self.params = ParamSet()
        self.engine = Engine(tiny.stream(), tiny.Encoder(), self.params, lambda frame, stamp: None)
        self.engine.load(loads(PATCH))
        self.inside = Inside(self.engine, lambda: {"fps": 12.5, "latency_ms": None})
        self.surface = Surface(self.params, dict, port=0)
        self.surface.look_inside(self.inside)
        self.surface.start()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.engine.play_chunk()

    def close(self) -> None:
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()
        self.surface.close()


@contextmanager
def playing(by_itself: bool = True):
    show = Show()
    if by_itself:
        show.thread.start()
    try:
        yield show
    finally:
        show.close()


class Viewer:
    """What the page does, in Python."""

    def __init__(self, ws) -> None:
        self.ws, self.facts, self.errors = ws, {}, []
        self.maps, self.neurons, self.memory, self.paces = [], [], None, []
        self.binaries, self.acks = 0, True

    async def watch(self, **wish) -> None:
        await self.ws.send_json({"watch": wish})

    async def until(self, fact, seconds=20.0) -> None:
        end = time.monotonic() + seconds
        while not fact():
            left = end - time.monotonic()
            assert left > 0, f"did not happen; errors {self.errors}, {self.binaries} messages"
            await self.read(left)

    async def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                await self.read(left)
            except asyncio.TimeoutError:
                return

    async def read(self, timeout: float) -> None:
        message = await asyncio.wait_for(self.ws.receive(), timeout)
        if message.type == aiohttp.WSMsgType.TEXT:
            said = json.loads(message.data)
            self.facts = said.get("facts", self.facts)
            self.errors += [said["error"]] if "error" in said else []
        elif message.type == aiohttp.WSMsgType.BINARY:
            await self.take(message.data)
        else:
            raise ConnectionError(message)

    async def take(self, data: bytes) -> None:
        self.binaries += 1
        number, length = struct.unpack_from("<II", data)
        head, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
        assert length % 4 == 0
        if "map" in head:
            about = head["map"]
            shape = about["tokens"], about["rows"], about["columns"]
            shades = np.frombuffer(rest, np.uint8, np.prod(shape), about["at"]).reshape(shape)
            self.maps.append(shades / 255 * np.array(about["peaks"])[:, None, None])
        for layer in head.get("neurons", ()):
            bands = np.frombuffer(rest, "<f4", layer["bands"], layer["at"])
            self.neurons.append((layer["layer"], bands, layer["top"], layer["loudness"]))
        self.memory = head.get("memory", self.memory)
        self.paces += [head["pace"]] if "pace" in head else []
        if self.acks:
            await self.ws.send_json({"ack": number})


@asynccontextmanager
async def opened(show: Show):
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{show.surface.url}api/inside") as ws:
        yield Viewer(ws)


def run(play, by_itself: bool = True) -> None:
    with playing(by_itself) as show:
        asyncio.run(play(show))
