"""Learning while playing: the control that is touched is bound in the file that plays it, and can be taken back."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from instrument.mapping import mapping
from instrument.mapping.classify import LearnError
from instrument.mapping.rig import Rig
from instrument.parameters.params import UnknownParameter
from instrument.parameters.touch import Touch
from tests.rigging import far, save, shipped, some_params
from tests.touches import cc


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def rig(params, told):
    return Rig(params, told.append)


def turn(rig, key, origin="midi:desk"):
    for value in (10, 40, 80):
        rig.handle(cc(key, value), origin)
    rig.show(1e12)


def test_the_first_control_that_is_learnt_begins_a_mapping_of_ones_own_which_plays_at_once(params, told, tmp_path):
    shipped(params)
    own = tmp_path / "my.yaml"
    rig = Rig(params, told.append, own=own)
    rig.load("default")
    rig.arm("gain")
    turn(rig, 0)
    assert own.read_text() == (
        "device: desk\nover: default\nbindings:\n  - {cc: 0, channel: 1, to: gain, takeover: pickup}\n"
    )
    assert rig.names == ["default", str(own)] and f"{own} plays from now on" in told[-1]
    far(rig, 0)
    far(rig, 2)
    assert (params["gain"].base, params["bend.1.amount"].base, params["bend.3.amount"].base) == (1, 0, 1)
    rig.arm("mix")
    turn(rig, 20)
    far(rig, 20)
    assert params["mix"].base == 1 and len(mapping.load(own).bindings) == 2
    rig.arm("mix")
    turn(rig, 21, "midi:LPD8")
    assert "is for desk, and this came from LPD8" in rig.status()["learn"]["error"]


def test_a_file_that_is_not_there_yet_begins_empty_over_the_default_one(params, tmp_path, told):
    shipped(params)
    path = tmp_path / "new.yaml"
    rig = Rig(params, told.append, own=tmp_path / "my.yaml")
    rig.load(path)
    assert rig.described() == [f"{path} over default: there is no such file yet; learning begins it"]
    rig.refresh(0.0)
    rig.reload()
    assert told == ["mapping default read again: 18 bindings"] and not path.exists()
    far(rig, 1)
    assert params["bend.2.amount"].base == 1
    rig.swap(["lpd8"])
    rig.swap([str(path)])
    rig.arm("gain")
    turn(rig, 1)
    far(rig, 1)
    assert params["gain"].base == 1 and rig.described() == [f"{path} over default"]
    assert mapping.load(path).over == "default" and not (tmp_path / "my.yaml").exists()


def test_each_controller_is_learnt_in_the_file_that_plays_it(params, tmp_path):
    rig = Rig(params, lambda text: None, own=tmp_path / "my.yaml")
    for name in ("desk", "pad"):
        save(tmp_path / f"{name}.yaml", f"device: {name}\nbindings: []")
        rig.load(tmp_path / f"{name}.yaml")
    for name in ("pad", "desk", "LPD8"):
        rig.arm("gain")
        turn(rig, 7, f"midi:{name}")
    assert [len(mapping.load(tmp_path / f"{name}.yaml").bindings) for name in ("desk", "pad", "my")] == [1, 1, 1]


def test_what_was_learnt_is_forgotten_or_taken_back(rig, params, tmp_path):
    path = tmp_path / "my.yaml"
    save(path, "bindings:\n  - {cc: 7, to: mix}\n")
    rig.load(path)
    with pytest.raises(LearnError, match="nothing was learnt since the start"):
        rig.undo()
    rig.arm("gain")
    turn(rig, 7)
    rig.undo()
    far(rig, 7)
    assert path.read_text() == "bindings:\n  - {cc: 7, to: mix}\n"
    assert params["mix"].base == 1 and params["gain"].base == 0.5
    rig.forget("mix")
    params.set("mix", 0)
    far(rig, 7)
    assert params["mix"].base == 0 and rig.status()["learn"]["forgot"] == "mix is moved by cc 7 no longer"
    with pytest.raises(LearnError, match="binds nothing to mix"):
        rig.forget("mix")
    rig.undo()
    far(rig, 7)
    assert params["mix"].base == 1


def test_taken_back_what_began_a_mapping_leaves_what_plays_as_it_was(params, tmp_path):
    shipped(params)
    own, port = tmp_path / "my.yaml", "midi:nanoKONTROL2:nanoKONTROL2 _ CTRL 20:0"
    rig = Rig(params, lambda text: None, own=own)
    rig.load("nanokontrol2")
    devices = rig.devices()
    rig.arm("gain")
    turn(rig, 16, port)
    rig.undo()
    assert mapping.load(own).bindings == [] and rig.devices() == devices
    assert {slot.playing.file.over for slot in rig._slots} == {"", "nanokontrol2"} and len(rig.mappings) == 2
    rig.arm("gain")
    turn(rig, 16, port)
    assert [line.target for line in mapping.load(own).bindings] == ["gain"]


def test_a_mapping_begun_by_mistake_and_taken_back_is_begun_anew_by_another_controller(params, tmp_path):
    shipped(params)
    own = tmp_path / "my.yaml"
    rig = Rig(params, lambda text: None, own=own)
    rig.load("default")
    rig.arm("gain")
    turn(rig, 0, "midi:LPD8")
    rig.undo()
    rig.arm("gain")
    turn(rig, 0)
    begun = "device: desk\nover: default\nbindings:\n  - {cc: 0, channel: 1, to: gain, takeover: pickup}\n"
    assert own.read_text() == begun and "error" not in rig.learner.status()
    far(rig, 0)
    assert params["gain"].base == 1 and params["bend.1.amount"].base == 0
    rig.undo()
    save(own, own.read_text() + "# mine now\n")
    rig.refresh(0.0)
    rig.arm("gain")
    turn(rig, 0)
    assert "is for LPD8" in rig.learner.status()["error"] and own.read_text().endswith("# mine now\n")


def test_a_slow_disk_holds_up_nobody_who_asks_how_learning_stands(rig, tmp_path, monkeypatch):
    writing, written = threading.Event(), threading.Event()

    def slow(handle):
        writing.set()
        assert written.wait(60)

    path = tmp_path / "my.yaml"
    save(path, "device: desk\nbindings: []\n")
    rig.load(path)
    rig.arm("gain")
    monkeypatch.setattr(os, "fsync", slow)
    with ThreadPoolExecutor(2) as hands:
        try:
            midi = hands.submit(turn, rig, 7)
            assert writing.wait(60)
            assert hands.submit(rig.learner.status).result(60)["armed"] == "gain"
            hands.submit(rig.arm, "mix").result(60)
        finally:
            written.set()
        midi.result(60)
    assert rig.learner.status() | {"line": None} == {
        "armed": "mix",
        "heard": 0,
        "target": "gain",
        "caught": "knob: cc 7 on channel 1",
        "line": None,
        "words": "",
        "file": str(path),
    }
    turn(rig, 8)
    assert [line.target for line in mapping.load(path).bindings] == ["gain", "mix"]
    rig.undo()
    assert [line.target for line in mapping.load(path).bindings] == ["gain"]


def test_armed_it_catches_a_control_moves_nothing_and_writes_the_line(rig, params, tmp_path):
    path = tmp_path / "my.yaml"
    save(path, "# mine\ndevice: desk\nbindings: [{cc: 7, to: mix}]\n")
    rig.load(path)
    rig.arm("gain")
    assert rig.status()["learn"] == {"armed": "gain", "heard": 0} and rig.counts(cc(7, 1))
    for value in (10, 40, 80):
        assert rig.handle(cc(7, value), "midi:desk")
    assert params["mix"].base == 0.5 and rig.status()["learn"]["heard"] == 3
    rig.show(1e12)
    status = rig.status()["learn"]
    assert status["armed"] is None and status["target"] == "gain" and status["file"] == str(path)
    assert status["caught"] == "knob: cc 7 on channel 1"
    assert path.read_text().startswith("# mine\n") and len(mapping.load(path).bindings) == 1
    assert status["words"] == "cc 7 moved mix before"
    rig.handle(cc(7, 80), "midi:desk")
    rig.handle(cc(7, 0), "midi:desk")
    assert params["gain"].base == 0 and params["mix"].base == 0.5


def test_what_cannot_be_learnt_is_told(rig, params, tmp_path):
    with pytest.raises(LearnError, match=r"play with --mapping my\.yaml"):
        rig.arm("gain")
    with pytest.raises(UnknownParameter, match="did you mean 'gain'"):
        rig.arm("gian", tmp_path / "my.yaml")
    assert rig.learner.armed is None
    rig.arm("gain", tmp_path / "my.yaml")
    rig.learner.disarm()
    rig.add(mapping.loads("bindings: [{cc: 1, to: mix}]"))
    assert rig.handle(cc(1, 127), "midi:x") and params["mix"].base == 1
    (tmp_path / "bad.yaml").write_text("bindings: [{cc: 1}]")
    rig.arm("gain", tmp_path / "bad.yaml")
    rig.handle(cc(1, 0), "midi:x")
    rig.handle(cc(1, 5), "midi:x")
    rig.show(1e12)
    assert "give exactly one target" in rig.status()["learn"]["error"] and params["mix"].base == 1


def test_a_known_controller_is_learnt_by_the_names_of_its_controls(rig, tmp_path):
    path = tmp_path / "my.yaml"
    rig.arm("panic", path)
    rig.handle(Touch("note", 41, 90, 1), "midi:LPD8:LPD8 MIDI 1 20:0")
    rig.handle(Touch("note", 41, 0, 1), "midi:LPD8:LPD8 MIDI 1 20:0")
    rig.show(1e12)
    assert path.read_text() == "profile: lpd8\nbindings:\n  - {control: button.2, trigger: panic}\n"


def test_learning_swallows_no_release(rig, params, tmp_path):
    path = tmp_path / "my.yaml"
    save(
        path,
        "bindings: [{note: 1, to: freeze}, {cc: 5, to: mix}, {cc: 5, to: gain, when: note 2}, {note: 2, to: freeze}]",
    )
    rig.load(path)
    rig.handle(Touch("note", 1, 100, 1), "midi:pad")
    rig.handle(Touch("note", 2, 100, 1), "midi:pad")
    rig.arm("mix")
    rig.handle(Touch("cc", 9, 1, 1), "midi:pad")
    rig.handle(Touch("note", 1, 0, 1), "midi:pad")
    assert params["freeze"].base is False
    rig.handle(Touch("note", 2, 0, 1), "midi:pad")
    rig.learner.disarm()
    rig.handle(cc(5, 127), "midi:pad")
    assert params["mix"].base == 1 and params["gain"].base == 0.5, "the modifier is not held any more"
