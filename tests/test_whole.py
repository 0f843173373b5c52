"""Files are there whole or not at all, and nothing is left of what failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines import whole
from tests.filling import full_disk


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_stood_there_stays_until_all_is_written(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with whole.beside(tmp_path / "a") as partial:
        partial.write_bytes(b"new")
        assert (tmp_path / "a").read_bytes() == b"old" and partial.suffix == whole.PARTIAL
    assert files(tmp_path) == {"a": b"new"}


def test_what_fails_leaves_the_old_and_nothing_else(tmp_path):
    whole.write(tmp_path / "a", b"old")
    with pytest.raises(KeyError), whole.beside(tmp_path / "a") as partial:
        partial.write_bytes(b"half")
        raise KeyError
    with full_disk(), pytest.raises(OSError):
        whole.write(tmp_path / "a", b"new")
    with full_disk(), pytest.raises(OSError):
        whole.write(tmp_path / "b", b"new", durable=False)
    with full_disk(), pytest.raises(OSError):
        whole.write_new([tmp_path / "c"], b"new")
    assert files(tmp_path) == {"a": b"old"}


def test_a_failing_sync_is_a_failure(tmp_path, monkeypatch):
    """Some disks say that they are full only when what was written is to stay."""

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        whole.write(tmp_path / "a", b"new")
    whole.write(tmp_path / "b", b"new", durable=False)
    assert files(tmp_path) == {"b": b"new"}


@pytest.mark.skipif(os.name == "nt", reason="permissions as on Unix")
def test_permissions_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    whole.write(tmp_path / "a", b"old")
    (tmp_path / "any").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "any").stat().st_mode
    (tmp_path / "a").chmod(0o640)
    with whole.beside(tmp_path / "a") as partial:
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT, 0o600))  # as a library does that makes its own file
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_followed_and_a_device_is_never_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "far" / "a")
    whole.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink() and files(tmp_path / "far") == {"a": b"new"}
    (tmp_path / "null").symlink_to("/dev/null")
    whole.write(tmp_path / "null", b"new", durable=False)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("linking", [True, False])
def test_a_new_file_takes_the_first_free_name(tmp_path, monkeypatch, linking):
    if not linking:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    names = [tmp_path / name for name in "abc"]
    (tmp_path / "a").write_bytes(b"mine")
    assert [whole.write_new(names, data) for data in (b"1", b"2", b"3")] == [names[1], names[2], None]
    assert files(tmp_path) == {"a": b"mine", "b": b"1", "c": b"2"} and whole.write_new([], b"") is None
