"""Who may talk to the page's server: people at this machine's own addresses, and no web page from anywhere else. Where
there is a PIN, people who have entered it.

A site that somebody has open in another tab can aim requests at this server, or let its own name resolve to this
machine (DNS rebinding). Its requests then carry its name as Host or Origin, or are marked as cross-site by the browser.
All are refused.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from instrument.sockets import asks_for_socket

from .pin import Pin

PIN_NEEDED = 4401  # why a page's socket is closed
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, a browser would hide the Origin of the PIN's form as well
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def own_names(bound: str) -> frozenset[str]:
    """Host names, lower case, under which this machine may be called, besides any IP address."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", bound.lower(), name, f"{name}.local", name.split(".")[0] + ".local"} - {""})


def is_own_host(header: str | None, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine. An IP address always does: rebinding needs a name."""
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host in names or host.endswith(".localhost")
    return True


def is_own_page(request: web.Request) -> bool:
    """Whether the request comes from our own page, from a person, or from a program that is no browser."""
    headers = request.headers
    if not all(_is_origin_of(origin, headers.get("Host", "")) for origin in headers.getall("Origin", [])):
        return False
    if headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none"):
        return True
    return request.path == "/" and headers.get("Sec-Fetch-Mode") == "navigate"  # a link that leads here is fine


def _is_origin_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def guard(bound: str, pin: Pin | None = None) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    """The middleware: 403 for strangers, and what the PIN has to say to those who have not entered it."""
    names = own_names(bound)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not is_own_host(hosts[0], names):
            raise web.HTTPForbidden(text="this name is not one of this machine's; call it by its address\n")
        if not is_own_page(request):
            raise web.HTTPForbidden(text="requests from other sites are refused\n")
        if pin is not None:
            try:
                pin.admit(request)
            except web.HTTPUnauthorized:
                if "Origin" in request.headers and asks_for_socket(request):
                    return await _turn_away(request)
                raise
        return await handler(request)

    return check


async def _turn_away(request: web.Request) -> web.StreamResponse:
    """Tell a page of ours, which learns nothing of a refused handshake, why it may not connect: by how it is closed."""
    socket = web.WebSocketResponse(max_msg_size=128)
    await socket.prepare(request)
    await socket.close(code=PIN_NEEDED, message=b"the PIN is needed")
    return socket


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler that puts the protective headers on every answer."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
