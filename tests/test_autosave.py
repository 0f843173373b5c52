"""What plays is kept by itself: after a kill it plays on, and nothing that was kept before is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from instrument.__main__ import main
from instrument.state import patch, saving
from instrument.state.autosave import Autosave, left
from instrument.state.saving import SaveError
from instrument.state.snapshots import Snapshot
from tests.filling import full_disk
from tests.playing import PATIENCE, Playing, wait_until
from tests.test_patchdesk import Desk


def kept(folder: Path, name: str = "autosave") -> patch.Patch:
    return patch.load(name, folder)


def holds(folder: Path, values: dict[str, float]) -> bool:
    return (folder / "autosave.yaml").exists() and kept(folder).values == values


def keeping(folder: Path) -> Desk:
    """A desk that looks at every tick whether there is something to keep, and knows how it began."""
    desk = Desk(folder)
    desk.desk.autosave.every = 1e-9
    desk.turn()
    desk.until(lambda name: desk.desk._keeping is None)
    return desk


def test_only_what_has_changed_since_the_start_is_kept(tmp_path):
    desk = keeping(tmp_path)
    desk.params.set("patch.name", "other", "page")  # a change, but none of the picture
    for _ in range(20):
        desk.turn()
    desk.until(lambda name: desk.desk._keeping is None)
    assert list(tmp_path.iterdir()) == []
    desk.params.set("a.gain", 3.5)
    desk.until(lambda name: (tmp_path / "autosave.yaml").exists())
    desk.desk.close()
    assert kept(tmp_path).values == {"a.gain": 3.5} and kept(tmp_path).prompt == "ice"
    assert (tmp_path / "autosave.yaml").read_text().startswith("# one, kept by itself")
    assert [file.name for file in tmp_path.iterdir()] == ["autosave.yaml"] and desk.told == []


def test_what_a_show_before_has_left_is_put_aside_once(tmp_path):
    (tmp_path / "autosave.yaml").write_text("prompt: the night before\n")
    desk = keeping(tmp_path)
    for value in (2.0, 3.0, 4.0):
        desk.params.set("a.gain", value)
        desk.until(lambda name, value=value: holds(tmp_path, {"a.gain": value}))
    desk.desk.close()
    assert kept(tmp_path, "autosave-before").prompt == "the night before"


def test_snapshots_are_kept_too_and_written_anew_only_when_they_change(tmp_path):
    desk, slots = keeping(tmp_path), {}
    desk.desk.snapshots = lambda: slots
    for stored in ({1: Snapshot("low", {"a.gain": 0.5})}, {2: Snapshot("2", {"a.gain": 8.0})}, {}):
        slots = {**slots, **stored}
        for value in (2.5, 3.5):
            desk.params.set("a.gain", value)
            desk.until(lambda name, value=value: holds(tmp_path, {"a.gain": value}))
            found = {name: dict(values) for name, values in kept(tmp_path).snapshots.items()}
            assert found == {each.name: each.values for each in slots.values()}
    slots = {}
    desk.params.set("a.gain", 4.5)
    desk.until(lambda name: holds(tmp_path, {"a.gain": 4.5}) and not kept(tmp_path).snapshots)
    desk.desk.close()


def test_it_is_kept_so_often_and_no_oftener_and_never_without_a_folder_or_a_wish(tmp_path):
    autosave = Autosave()
    assert autosave.every == 30 and autosave.due(1) and not autosave.due(2), "it was just looked at"
    autosave.every, autosave._next = 1e-9, 0.0
    assert autosave.due(3) and not autosave.due(3) and autosave.due(4)
    autosave.every = 0
    assert not autosave.due(5)
    desk = Desk(None)
    desk.desk.autosave.every = 1e-9
    desk.params.set("a.gain", 2)
    desk.turn()
    assert desk.desk._keeping is None


def test_a_show_that_ends_keeps_what_has_changed_since_it_was_kept_last(tmp_path):
    desk = keeping(tmp_path)
    desk.desk.autosave.every = 1000
    desk.desk.close()
    assert not list(tmp_path.iterdir()), "nothing has changed"
    for every, value, found in ((1000, 2.0, 2.0), (0, 3.0, 2.0)):
        desk.desk.autosave.every = every
        desk.params.set("a.gain", value)
        desk.desk.close()
        assert holds(tmp_path, {"a.gain": found}) and desk.told == []


def test_a_show_that_ends_says_so_where_it_cannot_keep_what_plays(tmp_path):
    desk = keeping(tmp_path / "patches")
    (tmp_path / "patches").write_text("no folder any more")
    desk.params.set("a.gain", 2.0)
    desk.desk.close()
    assert len(desk.told) == 1 and "what plays cannot be kept there" in desk.told[0]


def test_it_counts_as_no_patch_of_the_folder_and_gives_its_name_to_none(tmp_path, monkeypatch):
    for name in ("autosave", "autosave-before"):
        (tmp_path / f"{name}.yaml").write_text("prompt: ice\n")
        assert name not in patch.available(tmp_path) and kept(tmp_path, name).prompt == "ice"
    monkeypatch.setattr(saving, "MOST_FILES", 1)
    assert saving.save(kept(tmp_path), tmp_path, "Autosave").name == "recovered.yaml"


def test_a_disk_that_cannot_be_written_is_told_and_the_show_goes_on(tmp_path):
    (tmp_path / "file").write_text("")
    autosave = Autosave()
    autosave.keep(patch.loads("prompt: ice"), tmp_path)
    with pytest.raises(SaveError, match="what plays cannot be kept there"):
        autosave.keep(patch.loads("prompt: fire"), tmp_path / "file" / "folder")
    autosave.keep(patch.loads("prompt: fire"), tmp_path / "now")
    assert kept(tmp_path / "now").prompt == "fire"


def test_a_full_disk_costs_nothing_that_was_kept_before(tmp_path):
    for name in ("autosave", "autosave-before"):
        (tmp_path / f"{name}.yaml").write_text(f"prompt: {name}")
    autosave = Autosave()
    autosave.keep(patch.loads("prompt: ice"), tmp_path)
    with full_disk(), pytest.raises(SaveError):
        autosave.keep(patch.loads("prompt: fire"), tmp_path)
    assert {file.stem: file.read_text() for file in tmp_path.iterdir()} == {
        name: f"prompt: {name}" for name in ("autosave", "autosave-before")
    }


def test_what_could_not_be_kept_is_tried_again_though_nothing_changes(tmp_path):
    autosave = Autosave()
    autosave.every = 1e-9
    autosave.keep(patch.loads("prompt: ice"), tmp_path)
    assert autosave.due(7)
    with full_disk(), pytest.raises(SaveError):
        autosave.keep(patch.loads("prompt: fire"), tmp_path)
    assert autosave.due(7)
    with full_disk():
        autosave.keep(patch.loads("prompt: fire"), tmp_path)  # is told already
        with pytest.raises(SaveError):
            autosave.keep(patch.loads("prompt: smoke"), tmp_path)
    assert autosave.due(7)
    autosave.keep(patch.loads("prompt: fire"), tmp_path)
    assert not autosave.due(7) and kept(tmp_path).prompt == "fire"


def test_the_next_start_is_told_unless_it_is_what_plays(tmp_path):
    one = patch.loads("prompt: ice", name="one")
    assert left(None, one) == "" and left(tmp_path, one) == ""
    (tmp_path / "autosave.yaml").write_text("prompt: ice\n")
    os.utime(tmp_path / "autosave.yaml", (0, 0))
    words = left(tmp_path, one)
    assert " as it was 19" in words and words.endswith("; play it on with --patch autosave")
    assert left(tmp_path, kept(tmp_path)) == ""


def test_after_a_kill_the_show_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "patches"
    where = ("--patches-dir", folder, "--autosave", "0.2")
    with Playing(tmp_path, *where) as show:
        assert wait_until(show.frames)
        show.send(("/loud/gain", 3.5), ("/prompt/text", "a green moon"))
        file = folder / "autosave.yaml"
        assert wait_until(lambda: holds(folder, {"loud.gain": 3.5}))
        assert wait_until(lambda: kept(folder).prompt == "a green moon")
        status, _ = show.end(signal.SIGKILL)
        assert status == -signal.SIGKILL
    with Playing(tmp_path, *where) as show:
        told = f"{file}: what was played before, as it was "
        assert wait_until(lambda: any(told in line and "--patch autosave" in line for line in show.notices()))
    with Playing(tmp_path, *where, "--patch", "autosave") as show:
        assert wait_until(show.status) and show.status()["prompt"] == "a purple tulip swaying over a dark sea"
        show.send(("/patch/load", "autosave"))
        assert wait_until(lambda: show.status()["prompt"] == "a green moon", PATIENCE)
        assert show.values()["loud.gain"] == 3.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_show_that_is_ended_politely_leaves_what_was_set_last(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "patches"
    with Playing(tmp_path, "--patches-dir", folder, "--autosave", "3600") as show:
        assert wait_until(show.frames)
        show.send(("/loud/gain", 3.5))
        assert wait_until(lambda: show.values()["loud.gain"] == 3.5)
        assert not folder.exists() or not list(folder.iterdir())
        assert show.end(number)[0] == 0
    assert holds(folder, {"loud.gain": 3.5})


def test_how_often_is_asked_for_in_seconds(capsys):
    with pytest.raises(SystemExit):
        main(["play", "--autosave", "soon"])
    assert "give seconds, 0 or more" in capsys.readouterr().err
