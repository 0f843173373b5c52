"""Looks inside, for pages that show them: attention maps, neurons, the cache, the pace; at most ten times a second.

One task looks for all pages together, and only while one of them shows something: without a page that does, nothing is
asked of the network. It asks for a handful of looks at a time and for more once they have come, so that any number of
pages, layers and steps costs the same; what a page wants the mean of is the mean of the latest of each. What does not
exist is not asked for, and what does not come, as steps that are not played, holds up nothing else.

Of a socket, JSON both ways and binary to the page; two binary messages at most are on their way unacknowledged:
    in   {"watch": {"map": {"layer", "step", "head"}, "neurons": {"layer", "step"}, "memory": true, "pace": true}}
         every one may be missing; layer, step and head are a number or null, the mean of all; a step may be "cache"
         {"ack": number}
    out  {"facts": {...}}  {"error": text}
    binary, little-endian: u32 number, u32 length of the JSON that follows, padded to four bytes, then data:
         "map": at, tokens, rows, columns, peaks, means: u8 of each token's own peak, [tokens, rows, columns]
         "neurons": a list of layer, at, bands, top, loudness: f32 [bands]
         "memory", "pace"
Knows no HTTP beyond a socket and nothing of networks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from aiohttp import WSMessage, WSMsgType, web

from instrument.sockets import Credit, accept, close, converse, read_object
from instrument.surface.feed import finite

log = logging.getLogger(__name__)

BEAT = 0.1  # seconds between looks
AT_ONCE = 8  # looks asked for together: what one chunk may be slowed by
PATIENCE = 20  # beats after which a look that did not come is asked for anew
BANDS, BANDS_OF_MANY = 64, 16  # of one layer's neurons; of every layer's, where all are shown
MOST_PAGES = 16
LARGEST_MESSAGE = 4096  # bytes from a page


class Key(NamedTuple):
    """One look: "map" or "neurons", a layer, a step (None: the cache pass), and a head (None: the mean) or bands."""

    what: str
    layer: int
    step: int | None
    detail: int | None


class Source(Protocol):
    """Who can look; see engine/inside.py."""

    def facts(self) -> dict[str, Any]: ...
    def ask(self, what: str, layer: int, step: int | None, detail: int | None) -> None: ...
    def take(self, what: str, layer: int, step: int | None, detail: int | None) -> Any: ...
    def forget(self) -> None: ...
    def memory(self) -> list[dict[str, Any]]: ...
    def pace(self) -> dict[str, float | None]: ...


class Wish(NamedTuple):
    """What one page shows now. Layer, step and head are indices or None, the mean; step -1 is the cache pass."""

    map: tuple[int | None, int | None, int | None] | None = None  # layer, step, head
    neurons: tuple[int | None, int | None] | None = None  # layer, step
    memory: bool = False
    pace: bool = False

    def map_keys(self, facts: dict[str, Any]) -> list[Key]:
        if self.map is None:
            return []
        layer, step, head = self.map
        if not facts["tokens"] or (head is not None and head >= facts["heads"]):
            return []
        return [Key("map", *place, head) for place in _places(layer, step, facts)]

    def neuron_keys(self, facts: dict[str, Any]) -> list[Key]:
        """One a layer: neurons are shown at one step, the last where it is left open."""
        if self.neurons is None:
            return []
        layer, step = self.neurons
        step = facts["steps"] - 1 if step is None else step
        bands = BANDS if layer is not None else BANDS_OF_MANY
        return [Key("neurons", *place, bands) for place in _places(layer, step, facts)]


def _places(layer: int | None, step: int | None, facts: dict[str, Any]) -> Iterator[tuple[int, int | None]]:
    """Layers and steps as the probes count them, none that are not there: the network may be another than the page
    knows. Neighbouring looks are of different steps, so that they come together."""
    layers, steps = range(facts["layers"]), range(facts["steps"])
    if layer is not None:
        layers = [layer] if layer in layers else []
    if step is not None:
        steps = [None] if step < 0 else [step] if step in steps else []
    return ((one, other) for one in layers for other in steps)


class Looks:
    """Looks for every page that is open. Everything here runs in the server's event loop, but what waits for the
    device."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._pages: set[Page] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[Key, tuple[int, Any]] = {}  # with the beat in which it came
        self._asked: dict[Key, int] = {}  # and in which beat
        self._tried: dict[Key, int] = {}  # the same, of every key's last time
        self._absent: set[int | None] = set()  # steps that did not come when they were asked for
        self._fault = ""
        self.facts: dict[str, Any] = {}
        self.memory: list[dict[str, Any]] = []
        self.pace: dict[str, float | None] = {}
        self.beat = 0

    @property
    def looking(self) -> bool:
        """Whether anything is asked of the network."""
        return any(page.wish != Wish() for page in self._pages)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One page's socket, until it closes."""
        if len(self._pages) >= MOST_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MOST_PAGES} pages look inside already; close one\n")
        socket = await accept(request, LARGEST_MESSAGE)
        page = Page(socket, self)
        self._pages.add(page)
        try:
            await converse(socket, page.send_forever(), page.receive, "a page that looks inside")
        finally:
            self._pages.discard(page)
        return socket

    async def close(self) -> None:
        """Disconnect every page and look no more."""
        for page in list(self._pages):
            await close(page.socket)
        if self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """Look, if nobody does yet and somebody wants to see."""
        if self.looking and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self.looking:
            try:
                await self._once()
                self._fault = ""
            except Exception as problem:  # the show is between two models, say; pages wait
                if (fault := f"{type(problem).__name__}: {problem}") != self._fault:
                    log.exception("looking inside failed")
                    self._fault = fault
            await asyncio.sleep(BEAT)
        self._clear()

    def _clear(self) -> None:
        for kept in (self._asked, self._tried, self._absent, self._seen):
            kept.clear()
        self.source.forget()

    async def _once(self) -> None:
        self.beat += 1
        facts = self.source.facts()
        if facts != self.facts:  # another prompt, patch, model or size: what was seen is of the one before
            self.facts = facts
            self._clear()
        wanted = list(dict.fromkeys(key for page in self._pages for key in page.keys(facts)))
        for key, seen in (await asyncio.to_thread(self._take, list(self._asked))).items():
            self._seen[key] = self.beat, seen
            self._asked.pop(key, None)
            self._absent.discard(key.step)
        kept = set(wanted)
        self._seen = {key: seen for key, seen in self._seen.items() if key in kept}
        self._tried = {key: beat for key, beat in self._tried.items() if key in kept}
        self._absent |= {key.step for key, beat in self._asked.items() if self.beat - beat >= PATIENCE}
        self._asked = {key: beat for key, beat in self._asked.items() if self.beat - beat < PATIENCE}
        if all(key.step in self._absent for key in self._asked):
            self._ask(wanted)
        if any(page.wish.memory for page in self._pages):
            self.memory = self.source.memory()
        if any(page.wish.pace for page in self._pages):
            self.pace = self.source.pace()
        for page in self._pages:
            page.fresh.set()

    def _take(self, keys: list[Key]) -> dict[Key, Any]:
        """What has been seen of these. Waits for the device where there is one."""
        taken = {key: self.source.take(*key) for key in keys}
        return {key: seen for key, seen in taken.items() if seen is not None}

    def _ask(self, wanted: list[Key]) -> None:
        """For those asked for longest ago; for absent steps only where none is waited for."""
        ready = [key for key in wanted if not self._asked or key.step not in self._absent]
        for key in sorted(ready, key=lambda key: self._tried.get(key, -1))[:AT_ONCE]:
            self._asked[key] = self._tried[key] = self.beat
            self.source.ask(*key)

    # --- what a page gets ---

    def mean_map(self, keys: list[Key], since: int) -> np.ndarray | None:
        """The mean of the latest maps [tokens, rows, columns]; None where none came after the beat `since`."""
        found = [self._seen[key] for key in keys if key in self._seen]
        if not any(beat > since for beat, _ in found):
            return None
        shape = found[-1][1].shape
        return np.mean([seen for _, seen in found if seen.shape == shape], axis=0, dtype=np.float32)

    def neurons(self, keys: list[Key], since: int) -> Iterator[tuple[int, Any]]:
        """(layer, what was seen) for the layers seen after the beat `since`."""
        return ((key.layer, self._seen[key][1]) for key in keys if self._seen.get(key, (-1,))[0] > since)


