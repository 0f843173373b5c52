"""`bender send` and `bender get`: one message from a shell to a show that plays, and what the show answers.

A ping follows every message. UDP on one machine keeps the order, so what has come before the pong is the answer. Knows
the addresses of OSC; nothing of parameters.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from instrument.osc.codec import Message, OscError, decode, encode
from instrument.osc.router import address_of

PATIENCE = 3.0  # seconds for a pong
_QUIET = 0.3  # seconds without another value after which there are no more


class SendError(OSError):
    """Nothing can be sent, nobody answers, or the show refuses; the text says which, and what would do."""


def send(id: str, values: list[str], place: tuple[str, int]) -> None:
    """Set, fire or flip a parameter, by its id or its OSC address, of the show at (host, port). Raises SendError."""
    with _line(id, place) as line:
        line.send(encode(_address(id), *map(_argument, values)))
        _raise_errors(_until_pong(line))


def get(id: str, place: tuple[str, int]) -> list[str]:
    """`id value` of every parameter that an id, or a pattern such as *.gain, means. Raises SendError."""
    with _line(id, place) as line:
        line.send(encode("/subscribe", _address(id)))
        told = _until_pong(line)
        _raise_errors(told)
        told += _until_quiet(line)
        line.send(encode("/unsubscribe"))
    newest = {message.address: message.args for message in told}
    if not newest:
        raise SendError(f"{id}: this show has no such value; bender params lists those of a patch")
    return [f"{address[1:].replace('/', '.')} {' '.join(map(_shown, args))}" for address, args in newest.items()]


@contextmanager
def _line(id: str, place: tuple[str, int]) -> Iterator[socket.socket]:
    """A socket to the show; what goes wrong on it as SendError."""
    where = f"{place[0]}:{place[1]}"
    try:
        family, _, _, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.connect(address)
            yield made
    except SendError:
        raise
    except (ConnectionRefusedError, TimeoutError):
        raise SendError(f"no show answers at {where}; start bender play, or give --host and --osc-port") from None
    except (OSError, OscError, OverflowError) as problem:
        raise SendError(f"{id} cannot be sent to {where}: {problem}") from None


def _until_pong(line: socket.socket) -> list[Message]:
    """What comes before the answer to a ping. Raises TimeoutError."""
    line.send(encode("/bender/ping"))
    end, found = time.monotonic() + PATIENCE, []
    while not any(message.address == "/bender/pong" for message in found):
        line.settimeout(max(0.001, end - time.monotonic()))
        found += _messages(line)
    return [message for message in found if message.address != "/bender/pong"]


def _until_quiet(line: socket.socket) -> list[Message]:
    """What comes now; not what the show goes on telling of itself."""
    end, found = time.monotonic() + 2 * _QUIET, []
    line.settimeout(_QUIET)
    try:
        while time.monotonic() < end:
            new = _messages(line)
            found += new
            if not all(message.address.startswith("/status/") for message in new):
                end = time.monotonic() + 2 * _QUIET
    except TimeoutError:
        return found
    return found


def _messages(line: socket.socket) -> list[Message]:
    return [message for bundle in decode(line.recv(65536)) for message in bundle.messages]


def _raise_errors(messages: list[Message]) -> None:
    for message in messages:
        if message.address == "/error":
            raise SendError(" ".join(map(str, message.args)))


def _address(id: str) -> str:
    return id if id.startswith("/") else address_of(id)


def _argument(word: str) -> int | float | str:
    """A word of the shell as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
