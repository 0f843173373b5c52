"""Large files in pieces: split for carrying, join again, and a checksum that says whether all arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

MIB = 1 << 20


def split(path: Path, folder: Path, mib: float) -> list[Path]:
    """Write `<name>.part0`, `.part1` ... of at most `mib` MiB, and `<name>.sha256`; returns the pieces."""
    size = int(mib * MIB)
    if size <= 0:
        raise ValueError(f"pieces of {mib} MiB: give a positive size")
    folder.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes()
    pieces = []
    for index, start in enumerate(range(0, len(data), size)):
        piece = folder / f"{path.name}.part{index}"
        piece.write_bytes(data[start : start + size])
        pieces.append(piece)
    (folder / f"{path.name}.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")
    return pieces


def join(pieces: Sequence[Path], path: Path) -> Path:
    """Put pieces together, in the order of their numbers; ValueError when the checksum beside them disagrees."""
    ordered = sorted(pieces, key=lambda piece: int(piece.name.rpartition(".part")[2]))
    data = b"".join(piece.read_bytes() for piece in ordered)
    checksum = ordered[0].with_name(ordered[0].name.rpartition(".part")[0] + ".sha256")
    found = hashlib.sha256(data).hexdigest()
    if not checksum.is_file() or checksum.read_text().strip() != found:
        raise ValueError(f"{len(ordered)} pieces make {len(data)} bytes, which is not what {checksum} says")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