class Page:
    """One page that looks inside."""

    def __init__(self, socket: web.WebSocketResponse, looks: Looks) -> None:
        self.socket, self.wish, self.fresh = socket, Wish(), asyncio.Event()
        self._looks = looks
        self._told: dict[str, Any] = {}  # facts
        self._memory: list[Any] | None = None
        self._since = 0  # the beat of what was sent last
        self._credit = Credit()

    def keys(self, facts: dict[str, Any]) -> list[Key]:
        return self.wish.map_keys(facts) + self.wish.neuron_keys(facts)

    async def send_forever(self) -> None:
        """Send what is new, until the connection closes."""
        while not self.socket.closed:
            await self.fresh.wait()
            await self._credit.wait()
            self.fresh.clear()
            if not self._looks.facts:
                continue
            if self._told != self._looks.facts:
                self._told = self._looks.facts
                await self.socket.send_str(json.dumps({"facts": self._told}))
            if (message := self._pack()) is not None:
                await self.socket.send_bytes(message)

    def _pack(self) -> bytes | None:
        """Everything new since the last message; None where nothing is."""
        wish, looks, head, data = self.wish, self._looks, {}, bytearray()
        if (maps := looks.mean_map(wish.map_keys(looks.facts), self._since)) is not None:
            head["map"] = _put_map(maps, data)
        if layers := list(looks.neurons(wish.neuron_keys(looks.facts), self._since)):
            head["neurons"] = [_put_neurons(layer, seen, data) for layer, seen in layers]
        if wish.memory and looks.memory != self._memory:
            head["memory"] = self._memory = looks.memory
        if wish.pace:
            head["pace"] = looks.pace
        self._since = looks.beat
        if not head:
            return None
        text = json.dumps(finite(head)).encode()
        text += b" " * (-len(text) % 4)
        return struct.pack("<II", self._credit.number(), len(text)) + text + bytes(data)

    async def receive(self, said: WSMessage) -> None:
        """Carry out one message; what is wrong with it goes back as an error."""
        if said.type != WSMsgType.TEXT:
            return
        try:
            message = read_object(said.data, '{"watch": {"pace": true}}')
            if "ack" in message:
                self._credit.acknowledge(message["ack"])
            if "watch" in message:
                self.wish, self._memory, self._since = read_wish(message["watch"]), None, 0
                self._looks.wake()
        except (ValueError, TypeError, RecursionError) as problem:
            await self.socket.send_str(json.dumps({"error": f"message not understood: {problem}"}))


