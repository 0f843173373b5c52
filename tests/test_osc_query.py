"""OSCQuery as other programs meet it: HTTP and websockets on real sockets, beside the page."""

import asyncio
import json
import threading
import time

import aiohttp
import pytest
import websockets

from instrument.osc.codec import encode, encode_bundle
from instrument.osc.server import OscServer
from pipelines.spec import ControlSpec
from tests.oscing import Client, heard, some_params
from tests.querying import on_socket, serving


def get(surface, path="", **headers):
    """(status, JSON or text) of a GET."""

    async def visit():
        async with aiohttp.ClientSession() as session, session.get(surface.url + path, headers=headers) as answer:
            return answer.status, await (answer.json() if "json" in answer.content_type else answer.text())

    return asyncio.run(visit())


# --- HTTP ---


def test_the_tree_and_its_parts_are_served_beside_the_page():
    with serving() as surface:
        status, root = get(surface)
        assert status == 200 and root["FULL_PATH"] == "/" and "petals" in root["CONTENTS"]
        assert get(surface, "petals/gain") == (200, root["CONTENTS"]["petals"]["CONTENTS"]["gain"])
        assert get(surface, "petals/gain/") == get(surface, "petals/gain")
        assert get(surface, "petals/gain?VALUE") == (200, {"VALUE": [1.0]})
        assert get(surface, "petals/gain?RANGE")[1] == {"RANGE": [{"MIN": 0.0, "MAX": 8.0}]}
        assert list(get(surface, "?CONTENTS")[1]["CONTENTS"]) == list(root["CONTENTS"])
        assert get(surface, "petals/gain?FULL_PATH")[1] == {"FULL_PATH": "/petals/gain"}
        page = "text/html,application/xhtml+xml,*/*;q=0.8"
        assert "<title>AttentionBender</title>" in get(surface, Accept=page)[1]
        assert "NAME" in get(surface, "?HOST_INFO", Accept=page)[1]
        assert get(surface, "js/main.js")[0] == 200 and get(surface, "api/params")[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("petals/gian", 404),
        ("petals/gain/n", 404),
        ("none.html", 404),
        ("..%2f..%2fetc%2fpasswd", 404),
        ("petals/gain?GABBA", 400),
        ("petals/gain?value", 400),
        ("panic?VALUE", 204),
        ("petals?VALUE", 204),
        ("petals/gain?EXTENDED_TYPE", 204),
        ("petals/gian?VALUE", 404),
    ],
)
def test_what_is_not_there(path, status):
    with serving() as surface:
        assert get(surface, path)[0] == status


def test_host_info():
    with serving() as surface:
        status, info = get(surface, "petals/gain?HOST_INFO")
        assert status == 200 and info["NAME"] == "AttentionBender"
        assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == ("127.0.0.1", 9000, "UDP")
        assert (info["WS_IP"], info["WS_PORT"]) == ("127.0.0.1", surface.port)
        assert info["EXTENSIONS"]["LISTEN"] is True and info["EXTENSIONS"]["PATH_RENAMED"] is False
    with serving(osc=None) as surface:
        assert "OSC_PORT" not in get(surface, "?HOST_INFO")[1]
    with serving(osc=("0.0.0.0", 9000)) as surface:
        assert get(surface, "?HOST_INFO")[1]["OSC_IP"] == "127.0.0.1"


