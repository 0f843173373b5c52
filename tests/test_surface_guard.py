"""Who gets in: strangers, other sites, rebound names, wrong PINs and slow callers, over raw sockets."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from contextlib import contextmanager, suppress

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.osc.query import OscQuery
from instrument.parameters.params import ParamSet
from instrument.state.patchdesk import PatchDesk
from instrument.surface import admission
from instrument.surface.pin import DIGITS, SESSIONS, Bucket, Pin, TooManyTries, _basic, is_loopback, new_pin
from instrument.surface.server import Surface
from pipelines.spec import ControlSpec

PIN = "274513"
EVERYWHERE = ("/", "/style.css", "/js/main.js", "/api/params", "/api/status", "/stream.mjpeg", "/petals", "/?HOST_INFO")
SOCKETS = ("/ws", "/api/inside", "/", "/petals")
UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


class Nothing:
    """A network that is never looked at."""

    def facts(self):
        return {"layers": 1, "steps": 1}

    def ask(self, *key):
        """Nothing is asked of it."""

    def take(self, *key):
        return None

    def forget(self):
        """Nothing to forget."""

    def memory(self):
        return []

    def pace(self):
        return {"fps": 1.0}


@contextmanager
def serving(pin: str | None = None):
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1), group="petals")
    surface = Surface(params, lambda: {"fps": 17.5}, port=0, query=OscQuery(params))
    surface.look_inside(Nothing())
    if pin is not None:
        surface.ask_for(pin)
    surface.start()
    surface.show(np.zeros((16, 16, 3), np.uint8))
    try:
        yield surface
    finally:
        surface.close()


def say(
    surface: Surface, head: str, body: bytes = b"", seconds: float = 5.0
) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, headers by lower-case name, and what had come of the body with the head, of an answer to these bytes."""
    with socket.create_connection(("127.0.0.1", surface.port), timeout=seconds) as line:
        line.sendall(head.encode() + b"\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := line.recv(65536)):
            answer += part
        if answer.startswith(b"HTTP/1.1 200"):
            line.settimeout(0.2)
            try:
                while part := line.recv(65536):
                    answer += part
            except TimeoutError:
                pass
    if not answer:
        return 0, {}, b""
    first, *lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers: dict[str, list[str]] = {}
    for line_ in lines:
        name, _, value = line_.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    return int(first.split()[1]), headers, answer.partition(b"\r\n\r\n")[2]


def get(surface: Surface, path: str, *headers: tuple[str, str], host: str | None = "127.0.0.1", method: str = "GET"):
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else [])]
    return say(surface, "".join(f"{line}\r\n" for line in [*lines, *(f"{name}: {value}" for name, value in headers)]))


def password(pin: str, name: str = "bender") -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{pin}".encode()).decode()


# --- other sites, and names that are made to point here ---


@pytest.mark.parametrize("path", [*EVERYWHERE, "/pin"])
def test_a_rebound_name_is_refused_everywhere(path):
    with serving(PIN) as surface:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "", None):
            status, _, body = get(surface, path, password(PIN), host=host)
            assert status in (400, 403), host
            assert b"petals" not in body
        assert get(surface, path, password(PIN))[0] in (200, 303)


@pytest.mark.parametrize("path", SOCKETS)
def test_a_page_elsewhere_cannot_open_a_socket(path):
    with serving() as surface:
        here = f"http://127.0.0.1:{surface.port}"
        host = f"127.0.0.1:{surface.port}"
        assert get(surface, path, *UPGRADE, ("Origin", here), host=host)[0] == 101
        assert get(surface, path, *UPGRADE, host=host)[0] == 101  # a program
        for origin in (
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://127.0.0.1",
            f"http://localhost:{surface.port}",
        ):
            assert get(surface, path, *UPGRADE, ("Origin", origin), host=host)[0] == 403, origin
        both = (("Origin", here), ("Origin", "http://evil.example"))
        assert get(surface, path, *UPGRADE, *both, host=host)[0] in (400, 403)
        cross = (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "websocket"))
        assert get(surface, path, *UPGRADE, *cross, host=host)[0] == 403


def test_odd_requests_get_no_further():
    with serving() as surface:
        two = "GET /api/params HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n"
        assert say(surface, two)[0] in (400, 403)
        elsewhere = "GET http://evil.example/api/params HTTP/1.1\r\nHost: evil.example\r\n"
        assert say(surface, elsewhere)[0] in (400, 403)
        assert get(surface, "/api/params", ("Origin", "http://[::1"))[0] == 403
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert get(surface, "/api/params", method=method)[0] in (403, 405)
        preflight = (("Origin", "http://evil.example"), ("Access-Control-Request-Method", "GET"))
        status, headers, _ = get(surface, "/api/params", *preflight, method="OPTIONS")
        assert status == 403 and not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/js/../../server.py",
        "/%2e%2e/server.py",
        "/..%2fserver.py",
        "/js/..%2f..%2fguard.py",
        "//etc/passwd",
        "/etc/passwd",
        "/js",
        "/..\\server.py",
        "/style.css%00.js",
    ],
)
def test_only_the_pages_own_files_are_served(path):
    with serving() as surface:
        status, _, body = get(surface, path)
        assert status in (400, 404) and b"import" not in body and b"root:" not in body


