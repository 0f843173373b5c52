"""Conversations over real websockets: what is logged when one ends, and that nobody is sent more than they take."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from instrument.sockets import CREDIT, Credit, accept, close, converse, read_object

PATIENCE = 60.0


def talk(sending, receive, do):
    """A server that converses so, and `do(ws, socket)` with both ends of a connection to it."""

    async def play():
        ours = asyncio.get_running_loop().create_future()

        async def serve(request):
            socket = await accept(request, 1024)
            ours.set_result(socket)
            await converse(socket, sending(socket), receive, "a friend")
            return socket

        app = web.Application()
        app.router.add_get("/", serve)
        async with TestClient(TestServer(app)) as client, client.ws_connect("/") as ws:
            await do(ws, await ours)

    asyncio.run(asyncio.wait_for(play(), PATIENCE))


async def silent(socket):
    await asyncio.Event().wait()


def test_texts_and_packets_are_received_while_something_is_sent():
    got = []

    async def receive(message):
        got.append((message.type, message.data))

    async def sending(socket):
        await socket.send_str("hello")

    async def do(ws, socket):
        assert (await ws.receive()).data == "hello"
        await ws.send_str("a")
        await ws.send_bytes(b"b")
        await ws.close()
        while len(got) < 2:
            await asyncio.sleep(0.01)

    talk(sending, receive, do)
    assert got == [(WSMsgType.TEXT, "a"), (WSMsgType.BINARY, b"b")]


def told(caplog) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "instrument.sockets"]


def test_a_fault_while_sending_is_logged_and_a_friend_who_leaves_is_not(caplog):
    left = asyncio.Event()

    async def receive(message):
        raise ConnectionResetError("gone while an answer was on its way")

    async def leaving(socket):
        left.set()
        raise ConnectionResetError("gone")

    async def do(ws, socket):
        await left.wait()
        await ws.send_str("a")
        assert (await ws.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)

    with caplog.at_level(logging.INFO):
        talk(leaving, receive, do)
    assert not told(caplog)

    async def broken(socket):
        raise KeyError("a mistake")

    async def wait(ws, socket):
        while not told(caplog):
            await asyncio.sleep(0.01)

    talk(broken, receive, wait)
    (record,) = told(caplog)
    assert record.message == "sending to a friend failed" and record.exc_info[0] is KeyError


def test_sending_ends_with_the_conversation():
    ended = []

    async def sending(socket):
        try:
            await silent(socket)
        finally:
            ended.append(True)

    async def do(ws, socket):
        await ws.close()
        while not ended:
            await asyncio.sleep(0.01)

    talk(sending, None, do)


def test_closing_says_why():
    async def do(ws, socket):
        closing = asyncio.create_task(close(socket))
        message = await ws.receive()
        assert message.type == WSMsgType.CLOSE and message.data == WSCloseCode.GOING_AWAY
        assert message.extra == "the instrument is stopping"
        await closing
        await close(socket)  # twice does no harm

    talk(silent, None, do)


async def free(credit: Credit) -> bool:
    """Whether another message may go out now."""
    waiting = asyncio.create_task(credit.wait())
    for _ in range(3):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


def test_credit_is_used_up_and_given_back():
    async def play():
        credit = Credit()
        assert [credit.number() for _ in range(CREDIT)] == list(range(1, CREDIT + 1))
        assert not await free(credit)
        credit.acknowledge(1)
        assert await free(credit)
        credit.number()
        assert not await free(credit)
        credit.acknowledge(0)  # late
        assert not await free(credit)
        credit.acknowledge(CREDIT + 1)
        assert await free(credit)

    asyncio.run(play())


@pytest.mark.parametrize("number", [float("inf"), float("nan"), "x", None, []])
def test_an_acknowledgement_of_no_number_is_a_mistake(number):
    credit = Credit()
    with pytest.raises((ValueError, TypeError)):
        credit.acknowledge(number)


@pytest.mark.parametrize("text", ["[]", "1", "null", "{", ""])
def test_only_an_object_is_a_message(text):
    with pytest.raises(ValueError):
        read_object(text, "{}")
    assert read_object(json.dumps({"ack": 1}), "{}") == {"ack": 1}