def test_values_are_the_latest():
    params = some_params()
    with serving(params) as surface:
        params.set("petals.gain", 4)
        params.set("petals.layers", (8, 19))
        assert get(surface, "petals/gain?VALUE")[1] == {"VALUE": [4.0]}
        assert get(surface, "petals/layers?VALUE")[1] == {"VALUE": [8.0, 19.0]}


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
@pytest.mark.parametrize("path", ["", "petals/gain", "?HOST_INFO"])
def test_strangers_are_refused(path, headers):
    with serving() as surface:
        assert get(surface, path, **headers)[0] == 403
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        assert get(surface, path, **headers, **upgrade, **{"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})[0] == 403


# --- websocket ---


def test_listen_tells_the_value_and_every_change_and_ignore_ends_it():
    async def play(socket, params):
        await socket.command("LISTEN", "/petals/gain")
        await socket.command("LISTEN", "/freeze")
        await socket.command("LISTEN", "/petals/layers")
        await socket.until(lambda: len(socket.messages) == 3)
        params.set("petals.gain", 2.5, "midi")
        params.set("freeze", True, "midi")
        params.set("prompt", "ice", "midi")
        params.set("petals.layers", (8, 19), "midi")
        await socket.until(lambda: ("/petals/layers", 8.0, 19.0) in socket.messages)
        await socket.until(lambda: ("/petals/gain", 2.5) in socket.messages and ("/freeze", True) in socket.messages)
        await socket.command("IGNORE", "/petals/gain")
        await socket.settle()
        params.set("petals.gain", 4.0, "midi")
        params.set("freeze", False, "midi")
        await socket.until(lambda: socket.messages[-1] == ("/freeze", False))
        assert ("/petals/gain", 4.0) not in socket.messages and not any("/prompt" in m for m in socket.messages)

    on_socket(play)


def test_binary_messages_play_are_answered_and_do_not_echo():
    async def play(socket, params):
        await socket.command("LISTEN", "/petals/gain")
        await socket.until(lambda: socket.messages)
        await socket.send("/petals/gain", 2)
        await socket.send("/panic")
        await socket.send("/1/fader1", 1.0)
        await socket.send("/brush/*", 0.5)
        await socket.ws.send(encode_bundle([encode("/prompt", "ice")], time.time() + 0.2))
        await socket.settle()
        assert params["petals.gain"].base == 8 and params["brush.gain"].base == 0.5 and params.drain() == ["panic"]
        assert params["petals.gain"].origin.startswith("osc-ws:") and params["prompt"].base == "water"
        await socket.send("/petals/gian", 1)
        await socket.until(lambda: socket.messages[-1][0] == "/error" and "did you mean" in socket.messages[-1][1])
        await socket.send("/subscribe")
        await socket.until(lambda: "/subscribe: on a websocket send " in str(socket.messages[-1]))
        params.set("petals.gain", 3.0, "page")
        await socket.until(lambda: socket.messages[-1] == ("/petals/gain", 3.0))
        assert ("/petals/gain", 8.0) not in socket.messages
        await asyncio.get_running_loop().run_in_executor(None, heard, params, "prompt", "ice")
        assert params["prompt"].base == "ice"

    on_socket(play)


def test_a_new_patch_is_told_and_listening_goes_on_where_the_address_comes_back():
    async def play(socket, params):
        await socket.command("LISTEN", "/ink/gain")
        await socket.settle()
        with params.together():
            params.remove("brush.gain")
            params.add("ink.gain", ControlSpec(0, 4, 1))
        wanted = {("PATH_REMOVED", "/brush"), ("PATH_ADDED", "/ink"), ("PATH_CHANGED", "/")}
        await socket.until(lambda: wanted <= set(socket.events))
        await socket.until(lambda: ("/ink/gain", 1.0) in socket.messages)
        params.set("ink.gain", 2.0, "page")
        await socket.until(lambda: ("/ink/gain", 2.0) in socket.messages)

    on_socket(play)


def test_the_show_can_be_listened_to():
    async def play(socket, params):
        await socket.command("LISTEN", "/status/fps")
        await socket.until(lambda: socket.messages.count(("/status/fps", 17.5)) >= 2)
        assert {address for address, *_ in socket.messages} == {"/status/fps"}

    on_socket(play)


@pytest.mark.parametrize(
    "noise",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 2000,
        '{"COMMAND": "LISTEN"}',
        '{"COMMAND": "LISTEN", "DATA": 5}',
        '{"COMMAND": "FORMAT", "DATA": "/x"}',
        json.dumps({"COMMAND": "LISTEN", "DATA": "/" * 300}),
        '{"COMMAND": "LISTEN", "DATA": "/[a"}',
        '{"COMMAND": ["LISTEN"], "DATA": "/x"}',
        b"",
        b"noise",
        b"#bundle\0" + bytes(7),
    ],
)
def test_noise_does_not_end_it(noise):
    async def play(socket, params):
        await socket.ws.send(noise)
        await socket.command("LISTEN", "/petals/gain")
        await socket.until(lambda: ("/petals/gain", 1.0) in socket.messages)

    on_socket(play)


def test_a_sweep_is_throttled_and_ends_at_its_last_value():
    async def play(socket, params):
        await socket.command("LISTEN", "/petals/gain")
        await socket.until(lambda: socket.messages)

        def sweep():
            for step in range(1, 1001):
                params.set("petals.gain", step / 500, "midi")
                time.sleep(0.0005)

        start, sweeping = time.monotonic(), threading.Thread(target=sweep)
        sweeping.start()
        await socket.until(lambda: socket.messages[-1] == ("/petals/gain", 2.0))
        sweeping.join()
        assert len(socket.messages) <= 60 * (time.monotonic() - start) + 3

    on_socket(play)


def test_clients_are_limited_and_closing_is_quick():
    async def crowd(surface):
        url = surface.url.replace("http", "ws")
        sockets = [await websockets.connect(url) for _ in range(16)]
        with pytest.raises(websockets.exceptions.InvalidStatus, match="503"):
            await websockets.connect(url)
        began = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(None, surface.close)
        assert time.monotonic() - began < 10
        for ws in sockets:
            await ws.wait_closed()

    with serving() as surface:
        asyncio.run(crowd(surface))


def test_udp_and_websocket_hear_each_other():
    params = some_params()
    server = OscServer(params, port=0, notices=lambda text: None)
    server.start()
    client = Client(server.port)
    client.send("/subscribe", "/petals/gain")
    assert client.answer() == ("/petals/gain", (1.0,))

    async def play(socket, params):
        await socket.command("LISTEN", "/petals/gain")
        await socket.send("/petals/gain", 2.0)
        answer = await asyncio.get_running_loop().run_in_executor(None, client.answer)
        assert answer == ("/petals/gain", (2.0,))
        client.send("/petals/gain", 5.0)
        await socket.until(lambda: ("/petals/gain", 5.0) in socket.messages)

    try:
        on_socket(play, params)
    finally:
        server.close()
        client.close()
