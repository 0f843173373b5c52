"""Files that are there whole or not at all, however the machine ends: written beside their place, then moved there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"  # the ending of what is not whole yet


@contextmanager
def beside(path: Path, durable: bool = True) -> Iterator[Path]:
    """An empty file to write, which takes the place of `path` at the end of the block, and goes where that raises.

    What stands at `path` stays until then, and its permissions pass on; a link is followed; a device is written as it
    is. `durable`: wait until the disk has it, so that a power cut, too, leaves the old or the new. Raises OSError.
    """
    place = place_of(path)
    old = place.stat().st_mode if place.exists() else None
    if old is not None and not place.is_file():
        yield place
        return
    with _partial(place) as partial:
        mode = partial.stat().st_mode if old is None else old
        yield partial
        _settle(partial, mode, durable)
        partial.replace(place)


def write(path: Path, data: bytes, durable: bool = True) -> None:
    """As `beside`, of what is in memory. Raises OSError."""
    with beside(path, durable) as partial:
        partial.write_bytes(data)


def write_new(paths: Iterable[Path], data: bytes) -> Path | None:
    """Write the first of these paths, all in one folder, that nothing stands at yet; None where something stands at
    each. No file is ever written over, whoever else writes there. Raises OSError."""
    names = iter(paths)
    first = next(names, None)
    if first is None:
        return None
    with _partial(first) as partial:
        mode = partial.stat().st_mode
        partial.write_bytes(data)
        _settle(partial, mode, True)
        for path in (first, *names):
            if _publish(partial, path):
                return path
    return None


def place_of(path: Path) -> Path:
    """Where a file of this name lies, to be written, moved to and taken away: at the end of its link. A device is never
    moved or taken away: it goes by the name given."""
    place = Path(os.path.realpath(path))  # unlike resolve, it bears a link that leads to itself
    return path if place.exists() and not place.is_file() else place


@contextmanager
def _partial(place: Path) -> Iterator[Path]:
    """An empty file of its own in the same folder, gone at the end."""
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        partial.open("xb").close()
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _settle(partial: Path, mode: int, durable: bool) -> None:
    if durable:
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
    if partial.stat().st_mode != mode:  # some disks refuse any change, also to what it is
        partial.chmod(mode & 0o777)


def _publish(partial: Path, path: Path) -> bool:
    """Give what is whole its name; False where something has it already."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without links, as of cameras and sticks: the name is taken first, then filled
        return _fill(partial, path)
    return True


def _fill(partial: Path, path: Path) -> bool:
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    try:
        partial.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True
