"""Which patch plays: the set list, loading by name, saving; and that nothing from outside leaves the folder."""

import threading
import time

import pytest

from instrument.parameters.params import ParamSet
from instrument.state import patch, patchdesk
from instrument.state.patch import VOICE_TEXTS, VOICE_WEIGHTS
from instrument.state.patchdesk import PatchDesk
from pipelines.spec import ControlSpec, TextSpec


class Desk:
    def __init__(self, folder=None, songs=("one", "two", "three")):
        self.told, self.timed = [], []
        self.params = ParamSet()
        for text, weight in zip(VOICE_TEXTS, VOICE_WEIGHTS, strict=True):
            first = text == "prompt.text"
            self.params.add(text, TextSpec("ice" if first else ""))
            self.params.add(weight, ControlSpec(0, 1, float(first)))
        self.params.add("engine.seed", ControlSpec(0, 99999, 0, step=1), kept=False)
        self.params.add("a.gain", ControlSpec(0, 8, 1))
        self.desk = PatchDesk(self.params, self.on_time, self.told.append)
        self.desk.folder = folder
        self.songs = [patch.loads(f"prompt: {name}", name=name) for name in songs]
        self.desk.set_list(self.songs)
        self.desk.played(self.songs[0])

    def on_time(self, label, action, asked):
        self.timed.append(label)
        action()

    def turn(self):
        """One look between chunks; what plays after it."""
        for id in self.params.drain():
            assert self.desk.obey(id)
        self.desk.tick()
        wanted = self.desk.take()
        if wanted is not None:
            self.desk.played(wanted)
        return wanted.name if wanted else None

    def until(self, true, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = self.turn()
            if true(name):
                return name
            time.sleep(0.01)
        raise AssertionError(f"waited in vain; told: {self.told}")


def test_next_previous_and_goto_walk_the_set_list():
    desk = Desk()
    assert desk.turn() is None
    for press, plays in (("next", "two"), ("next", "three"), ("next", None), ("previous", "two")):
        desk.params.trigger(f"patch.{press}")
        assert desk.turn() == plays
    assert "there is no other patch in the set list" in desk.told[0]
    assert desk.params["patch.goto"].base == 2 and desk.params["patch.load"].base == "two"
    desk.params.set("patch.goto", 3, "midi")
    assert desk.turn() == "three" and desk.turn() is None
    desk.params.set("patch.goto", 9, "midi")
    assert desk.turn() is None and "the set list has 3" in desk.told[-1]
    assert desk.timed == ["patch"] * 4


def test_a_patch_is_loaded_by_name_from_its_folder_only(tmp_path):
    folder = tmp_path / "patches"
    folder.mkdir()
    (folder / "mine.yaml").write_text("prompt: mine")
    (tmp_path / "secret.yaml").write_text("prompt: secret")
    desk = Desk(folder)
    desk.params.set("patch.load", "mine", "osc")
    assert desk.until(bool) == "mine"
    for name in ("../secret", str(tmp_path / "secret"), str(tmp_path / "secret.yaml"), "nothing"):
        told = len(desk.told)
        desk.params.set("patch.load", name, "osc")
        desk.until(lambda name, told=told: len(desk.told) > told)
        assert "no such patch" in desk.told[-1]
    desk.params.trigger("patch.next")  # on from where the set list was left
    assert desk.until(bool) == "two"


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 200 + "b", "\0", "con:", "ä\ud800" * 90, "." * 300, "-" * 2000])
def test_no_name_at_all_stops_the_show(tmp_path, name):
    desk = Desk(tmp_path)
    desk.params.set("patch.load", name, "osc")
    desk.until(lambda name: desk.told)
    desk.params.set("patch.name", name, "osc")
    desk.params.trigger("patch.save")
    desk.until(lambda name: len(desk.told) == 2)
    assert "no such patch" in desk.told[0] and desk.told[1].startswith(f"saved {tmp_path}")
    desk.params.trigger("patch.next")
    assert desk.until(bool) == "two"
    desk.desk.close()


