"""One mapping of a rig: where it came from, what its files looked like when they were read, and what it lies over.

Knows files and mappings; nothing of ports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from instrument.mapping.doubles import Doubles
from instrument.mapping.live import Mapping
from instrument.mapping.mapping import MappingFile


class Slot:
    """One mapping, where it came from, and what its files looked like when they were read."""

    def __init__(self, which: str | Path | None, folder: Path | None, file: MappingFile, playing: Mapping) -> None:
        self.which, self.folder = which, folder
        self.asked = True  # for itself; not because another lies over it
        self.playing = playing
        self.doubles = Doubles()
        self.astray: set[int] = set()  # bindings that do nothing with the parameters there are, as was told
        self.stamps = stamps_of(file.files)
        self.begins = bool(self.stamps) and set(self.stamps.values()) == {None}  # learning will write the file

    @property
    def name(self) -> str:
        """What it is called, as it was asked for."""
        return str(self.which or "mapping")

    def lies_over(self, other: Slot) -> bool:
        """Whether the other plays what is not bound here."""
        return bool(self.playing.file.over) and self.playing.file.over == other.which


def stamps_of(files: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """What tells a file that was saved since, by file; None where there is none now."""
    found: dict[Path, tuple[int, int] | None] = {}
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # an editor may take a file away for a moment while it saves
            found[file] = None
        else:
            found[file] = (stat.st_mtime_ns, stat.st_size)
    return found


def own_file(slot: Slot) -> Path | None:
    """The file of a mapping, if it is the player's and none that ships."""
    if isinstance(slot.which, Path):
        return slot.which
    inside = [file for file in slot.playing.file.files if slot.folder and file.parent == slot.folder]
    return inside[0] if inside else None
