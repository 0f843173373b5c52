"""Shared by the OSC tests: parameters to play, a client on a real socket, and what hypothesis makes messages of."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from instrument.osc.codec import Message, decode, encode
from instrument.osc.router import Router, Sender
from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

ADDRESSES = st.from_regex(r"(/[a-z0-9_]{1,8}){1,4}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
PLAIN = st.integers(-(2**63), 2**63 - 1) | st.booleans() | TEXTS | st.binary(max_size=40) | st.none()
STATUS = {"fps": 17.5, "latency_ms": None, "chunks": 42, "warnings": ["x"], "beat": 3.25}
ARGS = st.lists(PLAIN | st.floats(width=32, allow_nan=False) | st.lists(PLAIN, max_size=3), max_size=6)


def packet(tags: bytes, payload: bytes = b"") -> bytes:
    """A message to /a, written by hand."""
    text = b"," + tags
    return b"/a\0\0" + text + bytes(4 - len(text) % 4) + payload


def wait_until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `true` returns once it is true, or at the end of the time."""
    end = time.monotonic() + seconds
    while not (result := true()) and time.monotonic() < end:
        time.sleep(0.002)
    return result


def some_params() -> ParamSet:
    params = ParamSet(notices=lambda text: None)
    params.add("petals.gain", ControlSpec(0, 8, 1, warp="cubed"))
    params.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    params.add("petals.layers.width", ControlSpec(0, 30, 29))
    params.add("brush.gain", ControlSpec(0, 1, 0))
    params.add("freeze", SwitchSpec())
    params.add("mode", ChoiceSpec(("product", "sum"), "product"))
    params.add("count", ControlSpec(0, 9, 2, step=1))
    params.add("prompt", TextSpec("water"))
    params.add("panic", TriggerSpec())
    params.alias("bend.1.amount", "petals.gain")
    return params


def heard(params: ParamSet, id: str, value: Any) -> bool:
    return bool(wait_until(lambda: params[id].base == value))


def complaint(params: ParamSet, id: str, *args: Any) -> str:
    """What somebody who sends this is answered, which is one error and nothing else."""
    told: list[bytes] = []
    Router(params).take(
        encode("/" + id.replace(".", "/"), *args), Sender("127.0.0.1", "a patcher", "osc:1", told.append)
    )
    (message,) = [message for packet in told for bundle in decode(packet) for message in bundle.messages]
    assert message.address == "/error"
    return message.args[0]


def free_port() -> int:
    """A UDP port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Client:
    """A program on the other end of a real UDP socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5.0)
        self.socket.connect(("127.0.0.1", port))

    @property
    def origin(self) -> str:
        return f"osc:127.0.0.1:{self.socket.getsockname()[1]}"

    def send(self, address: str, *args: Any) -> None:
        self.socket.send(encode(address, *args))

    def answer(self) -> Message:
        return decode(self.socket.recv(65536))[0].messages[0]

    def close(self) -> None:
        self.socket.close()


class Ear:
    """A UDP port that keeps what it hears."""

    def __init__(self, client: Client | None = None, port: int = 0) -> None:
        self.socket = client.socket if client else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if client is None:
            self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.heard: list[tuple[Any, ...]] = []
        self._stop = threading.Event()
        self.socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                message = decode(self.socket.recv(65536))[0].messages[0]
            except (TimeoutError, ConnectionError):
                continue
            self.heard.append((message.address, *message.args))

    def of(self, address: str) -> list[tuple[Any, ...]]:
        return [message[1:] for message in self.heard.copy() if message[0] == address]

    def last(self, address: str) -> tuple[Any, ...] | None:
        return (self.of(address) or [None])[-1]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.socket.close()


@contextmanager
def listening() -> Iterator[Callable[..., Ear]]:
    """`listening(client, port)` -> an Ear at that client's port or at one of its own, until the end."""
    made: list[Ear] = []

    def listen(client: Client | None = None, port: int = 0) -> Ear:
        made.append(Ear(client, port))
        return made[-1]

    try:
        yield listen
    finally:
        for ear in made:
            ear.close()


@contextmanager
def servers(params: ParamSet, status: Callable[[], dict[str, Any]]) -> Iterator[Callable[..., OscServer]]:
    """`servers(outs)` -> an OscServer that runs until the end, with these targets of `--osc-out`."""
    made: list[OscServer] = []

    def opened(outs: Iterable[str] = ()) -> OscServer:
        made.append(OscServer(params, port=0, notices=lambda text: None, status=status))
        made[-1].start(outs)
        return made[-1]

    try:
        yield opened
    finally:
        for server in made:
            server.close()
