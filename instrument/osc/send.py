"""`bender send` and `bender get`: one message from a shell to a show that plays, and what the show answers.

A ping follows every message. UDP on one machine keeps the order, so what has come before the pong is the answer; what
the show finds out later, that there is no such patch, say, comes within a moment. Knows the addresses of OSC; nothing
of parameters.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from instrument.osc.codec import Message, OscError, decode, encode, encode_bundle
from instrument.osc.router import ERROR, NOTICE, address_of
from pipelines.refusal import Refusal

PATIENCE = 3.0  # seconds for a pong
WAIT = 1.0  # seconds for what the show finds out later: a slow chunk, and a look into a folder
PING = encode("/bender/ping")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_QUIET = 0.3  # seconds without another value after which there are no more
_SOON = 0.1  # seconds in which the first value comes, if there is one


class SendError(Refusal, OSError):
    """Nothing can be sent, nobody answers, or the show refuses; the text says which, and what would do."""


class Outcome(NamedTuple):
    """What came of a message: `id value` as it counts, where it was clamped, say, and what the show tells of it."""

    taken: list[str]
    notices: list[str]


def send(id: str, values: list[str], place: tuple[str, int], wait: float = WAIT) -> Outcome:
    """Set, fire or flip a parameter, by its id or its OSC address, of the show at (host, port). `wait`: seconds for
    what the show finds out later. Raises SendError."""
    address, sent = _address(id), tuple(map(_argument, values))
    with _line(id, place) as line, _listening(line, address) as told:
        if all(message.address == ERROR for message in told):  # what is wrong with the address is said once more
            _until_told(line)
        line.send(encode_bundle([encode(address, *sent), PING]))  # in one: what is told after the pong comes of it
        _raise_errors(_to_pong(line))
        later = _for_a_while(line, wait)
    _raise_errors(later)
    shown = [message for message in later if message.address != NOTICE and message.args not in ((), ("",), sent)]
    newest = {message.address: message.args for message in shown}
    return Outcome([_line_of(address, args) for address, args in newest.items()], _texts(later, NOTICE))


def get(id: str, place: tuple[str, int]) -> list[str]:
    """`id value` of every parameter that an id, or a pattern such as *.gain, means; * is all. Raises SendError."""
    every = id in ("*", "/*")  # as an address pattern the star would end at the first /
    with _line(id, place) as line, _listening(line, *([] if every else [_address(id)])) as told:
        _raise_errors(told)
        told += _until_quiet(line)
    newest = {message.address: message.args for message in told if message.address != NOTICE}
    if every:
        newest = {address: args for address, args in newest.items() if not address.startswith("/status/")}
    if not newest:
        raise SendError(f"{id}: this show has no such value; bender params lists those of a patch")
    return [_line_of(address, args) for address, args in newest.items()]


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


@contextmanager
def _listening(line: socket.socket, *wanted: str) -> Iterator[list[Message]]:
    """Be told what these addresses or patterns show, all where there is none; what has come before the first pong."""
    line.send(encode("/subscribe", *wanted))
    try:
        yield _until_pong(line)
    finally:
        line.send(encode("/unsubscribe"))


def _until_pong(line: socket.socket) -> list[Message]:
    """What comes before the answer to a ping. Raises TimeoutError."""
    line.send(PING)
    return _to_pong(line)


def _to_pong(line: socket.socket) -> list[Message]:
    end, found = time.monotonic() + PATIENCE, []
    while not any(message.address == "/bender/pong" for message in found):
        line.settimeout(max(0.001, end - time.monotonic()))
        found += _messages(line)
    return [message for message in found if message.address != "/bender/pong"]


def _until_told(line: socket.socket) -> None:
    """Let pass what the show tells of itself first; nothing of a trigger."""
    line.settimeout(_SOON)
    with suppress(TimeoutError):
        line.recv(65536)


def _for_a_while(line: socket.socket, seconds: float) -> list[Message]:
    """What comes until the time is over, or something is refused."""
    end, found = time.monotonic() + seconds, []
    with suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0 and not any(message.address == ERROR for message in found):
            line.settimeout(left)
            found += _messages(line)
    return found


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
    errors = _texts(messages, ERROR)
    if errors:
        raise SendError("; ".join(errors + _texts(messages, NOTICE)))


def _texts(messages: list[Message], address: str) -> list[str]:
    return [" ".join(map(str, message.args)) for message in messages if message.address == address]


def _address(id: str) -> str:
    return id if id.startswith("/") else address_of(id)


def _line_of(address: str, args: tuple[object, ...]) -> str:
    return f"{address[1:].replace('/', '.')} {' '.join(map(_shown, args))}"


def _argument(word: str) -> int | float | str:
    """A word of the shell as a number where it is written as one; infinity, nan, 1_000 and 007 are words."""
    if _NUMBER.fullmatch(word) is None:
        return word
    return float(word) if set(word) & set(".eE") else int(word)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
