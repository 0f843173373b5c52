"""What is seen of the picture on the page: sent as fast as it is taken, to a bounded number, to nobody in vain."""

import asyncio
import threading
import time

import aiohttp
import pytest
import simplejpeg

from tests.wire import opened, picture, serving, some_params


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
        end = time.monotonic() + 20
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
        end = time.monotonic() + 20
        while surface._viewers and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert not surface._viewers

    with serving() as surface:
        asyncio.run(visit(surface))


def test_who_shows_a_picture_does_not_encode_it(monkeypatch):
    here, encoding, real = threading.get_ident(), set(), simplejpeg.encode_jpeg
    monkeypatch.setattr(simplejpeg, "encode_jpeg", lambda *args: encoding.add(threading.get_ident()) or real(*args))

    async def play(surface):
        async with opened(surface) as page:
            surface.show(picture(200, 512, 288))
            await page.until(lambda: page.pictures)

    with serving() as surface:
        asyncio.run(play(surface))
    assert encoding and here not in encoding
