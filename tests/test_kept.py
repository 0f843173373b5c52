"""Embeddings on disk: whole or made again, bounded, shared by threads and processes, told apart by their encoder."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.kept import ABANDONED, Kept, fingerprint, kept_at


def _rows(seed: int, count: int = 5) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


def test_what_was_kept_comes_back_and_only_under_its_key(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "new" / "folder")
    assert kept.read("a", 5) is None and kept.write("a", _rows(1)) == "" and kept.write("b", _rows(2)) == ""
    for key, seed in (("a", 1), ("b", 2)):
        assert torch.equal(Kept(tmp_path / "new" / "folder").read(key, 5), _rows(seed))
    assert kept.read("c", 5) is None and kept.read("a", 4) is None


@pytest.mark.parametrize("damage", [b"", b"no file of tensors", None])
def test_a_damaged_file_is_none_at_all(tmp_path: Path, damage: bytes | None) -> None:
    kept = Kept(tmp_path)
    kept.write("a", _rows(1))
    (file,) = tmp_path.iterdir()
    if damage is None:
        file.write_bytes(file.read_bytes()[:-7])
    else:
        file.write_bytes(damage)
    assert kept.read("a", 5) is None and kept.write("a", _rows(1)) == "" and torch.equal(kept.read("a", 5), _rows(1))
    save_file({"columns": _rows(1)}, file)
    assert kept.read("a", 5) is None


def test_what_was_asked_for_longest_ago_goes_first(tmp_path: Path) -> None:
    Kept(tmp_path).write("size", _rows(0))
    size = next(tmp_path.iterdir()).stat().st_size
    next(tmp_path.iterdir()).unlink()
    kept = Kept(tmp_path, bound=3 * size)
    long_ago = time.time() - 1000
    for number, key in enumerate("abc"):
        kept.write(key, _rows(number))
        os.utime(kept._path(key), (long_ago + number, long_ago + number))
    assert torch.equal(kept.read("a", 5), _rows(0))  # asked for again, so b is the oldest
    kept.write("d", _rows(3))
    assert kept.read("b", 5) is None and all(kept.read(key, 5) is not None for key in "acd")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= kept.bound


def test_what_crashes_leave_is_cleared_and_other_files_are_not_touched(tmp_path: Path) -> None:
    old, new, mine = tmp_path / "x.partial", tmp_path / "y.partial", tmp_path / "notes.txt"
    for file in (old, new, mine):
        file.write_bytes(b"?")
    for file in (old, mine):
        os.utime(file, (time.time() - 2 * ABANDONED,) * 2)
    Kept(tmp_path).write("a", _rows(1))
    assert not old.exists() and new.exists() and mine.exists()


def test_many_writers_and_readers_at_once(tmp_path: Path) -> None:
    """All write and read the same few prompts, under a bound that throws some away all the time."""
    problems: list[str] = []
    bound = 2000

    def play(seed: int) -> None:
        kept = Kept(tmp_path, bound)
        for turn in range(40):
            number = (seed + turn) % 5
            problem = kept.write(f"key{number}", _rows(number))
            found = kept.read(f"key{number}", 5)
            if problem or (found is not None and not torch.equal(found, _rows(number))):
                problems.append(problem or "other rows")

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and not list(tmp_path.glob("*.partial"))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= bound


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "could not be kept in" in Kept(tmp_path / "file").write("a", _rows(1))
    assert Kept(tmp_path / "file").read("a", 5) is None


def test_encoders_are_told_apart_by_what_is_in_them_and_not_by_where_they_are(tmp_path: Path) -> None:
    content = bytearray(os.urandom(10**6))
    (tmp_path / "a.pth").write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.pth").write_bytes(content)
    first = fingerprint(tmp_path / "a.pth")
    assert fingerprint(tmp_path / "elsewhere" / "b.pth") == first
    for at in (0, 500_000, 999_999):  # another of the same size, as a fine-tuned one is
        other = content.copy()
        other[at] ^= 255
        (tmp_path / "a.pth").write_bytes(other)
        assert fingerprint(tmp_path / "a.pth") != first
    assert fingerprint(tmp_path / "elsewhere") == first  # a folder of that one file
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    assert fingerprint(tmp_path / "elsewhere") != first
    (tmp_path / "empty.pth").write_bytes(b"")
    assert fingerprint(tmp_path / "empty.pth") != first


def test_the_place_follows_the_desktops_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_at() == tmp_path / "attentionbender" / "prompts"
