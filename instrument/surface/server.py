"""The web page's server: one thread with its own event loop, on this machine only unless told otherwise.

    /               the page             /ws           values and pictures, see feed.py
    /api/inside     looks inside, see looks.py
    /api/params     what can be played   /stream.mjpeg the picture for anything that shows MJPEG
    /api/status     how it plays       /..., and / for whoever does not ask for HTML: OSCQuery, see osc/query.py

Knows parameters by what they tell of themselves and nothing of engines or models. Frames are only kept; the newest is
encoded, in this thread, when somebody has asked for it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from aiohttp import web

from instrument.addresses import EVERYWHERE, served_addresses, wrong_host
from instrument.osc.query import OscQuery
from instrument.parameters.params import ParamSet
from instrument.sockets import accept, converse
from pipelines.refusal import Refusal

from . import PORT
from .admission import Admission
from .feed import Feed, Play, Status, finite
from .guard import guard, protect
from .looks import Looks, Source
from .pin import Pin

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
QUALITY = 80  # of the JPEG pictures
LARGEST_MESSAGE = 64 * 1024  # bytes from a page
MOST_VIEWERS = 16  # pages and MJPEG viewers at once
MJPEG_BEAT = 1 / 30  # least seconds between MJPEG pictures


class SurfaceError(Refusal, RuntimeError):
    """The page cannot be served; the text says why and what to do."""


class Picture:
    """The newest frame, and its JPEG once somebody wants it."""

    def __init__(self) -> None:
        self.number = 0
        self._frame: np.ndarray | None = None
        self._encoded: tuple[int, bytes] = (0, b"")

    def keep(self, frame: np.ndarray) -> bool:
        """Make this the newest; False if it already is."""
        if frame is self._frame:
            return False
        self._frame = frame
        self.number += 1
        return True

    def jpeg(self) -> bytes:
        number, frame = self.number, self._frame
        if self._encoded[0] != number:
            data = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), QUALITY, "RGB", "420")
            self._encoded = (number, data)
        return self._encoded[1]


class Surface:
    """Serves the page for `params`; `status()` is what its status line shows, called from the server's thread."""

    def __init__(
        self,
        params: ParamSet,
        status: Callable[[], dict[str, Any]],
        host: str = "127.0.0.1",
        port: int = PORT,
        query: OscQuery | None = None,
        play: Play | None = None,
    ) -> None:
        """`port` 0 takes any free one; `url` tells which. `query` answers where there is no page; `play` tells pages
        what there is beside parameters."""
        self._params, self._status, self._play = params, Status(status), play
        self._host, self._port, self._query = host, port, query
        self._looks: Looks | None = None
        self._pin: Pin | None = None
        self._picture = Picture()
        self._feeds: set[Feed] = set()
        self._viewers: set[asyncio.Event] = set()  # one per MJPEG connection
        self._numbers = itertools.count(1)
        self._files = {f"/{p.relative_to(PAGE).as_posix()}": p for p in PAGE.rglob("*") if p.suffix in TYPES}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._up = threading.Event()
        self._refusal: SurfaceError | None = None
        self._thread = threading.Thread(target=self._run, name="surface", daemon=True)

    def look_inside(self, source: Source) -> None:
        """Let pages look inside, through this. Call it before `start`."""
        self._looks = Looks(source)

    def ask_for(self, pin: str) -> None:
        """Let nobody in who has not entered this PIN. Call it before `start`."""
        self._pin = Pin(pin)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        return self._at({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host))

    @property
    def urls(self) -> list[str]:
        """Where browsers find the page: that of this machine first, then those of others."""
        others = served_addresses("0.0.0.0") if self._host in EVERYWHERE and self._host != "::" else []
        return list(dict.fromkeys([self.url, *map(self._at, others)]))

    def _at(self, host: str) -> str:
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pages(self) -> int:
        """How many pages are open."""
        return len(self._feeds)

    def start(self) -> None:
        """Serve from now on. Raises SurfaceError if the port is taken or the address is not this machine's."""
        self._thread.start()
        self._up.wait()
        if self._refusal is not None:
            self._thread.join()
            raise self._refusal

    def close(self) -> None:
        """Disconnect every page and stop."""
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop may have closed this very moment
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def show(self, frame: np.ndarray) -> None:
        """Make `frame`, uint8 [H, W, 3], the picture of every page. Cheap, any thread; it must not change later."""
        if self._picture.keep(frame) and (self._feeds or self._viewers) and self._loop is not None:
            with suppress(RuntimeError):  # closing
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for feed in self._feeds:
            feed.fresh.set()
        for viewer in self._viewers:
            viewer.set()

    # --- the thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0, handle_signals=False)
        await runner.setup()
        try:
            admission = Admission(runner.server)
            server = await self._loop.create_server(admission, self._host, self._port)
        except OSError as error:
            self._refusal = self._explain(error)
        else:
            self._port = server.sockets[0].getsockname()[1]
            self._up.set()
            await self._stop.wait()
            server.close()
            admission.close()
        finally:
            await runner.cleanup()

    def _explain(self, error: OSError) -> SurfaceError:
        where = f"page: port {self._port} on {self._host}"
        if error.errno == errno.EADDRINUSE:
            return SurfaceError(f"{where} is taken by another program; choose another with --page-port")
        if error.errno == errno.EACCES:
            return SurfaceError(f"{where} needs special rights; choose one above 1023 with --page-port")
        if wrong := wrong_host(self._host, error):
            return SurfaceError(f"{where} cannot be opened: {wrong}")
        return SurfaceError(f"{where} cannot be opened ({error.strerror or error}); check the address and --page-port")

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[guard(self._host, self._pin)], client_max_size=LARGEST_MESSAGE)
        app.on_response_prepare.append(protect)
        app.on_shutdown.append(self._disconnect)
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/stream.mjpeg", self._mjpeg)
        if self._looks is not None:
            app.router.add_get("/api/inside", self._looks.serve)
        if self._pin is not None:
            app.router.add_get("/pin", self._pin.ask)
            app.router.add_post("/pin", self._pin.enter)
        app.router.add_get("/api/params", self._describe)
        app.router.add_get("/api/status", self._tell)
        app.router.add_get("/api/names", self._names)
        app.router.add_get("/{file:.*}", self._file)
        return app

    async def _disconnect(self, app: web.Application) -> None:
        for feed in list(self._feeds):
            await feed.close()
        if self._looks is not None:
            await self._looks.close()
        if self._query is not None:
            await self._query.close()

    # --- what is served ---

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self._files.get("/index.html" if request.path == "/" else request.path)
        if self._query is not None and (path is None or (request.path == "/" and self._query.wants(request))):
            return await self._query.answer(request)
        if path is None:
            raise web.HTTPNotFound(text="there is no such page; the instrument is at /\n")
        return web.Response(body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8")

    async def _describe(self, request: web.Request) -> web.Response:
        return web.json_response(finite(self._params.describe()))

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def _names(self, request: web.Request) -> web.Response:
        """Of `?id=`, a text parameter that is `listed`. A disk that stands still holds nobody else up."""
        if self._play is None:
            return web.json_response([])
        try:
            return web.json_response(await asyncio.to_thread(self._play.names, request.query.get("id", "")))
        except LookupError as problem:
            raise web.HTTPNotFound(text=f"{problem}\n") from None

    def _admit(self) -> None:
        if len(self._feeds) + len(self._viewers) >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} pages are open already; close one\n")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self._admit()
        socket = await accept(request, LARGEST_MESSAGE)
        feed = Feed(socket, self._params, self._picture, self._status, f"page {next(self._numbers)}", self._play)
        self._feeds.add(feed)
        try:
            await converse(socket, feed.send_forever(), feed.receive, "a page")
        finally:
            self._feeds.discard(feed)
        return socket

    async def _mjpeg(self, request: web.Request) -> web.StreamResponse:
        self._admit()
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        await response.prepare(request)
        fresh = asyncio.Event()
        self._viewers.add(fresh)
        shown = 0
        try:
            await response.write(b"--frame\r\n")
            while not self._stop.is_set():
                if shown != self._picture.number:
                    shown, data = self._picture.number, self._picture.jpeg()
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    await response.write(head + data + b"\r\n--frame\r\n")  # viewers wait for the boundary
                    await asyncio.sleep(MJPEG_BEAT)
                await _either(fresh, self._stop)
                fresh.clear()
                if request.transport is None or request.transport.is_closing():
                    break
        except ConnectionError:
            log.debug("an MJPEG viewer went away")
        finally:
            self._viewers.discard(fresh)
        return response


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of them is set, at most a second."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
