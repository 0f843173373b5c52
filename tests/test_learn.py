"""Learning: what was touched, and that the mapping file keeps everything else as it was."""

import threading
import time
from functools import partial
from itertools import cycle

import pytest

from instrument.mapping import learn, mapping
from instrument.mapping.classify import Control, LearnError, classify, collect, encoding
from instrument.mapping.live import Mapping
from instrument.mapping.mapping import MappingError
from instrument.parameters.params import ParamSet, UnknownParameter
from instrument.parameters.touch import SIXTEEN_K, Touch
from pipelines.spec import ControlSpec, SwitchSpec, TextSpec, TriggerSpec
from tests.filling import full_disk
from tests.jack import Controller, running_jack
from tests.touches import turned

FILE = """\
# my desk, do not touch
device: nanoKONTROL2   # the small one

bindings:
  # the left hand
  - {cc: 0, to: petals.gain, takeover: pickup}  # breathes
  - {note: 36, trigger: panic}
"""


@pytest.fixture
def params():
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


cc = partial(turned, key=16)


def timed(touches, gap=0.02, before=0.0):
    """As from a controller: one touch each `gap` seconds, then silence."""
    yield 0.0, None
    now = before
    for touch in touches:
        now += gap
        yield now, touch
    while True:
        now += 0.1
        yield now, None


def test_touches_are_collected_for_a_moment_after_the_first():
    kept = collect(timed(cc(*range(100)), before=5.0))
    assert kept == cc(*range(len(kept))) and len(kept) in (15, 16, 17)
    with pytest.raises(LearnError, match="within 2 s; is the controller plugged in"):
        collect(timed([]), timeout=2.0)
    with pytest.raises(LearnError):
        collect([])


@pytest.mark.parametrize(
    ("touches", "control"),
    [
        (cc(3, 4, 6, 9), Control("knob", ("cc", 16), 1)),
        (cc(127, 0), Control("button", ("cc", 16), 1)),
        (cc(127), Control("button", ("cc", 16), 1)),
        (cc(127, 127, 126, 127), Control("endless", ("cc", 16), 1, "twos")),
        ([Touch("note", 36, 90, 10), Touch("note", 36, 0, 10)], Control("pad", ("note", 36), 10)),
        ([Touch("pitch", 0, v, 2) for v in range(5)], Control("wheel", ("pitch", 0), 2)),
        ([*cc(1, key=7), *cc(1, 2, 3)], Control("knob", ("cc", 16), 1)),
        ([*cc(5, 6, 7), *cc(3, 90, 4, key=48)], Control("knob", ("cc", 16), 1)),
        ([t for v in (3, 4, 5) for t in (*cc(v), *cc(v * 9, key=48))], Control("knob", ("cc14", 16), 1)),
        ([*cc(5), *cc(3, key=48), *cc(90, 4, 17, key=48)], Control("knob", ("cc14", 16), 1)),
        ([*cc(5), *cc(127, key=48), *cc(6, 7), *cc(0, key=48)], Control("knob", ("cc", 16), 1)),
        (
            [*cc(1, key=99), *cc(2, key=98), *cc(9, key=6), Touch("nrpn", 130, 1152, 1)],
            Control("knob", ("nrpn", 130), 1),
        ),
        ([Touch("pressure", 0, v, 2) for v in range(5)], Control("pressure", ("pressure", 0), 2)),
        ([Touch("poly", 36, v, 1) for v in range(5)], Control("pressure", ("poly", 36), 1)),
        ([Touch("note", 36, 90, 1), *[Touch("poly", 36, v, 1) for v in range(9)]], Control("pad", ("note", 36), 1)),
        ([Touch("note", 0, 127, 1), *cc(127, 127, 127)], Control("endless", ("cc", 16), 1, "twos")),
        ([Touch("program", 3, 3, 1)], Control("program", ("program", 3), 1)),
    ],
)
def test_what_was_touched_is_told_from_its_messages(touches, control):
    assert classify(touches) == control


