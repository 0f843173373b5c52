"""What plays, kept in the patch folder every so often and at the end: after a power cut or a kill, or on another day,
it can be played on.

One file, written whole or not at all, and only where something has changed since the start. What an earlier show has
left there is put aside first. Neither file counts as a patch of the folder. Knows patches and files; no parameters.
"""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from instrument import yamlfile
from instrument.state import AUTOSAVE_EVERY
from instrument.state import patch as patches
from instrument.state.patch import AUTOSAVE, AUTOSAVE_BEFORE, AUTOSAVES, Patch
from instrument.state.saving import SaveError
from pipelines import whole


def left(folder: Path | None, playing: Patch) -> str:
    """What to tell at the start: that a show before has left something, and how to play it. Empty if there is nothing,
    or if that is what plays."""
    file = folder / f"{AUTOSAVE}.yaml" if folder else None
    if file is None or not file.is_file() or playing.name in AUTOSAVES:
        return ""
    when = datetime.fromtimestamp(file.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    return f"{file}: what was played before, as it was {when}; play it on with --patch {AUTOSAVE}"


class Autosave:
    """One show's. `due` is asked in the engine's thread, `keep` called in one that may wait for a disk."""

    def __init__(self) -> None:
        self.every = AUTOSAVE_EVERY  # seconds; 0: never
        self._next = 0.0
        self._version = -1
        self._text: str | None = None  # what played at the start, then what was kept last
        self._refused = ""  # the text that could not be kept, if any
        self._begun = False
        self._snapshots: tuple[dict[str, dict[str, Any]], str] = {}, ""  # and their text

    def due(self, version: int) -> bool:
        """Whether it is time, and anything has changed since the last time or could not be kept then; `version` counts
        changes."""
        now = time.monotonic()
        if not self.every or now < self._next:
            return False
        self._next = now + self.every
        changed, self._version = version != self._version, version
        return changed

    def keep(self, patch: Patch, folder: Path) -> None:
        """Write what plays, unless that is how it began, or is kept already. Raises SaveError, once for the same text
        where it is tried again and again."""
        text = self._text_of(patch)
        if self._text is None or text == self._text:
            self._text = text
            return
        file = folder / f"{AUTOSAVE}.yaml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self._begun and file.exists():
                with whole.beside(folder / f"{AUTOSAVE_BEFORE}.yaml") as partial:
                    shutil.copy2(file, partial)
            self._begun = True
            whole.write(file, f"# {patch.name}, kept by itself while it played\n{text}".encode())
        except OSError as problem:
            self._version = -1  # the disk may have room by the next time
            if text == self._refused:
                return
            self._refused = text
            raise SaveError(f"{folder}: what plays cannot be kept there: {problem.strerror or problem}") from None
        self._text, self._refused = text, ""

    def _text_of(self, patch: Patch) -> str:
        """As `patches.dump`. Snapshots become text only where they have changed: many take a tenth of a second, in
        which the engine would get less of the interpreter."""
        if patch.snapshots != self._snapshots[0]:
            self._snapshots = patch.snapshots, yamlfile.dump({"snapshots": patch.snapshots}) if patch.snapshots else ""
        return patches.dump(patch.model_copy(update={"snapshots": {}})) + self._snapshots[1]
