"""What controllers show, through a real server: at the start, after changes, after coming back, and never an echo."""

import time

import pytest

from instrument.mapping import link, mapping
from instrument.mapping.feedback import Lights
from instrument.mapping.live import Mapping
from instrument.mapping.rig import Rig
from instrument.midi.ports import MidiPorts
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TriggerSpec
from tests.jack import Controller, running_jack
from tests.midiing import reach, wait_until

DESK = """
name: desk
device: desk
channel: 1
hello: ["F0 7D 01 F7"]
bye: ["F0 7D 02 F7"]
controls:
  - {name: ring, cc: 10, kind: encoder, relative: twos, led: {cc: 40, range: [1, 13]}}
  - {name: motor, pitch: true, kind: fader, led: {motor: true}}
  - {name: knob, cc: 11, kind: knob, led: {}}
  - {name: button, note: 1-3, kind: button, led: {on: 60, off: 12, ready: 5}}
"""
MAPPING = """
profile: desk
pages: [one, two]
bindings:
  - {control: ring, to: gain, page: one}
  - {control: ring, to: mix, page: two}
  - {control: motor, to: mix}
  - {control: knob, to: mix, range: [1, 0]}
  - {control: button.1, to: freeze, mode: toggle}
  - {control: button.2, trigger: panic}
  - {control: button.3, go: next}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "desk.yaml").write_text(DESK)
    (tmp_path / "play.yaml").write_text(MAPPING)
    return tmp_path


@pytest.fixture
def params():
    params = ParamSet()
    params.add("gain", ControlSpec(0, 8, 2))
    params.add("mix", ControlSpec(0, 1, 0.25))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


@pytest.fixture
def sent():
    return []


@pytest.fixture
def playing(folder, params):
    return Mapping(mapping.load(folder / "play.yaml"), params)


@pytest.fixture
def lights(playing, sent):
    return Lights(playing, sent.append)


def latest(sent):
    """The last value of every light, by kind and number."""
    return {(data[0], data[1] if data[0] != 0xE0 else 0): data[-1] for data in sent if data[0] < 0xF0}


def test_the_state_is_shown_at_the_start(lights, sent):
    lights.start()
    assert sent[0] == [0xF0, 0x7D, 1, 0xF7]
    assert latest(sent) == {
        (0xB0, 40): 1 + 3,  # a quarter of the ring
        (0xE0, 0): round(0.25 * 16383) >> 7,
        (0xB0, 11): round(0.75 * 127),  # backwards
        (0x90, 1): 12,
        (0x90, 2): 5,
        (0x90, 3): 12,
    }


def test_only_what_changed_is_sent_and_of_a_storm_the_last(lights, sent, params):
    lights.start()
    sent.clear()
    lights.show()
    assert sent == []
    for step in range(1000):
        params.set("gain", step / 125, "osc")
    params.set("gain", 8, "osc")
    params.set("freeze", True, "page")
    lights.show()
    assert sorted(sent) == [[0x90, 1, 60], [0xB0, 40, 13]]


def test_a_fader_is_never_told_what_the_hand_on_it_did(lights, sent, params, playing):
    lights.start()
    sent.clear()
    for position in range(-8192, 8191, 100):
        playing.handle(Touch("pitch", 0, position, 1), "midi:desk")
        lights.show()
    assert not [data for data in sent if data[0] == 0xE0]
    assert latest(sent)[0xB0, 11] == round((1 - params["mix"].base) * 127)  # the other control of it follows
    where = params["mix"].base
    params.set("mix", 0.1, "osc")
    params.set("mix", where, "osc")  # back at once: the fader stands right, but who knows
    lights.show()
    assert [data for data in sent if data[0] == 0xE0][-1][-1] == round(where * 16383) >> 7


@pytest.mark.parametrize(
    ("spec", "put", "stands"),
    [
        (ControlSpec(0, 4, 0, step=1), -2500, 1 / 4),  # a third of its way; the first of four steps is nearest
        (ChoiceSpec(("a", "b", "c"), "a"), 1000, 1 / 2),
        (SwitchSpec(), 1000, 1),
    ],
)
def test_a_fader_goes_to_the_step_it_was_nearest_to_once_the_hand_rests(folder, sent, monkeypatch, spec, put, stands):
    params = ParamSet()
    for id in ("gain", "mix", "freeze"):
        params.add(id, spec if id == "mix" else ControlSpec(0, 8, 2))
    params.add("panic", TriggerSpec())
    playing = Mapping(mapping.load(folder / "play.yaml"), params)
    lights = Lights(playing, sent.append)
    lights.start()
    sent.clear()

    def moved() -> list[int]:
        lights.show()
        return [data[1] + (data[2] << 7) for data in sent if data[0] == 0xE0]

    monkeypatch.setattr(link, "REST", 1e9)  # the hand is on it
    for position in range(-8192, put, 100):
        playing.handle(Touch("pitch", 0, position, 1), "midi:desk")
        assert moved() == []
    monkeypatch.setattr(link, "REST", 0.0)
    assert moved() == moved() == [round(stands * 127 * 129)]
    monkeypatch.setattr(link, "REST", 1e9)
    playing.handle(Touch("pitch", 0, 8191, 1), "midi:desk")  # where it stands exactly
    monkeypatch.setattr(link, "REST", 0.0)
    assert len(moved()) == 1


def test_an_endless_knob_and_a_button_do_need_to_be_told(lights, sent, playing):
    lights.start()
    sent.clear()
    for _ in range(64):
        playing.handle(Touch("cc", 10, 1, 1), "midi:desk")
    playing.handle(Touch("note", 1, 100, 1), "midi:desk")
    playing.handle(Touch("note", 1, 0, 1), "midi:desk")
    lights.show()
    assert latest(sent) == {(0xB0, 40): 1 + 9, (0x90, 1): 60}


def test_lights_follow_the_page(lights, sent, playing, params):
    lights.start()
    sent.clear()
    params.set("mix", 1, "osc")
    playing.handle(Touch("note", 3, 100, 1), "midi:desk")
    lights.show()
    assert playing.page_name == "two"
    assert latest(sent)[0xB0, 40] == 13 and latest(sent)[0x90, 3] == 60
    playing.handle(Touch("note", 3, 0, 1), "midi:desk")
    playing.handle(Touch("note", 3, 100, 1), "midi:desk")
    lights.show()
    assert playing.page_name == "one" and latest(sent)[0xB0, 40] == 4 and latest(sent)[0x90, 3] == 12


def test_all_is_dark_at_the_end_but_motors_stay(lights, sent):
    lights.start()
    sent.clear()
    lights.off()
    assert latest(sent) == {(0xB0, 40): 0, (0xB0, 11): 0, (0x90, 1): 12, (0x90, 2): 12, (0x90, 3): 12}
    assert sent[-1] == [0xF0, 0x7D, 2, 0xF7]


def test_raw_lines_can_be_lit_too(params, sent):
    text = """
