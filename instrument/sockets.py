"""What websockets of pages and programs have in common: a conversation both ways until one side ends it, and never
more on its way to a page than the page can take. Who may open one at all is `surface/guard.py`'s."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

log = logging.getLogger(__name__)

CREDIT = 2  # binary messages on the way to a page
MANY = 2**32  # message numbers begin again


def asks_for_socket(request: web.Request) -> bool:
    """Whether a websocket is to be opened, and no answer is wanted."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def accept(request: web.Request, largest: int, heartbeat: float = 10.0) -> web.WebSocketResponse:
    """The open socket. `largest`: bytes of a message that may come; `heartbeat`: seconds between signs of life."""
    socket = web.WebSocketResponse(heartbeat=heartbeat, max_msg_size=largest, compress=False)
    await socket.prepare(request)
    return socket


async def converse(
    socket: web.WebSocketResponse,
    sending: Coroutine[Any, Any, None],
    receive: Callable[[WSMessage], Awaitable[None]],
    who: str,
) -> None:
    """Give every text and binary message to `receive` while `sending` runs, until the socket closes. That `who` left in
    the middle of something is nothing to tell; any other end of `sending` is logged as a fault."""
    task = asyncio.create_task(sending)
    task.add_done_callback(partial(report, who=who))
    try:
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await receive(message)
    except ConnectionError:  # gone while an answer was on its way
        log.debug("%s went away", who)
    finally:
        task.cancel()


def report(task: asyncio.Task[None], who: str) -> None:
    """A task that broke for any other reason than the other side leaving is a fault worth a line."""
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, ConnectionError):
        log.error("sending to %s failed", who, exc_info=error)


async def close(socket: web.WebSocketResponse) -> None:
    """End the connection; a page will try to come back."""
    with suppress(ConnectionError):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the instrument is stopping")


def read_object(text: str, example: str) -> dict[str, Any]:
    """The JSON object that a page sent. ValueError, RecursionError where it is none."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError(f"send an object such as {example}")
    return message


class Credit:
    """Numbers binary messages and counts those that the other side has not acknowledged."""

    def __init__(self) -> None:
        self._sent = self._acked = 0
        self._free = asyncio.Event()
        self._free.set()

    async def wait(self) -> None:
        """Until another message may go out."""
        await self._free.wait()

    def number(self) -> int:
        """The number of the message that goes out now."""
        self._sent = (self._sent + 1) % MANY
        self._update()
        return self._sent

    def acknowledge(self, number: Any) -> None:
        """Everything up to this number has come; a late word of an earlier one changes nothing. ValueError, TypeError
        for what is no number."""
        try:
            number = int(number) % MANY
        except OverflowError:
            raise ValueError(f"'ack' cannot be {number}; send a message's number") from None
        if (number - self._acked) % MANY < MANY // 2:
            self._acked = number
        self._update()

    def _update(self) -> None:
        if (self._sent - self._acked) % MANY < CREDIT:
            self._free.set()
        else:
            self._free.clear()
