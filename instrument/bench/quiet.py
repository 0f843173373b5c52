"""What a soak looks at in quiet moments, and what of it has grown: memory, threads, open files. Knows no show."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SETTLED = 0.25  # of the quiet moments, until what is made once has been made


@dataclass(frozen=True)
class Quiet:
    """What was seen in a quiet moment: MB of the process, MB of them in use, threads, open files."""

    chunks: int
    rss: float
    used: float
    threads: int
    files: int


def slope(quiet: list[Quiet], of: str = "used") -> float:
    """MB per 1000 chunks, by least squares."""
    return 1000 * float(np.polyfit([each.chunks for each in quiet], [getattr(each, of) for each in quiet], 1)[0])


class _Mallinfo(ctypes.Structure):
    """What glibc says of its heaps, see mallinfo(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def in_use(rss: float) -> float:
    """MB that the process holds on to: what glibc has handed out and not got back. What it keeps for later, pieces in
    the heaps of many threads, grows for a while and is no leak. Elsewhere all the process has, `rss`."""
    try:
        ask = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return rss
    ask.restype = _Mallinfo
    told = ask()
    return (told.uordblks + told.hblkhd) / 2**20


def give_back() -> None:
    """Let nobody hold what nobody needs: cycles, and the pieces that glibc keeps in the heaps of threads that are gone,
    which grow for hours without being a leak."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


def grown(quiet: list[Quiet]) -> Iterator[str]:
    """What has become more over time: threads and files of the last moments against the first settled ones, and memory,
    where there are enough moments to tell a slope from a step."""
    settled = quiet[int(SETTLED * len(quiet)) :]
    if len(settled) < 8:
        return
    part = max(2, len(settled) // 4)
    for name in ("threads", "files"):
        first, last = (min(getattr(each, name) for each in some) for some in (settled[:part], settled[-part:]))
        if last > first:
            yield f"{name} grew from {first} to {last}"
    if slope(settled) > 0.25 and settled[-1].used - settled[0].used > 8:
        yield f"memory grew by {slope(settled):.2f} MB per 1000 chunks"
