"""Lines put into a mapping file and taken out of it: the rest stays as it was, and what is replaced is named."""

import pytest

from instrument.mapping import mapping
from instrument.mapping.classify import LearnError
from instrument.mapping.mapping import MappingError
from instrument.mapping.ownfile import add, begun, forget, own_path, take_back

FILE = """\
# my desk
device: desk
bindings:
  # left
  - {cc: 20, to: hue}  # breathes
  # right
  - cc: 21
    to: turn
  # below
  - {cc: 0-7, to: "bend.{n}.amount"}
# end
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "desk.yaml"
    path.write_text(FILE)
    return path


def cc(key, to, **more):
    return {"cc": key, "channel": 1, "to": to, **more}


def test_a_control_that_is_bound_moves_what_was_learnt_last_and_that_is_said(path):
    assert add(path, cc(20, "mix"), {}).words == "cc 20 moved hue before"
    without = FILE.replace("  - {cc: 20, to: hue}  # breathes\n", "").replace("# end\n", "")
    assert path.read_text() == without + "  - {cc: 20, channel: 1, to: mix}\n# end\n"
    assert add(path, cc(21, "mix"), {}).words == "cc 21 moved turn before; cc 20 moves mix too"
    assert "  # right\n  # below\n" in path.read_text() and "turn" not in path.read_text()
    assert [binding.target for binding in mapping.load(path).bindings] == ["bend.{n}.amount", "mix", "mix"]
    assert add(path, cc(21, "mix"), {}) is None


def test_what_a_control_moved_by_the_mapping_under_this_one_is_said_once(tmp_path):
    path = tmp_path / "my.yaml"
    words = "cc 1 moved bend.2.amount before, by the mapping default"
    assert add(path, cc(1, "mix"), {"over": "default"}).words == words
    assert add(path, cc(1, "hue"), {}).words == "cc 1 moved mix before"
    assert add(path, cc(99, "blur"), {}).words == ""


def test_a_row_a_page_and_a_modifier_stay_and_are_named_where_they_move_too(path):
    path.write_text("pages: [a, b]\n" + FILE + "  - {cc: 20, to: blur, when: note 1}\n  - {cc: 20, to: x, page: a}\n")
    words = add(path, cc(20, "mix"), {}).words
    assert words == f"cc 20 moved hue before; it still moves x by a row or page, {path}:13"
    assert "blur" in path.read_text()
    words = add(path, cc(3, "mix"), {}).words
    assert words == f"cc 20 moves mix too; it still moves bend.4.amount by a row or page, {path}:10"


@pytest.mark.parametrize(
    ("there", "line", "goes"),
    [
        ("{cc14: 16, to: hue}", cc(16, "mix"), True),
        ("{cc: 48, to: hue}", {"cc14": 16, "to": "mix"}, True),
        ("{cc: 16, channel: 2, to: hue}", cc(16, "mix"), False),
        ("{cc: 16, device: other, to: hue}", cc(16, "mix"), False),
        ("{cc: 16, device: desk, to: hue}", cc(16, "mix"), True),
        ("{note: 16, trigger: panic}", cc(16, "mix"), False),
        ("{note: 16, go: next}", {"note": 16, "to": "mix"}, True),
    ],
)
def test_the_same_control_is_what_sends_the_same(path, there, line, goes):
    path.write_text(f"pages: 2\nbindings:\n  - {there}\n")
    add(path, line, {}, "midi:desk")
    assert len(mapping.load(path).bindings) == (1 if goes else 2)


@pytest.mark.parametrize(
    "text",
    [
        "bindings: [{cc: 20, to: hue}, {cc: 9, to: x}]\ndescription: mine\n",
        "{device: desk, bindings: [{cc: 20, to: hue}]}\n",
        "bindings:\n  - {cc: 20, to: hue}\n  # below\n  - cc: 9\n    to: x",
        "bindings:\n- {cc: 20,\n   to: hue}\n- cc: 9\n  to: x\n",
    ],
)
def test_whatever_the_layout_nothing_else_goes(path, text):
    path.write_text(text)
    before = mapping.load(path)
    assert "hue" in add(path, cc(20, "mix"), {}).words
    after = mapping.load(path)
    assert after.bindings[:-1] == before.bindings[1:] and after.bindings[-1].to == "mix"
    assert after.device == before.device and after.description == before.description


def test_what_is_forgotten_goes_with_all_its_controls(path):
    add(path, cc(30, "hue"), {})
    assert forget(path, "hue").words == "hue is moved by cc 20, cc 30 no longer"
    assert path.read_text() == FILE.replace("  - {cc: 20, to: hue}  # breathes\n", "")
    with pytest.raises(LearnError, match=r"desk\.yaml binds nothing to hue"):
        forget(path, "hue")
    with pytest.raises(LearnError, match=r"desk\.yaml:9: bend\.2\.amount is one of a row there"):
        forget(path, "bend.2.amount")


def test_what_was_done_is_taken_back_unless_the_file_has_changed_since(path, tmp_path):
    change = add(path, cc(20, "mix"), {})
    take_back(change)
    assert path.read_text() == FILE
    with pytest.raises(MappingError, match="has been changed since"):
        take_back(change)
    new = own_path(tmp_path)
    take_back(add(new, cc(20, "mix"), {"device": "desk", "over": "nanokontrol2"}))
    assert mapping.load(new).bindings == begun(new).bindings == []
    assert new.read_text() == "device: desk\nover: nanokontrol2\nbindings:\n"


@pytest.mark.parametrize("text", [FILE, "device: desk\n# none yet\n", "bindings: [{cc: 9, to: x}]  # all\n"])
def test_ends_of_lines_stay_as_they_were(path, text):
    text = text.replace("\n", "\r\n")
    path.write_bytes(text.encode())
    learnt = add(path, cc(20, "mix"), {})
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b"" and all(line.endswith(b"\r") and line.count(b"\r") == 1 for line in lines)
    assert mapping.load(path).bindings[-1].to == "mix"
    forgotten = forget(path, "mix")
    take_back(forgotten)
    assert path.read_bytes().decode() == learnt.after
    take_back(learnt)
    assert path.read_bytes().decode() == text


def test_a_new_file_begins_with_its_header(tmp_path):
    path = own_path(tmp_path)
    add(path, cc(20, "mix"), {"device": "desk", "over": "default"})
    assert path.read_text() == "device: desk\nover: default\nbindings:\n  - {cc: 20, channel: 1, to: mix}\n"
    path.write_text("over: default\n")
    add(path, cc(20, "mix"), {"device": "desk", "over": "default"})
    assert mapping.load(path).device == "desk"
