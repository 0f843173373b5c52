"""The page's server, with real sockets."""

import asyncio
import json
import math
import socket
import struct
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import numpy as np
import pytest
import simplejpeg

from instrument.parameters.params import ParamSet
from instrument.surface.feed import finite
from instrument.surface.guard import is_own_host, own_names
from instrument.surface.server import Surface, SurfaceError
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

    async def until(self, fact, seconds=5.0):
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


def test_the_page_and_its_parts_are_served():
    async def visit(url):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                text = await answer.text()
                assert answer.status == 200 and "<title>AttentionBender</title>" in text
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            types = {"js/main.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}
            for name, kind in types.items():
                async with session.get(url + name) as answer:
                    assert answer.status == 200 and answer.content_type == kind
            for wrong in ("none.html", "..%2fserver.py", "js", "server.py"):
                async with session.get(url + wrong) as answer:
                    assert answer.status == 404, wrong
            async with session.get(url + "api/params") as answer:
                assert (await answer.json())[0]["id"] == "petals.gain"
            async with session.get(url + "api/status") as answer:
                assert (await answer.json())["fps"] == 17.5
            async with session.post(url + "api/params", data=b"x") as answer:
                assert answer.status == 405

    with serving() as surface:
        asyncio.run(visit(surface.url))


def test_the_page_needs_nothing_from_elsewhere():
    from instrument.surface.server import PAGE

    for path in PAGE.rglob("*.*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text, path


def test_values_reach_the_page_and_the_instrument():
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            assert page.values["petals.gain"] == 1
            params.set("petals.gain", 3.5, "midi")
            params.set("petals.on", False, "osc")
            params.set("prompt.text", "fire", "osc")
            params.set("petals.fold", "sum", "osc")
            wanted = {"petals.gain": 3.5, "petals.on": 0.0, "prompt.text": "fire", "petals.fold": "sum"}
            await page.until(lambda: wanted.items() <= page.values.items())
            await page.ws.send_json({"set": [["petals.gain", 2], ["prompt.text", "snow"], ["petals.on", True]]})
            await page.until(lambda: page.values["petals.gain"] == 2 and page.values["prompt.text"] == "snow")
            assert params["petals.gain"].base == 2 and params["petals.on"].base is True
            assert params["petals.gain"].origin.startswith("page ")
            await page.ws.send_json({"travel": [["petals.gain", 0.5]]})
            await page.until(lambda: page.values["petals.gain"] == 1.0)
            assert params["petals.gain"].base == 1.0

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_a_page_that_was_not_taken_at_its_word_is_told_what_counts():
    params = some_params()

    async def play(surface):
        async with opened(surface) as page, opened(surface) as other:
            for value in (99, 98):
                page.values.pop("petals.gain", None)
                await page.ws.send_json({"set": [["petals.gain", value]]})
                await page.until(lambda: page.values.get("petals.gain") == 8)
            await other.until(lambda: other.values.pop("petals.gain", None) == 8)
            await page.ws.send_json({"set": [["petals.gain", 97], ["petals.on", False]]})
            await other.until(lambda: other.values["petals.on"] == 0)
            assert "petals.gain" not in other.values  # nothing has changed for it

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_what_moves_by_itself_is_sent_apart_from_what_the_hand_set():
    params = some_params()
    gain = {"petals.gain": 0.25}
    params.modulate(lambda now, values: gain)

    async def play(surface):
        async with opened(surface) as page:
            params.tick(1.0)
            await page.until(lambda: "petals.gain" in page.heard)
            assert page.heard["petals.gain"] == params.heard("petals.gain") > 1
            assert page.values["petals.gain"] == 1
            gain.clear()
            params.tick(2.0)
            await page.until(lambda: math.isnan(page.heard["petals.gain"]))
        async with opened(surface) as late:
            await late.rest(0.1)
            assert late.heard == {}

    with serving(params) as surface:
        asyncio.run(play(surface))


class Playing:
    """What a page may draw beside parameters."""

    def __init__(self):
        self.now, self.learnt = {"bends": ["petals"], "signal": 0.5}, []

    def state(self):
        return dict(self.now)

    def learn(self, id):
        if id == "nothing":
            raise LookupError("no parameter 'nothing'")
        self.learnt.append(id)


def test_what_is_played_is_sent_by_key_when_it_changes():
    playing = Playing()
    surface = Surface(some_params(), lambda: {}, port=0, play=playing)

    async def play():
        async with opened(surface) as page:
            await page.until(lambda: page.play)
            assert page.play == {"bends": ["petals"], "signal": 0.5}
            page.play.clear()
            playing.now["signal"] = float("nan")
            await page.until(lambda: page.play)
            assert page.play == {"signal": None}
            await page.ws.send_json({"learn": "petals.gain"})
            await page.ws.send_json({"learn": None})
            for wrong in ("nothing", 7, ["petals.gain"]):
                await page.ws.send_json({"learn": wrong})
            await page.until(lambda: len(page.errors) == 3)
            assert "no parameter 'nothing'" in page.errors[0] and "'learn' must be" in page.errors[1]

    surface.start()
    try:
        asyncio.run(play())
    finally:
        surface.close()
    assert playing.learnt == ["petals.gain", None]


def test_every_trigger_counts():
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            for _ in range(3):
                await page.ws.send_json({"trigger": ["panic", "panic"]})
            await page.until(lambda: page.values["panic"] == 6)

    with serving(params) as surface:
        asyncio.run(play(surface))
    assert params.drain() == ["panic"] * 6


def test_several_pages_agree():
    params = some_params()

    async def play(surface):
        async with opened(surface) as one, opened(surface) as two:
            await one.ws.send_json({"set": [["petals.gain", 6]]})
            await two.until(lambda: two.values["petals.gain"] == 6)
            await two.ws.send_json({"set": [["petals.gain", 7]]})
            await one.until(lambda: one.values["petals.gain"] == 7)
            assert surface.pages == 2

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_fast_changes_are_coalesced_and_the_last_one_arrives():
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            before = page.binaries

            def sweep():
                for n in range(2000):
                    params.set("petals.gain", 8 * n / 1999, "osc")
                    time.sleep(0.0002)

            thread = threading.Thread(target=sweep)
            began = time.monotonic()
            thread.start()
            await page.until(lambda: page.values["petals.gain"] == 8, seconds=10)
            thread.join()
            seconds = time.monotonic() - began
            assert page.binaries - before <= 66 * seconds + 3

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_new_parameters_appear_and_old_ones_go():
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            params.remove("petals.gain")
            params.add("undertow.gain", ControlSpec(0, 4, 2))
            await page.until(lambda: "undertow.gain" in page.values)
            assert "petals.gain" not in page.values
            params.set("undertow.gain", 3)
            await page.until(lambda: page.values["undertow.gain"] == 3)

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_pictures_arrive_and_a_held_one_is_sent_once():
    async def play(surface):
        frame = picture(200)
        async with opened(surface) as page:
            surface.show(frame)
            await page.until(lambda: page.pictures)
            for _ in range(5):
                surface.show(frame)
            await page.rest(0.2)
            assert len(page.pictures) == 1
            assert page.pictures[0].shape == (32, 64, 3) and abs(int(page.pictures[0][0, 0, 0]) - 200) < 3
        async with opened(surface) as late:
            await late.until(lambda: late.pictures)  # who comes later sees it at once

    with serving() as surface:
        asyncio.run(play(surface))


def test_a_page_that_does_not_acknowledge_is_sent_no_more():
    params = some_params()

    async def play(surface):
        async with opened(surface, acks=False) as page:
            for shade in range(30):
                surface.show(picture(8 * shade))
                params.set("petals.gain", shade / 4)
                await page.rest(0.02)
            assert page.binaries == 2
            await page.ws.send_json({"ack": 2})
            page.acks = True
            await page.until(lambda: abs(int(page.pictures[-1][0, 0, 0]) - 232) < 4)
            assert len(page.pictures) <= 3  # straight to the newest
            await page.until(lambda: page.values["petals.gain"] == 29 / 4)

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_a_late_acknowledgement_takes_no_credit_back():
    params = some_params()

    async def play(surface):
        async with opened(surface, acks=False) as page:
            for gain in (2, 3):
                params.set("petals.gain", gain)
                await page.until(lambda gain=gain: page.values["petals.gain"] == gain)
            for number in (2, 1):  # the first was a picture, and took its time
                await page.ws.send_json({"ack": number})
            for gain in (4, 5):
                params.set("petals.gain", gain)
                await page.until(lambda gain=gain: page.values["petals.gain"] == gain)

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_the_picture_is_not_encoded_for_nobody(monkeypatch):
    encoded = []
    real = simplejpeg.encode_jpeg
    monkeypatch.setattr(simplejpeg, "encode_jpeg", lambda *args: encoded.append(1) or real(*args))

    async def play(surface):
        async with opened(surface) as one, opened(surface) as two:
            surface.show(picture(10))
            await one.until(lambda: one.pictures)
            await two.until(lambda: two.pictures)

    with serving() as surface:
        for shade in range(10):
            surface.show(picture(shade))
        time.sleep(0.05)
        assert encoded == []
        asyncio.run(play(surface))
    assert 1 <= len(encoded) <= 2  # the last of the ten, perhaps, and one for both pages


def test_status_comes_by_itself():
    async def play(surface):
        async with opened(surface) as page:
            await page.until(lambda: len(page.statuses) >= 2)
            assert page.statuses[0]["fps"] == 17.5 and page.statuses[0]["latency_ms"] is None

    with serving(status=lambda: {"fps": 17.5, "latency_ms": float("nan")}) as surface:
        asyncio.run(play(surface))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"set": [["petals.gian", 1]]}, "did you mean 'petals.gain'?"),
        ({"set": [["petals.gain", "loud"]]}, "a number from 0 to 8"),
        ({"set": [["petals.gain", None]]}, "petals.gain cannot be None"),
        ({"set": {"petals.gain": 1}}, "must be a list"),
        ({"set": [["petals.gain"]]}, "pairs"),
        ({"set": [["petals.gain", 1]] * 1000}, "at most 512"),
        ({"set": [["prompt.text", "x" * 9000]]}, "longer than 8192"),
        ({"trigger": "panic"}, "must be a list"),
        ({"trigger": ["petals.gain"]}, "not a trigger"),
        ({"ack": "x"}, "not understood"),
        ([1, 2], "send an object"),
    ],
)
def test_a_wrong_message_is_answered_and_the_page_lives_on(message, words):
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            await page.ws.send_json(message)
            await page.until(lambda: page.errors)
            assert words in page.errors[0]
            await page.ws.send_json({"set": [["petals.gain", 5]]})
            await page.until(lambda: page.values["petals.gain"] == 5)

    with serving(params) as surface:
        asyncio.run(play(surface))


