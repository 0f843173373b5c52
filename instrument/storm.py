"""A storm of OSC messages, for the bench and the tests: a process of its own, so that it plays as a stranger does.

    python -m instrument.storm PORT RATE SECONDS ADDRESS [ADDRESS ...]

Sends floats that grow from 0 to 1 to the addresses in turn, RATE a second, and 1.0 to each at the end. Prints how many
it sent and in how many seconds. Knows nothing of parameters; uses nothing but sockets, so it starts at once.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

_PORTION = 0.002  # seconds between two looks at the clock


def padded(text: str) -> bytes:
    return text.encode() + bytes(4 - len(text) % 4)


def storm(port: int, rate: float, seconds: float, addresses: list[str]) -> tuple[int, float]:
    """(messages sent, seconds taken). A portion is sent, then waited for the clock; what is late is caught up on."""
    heads = [padded(address) + padded(",f") for address in addresses]
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    total, sent, begun = int(rate * seconds), 0, time.perf_counter()
    while sent < total:
        due = min(total, int((time.perf_counter() - begun) * rate) + 1)
        for number in range(sent, due):
            made.send(heads[number % len(heads)] + struct.pack(">f", number / total))
        sent = max(sent, due)
        time.sleep(_PORTION)
    for head in heads:
        made.send(head + struct.pack(">f", 1.0))
    return sent + len(heads), time.perf_counter() - begun


if __name__ == "__main__":
    count, taken = storm(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
    print(count, taken)
