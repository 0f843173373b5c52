"""Who gets in, over raw sockets: strangers, other sites, rebound names; what nobody gets without the PIN."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from instrument.parameters.params import ParamSet
from instrument.state.patchdesk import PatchDesk
from instrument.surface.server import Surface
from tests.strangers import EVERYWHERE, PIN, SOCKETS, UPGRADE, get, password, say, serving

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
    desk = PatchDesk(params, lambda label, action, asked: action(), told.append)
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