def test_two_halves_that_move_together_are_one_fader():
    fine_first = [t for pair in zip(cc(3, 90, 4, 5, key=48), cc(5, 6, 7, 8), strict=True) for t in pair]
    assert classify(fine_first).source == ("cc14", 16)
    assert classify(cc(3, 90, 4, key=48)).source == ("cc", 48)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([127, 127, 126, 127], "twos"),
        ([127, 127, 1, 1], "twos"),
        ([63, 63, 62], "offset"),
        ([63, 63, 65], "offset"),
        ([65, 65, 66, 65], "signed"),
        ([65, 65, 1], "signed"),
        ([1, 1, 2, 1], "signed2"),
        ([1, 1, 65], "signed2"),
        ([1, 2, 3, 4], None),
        ([60, 61, 62, 63, 64, 65], None),
        ([30, 30, 31], None),
        ([127, 127], None),
    ],
)
def test_an_endless_knob_turned_left_shows_its_encoding(values, expected):
    assert encoding(values) == expected


def test_the_line_suits_the_target(params):
    knob, button, pad = classify(cc(3, 4, 6)), classify(cc(127, 0)), classify([Touch("note", 36, 9, 10)])
    for control, target, line in (
        (knob, "petals.gain", {"cc": 16, "channel": 1, "to": "petals.gain", "takeover": "pickup"}),
        (knob, "freeze", {"cc": 16, "channel": 1, "to": "freeze"}),
        (button, "panic", {"cc": 16, "channel": 1, "trigger": "panic"}),
        (button, "freeze", {"cc": 16, "channel": 1, "to": "freeze", "mode": "toggle"}),
        (button, "petals.gain", {"cc": 16, "channel": 1, "to": "petals.gain", "mode": "gate"}),
        (pad, "freeze", {"note": 36, "channel": 10, "to": "freeze", "mode": "toggle"}),
        (pad, "*.gain", {"note": 36, "channel": 10, "to": "*.gain"}),
    ):
        assert learn.binding_for(control, target, params) == line
        mapping.Binding.model_validate(line)
    assert str(knob) == "knob: cc 16 on channel 1"


def test_everything_else_in_the_file_stays(tmp_path, params):
    path = tmp_path / "desk.yaml"
    path.write_text(FILE)
    control, line, _ = learn.learn(path, "freeze", timed(cc(127, 0, key=32)), params)
    assert control.kind == "button" and line["to"] == "freeze"
    assert path.read_text() == FILE + "  - {cc: 32, channel: 1, to: freeze, mode: toggle}\n"
    assert len(mapping.load(path).bindings) == 3
    learn.learn(path, "freeze", timed(cc(127, 0, key=32)), params)
    assert len(mapping.load(path).bindings) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("touches", "line"),
    [
        (
            [t for v in (3, 4, 5) for t in (*cc(v), *cc(v * 9, key=48))],
            "cc14: 16, channel: 1, to: petals.gain, takeover: pickup",
        ),
        ([Touch("nrpn", 130, v, 1) for v in (9, 99, 999)], "nrpn: 130, channel: 1, to: petals.gain, takeover: pickup"),
        (cc(65, 65, 66, 65), "cc: 16, channel: 1, to: petals.gain, relative: signed"),
        ([Touch("pressure", 0, 9, 3)], "pressure: true, channel: 3, to: petals.gain"),
    ],
)
def test_every_kind_of_control_can_be_learnt_and_then_plays(tmp_path, params, touches, line):
    path = tmp_path / "desk.yaml"
    path.write_text(FILE)
    learn.learn(path, "petals.gain", timed(touches), params)
    assert path.read_text() == FILE + f"  - {{{line}}}\n"
    played = Mapping(mapping.load(path), params)
    bound, before = played.file.bound[-1], params["petals.gain"].base
    for value in (0, 16383 if bound.kind in SIXTEEN_K else 65):
        played.handle(Touch(bound.kind, bound.key, value, bound.channel))
    assert params["petals.gain"].base != before


def test_one_click_of_an_endless_knob_is_waited_for():
    assert len(collect(timed(cc(127, 127, 127), gap=0.25))) == 3  # slow, as it should be turned
    assert len(collect(timed(cc(127, 0), gap=0.1))) == 2


def test_a_missing_or_empty_file_is_made(tmp_path, params):
    for text in (None, "", "# only a comment\n", "device: Des*\nbindings:\n"):
        path = tmp_path / "new" / "desk.yaml"
        if text is not None:
            path.write_text(text)
        learn.learn(path, "petals.gain", timed(cc(1, 2, 3)), params, origin=lambda: "midi:Desk")
        file = mapping.load(path)
        assert file.device == ("Des*" if text and "device" in text else "Desk") and len(file.bindings) == 1
        assert not text or path.read_text().startswith(text)
        path.unlink()


