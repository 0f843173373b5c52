"""A storm of OSC messages, for the bench and the tests: a process of its own, so that it plays as a stranger does.

    python -m instrument.bench.storm PORT RATE SECONDS ADDRESS [ADDRESS ...]

Sends floats that grow from 0 to 1 to the addresses in turn, RATE a second, and 1.0 to each at the end. Prints how many
it sent and in how many seconds. Every line on its standard input lets it rest, or go on. Knows nothing of parameters;
uses nothing but sockets, so it starts at once.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time

_PORTION = 0.002  # seconds between two looks at the clock
_LATEST = 0.1  # seconds behind the clock that are caught up on; more is left out, as after a rest


def padded(text: str) -> bytes:
    return text.encode() + bytes(4 - len(text) % 4)


def storm(port: int, rate: float, seconds: float, addresses: list[str], going: threading.Event) -> tuple[int, float]:
    """(messages sent, seconds taken), while `going` is set. A portion is sent, then waited for the clock."""
    heads = [padded(address) + padded(",f") for address in addresses]
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    total, sent = int(rate * seconds), 0
    started = begun = time.perf_counter()
    while sent < total:
        going.wait()
        due = min(total, int((time.perf_counter() - begun) * rate) + 1)
        if due - sent > _LATEST * rate + len(heads):
            begun += (due - sent) / rate
            continue
        for number in range(sent, due):
            made.send(heads[number % len(heads)] + struct.pack(">f", number / total))
        sent = max(sent, due)
        time.sleep(_PORTION)
    for head in heads:
        made.send(head + struct.pack(">f", 1.0))
    return sent + len(heads), time.perf_counter() - started


def obey(going: threading.Event) -> None:
    """A line lets the storm rest, the next lets it go on."""
    for _ in sys.stdin:
        if going.is_set():
            going.clear()
        else:
            going.set()


if __name__ == "__main__":
    event = threading.Event()
    event.set()
    threading.Thread(target=obey, args=(event,), daemon=True).start()
    count, taken = storm(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:], event)
    print(count, taken)
