"""The page's end of the wire, in Python, and a server with a few parameters to try it on."""

import asyncio
import json
import struct
import time
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import numpy as np
import simplejpeg

from instrument.parameters.params import ParamSet
from instrument.surface.server import Surface
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec


def some_params():
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1, "cubed"), group="petals")
    params.add("petals.on", SwitchSpec(True), group="petals")
    params.add("petals.fold", ChoiceSpec(("product", "sum"), "product"), group="petals")
    params.add("prompt.text", TextSpec("ice"), group="prompt")
    params.add("panic", TriggerSpec(), group="engine")
    return params


@contextmanager
def serving(params=None, status=lambda: {"fps": 17.5, "warnings": []}):
    surface = Surface(params or some_params(), status, port=0)
    surface.start()
    try:
        yield surface
    finally:
        surface.close()


def picture(shade, width=64, height=32):
    return np.full((height, width, 3), shade, np.uint8)


class Page:
    """What the page does, in Python: reads the wire format, acknowledges unless told not to."""

    def __init__(self, ws, acks=True):
        self.ws, self.acks = ws, acks
        self.params, self.values, self.pictures, self.statuses, self.errors = [], {}, [], [], []
        self.binaries, self.heard, self.play = 0, {}, {}

    async def until(self, fact, seconds=20.0):
        end = time.monotonic() + seconds
        while not fact():
            left = end - time.monotonic()
            assert left > 0, f"did not happen: {self.values} {self.errors}"
            await self.read(left)

    async def rest(self, seconds):
        """Read whatever comes for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                await self.read(left)
            except asyncio.TimeoutError:
                return

    async def read(self, timeout):
        message = await asyncio.wait_for(self.ws.receive(), timeout)
        if message.type == aiohttp.WSMsgType.TEXT:
            self.text(json.loads(message.data))
        elif message.type == aiohttp.WSMsgType.BINARY:
            await self.binary(message.data)
        else:
            raise ConnectionError(message)

    def text(self, message):
        if "params" in message:
            self.params = message["params"]
            self.structure = message["structure"]
            self.values = {param["id"]: param["value"] for param in self.params}
        self.values.update(message.get("values", {}))
        self.play.update(message.get("play", {}))
        if "status" in message:
            self.statuses.append(message["status"])
        if "error" in message:
            self.errors.append(message["error"])

    async def binary(self, data):
        self.binaries += 1
        number, structure, set_count, moving, _, size = struct.unpack_from("<IHHHHI", data)
        count = set_count + moving
        places = struct.unpack_from(f"<{count}H", data, 16)
        start = 16 + 2 * (count + count % 2)
        numbers = struct.unpack_from(f"<{count}f", data, start)
        assert structure == self.structure % 2**16
        ids = [self.params[place]["id"] for place in places]
        self.values.update(zip(ids[:set_count], numbers[:set_count], strict=True))
        self.heard.update(zip(ids[set_count:], numbers[set_count:], strict=True))
        jpeg = data[start + 4 * count :]
        assert len(jpeg) == size
        if jpeg:
            self.pictures.append(simplejpeg.decode_jpeg(jpeg))
        if self.acks:
            await self.ws.send_json({"ack": number})


@asynccontextmanager
async def opened(surface, acks=True):
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{surface.url}ws") as ws:
        page = Page(ws, acks)
        await page.until(lambda: page.params)
        yield page
