"""Looks inside, over real sockets: what a page gets, how often, and that nobody looking costs nothing."""

from __future__ import annotations

import asyncio
import threading
import time

import aiohttp
import numpy as np
import pytest

from instrument.sockets import CREDIT
from instrument.state.patch import loads
from instrument.surface import looks
from instrument.surface.looks import Wish, read_wish
from pipelines.bends.probes import MapLook
from tests import tiny
from tests.viewing import Viewer, opened, run


def test_a_page_sees_the_maps_of_every_piece_of_the_prompt() -> None:
    async def play(show):
        async with opened(show) as page:
            await page.watch(map={"layer": 1, "step": 2, "head": None})
            await page.until(lambda: page.maps)
            assert page.facts["tokens"] == ["a", "purple", "tulip", "swaying"]
            assert (page.facts["layers"], page.facts["steps"], page.facts["heads"]) == (3, 3, 4)
            assert page.maps[-1].shape == (4, page.facts["rows"], page.facts["columns"]) == (4, 4, 6)
            assert page.maps[-1].min() >= 0 and 0 < page.maps[-1].sum(0).max() <= 1

    run(play)


def test_what_a_page_sees_is_what_a_probe_sees_and_is_bent() -> None:
    """One chunk is played between two looks, so that both look at the same one."""

    async def play(show):
        stream = show.engine.stream
        await asyncio.to_thread(show.engine.play_chunk)  # the engine has read the prompt
        async with opened(show) as page:
            await page.watch(map={"layer": 0, "step": 0, "head": 3})
            key = MapLook(0, 0, (0, 1, 2, 3), 3)
            for gain in (1.0, 5.0):
                show.params.set("words.gain", gain)
                await asyncio.to_thread(_when_asked, stream.probes, key)
                seen = {}
                keep = stream.probes.keep
                stream.probes.keep = lambda look, *parts, keep=keep, seen=seen: (
                    seen.update({look: parts[0].numpy().copy()}),
                    keep(look, *parts),
                )
                stream.reset(7)
                await asyncio.to_thread(show.engine.play_chunk)
                stream.probes.keep = keep
                before = len(page.maps)
                await page.until(lambda before=before: len(page.maps) > before)
                expected = seen[key].mean(axis=1)
                np.testing.assert_allclose(page.maps[-1], expected, atol=expected.max() / 255)
            share = page.maps[-1][2].sum() / page.maps[0][2].sum()
            assert share == pytest.approx(
                5.0, rel=0.05
            )  # the first layer's map of the first step: nothing but the gain
            assert page.maps[-1][1].sum() == pytest.approx(page.maps[0][1].sum(), rel=0.05)

    run(play, by_itself=False)


def _when_asked(probes, look) -> None:
    end = time.monotonic() + 10
    while look not in probes._asked:
        assert time.monotonic() < end, "nobody asked"
        time.sleep(0.01)


def test_a_mean_is_of_every_layer_and_step() -> None:
    async def play(show):
        async with opened(show) as page:
            asked = set()
            ask = show.inside.ask
            show.inside.ask = lambda *key: (asked.add(key), ask(*key))
            await page.watch(map={"layer": None, "step": None, "head": None})
            await page.until(lambda: len(page.maps) >= 3)
            assert asked == {("map", layer, step, None) for layer in range(3) for step in range(3)}
            assert 0 < page.maps[-1].sum(0).max() < 1  # the padding has its share of every row
            await page.watch(map={"layer": 2, "step": "cache", "head": 1})
            await page.until(lambda: ("map", 2, None, 1) in asked)

    run(play)


def test_neurons_bands_and_the_loudest() -> None:
    async def play(show):
        show.params.set("hidden.neurons", "200-203")
        show.params.set("hidden.gain", 8.0)
        async with opened(show) as page:
            await page.watch(neurons={"layer": 1, "step": 0})
            await page.until(lambda: len(page.neurons) >= 2)
            layer, bands, top, loudness = page.neurons[-1]
            assert layer == 1 and len(bands) == looks.BANDS and (bands > 0).all()
            assert int(np.argmax(bands)) in (49, 50) and 200 <= top[0] <= 203  # four neurons a band of the 256
            assert loudness == sorted(loudness, reverse=True)
            page.neurons.clear()
            await page.watch(neurons={"layer": None, "step": None})
            await page.until(lambda: {seen[0] for seen in page.neurons} == {0, 1, 2})
            assert len(page.neurons[-1][1]) == looks.BANDS_OF_MANY

    run(play)