@pytest.mark.parametrize("path", [*EVERYWHERE, "/none", "/pin"])
def test_every_answer_is_protected(path):
    with serving(PIN) as surface:
        for headers in ((), (password(PIN),)):
            _, got, _ = get(surface, path, *headers)
            policy = got["content-security-policy"][0]
            assert (
                "unsafe-inline" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            )
            assert got["x-content-type-options"] == ["nosniff"] and got["x-frame-options"] == ["DENY"]
            assert got["cross-origin-resource-policy"] == ["same-origin"]


def test_no_part_of_the_page_has_script_or_style_inline():
    from instrument.surface.server import PAGE

    for path in PAGE.rglob("*.html"):
        text = path.read_text()
        assert " style=" not in text and " onclick" not in text and "<style" not in text and "javascript:" not in text
        assert all(tag.startswith(' type="module" src=') for tag in text.split("<script")[1:])


# --- the PIN ---


@pytest.mark.parametrize("path", EVERYWHERE)
def test_nothing_is_had_without_the_pin(path):
    with serving(PIN) as surface:
        status, headers, body = get(surface, path)
        assert status == 401 and headers["www-authenticate"] == ['Basic realm="AttentionBender"']
        assert b"petals" not in body and b"PNG" not in body and b"JFIF" not in body
        assert get(surface, path, password("000000"))[0] == 401
        assert get(surface, path, password(PIN))[0] == 200
        assert get(surface, path, password(PIN, ""))[0] == 200  # any name will do
        status, headers, _ = get(surface, path, ("Accept", "text/html,*/*"))
        assert (status, headers["location"]) == (303, ["/pin"])
        status, headers, _ = get(surface, path, ("Sec-Fetch-Site", "same-origin"))
        assert status == 401 and "www-authenticate" not in headers  # no box of the browser's own


@pytest.mark.parametrize("path", SOCKETS)
def test_no_socket_without_the_pin(path):
    with serving(PIN) as surface:
        assert get(surface, path, *UPGRADE)[0] == 401
        assert get(surface, path, *UPGRADE, password("274514"))[0] == 401
        assert get(surface, path, *UPGRADE, password(PIN))[0] == 101


@pytest.mark.parametrize("path", SOCKETS)
def test_a_page_of_ours_is_told_why_it_may_not_connect(path):
    async def visit(surface):
        here = {"Origin": f"http://127.0.0.1:{surface.port}"}
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(f"http://127.0.0.1:{surface.port}{path}", headers=here)
            await ws.send_str('{"set": [["petals.gain", 5]]}')
            message = await asyncio.wait_for(ws.receive(), 5)
            assert message.type == aiohttp.WSMsgType.CLOSE and message.data == 4401
            assert surface.pages == 0 and surface._params["petals.gain"].base == 1

    with serving(PIN) as surface:
        asyncio.run(visit(surface))


def enter(surface: Surface, pin: str, *headers: tuple[str, str], field: str = "pin"):
    body = f"{field}={pin}".encode()
    lines = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(body))), *headers]
    head = "POST /pin HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
    return say(surface, head, body)


def test_a_browser_enters_it_once():
    with serving(PIN) as surface:
        status, _, body = get(surface, "/pin")
        assert status == 200 and b"<form" in body
        status, headers, _ = enter(surface, "111111")
        assert status == 403 and "set-cookie" not in headers
        status, headers, _ = enter(surface, PIN)
        assert (status, headers["location"]) == (303, ["/"])
        (cookie,) = headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and f"bender_{surface.port}=" in cookie
        pair = cookie.split(";")[0]
        for path in EVERYWHERE:
            assert get(surface, path, ("Cookie", pair))[0] == 200, path
        for path in SOCKETS:
            assert get(surface, path, *UPGRADE, ("Cookie", pair))[0] == 101, path
        assert get(surface, "/ws", *UPGRADE, ("Cookie", pair), ("Origin", "http://evil.example"))[0] == 403
        for wrong in (pair[:-1], pair + "x", f"bender_{surface.port}=", f"bender_{surface.port}=\xff"):
            assert get(surface, "/api/params", ("Cookie", wrong))[0] in (400, 401)
    with serving(PIN) as again:
        assert get(again, "/api/params", ("Cookie", pair))[0] == 401  # sessions end with the show