bindings:
  - {cc: 0-1, to: "{n}", feedback: true}
  - {note: 36, to: freeze, mode: toggle, channel: 3, feedback: {note: 8, on: 2}}
""".replace('"{n}"', "mix")
    lights = Lights(Mapping(mapping.loads(text), params), sent.append)
    params.set("freeze", True)
    lights.start()
    assert latest(sent) == {(0xB0, 0): 32, (0xB0, 1): 32, (0x92, 8): 2}


def test_a_parameter_that_comes_with_a_patch_is_shown(params, sent):
    lights = Lights(Mapping(mapping.loads("bindings: [{cc: 0, to: late, feedback: true}]"), params), sent.append)
    lights.start()
    assert sent == [[0xB0, 0, 0]]
    params.add("late", ControlSpec(0, 1, 1))
    lights.show()
    assert sent[-1] == [0xB0, 0, 127]


# --- through a real server ---


@pytest.fixture(scope="module")
def jack():
    with running_jack() as server:
        yield server


@pytest.fixture
def rig(folder, params, told):
    rig = Rig(params, told.append)
    rig.load(folder / "play.yaml")
    return rig


@pytest.fixture
def ports(jack, rig, told):
    ports = MidiPorts(None, rig, told.append, api="JACK")
    yield ports
    ports.close()


def test_a_controller_is_lit_lit_again_when_it_comes_back_and_dark_at_the_end(ports, params):
    desk = Controller("desk", lights=True)
    ports.start()
    assert wait_until(lambda: desk.shown.get((0xB0, 40)) == 4)
    assert [0xF0, 0x7D, 1, 0xF7] in desk.hear() and ports.status()["lit"] == ["desk:out"]
    params.set("gain", 8, "osc")
    assert wait_until(lambda: desk.shown[0xB0, 40] == 13)
    desk.send(0xB0, 10, 127)  # the ring's own knob, one step left
    assert wait_until(lambda: params["gain"].base < 8)
    desk.unplug()
    assert wait_until(lambda: ports.status()["ports"] == [])
    params.set("gain", 0, "osc")
    desk = Controller("desk", lights=True)
    assert wait_until(lambda: desk.shown.get((0xB0, 40)) == 1)
    desk.send(0xB0, 10, 1)
    assert wait_until(lambda: params["gain"].base > 0)  # and the mapping plays on
    ports.close()
    assert wait_until(lambda: desk.hear()[-1] == [0xF0, 0x7D, 2, 0xF7])
    assert desk.shown[0x90, 2] == 12 and desk.shown[0xB0, 40] == 0
    desk.unplug()


def test_a_controller_without_lights_plays_all_the_same(ports, params):
    desk = Controller("desk")
    ports.start()
    assert wait_until(lambda: ports.status()["ports"] == ["desk:out"])
    reach(ports, desk)
    desk.send(0xB0, 10, 10)
    assert wait_until(lambda: params["gain"].base > 2)
    assert ports.status()["lit"] == []
    desk.unplug()


def test_a_storm_of_changes_costs_few_messages_and_ends_right(ports, params):
    desk = Controller("desk", lights=True)
    ports.start()
    assert wait_until(lambda: desk.shown.get((0xB0, 40)) == 4)
    before, end = len(desk.hear()), time.monotonic() + 1.0
    changes = 0
    while time.monotonic() < end:
        params.set("gain", changes % 9, "osc")
        changes += 1
        time.sleep(0.0005)
    params.set("gain", 8, "osc")
    assert wait_until(lambda: desk.shown[0xB0, 40] == 13)
    assert changes > 100 and len(desk.hear()) - before < 60
    desk.unplug()
