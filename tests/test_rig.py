"""The rig: several controllers at once, files saved while playing, one mapping over another."""

import pytest

from instrument.mapping import mapping
from instrument.mapping.rig import Rig
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec
from tests.rigging import far, save, shipped, some_params
from tests.touches import cc


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def rig(params, told):
    return Rig(params, told.append)


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


# --- over another ---


def test_what_is_bound_over_another_mapping_wins_and_the_rest_plays_on(rig, params, tmp_path):
    shipped(params)
    path = tmp_path / "my.yaml"
    save(path, "device: desk\nover: default\nbindings: [{cc: 0, to: gain}, {osc: /1/fader2, to: mix}]")
    rig.load(path)
    assert rig.names == [str(path)] and rig.described() == [f"{path} over default"]
    assert sorted(rig.devices()) == ["", "desk"]
    far(rig, 0)
    far(rig, 1)
    assert (params["gain"].base, params["bend.1.amount"].base, params["bend.2.amount"].base) == (1, 0, 1)
    far(rig, 0, "midi:other box")
    assert params["bend.1.amount"].base == 1, "what is mine is bound for my controller"
    rig.handle(Touch("osc", "/1/fader2", 0.25), "osc:1")
    assert params["mix"].base == 0.25 and params["bend.2.amount"].base == 1
    save(path, "device: desk\nbindings: [{cc: 0, to: gain}]")
    rig.refresh(0.0)
    params.set("bend.2.amount", 0)
    far(rig, 1)
    assert params["bend.2.amount"].base == 0 and rig.described() == [str(path)]


def test_swapped_for_another_what_lay_under_it_goes_too(rig, params, tmp_path):
    shipped(params)
    path = tmp_path / "my.yaml"
    save(path, "over: default\nbindings: [{cc: 0, to: gain}]")
    rig.load(path)
    rig.swap(["lpd8"])
    assert rig.names == ["lpd8"] and len(rig.mappings) == 1
    rig.swap([str(path), "default", str(path)])
    assert rig.names == [str(path), "default"] and len(rig.mappings) == 2
    far(rig, 0)
    assert params["gain"].base == 1 and params["bend.1.amount"].base == 0


def test_a_button_that_is_held_below_is_let_go_though_it_was_bound_above_meanwhile(rig, params, tmp_path):
    (tmp_path / "low.yaml").write_text("bindings: [{note: 1, to: freeze}]")
    path = tmp_path / "my.yaml"
    save(path, "over: low\nbindings: []")
    rig.load(path)
    rig.handle(Touch("note", 1, 100, 1), "midi:pad")
    save(path, "over: low\nbindings: [{note: 1, to: gain}]")
    rig.refresh(0.0)
    rig.handle(Touch("note", 1, 0, 1), "midi:pad")
    assert params["freeze"].base is False


def test_one_light_is_one_mappings(rig, params, tmp_path):
    sent = []
    (tmp_path / "low.yaml").write_text(
        "bindings: [{cc: 1, to: gain, feedback: true}, {cc: 2, to: mix, feedback: true}]"
    )
    path = tmp_path / "my.yaml"
    save(path, "over: low\nbindings: [{cc: 1, to: mix, feedback: true}]")
    rig.load(path)
    params.set("gain", 0)
    params.set("mix", 1)
    rig.plugged("midi:x", sent.append)
    assert sorted(sent) == [[0xB0, 1, 127], [0xB0, 2, 127]]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ("defualt", "over: there is no mapping 'defualt'; did you mean 'default'"),
        ("high", "over: 'high' lies over another"),
    ],
)
def test_what_cannot_lie_under_is_refused(rig, tmp_path, over, words):
    (tmp_path / "high.yaml").write_text("over: default\nbindings: []")
    path = tmp_path / "my.yaml"
    path.write_text(f"device: x\nover: {over}\n")
    with pytest.raises(mapping.MappingError, match=rf"my\.yaml:2: {words}"):
        rig.load(path)


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
