"""Device profiles: rows, lights, mistakes; and that every one that ships is whole."""

import re
from pathlib import Path

import pytest

from instrument.mapping import mapping, profile
from instrument.mapping.profile import ProfileError

SHIPPED = ("apc40mk2", "generic", "launchcontrolxl", "lpd8", "midimix", "nanokontrol2", "push2", "xtouchmini")


def parts(text):
    return profile.loads(f"name: box\nchannel: 3\ncontrols: [{text}]").parts


def test_a_row_is_numbered_and_laid_out():
    row = parts("{name: fader, cc: 7, channel: 1-8, kind: fader, at: [1, 2], size: [1, 3]}")
    assert list(row) == [f"fader.{n}" for n in range(1, 9)]
    third = row["fader.3"]
    assert (third.source, third.channel, third.box, third.number) == (("cc", 7), 3, (3, 2, 1, 3), 3)
    grid = parts("{name: pad, note: [40-43, 36-39], kind: pad, columns: 4, step: [2, 2], label: 'P{n}'}")
    assert grid["pad.6"].source == ("note", 37) and grid["pad.6"].box[:2] == (2, 2) and grid["pad.6"].label == "P6"
    assert grid["pad.6"].is_button and grid["pad.6"].channel == 3


def test_a_single_control_has_no_number():
    play = parts("{name: play, cc: 41, kind: button}")["play"]
    assert play.number == 0 and play.light is None and play.label == ""


@pytest.mark.parametrize(
    ("led", "value", "message"),
    [
        ("{}", 5, [0xB2, 12, 5]),
        ("{note: 8-15}", 5, [0x92, 10, 5]),
        ("{cc: 9, channel: 16}", 5, [0xBF, 9, 5]),
        ("{pitch: true}", 16383, [0xE2, 127, 127]),
    ],
)
def test_lights_are_lit_by_the_controls_own_message_or_another(led, value, message):
    row = parts(f"{{name: knob, cc: 10-13, led: {led}}}")
    assert row["knob.3"].light.message(value) == message


def test_controls_are_found_by_name_by_row_and_by_message():
    box = profile.loads("name: box\nchannel: 2\ncontrols: [{name: a, cc: 1-3}, {name: b, note: 5}]")
    assert [part.name for part in box.find("a.{n}")] == ["a.1", "a.2", "a.3"]
    assert box.find("b")[0].source == ("note", 5)
    assert box.part_of("cc", 2, 2).name == "a.2" and box.part_of("cc", 2, 1) is None
    with pytest.raises(ValueError, match=r"box has no control 'a\.4'; did you mean"):
        box.find("a.4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("controls: []", "p.yaml:1: the file needs a key 'name'"),
        ("name: x\ncontrols:\n  - {name: a, cc: 1}\n  - {name: a, cc: 2}", "p.yaml:4: two controls are called 'a'"),
        ("name: x\ncontrols: [{name: a}]", "give exactly one of cc, cc14, note, pitch, pressure, nrpn"),
        ("name: x\ncontrols: [{name: a, cc: 1, note: 2}]", "give exactly one of"),
        ("name: x\ncontrols: [{name: a, cc: 128}]", "should be less than or equal to 127, not 128"),
        ("name: x\ncontrols: [{name: a, cc: 1, channel: 17}]", "should be less than or equal to 16, not 17"),
        ("name: x\ncontrols: [{name: a, note: 1, relative: twos}]", "relative is for an endless knob that sends a cc"),
        ("name: x\ncontrols: [{name: a b, cc: 1}]", "'a b' should be words"),
        ("name: x\ncontrols: [{name: a, cc: 1, led: {lit: 1}}]", "unknown key 'lit'"),
        ("name: x\ncontrols: [{name: a, cc: 1, at: 3}]", "write two numbers, [across, down]"),
        ("name: x\nhello: [F0 00]", "write the bytes of one MIDI message, such as F0 7E 7F 06 01 F7"),
        ("name: x\nhello: [zz]", "write the bytes of one MIDI message"),
        ("name: x\ncontrols: [{name: a, nrpn: 0-500}]", "should be at least one and at most 400 numbers"),
    ],
)
def test_mistakes_name_file_line_and_remedy(text, words):
    with pytest.raises(ProfileError) as error:
        profile.loads(text, "p.yaml")
    assert words in str(error.value) and str(error.value).startswith("p.yaml:")


def test_profiles_that_ship_are_listed_apart_from_mappings():
    assert tuple(profile.available()) == SHIPPED
    assert not any("devices" in name for name in mapping.available())
    with pytest.raises(ProfileError, match="did you mean 'nanokontrol2'"):
        profile.load("nanokontrol3")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_profile_that_ships_is_whole(name):
    made, file = profile.load(name)
    assert file is not None and made.parts
    if name != "generic":
        assert made.status == "from published data" and made.device
        assert "From published data, not yet played on the hardware" in file.read_text().splitlines()[0]
    messages = [(part.source, channel) for part in made.parts.values() for channel in [part.channel or 0]]
    assert len(set(messages)) == len(messages), "two controls send the same message"
    boxes = [(part.name, part.box) for part in made.parts.values()]
    for i, (one, (x, y, w, h)) in enumerate(boxes):
        for other, (x2, y2, w2, h2) in boxes[i + 1 :]:
            apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
            assert apart, f"{one} and {other} lie on each other"


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "generic"])
def test_every_controller_has_a_mapping_that_names_its_profile(name):
    file = mapping.load(name)
    assert file.controller.name == profile.load(name)[0].name and file.port == file.controller.device
    assert "From published data, not yet played on the hardware" in file.files[-1].read_text().splitlines()[0]


def test_the_examples_of_the_manual_are_right():
    manual = (Path(__file__).parent.parent / "docs" / "midi.md").read_text()
    written, described = re.findall(r"```yaml\n(.*?)```", manual, re.S)
    assert len(mapping.loads(written).bound) > 30
    assert {"fader.8", "knob.1", "button.4", "motor.8"} < set(profile.loads(described).parts)
    for model in (mapping.Binding, profile.Led, profile.Control):
        for field in model.model_fields:
            assert f"`{field}" in manual or f"{field}:" in manual, f"{field} is not in docs/midi.md"
