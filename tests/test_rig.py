"""The rig: several controllers at once, files saved while playing, learning while playing."""

import os

import pytest

from instrument.mapping import mapping
from instrument.mapping.classify import LearnError
from instrument.mapping.rig import Rig
from instrument.parameters.params import ParamSet, UnknownParameter
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec, SwitchSpec, TriggerSpec
from tests.touches import cc


@pytest.fixture
def params():
    params = ParamSet()
    params.add("gain", ControlSpec(0, 1, 0.5))
    params.add("mix", ControlSpec(0, 1, 0.5))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


@pytest.fixture
def told():
    return []


@pytest.fixture
def rig(params, told):
    return Rig(params, told.append)


def save(path, text):
    """As an editor does; the time stamp moves even on a file system with coarse ones."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1, before + 1))


# --- several ---


def test_each_touch_goes_to_the_mappings_of_its_controller(rig, params):
    rig.add(mapping.loads("device: lpd8\nbindings: [{cc: 1, to: gain}]"))
    rig.add(mapping.loads("device: nano\nbindings: [{cc: 1, to: mix}, {cc14: 2, to: mix}]"))
    assert rig.devices() == ["lpd8", "nano"]
    assert rig.handle(cc(1, 127), "midi:LPD8:LPD8 MIDI 1")
    assert (params["gain"].base, params["mix"].base) == (1, 0.5)
    assert rig.handle(cc(1, 0), "midi:nanoKONTROL2") and params["mix"].base == 0
    assert not rig.handle(cc(1, 0), "midi:MIDI Mix")
    assert rig.handle(cc(1, 64), "midi:virtual") and params["gain"].base == params["mix"].base
    assert rig.wide("midi:nano", 2, 1) and not rig.wide("midi:LPD8", 2, 1) and not rig.wide("midi:nano", 3, 1)


def test_a_pattern_given_by_hand_overrules_those_of_the_mappings(params):
    rig = Rig(params, device="piano")
    rig.add(mapping.loads("device: lpd8\nbindings: [{cc: 1, to: gain}]"))
    assert rig.devices() == ["piano"] and rig.handle(cc(1, 127), "midi:piano")
    assert Rig(ParamSet()).devices() == [""]


def test_osc_reaches_every_mapping(rig, params):
    rig.add(mapping.loads("device: lpd8\nbindings: [{osc: /a, to: gain}]"))
    rig.add(mapping.loads("device: nano\nbindings: [{osc: /b, to: mix}]"))
    assert rig.addresses == ["/a", "/b"] and rig.answers("/b") and not rig.answers("/c")
    assert rig.handle(Touch("osc", "/b", 1.0), "osc:127.0.0.1") and params["mix"].base == 1


# --- saved while playing ---


def test_a_mapping_saved_is_read_again_and_a_broken_one_is_not(rig, params, told, tmp_path):
    path = tmp_path / "my.yaml"
    save(path, "bindings: [{cc: 1, to: gain}]")
    rig.load(path)
    rig.refresh(0.0)
    assert told == []
    save(path, "bindings: [{cc: 1, to: mix}, {cc: 2, to: gain}]")
    rig.refresh(0.5)
    assert rig.handle(cc(1, 127), "midi:x") and params["mix"].base == 1 and params["gain"].base == 0.5
    assert told == [f"mapping {path} read again: 2 bindings"]
    save(path, "bindings: [{cc: 1}]")
    for now in (1.0, 1.5, 2.0):
        rig.refresh(now)
    assert len(told) == 2 and told[1].startswith(f"{path}:1: bindings 1: give exactly one target")
    assert told[1].endswith("the mapping as it was plays on")
    assert rig.handle(cc(1, 0), "midi:x") and params["mix"].base == 0
    path.unlink()  # as some editors do for a moment
    rig.refresh(2.5)
    assert rig.handle(cc(1, 127), "midi:x") and params["mix"].base == 1
    save(path, "bindings: [{cc: 3, to: gain}]")
    rig.refresh(3.0)
    assert rig.handle(cc(3, 0), "midi:x") and params["gain"].base == 0 and len(told) == 3


def test_the_page_and_the_hands_stay_where_they_were(rig, params, tmp_path):
    path = tmp_path / "my.yaml"
    text = "pages: [a, b]\nbindings: [{note: 1, go: next}, {cc: 1, to: gain, page: b, takeover: pickup}]"
    save(path, text)
    rig.load(path)
    rig.handle(Touch("note", 1, 9, 1), "midi:x")
    rig.handle(cc(1, 10), "midi:x")
    save(path, text + "\ndescription: better")
    rig.refresh(0.0)
    assert rig.mappings[0].page_name == "b"
    rig.handle(cc(1, 120), "midi:x")  # from 10 to 120 it crossed 0.5, although the file was read between
    assert params["gain"].base == pytest.approx(120 / 127)


def test_what_is_held_ends_with_the_cable_the_file_or_the_mapping(rig, params, tmp_path):
    path = tmp_path / "my.yaml"
    lines = "{note: 1, to: freeze}, {note: 2, to: gain, mode: momentary}, {note: 3, to: mix, mode: toggle}"
    text = f"device: pad\nbindings: [{lines}]"
    save(path, text)
    rig.load(path)

    def hold():
        for key in (1, 2):
            rig.handle(Touch("note", key, 100, 1), "midi:pad")
        assert params["freeze"].base is True and params["gain"].base == 1

    def ended():
        return params["freeze"].base is False and params["gain"].base == 0.5

    rig.plugged("midi:pad", None)
    rig.handle(Touch("note", 3, 100, 1), "midi:pad")
    hold()
    rig.unplugged("midi:pad")
    assert ended() and params["mix"].base == 0, "a toggle stays as it was pressed"
    hold()
    save(path, text + "\ndescription: better")
    rig.refresh(0.0)
    assert ended()
    hold()
    rig.swap(["lpd8"])
    assert ended()


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


def test_a_profile_saved_is_read_again_too(rig, params, tmp_path):
    (tmp_path / "devices").mkdir()
    device, path = tmp_path / "devices" / "box.yaml", tmp_path / "my.yaml"
    save(device, "name: box\ncontrols: [{name: knob, cc: 1}]")
    save(path, "profile: box\nbindings: [{control: knob, to: gain}]")
    rig.load(path)
    save(device, "name: box\ncontrols: [{name: knob, cc: 9}]")
    rig.refresh(0.0)
    assert rig.handle(cc(9, 127), "midi:x") and params["gain"].base == 1


def test_lights_follow_a_mapping_read_again_and_a_controller_that_comes_and_goes(rig, params, tmp_path):
    path, sent = tmp_path / "my.yaml", []
    save(path, "bindings: [{cc: 1, to: gain, feedback: true}]")
    rig.load(path)
    rig.plugged("midi:x", None)
    rig.plugged("midi:x", sent.append)
    assert sent == [[0xB0, 1, 64]]
    save(path, "bindings: [{cc: 2, to: gain, feedback: true}]")
    rig.refresh(0.0)
    assert sent[1:] == [[0xB0, 1, 0], [0xB0, 2, 64]]
    params.set("gain", 1)
    rig.show(0.0)
    assert sent[-1] == [0xB0, 2, 127]
    rig.unplugged("midi:x")
    params.set("gain", 0)
    rig.show(0.0)
    assert sent[-1] == [0xB0, 2, 127]
    rig.plugged("midi:x", sent.append)
    rig.farewell("midi:x")
    assert sent[-2:] == [[0xB0, 2, 0], [0xB0, 2, 0]]


# --- learning ---


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
    assert path.read_text().startswith("# mine\n") and len(mapping.load(path).bindings) == 2
    rig.refresh(0.0)
    rig.handle(cc(7, 80), "midi:desk")
    rig.handle(cc(7, 0), "midi:desk")
    assert params["gain"].base == 0 and params["mix"].base == 0


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


def test_pages_are_part_of_the_status(rig, tmp_path):
    path = tmp_path / "my.yaml"
    save(path, "pages: [low, high]\nbindings: []")
    rig.load(path)
    rig.mappings[0].go("high")
    assert rig.status()["pages"] == {str(path): "high"}
    assert rig.names == [str(path)]


# --- targets that are not there ---


ASTRAY = """device: x
bindings:
  - {cc: 1, to: gain}
  - {cc: 3, to: gian}
  - {cc: 4-5, to: "mix{n}"}
  - {cc: 6, trigger: freeze}