def test_the_last_wish_counts_though_a_file_is_still_being_read(tmp_path, monkeypatch):
    desk, gate = Desk(tmp_path), threading.Event()

    def slowly(name, folder):
        gate.wait(20)
        return patch.loads(f"prompt: {name}", name=str(name))

    monkeypatch.setattr(patch, "load", slowly)
    desk.params.set("patch.load", "slow", "osc:one")
    assert desk.turn() is None
    desk.params.set("patch.load", "slower", "osc:two")
    assert desk.turn() is None
    desk.params.trigger("patch.next", "osc:three")
    assert desk.turn() == "two"
    gate.set()
    desk.desk.close()
    assert desk.turn() is None and desk.params["patch.load"].base == "two"
    assert [words[:2] for words in desk.params.answers.since(0)[1]] == [
        ("osc:one", "patch.load slow: overtaken by patch.load slower"),
        ("osc:two", "patch.load slower: overtaken by patch.next"),
    ]


def test_a_wish_that_comes_while_another_patch_comes_on_is_heard():
    desk = Desk()
    desk.params.set("patch.load", "nosuch", "osc")
    desk.desk.played(desk.songs[1])
    desk.until(lambda name: desk.told)
    assert "no such patch" in desk.told[0] and desk.params["patch.load"].base == "two"


def test_a_patch_that_is_not_of_the_set_list_leaves_every_place_to_go_to(tmp_path):
    (tmp_path / "mine.yaml").write_text("prompt: mine")
    desk = Desk(tmp_path)
    desk.params.set("patch.load", " mine ", "osc")
    assert desk.until(bool) == "mine"
    assert desk.params["patch.load"].base == "mine" and desk.params["patch.goto"].base == 0
    desk.params.set("patch.goto", 1, "osc")
    assert desk.turn() == "one" and desk.params["patch.goto"].base == 1
    desk.params.set("patch.goto", 0, "osc")
    assert desk.turn() is None and desk.params["patch.goto"].base == 1 and desk.told == []
    desk.desk.played(desk.songs[2].model_copy(update={"seed": 3}))
    assert desk.params["patch.goto"].base == 3, "it is still that one, read again or with other bends"
    desk.params.trigger("patch.previous")
    assert desk.turn() == "two"


def test_no_name_shows_what_plays():
    desk = Desk()
    desk.params.set("patch.load", "", "osc")
    assert desk.turn() is None and desk.params["patch.load"].base == "one"


def test_a_fault_while_reading_is_told_once_and_what_plays_goes_on(tmp_path, monkeypatch):
    desk, told = Desk(tmp_path), "the patch folder: MemoryError: all gone"
    with monkeypatch.context() as patched:
        patched.setattr(patch, "load", lambda name, folder: (_ for _ in ()).throw(MemoryError("all gone")))
        desk.params.set("patch.load", "two", "osc")
        desk.until(lambda name: desk.told)
    assert desk.turn() is None and desk.told == [told] and desk.params["patch.load"].base == "one"


def test_a_broken_file_is_named_and_what_plays_goes_on(tmp_path):
    (tmp_path / "bad.yaml").write_text("prompt: x\nbends: 3\n")
    desk = Desk(tmp_path)
    desk.params.set("patch.load", "bad")
    desk.until(lambda name: desk.told)
    assert "bad.yaml:2: bends: should be a list" in desk.told[0] and desk.turn() is None


def test_what_was_refused_may_be_wished_again_once_it_is_mended(tmp_path):
    file = tmp_path / "song.yaml"
    file.write_text("bends: 3")
    desk = Desk(tmp_path)
    desk.params.set("patch.load", "song", "osc")
    desk.until(lambda name: desk.told)
    assert desk.params["patch.load"].base == "one", "surfaces see what plays"
    file.write_text("prompt: mended")
    desk.params.set("patch.load", "song", "osc")
    assert desk.until(bool) == "song"
    desk.params.set("patch.goto", 9, "osc")
    desk.turn()
    assert desk.params["patch.goto"].base == 0, "none of the set list plays"


def test_a_patch_for_another_model_is_handed_on_like_any_other():
    desk = Desk()
    desk.desk.set_list([desk.songs[0], patch.loads("model: krea", name="big")])
    desk.params.trigger("patch.next")
    assert desk.turn() == "big" and desk.told == []


