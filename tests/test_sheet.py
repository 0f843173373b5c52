"""The cheat sheet: XML that names every control and everything it does."""

import xml.etree.ElementTree as ET

import pytest

from instrument.mapping import mapping
from instrument.mapping.sheet import draw_sheet

SVG = "{http://www.w3.org/2000/svg}"


def read(name):
    file = mapping.load(name) if isinstance(name, str) else name
    root = ET.fromstring(draw_sheet(file, "sheet"))
    groups = {
        group.get("id"): ["".join(text.itertext()) for text in group.iter(f"{SVG}text")]
        for group in root.iter(f"{SVG}g")
    }
    return file, root, groups


@pytest.mark.parametrize("name", mapping.available())
def test_every_mapping_draws_every_control_with_all_it_does(name):
    file, root, groups = read(name)
    words = " ".join(" ".join(lines) for lines in groups.values())
    for part in file.controller.parts.values() if file.controller else ():
        assert part.name in groups and (part.label or part.name) in groups[part.name]
    for bound in file.bound:
        assert (bound.target or f"page {bound.binding.go}") in words
    assert "more" not in {text.split()[-1] for lines in groups.values() for text in lines if text.startswith("and ")}
    box = [float(number) for number in root.get("viewBox").split()]
    for rectangle in root.iter(f"{SVG}rect"):
        assert 0 <= float(rectangle.get("x", 0)) <= box[2] and 0 <= float(rectangle.get("y", 0)) <= box[3]


def test_pages_and_modifiers_stand_before_the_target():
    text = """
profile: nanokontrol2
pages: [low, high]
bindings:
  - {control: fader.1, to: a.b, page: high, when: cycle}
  - {control: stop, go: low}
  - {note: 9, trigger: "panic"}
"""
    _, root, groups = read(mapping.loads(text))
    assert "2 +cycle a.b" in groups["fader.1"] and "page low" in groups["stop"] and "panic" in groups["note 9"]
    assert "page 1: low; page 2: high; from published data" in "".join(root.itertext())


def test_what_people_write_cannot_break_the_drawing():
    file = mapping.loads('device: "<a & b>"\ndescription: "x < y"\nbindings: [{osc: "/a<b>&", to: a}]')
    _, root, groups = read(file)
    assert "osc /a<b>&" in groups and "x < y" in "".join(root.itertext())
    assert read(mapping.loads(""))[2] == {}


def test_too_much_to_write_is_counted():
    lines = "".join(f"  - {{cc: 1, to: parameter.number{n}}}\n" for n in range(30))
    _, _, groups = read(mapping.loads(f"bindings:\n{lines}"))
    assert any(text.startswith("and ") and text.endswith(" more") for text in groups["cc 1"])
