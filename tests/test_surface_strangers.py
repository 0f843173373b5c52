"""Requests that come from elsewhere, by their headers."""

import asyncio
import socket

import aiohttp
import pytest

from instrument.surface.guard import is_own_host, own_names
from tests.wire import picture, serving


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Host": "localhost:8800"}, True),
        ({"Host": "127.0.0.1"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1"}, False),
        ({"Host": ""}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost:9999", "Host": "localhost:8800"}, False),
        ({"Origin": "http://localhost:8800", "Host": "localhost:8800"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
@pytest.mark.parametrize("path", ["", "api/params", "ws", "stream.mjpeg"])
def test_strangers_are_refused(headers, allowed, path):
    async def visit(surface):
        surface.show(picture(1))
        async with aiohttp.ClientSession() as session, session.get(surface.url + path, headers=headers) as answer:
            return answer.status

    with serving() as surface:
        status = asyncio.run(visit(surface))
    assert (status != 403) == allowed


def test_a_link_from_elsewhere_may_lead_here_but_no_further():
    async def visit(surface):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        async with aiohttp.ClientSession() as session:
            async with session.get(surface.url, headers=headers) as answer:
                assert answer.status == 200
            async with session.get(surface.url + "api/params", headers=headers) as answer:
                assert answer.status == 403

    with serving() as surface:
        asyncio.run(visit(surface))


def test_own_names():
    names = own_names("0.0.0.0")
    assert is_own_host("192.168.1.7:8800", names) and is_own_host("[fe80::1]:8800", names)
    assert is_own_host(f"{socket.gethostname()}:8800", names) or "_" in socket.gethostname()
    assert not is_own_host(None, names) and not is_own_host("rebind.example:8800", names)
