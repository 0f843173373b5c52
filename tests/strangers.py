"""A page served to strangers, and raw requests to it."""

from __future__ import annotations

import base64
import socket
from contextlib import contextmanager

import numpy as np

from instrument.osc.query import OscQuery
from instrument.parameters.params import ParamSet
from instrument.surface.server import Surface
from pipelines.spec import ControlSpec

PIN = "274513"
API = ("/api/params", "/api/status", "/api/names")
EVERYWHERE = ("/", "/style.css", "/js/main.js", *API, "/stream.mjpeg", "/petals", "/?HOST_INFO")
SOCKETS = ("/ws", "/api/inside", "/", "/petals")
UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


class Nothing:
    """A network that is never looked at."""

    def facts(self):
        return {"layers": 1, "steps": 1}

    def ask(self, *key):
        """Nothing is asked of it."""

    def take(self, *key):
        return None

    def forget(self):
        """Nothing to forget."""

    def memory(self):
        return []

    def pace(self):
        return {"fps": 1.0}


@contextmanager
def serving(pin: str | None = None):
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1), group="petals")
    surface = Surface(params, lambda: {"fps": 17.5}, port=0, query=OscQuery(params))
    surface.look_inside(Nothing())
    if pin is not None:
        surface.ask_for(pin)
    surface.start()
    surface.show(np.zeros((16, 16, 3), np.uint8))
    try:
        yield surface
    finally:
        surface.close()


def say(
    surface: Surface, head: str, body: bytes = b"", seconds: float = 5.0
) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, headers by lower-case name, and what had come of the body with the head, of an answer to these bytes."""
    with socket.create_connection(("127.0.0.1", surface.port), timeout=seconds) as line:
        line.sendall(head.encode() + b"\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := line.recv(65536)):
            answer += part
        if answer.startswith(b"HTTP/1.1 200"):
            line.settimeout(0.2)
            try:
                while part := line.recv(65536):
                    answer += part
            except TimeoutError:
                pass
    if not answer:
        return 0, {}, b""
    first, *lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers: dict[str, list[str]] = {}
    for line_ in lines:
        name, _, value = line_.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    return int(first.split()[1]), headers, answer.partition(b"\r\n\r\n")[2]


def get(surface: Surface, path: str, *headers: tuple[str, str], host: str | None = "127.0.0.1", method: str = "GET"):
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else [])]
    return say(surface, "".join(f"{line}\r\n" for line in [*lines, *(f"{name}: {value}" for name, value in headers)]))


def password(pin: str, name: str = "bender") -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{pin}".encode()).decode()