def test_nonsense_and_oversize():
    async def play(surface):
        async with opened(surface) as page:
            for text in ("{", "[" * 20000, '"' + "\ud800".encode("utf-8", "replace").decode() + '"', "NaN"):
                await page.ws.send_str(text)
            await page.until(lambda: len(page.errors) >= 4)
            await page.ws.send_str("x" * 100_000)
            with pytest.raises(ConnectionError):
                await page.rest(3)
        async with opened(surface) as page:  # others are not harmed
            assert page.params

    with serving() as surface:
        asyncio.run(play(surface))


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


def test_mjpeg_for_everything_else():
    async def watch(surface):
        stop = asyncio.Event()

        async def show():
            shade = 0
            while not stop.is_set():
                shade = (shade + 40) % 256
                surface.show(picture(shade))
                await asyncio.sleep(0.02)

        showing = asyncio.create_task(show())
        data = b""
        async with aiohttp.ClientSession() as session, session.get(surface.url + "stream.mjpeg") as answer:
            assert answer.content_type == "multipart/x-mixed-replace"
            while data.count(b"--frame\r\n") < 4:
                data += await asyncio.wait_for(answer.content.readany(), 5)
        stop.set()
        await showing
        return data

    with serving() as surface:
        data = asyncio.run(watch(surface))
    parts = data.split(b"--frame\r\n")[1:-1]
    shades = {int(simplejpeg.decode_jpeg(part.split(b"\r\n\r\n", 1)[1])[0, 0, 0]) // 10 for part in parts}
    assert len(parts) >= 3 and len(shades) >= 2


def test_viewers_are_limited_and_free_their_place():
    async def crowd(surface):
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(surface.url + "ws") for _ in range(16)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(surface.url + "ws")
            assert error.value.status == 503
            for ws in sockets:
                await ws.close()
        end = time.monotonic() + 3
        while surface.pages and time.monotonic() < end:
            await asyncio.sleep(0.02)
        assert surface.pages == 0

    with serving() as surface:
        asyncio.run(crowd(surface))


def test_an_mjpeg_viewer_that_left_frees_its_place_without_a_new_picture():
    async def visit(surface):
        surface.show(picture(1))
        async with aiohttp.ClientSession() as session, session.get(surface.url + "stream.mjpeg") as answer:
            await asyncio.wait_for(answer.content.readany(), 5)
            assert len(surface._viewers) == 1
        end = time.monotonic() + 4
        while surface._viewers and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert not surface._viewers

    with serving() as surface:
        asyncio.run(visit(surface))


def test_a_taken_port_says_so():
    with serving() as surface:
        port = int(surface.url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(SurfaceError, match=f"port {port} on 127.0.0.1 is taken by another program.*--page-port"):
            Surface(some_params(), dict, port=port).start()


def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(SurfaceError, match=r"192\.0\.2\.1"):
        Surface(some_params(), dict, host="192.0.2.1", port=0).start()


def test_closing_is_quick_with_pages_open_and_the_port_is_free_again():
    async def stay(surface):
        async with opened(surface) as page:
            began = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(None, surface.close)
            assert time.monotonic() - began < 3
            with pytest.raises(ConnectionError):
                await page.rest(2)

    surface = Surface(some_params(), dict, port=0)
    surface.start()
    port = int(surface.url.rsplit(":", 1)[1].strip("/"))
    asyncio.run(stay(surface))
    surface.show(picture(1))  # after the end, harmless
    surface.close()
    again = Surface(some_params(), dict, port=port)
    again.start()
    again.close()


def test_show_is_cheap():
    with serving() as surface:
        frames = [picture(n, 512, 288) for n in range(200)]
        began = time.perf_counter()
        for frame in frames:
            surface.show(frame)
        assert (time.perf_counter() - began) / 200 < 0.001


def test_finite():
    assert finite({"a": [1.0, float("inf"), (float("nan"), "x")]}) == {"a": [1.0, None, [None, "x"]]}
