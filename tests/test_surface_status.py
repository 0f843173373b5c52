"""The status over real sockets: it comes by itself, fails without harm, and costs the same however many ask."""

import asyncio
import time
from contextlib import AsyncExitStack

import aiohttp

from instrument.surface import feed
from instrument.surface.feed import finite
from tests.wire import opened, serving, some_params


def test_status_comes_by_itself():
    async def play(surface):
        async with opened(surface) as page:
            await page.until(lambda: len(page.statuses) >= 2)
            assert page.statuses[0]["fps"] == 17.5 and page.statuses[0]["latency_ms"] is None

    with serving(status=lambda: {"fps": 17.5, "latency_ms": float("nan")}) as surface:
        asyncio.run(play(surface))


def test_finite():
    assert finite({"a": [1.0, float("inf"), (float("nan"), "x")]}) == {"a": [1.0, None, [None, "x"]]}


def test_a_status_that_fails_ends_no_page_and_comes_again():
    failing = [True]

    def status():
        if failing[0]:
            raise RuntimeError("between two models")
        return {"fps": 9.5}

    params = some_params()

    async def play(surface):
        async with opened(surface) as page, aiohttp.ClientSession() as session:
            params.set("petals.gain", 3.0, "midi")
            await page.until(lambda: page.values["petals.gain"] == 3.0)
            await page.rest(0.6)
            async with session.get(f"{surface.url}api/status") as answer:
                assert answer.status == 200 and await answer.json() == {}
            failing[0] = False
            await page.until(lambda: page.statuses == [{"fps": 9.5}])

    with serving(params, status) as surface:
        asyncio.run(play(surface))


def test_many_pages_ask_for_the_status_as_often_as_one():
    asked = []

    async def play(surface):
        async with AsyncExitStack() as stack:
            pages = [await stack.enter_async_context(opened(surface)) for _ in range(8)]
            began, before = time.monotonic(), len(asked)
            await asyncio.gather(*(page.until(lambda page=page: len(page.statuses) >= 4) for page in pages))
            assert len(asked) - before <= (time.monotonic() - began) / feed.STATUS_LASTS + 1

    with serving(status=lambda: asked.append(1) or {"fps": len(asked)}) as surface:
        asyncio.run(play(surface))