def test_the_memory_tells_what_the_cache_holds_and_under_which_bends() -> None:
    async def play(show):
        async with opened(show) as page:
            await page.watch(memory=True)
            await page.until(lambda: page.memory is not None and len(page.memory) == page.facts["window"])
            assert [frame["age"] for frame in page.memory] == [3, 2, 1, 0]
            show.params.set("words.gain", 4.0)
            await page.until(lambda: all(frame["bends"] == ["words"] for frame in page.memory))

    run(play)


def test_the_pace_comes_ten_times_a_second_at_most() -> None:
    async def play(show):
        async with opened(show) as page:
            began = time.monotonic()
            await page.watch(pace=True)
            await page.rest(1.5)
            assert 3 <= len(page.paces) <= 10 * (time.monotonic() - began) + 2
            assert page.paces[-1] == {"fps": 12.5, "latency_ms": None}

    run(play, by_itself=False)


def test_a_page_that_does_not_acknowledge_is_sent_no_more() -> None:
    async def play(show):
        async with opened(show) as page:
            page.acks = False
            await page.watch(pace=True)
            await page.rest(1.5)
            assert page.binaries == CREDIT
            page.acks = True
            await page.ws.send_json({"ack": 2})
            await page.until(lambda: page.binaries >= 5)

    run(play, by_itself=False)


def test_nobody_looking_costs_nothing() -> None:
    async def play(show):
        probes = show.engine.stream.probes
        armed = []
        arm = probes.arm
        probes.arm = lambda step, layers: armed.append(arm(step, layers)) or armed[-1]
        async with opened(show) as page:
            await asyncio.sleep(0.5)
            assert armed and not any(armed) and not show.surface._looks.looking  # a page is open but shows nothing
            await page.watch(map={"layer": 0})
            await page.until(lambda: page.maps)
            await page.watch()
            await asyncio.sleep(4 * looks.BEAT)
            armed.clear()
            await asyncio.sleep(0.5)
            assert armed and not any(armed)
            await page.watch(neurons={"layer": 0})
            await page.until(lambda: page.neurons)
        await asyncio.sleep(4 * looks.BEAT)  # the page is gone
        armed.clear()
        await asyncio.sleep(0.5)
        assert armed and not any(armed) and not probes._asked and not probes._seen

    run(play)


def test_looks_outlive_another_patch_another_prompt_and_a_reset() -> None:
    async def play(show):
        async with opened(show) as page:
            await page.watch(map={"layer": None, "step": 1}, memory=True)
            await page.until(lambda: page.maps)
            for text in ("snow on a hill of sand", "ice"):
                show.params.set("prompt.text", text)
                await page.until(lambda text=text: page.facts["tokens"] == text.split())
                await page.until(lambda text=text: len(page.maps[-1]) == len(text.split()))
            show.params.trigger("cache.reset")
            show.stopping.set()
            await asyncio.to_thread(show.thread.join)
            show.engine.load(loads("version: 1\nprompt: three red stars\n"))
            show.stopping.clear()
            show.thread = threading.Thread(target=show._run)
            show.thread.start()
            await page.until(lambda: page.facts["tokens"] == ["three", "red", "stars"] and len(page.maps[-1]) == 3)

    run(play)


def test_looks_follow_another_network_and_another_size() -> None:
    """The engine's stream is replaced while pages look: they see the new one's sizes and maps."""
    from dataclasses import replace

    async def play(show):
        async with opened(show) as page:
            await page.watch(map={"layer": None, "step": None}, neurons={"layer": None}, memory=True, pace=True)
            await page.until(lambda: page.maps and page.neurons)
            show.stopping.set()
            await asyncio.to_thread(show.thread.join)
            larger = tiny.stream((), replace(tiny.RECIPE, width=128, height=96))
            larger.play(larger.make_bank(show.engine.stream.bank.bends))
            show.engine.stage.stream = larger
            show.stopping.clear()
            show.thread = threading.Thread(target=show._run)
            show.thread.start()
            await page.until(lambda: page.facts["columns"] == 8 and page.maps[-1].shape[1:] == (6, 8))
            assert page.errors == []

    run(play)


