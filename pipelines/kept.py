"""Embeddings of prompts kept on disk between shows, by what they were made from.

Any number of players may share the folder: a file is written beside its place and moved there whole. It is bounded; the
embeddings that nobody has asked for the longest go first. Nothing that goes wrong here stops a show: what cannot be
read is made again, and what cannot be written is said and forgotten. Knows no encoder.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .whole import PARTIAL, beside

BOUND = 2**29  # bytes: some two thousand prompts of thirty tokens of UMT5-XXL, in half precision
ABANDONED = 3600.0  # seconds after which a file half written is nobody's
SAMPLES, SAMPLE = 64, 2**12  # of a file, to tell it from another


def kept_at() -> Path:
    """Where embeddings are kept if nothing else is said."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "attentionbender" / "prompts"


class Kept:
    """Rows of embeddings [n, dim] by a key."""

    def __init__(self, folder: Path, bound: int = BOUND) -> None:
        """`bound`: bytes that the folder may hold."""
        self.folder, self.bound = folder, bound

    def read(self, key: str, count: int) -> Tensor | None:
        """What is kept under the key, if it is `count` rows."""
        path = self._path(key)
        try:
            rows = load_file(path)["rows"]
            os.utime(path)  # asked for just now
        except (SafetensorError, OSError, KeyError):  # not there, or half written by a crash
            return None
        return rows if rows.ndim == 2 and rows.shape[0] == count else None

    def write(self, key: str, rows: Tensor) -> str:
        """Keep rows; what went wrong, if anything did."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside(self._path(key), durable=False) as partial:
                save_file({"rows": rows.contiguous()}, partial)
            self._bound()
        except (SafetensorError, OSError) as problem:
            return f"the prompt's embeddings could not be kept in {self.folder}: {problem}"
        return ""

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    def _bound(self) -> None:
        """Throw away what nobody has asked for the longest, and what crashes left behind."""
        total = 0
        for at, size, path in sorted(self._files(), reverse=True):
            total += size
            if total > self.bound or (path.suffix == PARTIAL and at < time.time() - ABANDONED):
                with suppress(OSError):  # another player was faster, or is reading it
                    path.unlink()

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.iterdir():
            if path.suffix in (".safetensors", PARTIAL):
                with suppress(OSError):
                    seen = path.stat()
                    yield seen.st_mtime, seen.st_size, path


def fingerprint(path: Path) -> str:
    """Tells one encoder's files from another's without reading the whole of them, wherever they lie: sizes, and samples
    from everywhere in each. Raises OSError."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.suffix} {size} ".encode())
        with file.open("rb") as opened:
            for start in sorted({size * index // SAMPLES for index in range(SAMPLES)} | {max(0, size - SAMPLE)}):
                opened.seek(start)
                digest.update(opened.read(SAMPLE))
    return digest.hexdigest()