def test_a_page_elsewhere_cannot_try_pins():
    with serving(PIN) as surface:
        assert enter(surface, PIN, ("Origin", "http://evil.example"))[0] == 403
        assert enter(surface, PIN, ("Origin", "null"))[0] == 403
        assert enter(surface, PIN, ("Sec-Fetch-Site", "cross-site"))[0] == 403
        assert "set-cookie" in enter(surface, PIN, ("Origin", "http://127.0.0.1"))[1]


def test_wrong_forms_are_refused_and_harm_nothing():
    with serving(PIN) as surface:
        assert enter(surface, PIN, field="nip")[0] == 403
        assert enter(surface, "%ff%00%f0")[0] == 403
        assert enter(surface, "1" * 5000)[0] == 413
        assert enter(surface, PIN)[0] == 303


def test_tries_are_few_and_the_right_one_waits_with_the_wrong():
    with serving(PIN) as surface:
        statuses = [get(surface, "/api/status", password(f"{n:06}"))[0] for n in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        status, headers, _ = get(surface, "/api/status", password(PIN))
        assert status == 429 and 0 < int(headers["retry-after"][0]) <= 12
        status, _, body = enter(surface, PIN)
        assert status == 429 and b"Wait" in body


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_address_does_not_shut_out_another_but_many_together_are_slowed():
    clock = Clock()
    pin = Pin(PIN, clock)
    for _ in range(5):
        assert not pin.is_right("000000", "10.0.0.1")
    with pytest.raises(TooManyTries):
        pin.is_right(PIN, "10.0.0.1")
    assert pin.is_right(PIN, "10.0.0.2")
    clock.now += 10.5
    assert pin.is_right(PIN, "10.0.0.1")
    wrong = 0
    for n in range(3000):  # an attacker with as many addresses as he likes, for ten minutes
        clock.now += 0.2
        try:
            wrong += not pin.is_right(f"{n:06}", f"10.1.{n // 250}.{n % 250}")
        except TooManyTries:
            continue
    assert wrong <= 20 + 600 / 3 + 1
    assert len(pin._tries) <= 1024


def test_right_ones_cost_no_tries():
    clock = Clock()
    pin = Pin(PIN, clock)
    assert all(pin.is_right(PIN, "10.0.0.1") for _ in range(100))


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=200))
def test_a_bucket_never_gives_more_than_its_size_and_its_rate(moves):
    clock = Clock()
    bucket, spent, began = Bucket(5, 10.0, clock), 0, clock.now
    for pause, tries in moves:
        clock.now += pause
        if tries and not bucket.wait():
            bucket.spend()
            spent += 1
    assert spent <= 5 + (clock.now - began) / 10.0 + 1e-6


@given(st.text(max_size=80))
def test_no_header_breaks_the_reading_of_passwords(text):
    assert _basic(text) is None or isinstance(_basic(text), str)
    assert _basic(f"Basic {text}") is None or isinstance(_basic(f"Basic {text}"), str)


def test_pins_and_hosts():
    pins = {new_pin() for _ in range(50)}
    assert len(pins) > 40 and all(len(pin) == DIGITS and pin.isdecimal() for pin in pins)
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost") and is_loopback("127.8.8.8")
    assert (
        not is_loopback("0.0.0.0")
        and not is_loopback("192.168.1.7")
        and not is_loopback("::")
        and not is_loopback("box")
    )


def test_sessions_are_bounded():
    pin = Pin(PIN)
    for _ in range(3 * SESSIONS):
        pin._new_session()
    assert len(pin._sessions) == SESSIONS


# --- connections ---


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


# --- names of files ---


@pytest.mark.parametrize(
    "name", ["../secret", "..\\secret", "/secret", "~/secret", "sub/../../secret", "secret.yaml/../../x", "\x00", "."]
)
def test_a_page_cannot_reach_files_outside_the_patch_folder(name, tmp_path):
    """Over a real socket: `patch.load` and `patch.name` with a save."""
    folder = tmp_path / "patches"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_text("version: 1\nprompt: a secret\n")
    told: list[str] = []
    params = ParamSet()
    from instrument.engine import prompts
    from instrument.engine.loading import declare
    from instrument.state.patch import Patch

    declare(params)
    prompts.declare(params)
    desk = PatchDesk(params, lambda label, action: action(), told.append)
    desk.folder = folder
    desk.played(Patch())
    surface = Surface(params, dict, port=0)
    surface.start()

    async def send():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{surface.url}ws") as ws:
            await ws.send_json({"set": [["patch.load", name], ["patch.name", name]], "trigger": ["patch.save"]})
            end = time.monotonic() + 10
            while len(told) < 2 and time.monotonic() < end:
                for id in params.drain():
                    desk.obey(id)
                desk.tick()
                assert desk.take() is None
                await asyncio.sleep(0.02)

    try:
        asyncio.run(send())
    finally:
        surface.close()
        desk.close()
    assert len(told) >= 1 and not any("a secret" in text for text in told)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder]
    assert outside == [tmp_path / "secret.yaml"] and "a secret" in outside[0].read_text()