def test_a_fault_of_the_disk_is_told_once_and_no_more(monkeypatch):
    def load(*which):
        raise MemoryError("nothing left")

    monkeypatch.setattr(patchdesk.patches, "load", load)
    desk = Desk()
    desk.params.set("patch.load", "two", "osc")
    desk.until(lambda name: desk.told)
    assert "MemoryError: nothing left" in desk.told[0]
    for _ in range(3):
        assert desk.turn() is None
    assert len(desk.told) == 1


def test_reload_reads_the_file_again(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("prompt: before")
    desk = Desk(tmp_path)
    desk.params.set("patch.load", "mine")
    desk.until(bool)
    file.write_text("prompt: after")
    desk.params.trigger("patch.reload")
    desk.until(bool)
    assert desk.desk._playing.prompt == "after"


def test_what_plays_is_saved_under_its_name_or_another(tmp_path):
    desk = Desk(tmp_path / "patches")
    desk.params.set("a.gain", 3)
    desk.params.trigger("patch.save")
    desk.until(lambda name: desk.told)
    assert patch.load("one", tmp_path / "patches").values == {"a.gain": 3}
    desk.desk._saved_at = -1e9
    desk.params.set("patch.name", "../../evil")
    desk.params.trigger("patch.save")
    desk.until(lambda name: len(desk.told) == 2)
    assert sorted(f.name for f in (tmp_path / "patches").iterdir()) == ["evil.yaml", "one.yaml"]
    assert len(list(tmp_path.iterdir())) == 1
    desk.desk.close()


def test_a_stuck_button_saves_once_a_second(tmp_path):
    desk = Desk(tmp_path)
    for _ in range(500):
        desk.params.trigger("patch.save")
    desk.turn()
    desk.until(lambda name: desk.told)
    desk.desk.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_who_saves_again_at_once_is_told_that_nothing_was_saved(tmp_path):
    desk = Desk(tmp_path)
    desk.desk._saved_at = time.monotonic() + 3600  # however slow the machine: less than a second ago
    desk.params.trigger("patch.save", "osc:1")
    desk.turn()
    desk.desk.close()
    assert "less than a second ago" in desk.told[0] and not list(tmp_path.iterdir())


def test_a_slow_disk_swallows_no_word_of_what_was_saved(tmp_path):
    desk, disk = Desk(tmp_path), threading.Event()
    desk.desk._work(disk.wait)
    desk.params.trigger("patch.save")
    desk.turn()
    desk.desk._saved_at = -1e9  # more than a second later
    desk.params.trigger("patch.save")
    desk.turn()
    assert len(desk.told) == 1 and "one is being saved" in desk.told[0]
    disk.set()
    desk.until(lambda name: len(desk.told) == 2)
    assert desk.told[1] == f"saved {tmp_path / 'one.yaml'}"
    desk.desk.close()


def test_without_a_folder_it_says_so():
    desk = Desk()
    desk.params.trigger("patch.save")
    desk.turn()
    assert desk.told == ["there is no folder to save into; start with --patches-dir FOLDER"]


def test_other_triggers_are_not_the_desks():
    assert not Desk().desk.obey("panic")
    with pytest.raises(ValueError, match="exists already"):
        patchdesk.declare(Desk().params)


def test_a_keeping_that_fails_is_told_and_takes_no_wish_back(tmp_path):
    (tmp_path / "file").write_text("")
    desk = Desk(tmp_path / "file" / "folder")
    desk.desk.autosave.every = 1e-6
    desk.desk._on_time = lambda label, action, asked: None  # on the next bar
    desk.turn()
    desk.params.set("patch.goto", 2, "midi")
    desk.until(lambda name: desk.desk.autosave._text is not None)  # what plays at first is but looked at
    desk.params.set("a.gain", 3, "midi")
    desk.until(lambda name: desk.told)
    for _ in range(20):  # it is tried again and again, and told once
        desk.turn()
    assert len(desk.told) == 1 and "what plays cannot be kept there" in desk.told[0]
    assert desk.params["patch.goto"].base == 2