def read_wish(said: Any) -> Wish:
    """What a page says it shows. Raises ValueError."""
    if not isinstance(said, dict):
        raise ValueError("'watch' must be an object")
    unknown = set(said) - set(Wish._fields)
    if unknown:
        raise ValueError(
            f"nothing called '{sorted(unknown)[0][:32]}' can be watched; there are {', '.join(Wish._fields)}"
        )
    places: dict[str, Any] = {}
    for what, fields in (("map", ("layer", "step", "head")), ("neurons", ("layer", "step"))):
        if said.get(what) is not None:
            if not isinstance(said[what], dict):
                raise ValueError(f"'{what}' must be an object of {', '.join(fields)}")
            places[what] = tuple(_index(said[what].get(field), field) for field in fields)
    return Wish(**places, memory=said.get("memory") is True, pace=said.get("pace") is True)


def _index(value: Any, field: str) -> int | None:
    if field == "step" and value == "cache":
        return -1
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000):
        return value
    raise ValueError(f"'{field}' must be a number from 0, or null")


def _put_map(maps: np.ndarray, data: bytearray) -> dict[str, Any]:
    """Maps [tokens, rows, columns] appended to `data`, each in 256 shades up to its own peak."""
    tokens, rows, columns = maps.shape
    peaks, at = maps.max(axis=(1, 2)), len(data)
    shades = np.clip(maps / np.maximum(peaks, 1e-12)[:, None, None], 0, 1) * 255
    data += shades.round().astype(np.uint8).tobytes()
    data += bytes(-len(data) % 4)
    sizes = {"at": at, "tokens": tokens, "rows": rows, "columns": columns}
    return {**sizes, "peaks": peaks.tolist(), "means": maps.mean(axis=(1, 2)).tolist()}


def _put_neurons(layer: int, seen: Any, data: bytearray) -> dict[str, Any]:
    bands, top, loudness = seen
    at = len(data)
    data += np.asarray(bands, "<f4").tobytes()
    return {"layer": layer, "at": at, "bands": len(bands), "top": top.tolist(), "loudness": loudness.tolist()}
