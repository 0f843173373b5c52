"""The page's server, with real sockets."""

import asyncio
import math
import threading
import time

import aiohttp
import pytest

from instrument.addresses import served_addresses
from instrument.parameters import values
from instrument.surface import feed
from instrument.surface.server import Surface, SurfaceError
from pipelines.spec import ControlSpec
from tests.wire import opened, picture, serving, some_params


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


def test_a_change_goes_out_without_waiting_for_the_next_look(monkeypatch):
    monkeypatch.setattr(feed, "LOOK", 600.0)
    params = some_params()

    async def play(surface):
        async with opened(surface) as page:
            for gain in (3.5, 2.0, 0.5):
                params.set("petals.gain", gain, "midi")
                await page.until(lambda gain=gain: page.values["petals.gain"] == gain)

    with serving(params) as surface:
        asyncio.run(play(surface))
    assert not params.alarms, "a page that has gone is not rung for"


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
            refused = ("petals.gain", "loud", 8), ("prompt.text", "x" * 2001, "ice"), ("petals.on", "?", 1)
            for id, wrong, kept in refused:
                page.values.pop(id)
                await page.ws.send_json({"set": [[id, wrong]]})
                await page.until(lambda id=id, kept=kept: page.values.get(id) == kept)
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
            await page.until(lambda: page.values["petals.gain"] == 8)
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


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"set": [["petals.gian", 1]]}, "did you mean 'petals.gain'?"),
        ({"set": [["petals.gain", "loud"]]}, "a number from 0 to 8"),
        ({"set": [["petals.gain", None]]}, "petals.gain cannot be None"),
        ({"set": {"petals.gain": 1}}, "must be a list"),
        ({"set": [["petals.gain"]]}, "pairs"),
        ({"set": [["petals.gain", 1]] * 1000}, "at most 512"),
        ({"set": [["prompt.text", "x" * 9000]]}, "prompt.text cannot be"),
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


def test_a_storm_of_mistakes_costs_few_words(monkeypatch):
    """What a wrong name may have meant takes milliseconds to find among many, in which no page would get a picture."""
    worded = []
    monkeypatch.setattr(feed, "TOLD_WITHIN", 600.0)
    monkeypatch.setattr(values, "suggest", lambda name, known: worded.append(name) or "")
    params = some_params()

    async def play(surface):
        async with opened(surface) as page, opened(surface) as other:
            for turn in range(20):
                wrong = [[f"petals.gian{n}", turn] for n in range(511)]
                await page.ws.send_json({"set": [*wrong, ["petals.gain", turn / 8]]})
            await page.until(lambda: page.values["petals.gain"] == 19 / 8)
            assert len(worded) == len(page.errors) == feed.MOST_TOLD
            await other.ws.send_json({"set": [["petals.gian", 1]]})
            await other.until(lambda: other.errors)  # its mistakes are its own

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


def test_a_taken_port_says_so():
    with serving() as surface:
        port = int(surface.url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(SurfaceError, match=f"port {port} on 127.0.0.1 is taken by another program.*--page-port"):
            Surface(some_params(), dict, port=port).start()


def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(SurfaceError, match=r"192\.0\.2\.1 is not an address of this"):
        Surface(some_params(), dict, host="192.0.2.1", port=0).start()


def test_one_that_is_open_to_the_network_says_where_others_find_it():
    one, every = Surface(some_params(), dict, port=8123), Surface(some_params(), dict, host="0.0.0.0", port=8123)
    assert one.urls == ["http://127.0.0.1:8123/"]
    others = [ip for ip in served_addresses("0.0.0.0") if ip != "127.0.0.1"]
    assert every.urls == ["http://127.0.0.1:8123/", *(f"http://{ip}:8123/" for ip in others)]


def test_closing_is_quick_with_pages_open_and_the_port_is_free_again():
    async def stay(surface):
        async with opened(surface) as page:
            began = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(None, surface.close)
            assert time.monotonic() - began < 20  # aiohttp waits for a minute
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
