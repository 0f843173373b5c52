"""OSC packets in a TCP stream: where one ends and the next begins.

Two framings are in use. OSC 1.0 puts the size of every packet, four bytes, before it (liblo, most libraries); OSC 1.1
uses SLIP, RFC 1055, with END on both sides (QLab, newer clients). The first byte of a connection tells which: a size
that is allowed here starts with 0, a SLIP stream with END, or with the first character of a packet. No byte is both,
so nothing needs to be set. Knows nothing of what is in a packet.
"""

from __future__ import annotations

import logging
import selectors
import socket

from instrument.osc.codec import OscError
from instrument.osc.router import Sender

log = logging.getLogger(__name__)

LARGEST = 65536  # bytes of a packet, as many as UDP can carry
_UNREAD = 256 * 1024  # bytes that wait for one connection before feedback pauses; four times that, and answers go
_END, _ESC = b"\xc0", b"\xdb"
_ESC_END, _ESC_ESC = b"\xdb\xdc", b"\xdb\xdd"


class StreamError(OscError):
    """The stream cannot be read any further; close the connection."""


class Framing:
    """One connection's framing, in both directions."""

    def __init__(self) -> None:
        self._kind = ""  # "size" or "slip", once the first byte is here
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now. Raises StreamError."""
        if not self._kind and data:
            self._kind = _kind_of(data[0])
        self._rest += data
        packets = self._sized() if self._kind == "size" else self._slipped() if _END in data else []
        if len(self._rest) > 2 * LARGEST + 4:  # escaping can double a packet
            raise StreamError(f"a packet is longer than {LARGEST} bytes")
        return packets

    def frame(self, packet: bytes) -> bytes:
        """The packet as it goes back, framed as the other side frames its own."""
        if self._kind == "slip":
            return _END + packet.replace(_ESC, _ESC_ESC).replace(_END, _ESC_END) + _END
        return len(packet).to_bytes(4, "big") + packet

    def _sized(self) -> list[bytes]:
        packets = []
        at = 0
        while len(self._rest) - at >= 4:
            size = int.from_bytes(self._rest[at : at + 4], "big")
            if size > LARGEST:
                raise StreamError(f"a packet of {size} bytes is announced; at most {LARGEST} are taken")
            if len(self._rest) - at - 4 < size:
                break
            if size:
                packets.append(bytes(self._rest[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._rest[:at]
        return packets

    def _slipped(self) -> list[bytes]:
        *whole, rest = bytes(self._rest).split(_END)
        self._rest = bytearray(rest)
        return [part.replace(_ESC_END, _END).replace(_ESC_ESC, _ESC) for part in whole if part]


def _kind_of(first: int) -> str:
    if first == 0:
        return "size"
    if first in b"\xc0/#":
        return "slip"
    raise StreamError("a connection must start with the size of a packet (OSC 1.0) or with SLIP (OSC 1.1)")


class Connection:
    """One TCP connection: what it sent, framed, and what it has not read yet."""

    def __init__(self, made: socket.socket, host: str, name: str, selector: selectors.BaseSelector) -> None:
        self.socket = made
        self.sender = Sender(host, f"{name} (TCP)", f"osc-tcp:{name}", self._send)
        self._selector = selector
        self._framing = Framing()
        self._out = bytearray()

    def read(self) -> list[bytes]:
        """Packets that have come. Raises StreamError, or OSError where the other side has gone."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("closed by the other side")
        return self._framing.feed(data)

    def ready(self) -> bool:
        """Whether it reads what it is sent."""
        return len(self._out) < _UNREAD

    def _send(self, packet: bytes) -> None:
        if len(self._out) < 4 * _UNREAD:
            self._out += self._framing.frame(packet)
        try:
            self.flush()
        except OSError:  # found again, and dropped, when it is read
            log.debug("no answer to %s", self.sender.name)

    def flush(self) -> None:
        """Send what the other side takes now; the rest when it takes more. Raises OSError."""
        if not self._out:
            return
        try:
            del self._out[: self.socket.send(self._out)]
        except BlockingIOError:
            log.debug("%s does not read", self.sender.name)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        key = self._selector.get_key(self.socket)
        if key.events != events:
            self._selector.modify(self.socket, events, key.data)
