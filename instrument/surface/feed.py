"""What one open page is sent and what it sends: values both ways, pictures one way, never more than it can take.

A page acknowledges every binary message; while two are unacknowledged nothing new is made for it. So a slow page sees
fewer pictures and the latest values, never old ones. Knows the wire format; knows nothing of HTTP or threads.

Binary message, little-endian: u32 number, u16 structure, u16 count, u16 moving, u16 0, u32 picture bytes, then count +
moving x u16 places in the described list, padded to four bytes, as many f32 values in plain units, and a JPEG. The
first `count` are what hands set; the `moving` ones are what is heard of parameters that glide or are modulated, NaN
once they rest. Text messages are JSON objects:
    out  {"structure", "params"}  {"values": {id: text}}  {"play": {what changed}}  {"status"}  {"error"}
    in   {"ack": number}  {"set": [[id, value], ...]}  {"travel": [[id, 0..1], ...]}  {"trigger": [id, ...]}
         {"learn": id, or null to give up}
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType, web

from instrument.parameters.params import BadValue, ParamSet
from instrument.sockets import Credit, close, read_object

log = logging.getLogger(__name__)

BEAT = 1 / 65  # least seconds between two messages of values alone
LOOK = 1 / 200  # seconds between looks at what no change of a value tells of: what moves by itself, the status
STATUS_EVERY = 0.25  # seconds
STATUS_LASTS = 0.1  # in which it is not asked for again
PLAY_EVERY = 0.1
MOST_ITEMS = 512  # values or triggers in one message from a page
MOST_TOLD, TOLD_WITHIN = 16, 2.0  # mistakes of one page that are answered within so many seconds


class Pictures(Protocol):
    """Where a feed gets pictures: a number that grows, and the newest as JPEG."""

    number: int

    def jpeg(self) -> bytes: ...


class Play(Protocol):
    """What a page may draw of the instrument beyond its parameters, and teach it."""

    def state(self) -> dict[str, Any]:
        """JSON-ready, by key; a key is sent when what it holds has changed."""

    def learn(self, id: str | None) -> None:
        """Bind the next control touched to this parameter; None gives up. Raises LookupError, ValueError."""

    def names(self, id: str) -> list[str]:
        """What may be written in a text parameter that is `listed`; may read a disk. Raises LookupError."""


class Status:
    """What a show says of itself, JSON-ready, asked once for all who want it at about the same time. Nothing where
    asking fails, as it may between two models: values and pictures must go on."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask, self._asked_at = ask, -math.inf
        self._said: dict[str, Any] = {}
        self._fault = ""

    def __call__(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._asked_at >= STATUS_LASTS:
            self._asked_at = now
            try:
                self._said, self._fault = finite(self._ask()), ""
            except Exception as problem:
                self._said = {}
                if (fault := f"{type(problem).__name__}: {problem}") != self._fault:
                    log.exception("no status")
                    self._fault = fault
        return self._said


class Feed:
    """One connected page."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        params: ParamSet,
        pictures: Pictures,
        status: Callable[[], dict[str, Any]],
        origin: str,
        play: Play | None = None,
    ) -> None:
        self.fresh = asyncio.Event()  # set when there may be something to send
        self._socket, self._params, self._pictures, self._status = socket, params, pictures, status
        self._origin, self._play = origin, play
        self._played: dict[str, Any] = {}
        self._played_at = 0.0
        self._moving: dict[int, float] = {}
        self._structure = -1
        self._version = self._corrected = 0
        self._places: dict[str, int] = {}
        self._picture = 0
        self._values_at = 0.0  # when values went out without a picture
        self._status_at = 0.0
        self._credit = Credit()
        self._told: deque[float] = deque(maxlen=MOST_TOLD)  # when its last mistakes were
        self._refused: set[str] = set()  # what this page wanted to set, and did not
        self._stirred = True  # a value has changed since they were read; at first all are news
        self._resting = False  # values went out a moment ago

    async def close(self) -> None:
        """End the connection; the page will try to come back."""
        await close(self._socket)

    # --- to the page ---

    async def send_forever(self) -> None:
        """Send what changes until the connection closes."""
        try:
            await self._send_forever(asyncio.get_running_loop())
        finally:
            self._params.alarms.drop(self)

    async def _send_forever(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._socket.closed:
            await self._credit.wait()
            await self._wait_for_news()
            self._stirred = False
            self._params.alarms.set(self, partial(_call_in, loop, self._stir))
            if self._structure != self._params.structure:
                await self._socket.send_str(self._describe())
            numbers, words = self._changes()
            if words:
                await self._socket.send_str(json.dumps({"values": words}))
            moving = self._moved()
            if numbers or moving or self._picture != self._pictures.number:
                await self._socket.send_bytes(self._pack(numbers, moving))
            for message in self._reports():
                await self._socket.send_str(json.dumps(message))

    async def _wait_for_news(self) -> None:
        """Until there is a new picture, or a change of values that may go out already, or it is time to look."""
        rest = self._values_at + BEAT - time.monotonic()
        if rest > 0:
            self._resting = True
            came = await self._fresh_within(rest)
            self._resting = False
            if came:
                return
        if not self._stirred:
            await self._fresh_within(LOOK)

    async def _fresh_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.fresh.wait(), seconds)
        except asyncio.TimeoutError:  # not the built-in one before Python 3.11
            return False
        finally:
            self.fresh.clear()
        return True

    def _stir(self) -> None:
        """A value has changed."""
        self._stirred = True
        if not self._resting:
            self.fresh.set()

    def _describe(self) -> str:
        self._structure = self._params.structure
        self._version = self._params.version  # the list carries all values
        params = self._params.describe()
        self._places = {param["id"]: place for place, param in enumerate(params)}
        self._moving = {}
        return json.dumps({"structure": self._structure, "params": finite(params)})

    def _changes(self) -> tuple[dict[int, float], dict[str, str]]:
        """Changed since the last call, or set by this page to what it cannot be or is not: numbers by place, texts by
        id."""
        with self._params.together():
            self._version, ids = self._params.changed(self._version)
            self._corrected, pairs = self._params.corrections.since(self._corrected)
        ids += [id for id, origin in pairs if origin == self._origin and id not in ids]
        ids += self._refused.difference(ids)
        self._refused.clear()
        numbers: dict[int, float] = {}
        words: dict[str, str] = {}
        for id in ids:
            place = self._places.get(id)
            if place is None or id not in self._params:
                continue  # the structure is changing; the next description carries it
            value = self._params[id].base
            if isinstance(value, str):
                words[id] = value
            else:
                numbers[place] = float(value)
        return numbers, words

    def _moved(self) -> dict[int, float]:
        """What is heard of all that moves by itself, by place, where it changed; NaN for what rests again."""
        heard = {
            place: float(value)
            for id, value in self._params.moving().items()
            if not isinstance(value, str) and (place := self._places.get(id)) is not None
        }
        changed = {place: value for place, value in heard.items() if self._moving.get(place) != value}
        changed |= {place: math.nan for place in self._moving if place not in heard}
        self._moving = heard
        return changed

    def _reports(self) -> Iterator[dict[str, Any]]:
        """The status and what is played, each when it is due."""
        now = time.monotonic()
        if self._play is not None and now - self._played_at >= PLAY_EVERY:
            self._played_at = now
            state = finite(self._play.state())
            changed = {key: value for key, value in state.items() if self._played.get(key) != value}
            self._played = state
            if changed:
                yield {"play": changed}
        if now - self._status_at >= STATUS_EVERY:
            self._status_at = now
            if status := self._status():
                yield {"status": status}

    def _pack(self, numbers: dict[int, float], moving: dict[int, float]) -> bytes:
        picture = b""
        if self._picture != self._pictures.number:
            self._picture = self._pictures.number
            picture = self._pictures.jpeg()
        else:
            self._values_at = time.monotonic()
        counts = len(numbers), len(moving)
        head = struct.pack("<IHHHHI", self._credit.number(), self._structure % 2**16, *counts, 0, len(picture))
        count = sum(counts)
        places = struct.pack(f"<{count}H{2 * (count % 2)}x", *numbers, *moving)
        values = struct.pack(f"<{count}f", *numbers.values(), *moving.values())
        return b"".join((head, places, values, picture))

    # --- from the page ---

    async def receive(self, said: WSMessage) -> None:
        """Carry out one message. What is wrong with it goes back to the page as errors, up to a number."""
        if said.type != WSMsgType.TEXT:
            return
        try:
            problems = self._obey(read_object(said.data, '{"set": [["id", 1]]}'))
        except (ValueError, TypeError, RecursionError) as error:
            problems = [ValueError(f"message not understood: {error}")]
        for problem in problems[:4]:
            if self._may_be_told(time.monotonic()):
                await self._socket.send_str(json.dumps({"error": str(problem)}))

    def _may_be_told(self, now: float) -> bool:
        """Whether a mistake is put into words: to find what was meant takes time that all pages wait for."""
        if len(self._told) == MOST_TOLD and now - self._told[0] < TOLD_WITHIN:
            return False
        self._told.append(now)
        return True

    def _obey(self, message: dict[str, Any]) -> list[Exception]:
        """Do what it says; what could not be done. Raises ValueError or TypeError for a malformed message."""
        if "ack" in message:
            self._credit.acknowledge(message["ack"])  # late where a picture took longer than the values after it
        actions = [(self._set, self._params.set, *pair) for pair in _pairs(message, "set")]
        actions += [(self._set, self._params.set_normalised, *pair) for pair in _pairs(message, "travel")]
        actions += [(self._params.trigger, id) for id in _ids(message)]
        calls = [partial(action, *arguments, self._origin) for action, *arguments in actions]
        if "learn" in message:
            calls.append(partial(self._learn, message["learn"]))
        problems: list[Exception] = []
        for call in calls:
            try:
                call()
            except (LookupError, ValueError) as error:
                problems.append(error)
        return problems

    def _set(self, how: Callable[[str, Any, str], None], id: str, value: Any, origin: str) -> None:
        """Set a parameter in one of two ways; a page whose word was refused hears what counts."""
        try:
            how(id, value, origin)
        except BadValue:
            self._refused.add(id)
            self._stir()
            raise

    def _learn(self, id: Any) -> None:
        if not (id is None or isinstance(id, str)):
            raise ValueError("'learn' must be a parameter's id, or null")
        if self._play is None:
            raise ValueError("nothing here can learn")
        self._play.learn(id)


def _call_in(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """From any thread; nothing where the loop has just ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act)


def _pairs(message: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    pairs = message.get(name, [])
    if not isinstance(pairs, list) or len(pairs) > MOST_ITEMS:
        raise ValueError(f"'{name}' must be a list of at most {MOST_ITEMS} [id, value]")
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f"'{name}' must hold [id, value] pairs")
    return [(id, value) for id, value in pairs]


def _ids(message: dict[str, Any]) -> list[str]:
    ids = message.get("trigger", [])
    if not isinstance(ids, list) or len(ids) > MOST_ITEMS or not all(isinstance(id, str) for id in ids):
        raise ValueError(f"'trigger' must be a list of at most {MOST_ITEMS} ids")
    return ids


def finite(value: Any) -> Any:
    """The same data with NaN and infinities as null, which JSON has no words for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
