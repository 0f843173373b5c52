"""OSC packets in a TCP stream: where one ends and the next begins.

Two framings are in use. OSC 1.0 puts the size of every packet, four bytes, before it (liblo, most libraries); OSC 1.1
uses SLIP, RFC 1055, with END on both sides (QLab, newer clients). The first byte of a connection tells which: a size
that is allowed here starts with 0, a SLIP stream with END, or with the first character of a packet. No byte is both,
so nothing needs to be set. Knows nothing of sockets.
"""

from __future__ import annotations

from instrument.osc_codec import OscError

LARGEST = 65536  # bytes of a packet, as many as UDP can carry
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