def test_a_source_that_fails_for_a_while_is_asked_again() -> None:
    async def play(show):
        facts, failing = show.inside.facts, [True] * 3

        def sometimes():
            if failing and failing.pop():
                raise RuntimeError("between two models")
            return facts()

        show.inside.facts = sometimes
        async with opened(show) as page:
            await page.watch(map={"layer": 0}, pace=True)
            await page.until(lambda: page.maps and page.paces)

    run(play)


def test_many_pages_cost_what_one_costs() -> None:
    async def play(show):
        asked = []
        ask = show.inside.ask
        show.inside.ask = lambda *key: (asked.append(time.monotonic()), ask(*key))
        async with aiohttp.ClientSession() as session:
            pages = []
            for n in range(8):
                page = Viewer(await session.ws_connect(f"{show.surface.url}api/inside"))
                await page.watch(
                    map={"layer": None, "step": None, "head": n % 4}, neurons={"layer": None, "step": n % 3}
                )
                pages.append(page)
            await asyncio.gather(*(page.until(lambda page=page: len(page.maps) >= 4) for page in pages))
            for page in pages:
                await page.ws.close()
        beats = (asked[-1] - asked[0]) / looks.BEAT + 1
        assert len(asked) <= looks.AT_ONCE * (beats + 1)

    run(play)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "not understood"),
        ("[1]", "send an object"),
        ('{"watch": 3}', "must be an object"),
        ('{"watch": {"latents": true}}', "nothing called 'latents' can be watched"),
        ('{"watch": {"map": 3}}', "'map' must be an object of layer, step, head"),
        ('{"watch": {"map": {"layer": -1}}}', "'layer' must be a number from 0"),
        ('{"watch": {"map": {"layer": 1e400}}}', "'layer' must be a number"),
        ('{"watch": {"map": {"layer": true}}}', "'layer' must be a number"),
        ('{"watch": {"neurons": {"step": "last"}}}', "'step' must be a number"),
        ('{"ack": Infinity}', "not understood"),
        ("[" * 2000, "not understood"),
    ],
)
def test_a_wrong_message_is_answered_and_the_page_lives_on(message, words) -> None:
    async def play(show):
        async with opened(show) as page:
            await page.ws.send_str(message)
            await page.until(lambda: page.errors)
            assert words in page.errors[0]
            await page.watch(pace=True)
            await page.until(lambda: page.paces)

    run(play, by_itself=False)


def test_oversize_and_too_many_pages() -> None:
    async def play(show):
        async with opened(show) as page:
            await page.ws.send_str("x" * 10_000)
            with pytest.raises(ConnectionError):
                await page.rest(3)
        async with aiohttp.ClientSession() as session:
            url = f"{show.surface.url}api/inside"
            sockets = [await session.ws_connect(url) for _ in range(looks.MOST_PAGES)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await session.ws_connect(url)
            assert refusal.value.status == 503
            for ws in sockets:
                await ws.close()

    run(play, by_itself=False)


def test_what_does_not_exist_stops_nothing() -> None:
    async def play(show):
        async with opened(show) as page:
            await page.watch(map={"layer": 99, "step": 77, "head": 5}, neurons={"layer": 500}, pace=True)
            await page.until(lambda: len(page.paces) >= 3)
            assert page.maps == [] and page.neurons == []
            await page.watch(map={"layer": 0, "step": 0})
            await page.until(lambda: page.maps)

    run(play)


def test_wishes_are_read() -> None:
    assert read_wish({}) == Wish()
    assert read_wish({"map": {"layer": 3}, "pace": True}) == Wish(map=(3, None, None), pace=True)
    assert read_wish({"neurons": {"step": "cache"}, "memory": True}) == Wish(neurons=(None, -1), memory=True)
    assert read_wish({"map": None}) == Wish()
