"""How a show is asked to end: Ctrl-C, a polite kill, a terminal or console that is closed.

The first request ends it in good order: files finished, ports free, lights out. A second Ctrl-C, from a person who does
not want to wait, interrupts that: what can end within a second does, then the process is gone. Nobody waits for a model
that is being loaded meanwhile: once all is in order the process leaves it behind.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

# SIGHUP: the terminal is gone. SIGBREAK: Windows, Ctrl-Break, or the console's window closed.
REQUESTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
INTERRUPTED = 130  # exit status, as shells have it
GRACE = 1.0  # seconds after the second
LONGEST = 45.0  # seconds that an end in good order may take: longer than all that is waited for together


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """An event that a request sets; to be used in the main thread."""
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            leave = threading.Timer(GRACE, os._exit, (INTERRUPTED,))
            leave.daemon = True
            leave.start()
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, stop) for number in REQUESTS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_most(seconds: float = LONGEST) -> Iterator[None]:
    """The process is over after so many seconds, with status 1 and what it hung in on stderr, even where a library
    keeps the interpreter to itself: python-rtmidi does while it closes a port, and a JACK server that hangs never lets
    go. Where there is no stderr it is not watched."""
    with suppress(RuntimeError, ValueError, OSError, AttributeError):
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def leave(status: int = 0) -> NoReturn:
    """End the process here and now, whatever its threads are at: the interpreter would wait for them, and one that is
    deep in torch while it is taken down can crash it. Everything that matters must have been closed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(status)
