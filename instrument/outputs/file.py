"""Recordings: mp4, mkv, mov, gif, webp, numbered pictures or a single picture, chosen by the file's name.

    clip.mp4              H.264, readable up to the last second even if the program or the computer dies
    clip.mkv[?lossless]   H.264, or FFV1 bit for bit
    clip.mov              ProRes 422 HQ, for editing
    loop.gif  loop.webp   endless loops
    frames/####.png       numbered pictures (png or jpg); the folder is made
    still.png             the last frame, written at the end

A file that exists is kept: the new take gets the next free number (clip-2.mp4), unless `overwrite` is given: then
it stays until the new take can be read, or is complete. Frames with time stamps keep their true times; frames without
(offline) are 1/fps apart, and none is ever dropped here. Nothing here knows about pacing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from .base import Output, OutputError
from .movie import FAILURES, NO_CODEC, RECIPES, Gone, MovieWriter, Recipe
from .pictures import ENCODERS, SequenceWriter, StillWriter

Writer = MovieWriter | SequenceWriter | StillWriter
SUFFIXES = sorted({key.partition("?")[0] for key in (*RECIPES, *ENCODERS)})

_claimed: set[Path] = set()  # what any of these is writing now
_claiming = threading.Lock()


class FileOutput(Output):
    """`file:clip.mp4`, `file:clip.mkv?lossless`, `file:frames/####.png`. Once open, `path` is what is written."""

    options: ClassVar = {"lossless": bool, "overwrite": bool, "quality": int}
    wants_card = False

    def __init__(self, target: str, lossless: bool = False, overwrite: bool = False, quality: int = 80) -> None:
        """`quality` is 1..100 for the lossy formats. Raises OutputError for a name that says no known format."""
        self.name = f"file:{target}"
        self.path = Path(target).expanduser()
        self._wanted, self._overwrite = self.path, overwrite
        self._make = self._writer(lossless, quality)
        self._writing: Writer | None = None
        self._mine: Path | None = None  # of what is claimed

    @property
    def writing(self) -> str:
        return str(self.path) if self._writing is not None else ""

    def _writer(self, lossless: bool, quality: int) -> Callable[[int, int, float], Writer]:
        """How the file's name wants to be written, settled before anything opens."""
        suffix = self._wanted.suffix.lower()
        if not self._wanted.name:
            raise OutputError("file", "needs a file name", "write for example file:clip.mp4")
        if not 1 <= quality <= 100:
            raise OutputError(self.name, f"quality {quality} is out of range", "give 1 (coarse) to 100 (fine)")
        if lossless and suffix != ".mkv":
            raise OutputError(
                self.name, f"{suffix or 'this'} cannot be lossless", "name the file .mkv, or number .png pictures"
            )
        if suffix in RECIPES:
            recipe = RECIPES[".mkv?lossless" if lossless else suffix]
            return lambda width, height, fps: self._movie(recipe.at_quality(quality), width, height, fps)
        if suffix in ENCODERS:
            encode = ENCODERS[suffix](quality)
            if "#" in self._wanted.stem:
                return lambda *_: SequenceWriter(self._claim(), encode, self._overwrite)
            return lambda *_: StillWriter(self._claim(), encode)
        raise OutputError(
            self.name,
            f"cannot tell the format of '{suffix or self._wanted.name}'",
            f"end the name in one of: {' '.join(SUFFIXES)}",
        )

    def _movie(self, recipe: Recipe, width: int, height: int, fps: float) -> MovieWriter:
        return MovieWriter(self._claim(), recipe, (width, height), fps)

    def _claim(self) -> Path:
        """The wanted path, or its next free number, for this output alone. Raises OutputError where another writes
        what this one is to overwrite, or pictures to be numbered together."""
        with _claiming:
            path, number = self._wanted, 2
            numbered = not self._overwrite and "#" not in path.stem
            while numbered and (path.exists() or path.absolute() in _claimed):
                path, number = self._wanted.with_stem(f"{self._wanted.stem}-{number}"), number + 1
            if path.absolute() in _claimed:
                raise OutputError(self.name, "another output is writing it", "give this one another name")
            self._mine = path.absolute()
            _claimed.add(self._mine)
        return path

    def _release(self) -> None:
        with _claiming:
            _claimed.discard(self._mine)
            self._mine = None

    def open(self, width: int, height: int, fps: float) -> None:
        folder = self._wanted.parent
        try:
            if "#" in self._wanted.stem and folder.parent.is_dir():
                folder.mkdir(exist_ok=True)
            if not folder.is_dir():
                raise OutputError(self.name, f"there is no folder '{folder}'", "make it first, or name another")
            self._writing = self._make(width, height, fps)
            self.path = self._writing.path
            self._overwrite = False  # opened again after a failure, it must not destroy its own first part
        except NO_CODEC as error:
            remedy = "install the wheel of the package 'av' from PyPI, which has all codecs"
            raise OutputError(self.name, f"it cannot be encoded here ({error})", remedy) from error
        except FAILURES as error:
            raise self._failure(error) from error
        finally:
            if self._writing is None:
                self._release()

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        try:
            self._writing.write(frame, at)
        except FAILURES as error:
            raise self._failure(error) from error

    def close(self) -> None:
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.close()
        except FAILURES as error:
            raise self._failure(error) from error
        finally:
            self._release()

    def _failure(self, error: Exception) -> OutputError:
        reason = error.strerror or re.sub(r"\s+", " ", str(error))
        remedy = "check the folder's permissions and the disk's free space"
        if isinstance(error, Gone):
            remedy = "what was recorded so far went with it; recording begins anew"
        return OutputError(self.name, f"cannot write it ({reason})", remedy)
