"""Who gets as far as a request: so many connections at once, and so long for the first one's head.

A connection that says nothing, or says it a byte at a time, costs a file handle; without a bound, strangers on the
network could take those that outputs and files need. Knows no HTTP but the empty line that ends a head.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

MOST = 256  # connections at once
MOST_OF_ONE = 96  # from one address
LONGEST_HEAD = 16 * 1024  # bytes
PATIENCE = 10.0  # seconds until a connection's first head is complete

Factory = Callable[[], asyncio.Protocol]


class Admission:
    """Makes the protocol of every connection: one that waits for a head, then becomes the server's own."""

    def __init__(self, server: Factory, patience: float = PATIENCE) -> None:
        self.server, self.patience = server, patience
        self.held: Counter[str] = Counter()  # connections by address
        self.waiting: set[asyncio.Transport] = set()  # those whose first head is not here yet

    def __call__(self) -> asyncio.Protocol:
        return _Caller(self)

    def close(self) -> None:
        """Let go of everybody who has not asked for anything yet: browsers connect in advance."""
        for transport in list(self.waiting):
            transport.abort()

    def admit(self, address: str) -> bool:
        """Count one more, if there is room."""
        if self.held[address] >= MOST_OF_ONE or self.held.total() >= MOST:
            return False
        self.held[address] += 1
        return True

    def release(self, address: str) -> None:
        self.held[address] -= 1
        if self.held[address] <= 0:
            del self.held[address]


class _Caller(asyncio.Protocol):
    """One connection. Once the first head is here everything goes to the server's protocol."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._inner: asyncio.Protocol | None = None
        self._head = bytearray()
        self._address: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not self._admission.admit(address):
            transport.abort()
            return
        self._address = address
        self._admission.waiting.add(transport)
        self._timer = asyncio.get_running_loop().call_later(self._admission.patience, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._timer.cancel()
            self._admission.waiting.discard(self._transport)
            self._inner = self._admission.server()
            self._inner.connection_made(self._transport)
            self._inner.data_received(bytes(self._head))
            self._head.clear()
        elif len(self._head) > LONGEST_HEAD:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, problem: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._admission.waiting.discard(self._transport)
        if self._address is not None:
            self._admission.release(self._address)
        if self._inner is not None:
            self._inner.connection_lost(problem)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