def test_a_control_of_another_controller_is_refused_where_it_would_never_be_heard(tmp_path, params):
    path = tmp_path / "desk.yaml"
    path.write_text(FILE)
    with pytest.raises(LearnError, match=r"is for nanoKONTROL2, and this came from LPD8; write device: \"\*\" in it"):
        learn.learn(path, "petals.gain", timed(cc(1, 2, 3)), params, origin=lambda: "midi:LPD8:LPD8 MIDI 1")
    learn.learn(path, "petals.gain", timed(cc(1, 2, 3)), params, origin=lambda: "midi:virtual")
    assert path.read_text().startswith(FILE) and len(mapping.load(path).bindings) == 3


def test_a_broken_file_or_target_is_left_alone(tmp_path, params):
    path = tmp_path / "desk.yaml"
    path.write_text("bindings: [{cc: 1}]")
    with pytest.raises(MappingError, match=r"desk\.yaml:1: bindings 1: give exactly one target"):
        learn.learn(path, "petals.gain", timed(cc(1, 2, 3)), params)
    assert path.read_text() == "bindings: [{cc: 1}]"
    with pytest.raises(UnknownParameter, match=r"did you mean 'petals\.gain'"):
        learn.learn(path, "petals.gian", iter(()), params)
    with pytest.raises(LearnError, match="'a b' is not a parameter id"):
        learn.learn(path, "a b", iter(()))
    params.add("words", TextSpec())
    with pytest.raises(LearnError, match="'words' is a text, and a control sends numbers"):
        learn.learn(path, "words", iter(()), params)
    (tmp_path / "file").write_text("")
    with pytest.raises(MappingError, match="cannot be written"):
        learn.learn(tmp_path / "file" / "desk.yaml", "petals.gain", timed(cc(1, 2, 3)), params)


def test_a_full_disk_leaves_the_mapping_as_it_was_and_nothing_beside_it(tmp_path, params):
    path = tmp_path / "desk.yaml"
    path.write_text("device: x")
    with full_disk(), pytest.raises(MappingError, match="cannot be written"):
        learn.learn(path, "petals.gain", timed(cc(1, 2, 3)), params)
    assert [file.name for file in tmp_path.iterdir()] == ["desk.yaml"] and path.read_text() == "device: x"


@pytest.mark.parametrize(
    ("origin", "device"),
    [
        ("midi:nanoKONTROL2:nanoKONTROL2 nanoKONTROL2 _ CTRL 20:0", "nanoKONTROL2"),
        ("midi:MIDI Mix", "MIDI Mix"),
        ("midi:LPD8:out", "LPD8"),
    ],
)
def test_the_device_is_called_by_the_part_of_its_name_that_stays(origin, device):
    assert learn.device_of(origin) == device


def test_learning_from_a_real_port_and_playing_what_was_learnt(tmp_path, params):
    path = tmp_path / "desk.yaml"
    with running_jack():
        desk = Controller("desk")

        learnt = threading.Event()

        def turn():  # up and down until it was seen
            for value in cycle((*range(40, 110), *range(110, 40, -1))):
                if learnt.wait(0.02):
                    return
                desk.send(0xB2, 7, value)

        hand = threading.Thread(target=turn)
        hand.start()
        try:
            told = learn.learn_from_port(path, "petals.gain", "desk", 60, params, "JACK")
        finally:
            learnt.set()
            hand.join()
            desk.unplug()
    line = "{cc: 7, channel: 3, to: petals.gain, takeover: pickup}"
    moved = "cc 7 moved bend.8.amount before, by the mapping default"
    assert told == f"knob: cc 7 on channel 3; wrote {line} to {path}; {moved}"
    file = mapping.load(path)
    assert file.device == "desk"
    played = Mapping(file, params)
    for value in (0, 127):
        played.handle(Touch("cc", 7, value, 3))
    assert params["petals.gain"].base == 8


def test_a_machine_without_midi_says_so_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "bender-nobody")
    start = time.monotonic()
    with pytest.raises(LearnError, match="no MIDI: "):
        learn.learn_from_port(tmp_path / "desk.yaml", "petals.gain", api="JACK")
    assert time.monotonic() - start < 5
