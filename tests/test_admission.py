"""How many connections there may be, and how long one may say nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

from instrument.surface import admission
from tests.strangers import get, serving

HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_a_caller_who_says_nothing_is_let_go_and_others_are_served():
    async def play():
        served = []
        loop = asyncio.get_running_loop()
        wall = admission.Admission(lambda: served.append(1) or asyncio.Protocol(), patience=0.3)
        server = await loop.create_server(wall, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost:")
        assert wall.held.total() in (0, 1)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 5) == b""
        assert not served
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (b"GET / HTTP/1.1\r", b"\nHost: x\r\n", b"\r\n"):
            writer.write(part)
            await writer.drain()
        end = time.monotonic() + 5
        while not served and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert served == [1] and wall.held.total() == 1
        writer.close()
        while wall.held and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert wall.held.total() == 0
        server.close()

    asyncio.run(play())


class Echo(asyncio.Protocol):
    """A server that says back what it hears."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def test_who_has_asked_for_something_stays():
    """Longer than one who connected later and says nothing."""

    async def play():
        wall = admission.Admission(Echo, patience=1.0)
        server = await asyncio.get_running_loop().create_server(wall, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        assert await asyncio.wait_for(reader.readexactly(len(HEAD)), 20) == HEAD
        silent, other = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(silent.read(1), 20) == b""
        writer.write(b"still here")
        assert await asyncio.wait_for(reader.readexactly(10), 20) == b"still here"
        for each in (writer, other):
            each.close()
        server.close()

    asyncio.run(play())


def test_there_are_so_many_at_once_from_all_addresses_together(monkeypatch):
    wall = admission.Admission(Echo)
    many = [f"10.0.0.{n}" for n in range(admission.MOST + 1)]
    assert [wall.admit(address) for address in many] == [True] * admission.MOST + [False]
    wall.release(many[0])
    assert wall.admit(many[-1]) and not wall.admit(many[0])

    monkeypatch.setattr(admission, "MOST", 3)
    with serving() as surface:
        lines = [socket.create_connection(("127.0.0.1", surface.port), timeout=20) for _ in range(4)]
        try:
            with suppress(ConnectionError):
                assert lines[-1].recv(1) == b""
            lines[0].sendall(HEAD)
            assert lines[0].recv(4) == b"HTTP"
        finally:
            for line in lines:
                line.close()


def test_connections_are_bounded_and_come_free_again():
    with serving() as surface:
        lines = []
        try:
            for _ in range(admission.MOST_OF_ONE + 40):
                lines.append(socket.create_connection(("127.0.0.1", surface.port), timeout=5))
            refused = 0
            for line in lines[-20:]:
                line.settimeout(5)
                try:
                    refused += line.recv(1) == b""
                except ConnectionError:
                    refused += 1
            assert refused == 20
        finally:
            for line in lines:
                line.close()
        end = time.monotonic() + 5
        while (status := get(surface, "/api/status")[0]) != 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert status == 200


def test_who_has_not_asked_for_anything_is_let_go_at_the_end():
    """Browsers connect in advance. Left open, such a line would take their next request, and nobody would answer."""
    with serving() as surface:
        line = socket.create_connection(("127.0.0.1", surface.port), timeout=5)
        end = time.monotonic() + 5
        assert get(surface, "/api/status")[0] == 200  # by then the one before has been accepted, too
    with line:
        try:
            assert line.recv(1) == b"" and time.monotonic() < end
        except ConnectionError:
            assert time.monotonic() < end


def test_a_head_without_end_is_cut_off():
    with serving() as surface:
        with socket.create_connection(("127.0.0.1", surface.port), timeout=5) as line:
            answer = None
            try:
                line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000)
                answer = line.recv(1)
            except ConnectionError:
                answer = b""
            assert answer == b""
        assert get(surface, "/api/status")[0] == 200