"""


def test_targets_that_are_not_there_are_told_in_one_line_when_a_mapping_is_read(rig, told, tmp_path):
    path = tmp_path / "own.yaml"
    save(path, "device: x\nbindings: [{cc: 3, to: gain}]")
    rig.load(path)
    assert told == []
    save(path, ASTRAY)
    rig.refresh(0.0)
    [read, warning] = told
    assert "read again" in read and "no parameter 'gian'; did you mean 'gain'?" in warning
    assert warning.startswith(f"{path}:4: cc 3") and warning.endswith(f" (and 2 more: bender mapping check {path})")
    rig.refresh(1.0)
    assert len(told) == 2, "once for each time it is read"
    save(path, ASTRAY.replace("gian", "gain").replace("mix{n}", "mix").replace("trigger: freeze", "trigger: panic"))
    rig.refresh(2.0)
    assert len(told) == 3 and "read again" in told[2]


def test_one_that_is_loaded_or_swapped_in_is_looked_at_too(rig, params, told, tmp_path):
    (tmp_path / "one.yaml").write_text("bindings: [{cc: 3, to: gian}]")
    (tmp_path / "two.yaml").write_text("bindings: [{cc: 3, to: mxi}]")
    rig.load("one", tmp_path)
    assert len(told) == 1 and told[0].endswith("did you mean 'gain'?")
    rig.swap(["one", "two"], "osc:a")
    assert len(told) == 2 and told[1].endswith("did you mean 'mix'?"), "what plays already is not told again"
    assert params.answers.since(0)[1] == [("osc:a", told[1], False)]


def test_what_another_patch_lacks_is_told_once_when_it_comes(rig, params, told, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("bindings: [{cc: 3, to: gain}, {cc: 4, to: gian}, {cc: 5-6, to: mix}]")
    rig.load(path)
    assert len(told) == 1
    params.remove("mix")
    rig.show(0.0)
    assert told[1].startswith(f"{path}:1: cc 5: no parameter 'mix'") and told[1].endswith("(and 1 more of this row)")
    params.add("gian2", ControlSpec(0, 1, 0))  # another suggestion is nothing new
    rig.show(1.0)
    rig.show(2.0)
    assert len(told) == 2
    params.add("mix", ControlSpec(0, 1, 0))
    rig.show(3.0)
    assert len(told) == 2, "what is found again is no news"
    with params.together():
        params.remove("mix")
        params.remove("gain")
    rig.show(4.0)
    assert len(told) == 3 and "'gain'" in told[2] and told[2].endswith(f" (and 1 more: bender mapping check {path})")
    assert not params.answers.since(0)[1], "nobody has asked"


def test_targets_for_whatever_patch_plays_and_mappings_that_ship_are_not_told(rig, params, told, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text('bindings: [{cc: 1-8, to: "bend.{n}.amount"}, {cc: 9, to: "*.hue"}, {cc: 10, to: bend.1.layers}]')
    rig.load(path)
    for name in mapping.available():
        rig.load(name)
    rig.reload()
    params.remove("gain")
    rig.show(0.0)
    assert all("read again" in line for line in told)
