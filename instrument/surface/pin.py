"""The PIN that opens the page to other machines: asked for once a browser, with every request of a program.

A browser enters it on a page of its own and keeps a cookie; a program sends it as the password of HTTP basic
authentication, under any name (`http://bender:123456@host:8000/`). Wrong tries are few: five at once from an address
and one every ten seconds then, from all addresses together twenty and one every three seconds. Sessions end with the
show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

PAGE = Path(__file__).parent / "page" / "pin.html"
OPEN = ("/pin", "/pin.css", "/icon.svg")  # what whoever has not entered it may see
DIGITS = 6
SESSIONS = 64  # browsers let in at once; the oldest has to enter it again
ADDRESSES = 1024  # whose tries are remembered
LONGEST = 64  # characters of a PIN
_PROBLEM = "<!-- problem -->"


def new_pin() -> str:
    return "".join(secrets.choice("0123456789") for _ in range(DIGITS))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Bucket:
    """So many tries at once, and one more every so many seconds."""

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.size, self.seconds, self._clock = size, seconds, clock
        self._left, self._at = float(size), clock()

    def wait(self) -> float:
        """Seconds until a try is allowed; 0 for now."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) / self.seconds, self.size)
        self._at = now
        return max(0.0, (1.0 - self._left) * self.seconds)

    def spend(self) -> None:
        self._left -= 1.0


class TooManyTries(Exception):
    """Wrong ones, of late; `wait` is for how many seconds none is looked at."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many wrong PINs; wait {wait:.0f} s")
        self.wait = wait


class Pin:
    """Asks everybody but those it knows. Runs in the server's event loop."""

    def __init__(self, pin: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pin, self._clock = pin.encode(), clock
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self._tries: OrderedDict[str, Bucket] = OrderedDict()
        self._all = Bucket(20, 3.0, clock)

    # --- whether it is right ---

    def is_right(self, said: str, address: str) -> bool:
        """Whether this is the PIN. Raises TooManyTries; then it was not looked at, right or wrong."""
        own = self._tries.pop(address, None) or Bucket(5, 10.0, self._clock)
        self._tries[address] = own  # the newest last
        if len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)
        if wait := max(own.wait(), self._all.wait()):
            raise TooManyTries(wait)
        right = secrets.compare_digest(said.encode("utf-8", "replace"), self._pin)
        if not right:
            own.spend()
            self._all.spend()
        return right

    def _new_session(self) -> str:
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = None
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return token

    # --- what a request is answered ---

    def admit(self, request: web.Request) -> None:
        """Let the request pass. Raises HTTPUnauthorized, HTTPTooManyRequests, or a redirect of a browser to the box."""
        if request.path in OPEN:
            return
        cookie = request.cookies.get(_name(request))
        if (
            cookie and _digest(cookie) in self._sessions
        ):  # digests of random tokens: how long a look takes tells nothing
            return
        said = _basic(request.headers.get("Authorization", ""))
        if said is not None:
            try:
                if self.is_right(said, request.remote or ""):
                    return
            except TooManyTries as problem:
                headers = {"Retry-After": f"{problem.wait + 1:.0f}"}
                raise web.HTTPTooManyRequests(text=f"{problem}\n", headers=headers) from None
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/pin")
        # A challenge is for programs: a browser would put up a box of its own in front of the page.
        challenge = {} if "Sec-Fetch-Site" in request.headers else {"WWW-Authenticate": 'Basic realm="AttentionBender"'}
        raise web.HTTPUnauthorized(text="the PIN that the instrument's terminal shows is needed\n", headers=challenge)

    async def ask(self, request: web.Request) -> web.Response:
        """The page with the box."""
        return _page("")

    async def enter(self, request: web.Request) -> web.Response:
        """What was put into the box: a session and the way to the page, or the box again."""
        if (request.content_length or 0) > 1024:
            raise web.HTTPRequestEntityTooLarge(1024, request.content_length or 0)
        said = (await request.post()).get("pin", "")
        try:
            right = isinstance(said, str) and self.is_right(said.strip(), request.remote or "")
        except TooManyTries as problem:
            return _page(f"Too many wrong ones. Wait {problem.wait + 1:.0f} seconds.", 429)
        if not right:
            return _page("That is not it. The instrument's terminal shows the PIN.", 403)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(_name(request), self._new_session(), httponly=True, samesite="Strict", path="/")
        return answer


def _page(problem: str, status: int = 200) -> web.Response:
    text = PAGE.read_text(encoding="utf-8").replace(_PROBLEM, problem)
    return web.Response(text=text, status=status, content_type="text/html")


def _name(request: web.Request) -> str:
    """Of the cookie: a browser keeps one per port, for it sends a machine's cookies to all of its ports."""
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return f"bender_{address[1] if address else 0}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _basic(header: str) -> str | None:
    """The password in an Authorization header, any name before it; None where there is none to be read."""
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return None
