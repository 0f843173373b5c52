"""Mappings and learning by their ids: over OSC, from another mapping, and never out of the folders."""

import os
import time

import pytest

from instrument.mapping import mapping
from instrument.mapping.rig import Rig
from instrument.midi.ports import MidiPorts
from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ControlSpec
from tests.jack import Controller, running_jack
from tests.midiing import reach
from tests.oscing import Client, wait_until


@pytest.fixture
def params():
    params = ParamSet(notices=lambda text: None)
    params.add("gain", ControlSpec(0, 1, 0.5))
    params.add("mix", ControlSpec(0, 1, 0.5))
    params.add("layers.center", ControlSpec(0, 9, 4))
    params.add("layers.width", ControlSpec(0, 9, 4))
    return params


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "mappings"
    made.mkdir()
    (made / "one.yaml").write_text("device: box\npages: 3\nbindings: [{cc: 1, to: gain, feedback: true}]")
    (made / "two.yaml").write_text("device: box\nbindings: [{cc: 1, to: mix, feedback: true}]")
    (tmp_path / "secret.yaml").write_text("bindings: [{cc: 1, to: gain}]")
    return made


@pytest.fixture
def rig(params, told, folder):
    rig = Rig(params, told.append)
    rig.load("one", folder)
    return rig


def ask(rig, id, value, origin="osc:1"):
    rig._params.set(id, value, origin)
    rig.show(time.monotonic())


def test_mappings_are_swapped_by_name_and_the_lights_follow(rig, params):
    sent = []
    assert params["mapping.load"].base == "one"
    rig.plugged("midi:box", lambda data: sent.append(tuple(data)))
    assert sent == [(0xB0, 1, 64)]
    params.set("mix", 1.0)
    ask(rig, "mapping.load", "two")
    assert rig.names == ["two"] and sent[-2:] == [(0xB0, 1, 0), (0xB0, 1, 127)]
    assert rig.handle(Touch("cc", 1, 0, 1), "midi:box") and params["mix"].base == 0 and params["gain"].base == 0.5
    ask(rig, "mapping.load", "two, one, two")
    assert rig.names == ["two", "one"] and params["mapping.load"].base == "two, one"
    assert rig.handle(Touch("cc", 1, 127, 1), "midi:box") and params["mix"].base == params["gain"].base == 1


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "nothing", "", ",", "two, nothing", "one/../two"])
def test_names_that_cannot_be_change_nothing_and_never_leave_the_folders(rig, params, told, folder, name):
    ask(rig, "mapping.load", str(folder.parent / "secret.yaml") if name == "/etc/passwd" else name)
    assert rig.names == ["one"] and params["mapping.load"].base == "one"
    assert len(told) == 1 and ("no such mapping" in told[0] or "name one; there are: apc40mk2" in told[0])
    ask(rig, "mapping.load", "lpd8")
    assert rig.names == ["lpd8"], "those that ship can be had"


def test_a_file_named_at_the_start_may_be_come_back_to(rig, params, folder):
    outside = folder.parent / "secret.yaml"
    rig.load(outside)
    ask(rig, "mapping.load", "two")
    ask(rig, "mapping.load", f"one, {outside}")
    assert rig.names == ["one", str(outside)]


def test_files_beside_ones_own_can_be_named_and_no_others(params, folder, told):
    rig = Rig(params, told.append, own=folder / "my.yaml")
    rig.load("lpd8")
    (folder / "sub").mkdir()
    (folder / "sub" / "one.yaml").write_text("bindings: []")
    (folder / "notes.txt").write_text("bindings: []")
    outside = folder.parent / "secret.yaml"
    for name in (
        "../secret.yaml",
        str(outside),
        "sub/one.yaml",
        "sub\\one.yaml",
        "notes.txt",
        "my.yaml",
        "one",
        ".",
        "a" * 300 + ".yaml",
    ):
        ask(rig, "mapping.load", name)
        assert rig.names == ["lpd8"] and "no such mapping" in told[-1], name
    ask(rig, "mapping.load", "two.yaml, lpd8")
    assert rig.names == [str(folder / "two.yaml"), "lpd8"] and params["mapping.load"].base == ", ".join(rig.names)
    ask(rig, "mapping.load", params["mapping.load"].base, "osc:2")
    assert rig.names == [str(folder / "two.yaml"), "lpd8"], "what is shown can be sent back"
    ask(rig, "mapping.load", "lpd8")
    ask(rig, "mapping.load", str(folder / "two.yaml"))
    assert rig.names == [str(folder / "two.yaml")]


def test_a_file_by_two_names_plays_once(params, folder):
    rig = Rig(params, lambda text: None, own=folder / "my.yaml")
    rig.load("one", folder)
    ask(rig, "mapping.load", "one, one.yaml")
    assert len(rig.names) == 1


def test_what_was_learnt_is_forgotten_by_its_id(rig, params, folder, told):
    ask(rig, "learn.forget", "gain", "osc:1")
    assert params["learn.caught"].base == f"gain: gain is moved by cc 1 no longer, in {folder / 'one.yaml'}"
    assert not mapping.load("one", folder).bindings and params["learn.forget"].base == "" and len(told) == 1
    rig.handle(Touch("cc", 1, 127, 1), "midi:box")
    assert params["gain"].base == 0.5
    ask(rig, "learn.forget", "gain", "osc:1")
    assert params["learn.caught"].base.startswith("gain: ") and "binds nothing to gain" in told[-1]
    params.trigger("learn.undo", "osc:1")
    rig.show(0.0)
    rig.handle(Touch("cc", 1, 127, 1), "midi:box")
    assert params["gain"].base == 1
    params.trigger("learn.undo", "osc:1")
    rig.show(0.0)
    assert "nothing was learnt since the start" in told[-1]


def test_reload_reads_a_file_whose_time_did_not_move(rig, params, folder, told):
    text = (folder / "one.yaml").read_text().replace("gain", "mix ")
    before = (folder / "one.yaml").stat()
    (folder / "one.yaml").write_text(text)
    os.utime(folder / "one.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    rig.refresh(0.0)
    assert not told
    params.trigger("mapping.reload", "osc:1")
    rig.show(0.0)
    assert "mapping one read again: 1 bindings" in told
    rig.handle(Touch("cc", 1, 127, 1), "midi:box")
    assert params["mix"].base == 1


def test_who_asked_for_a_mapping_is_told_what_it_aims_at_in_vain(rig, params, folder):
    rig.plugged("midi:box", lambda data: None)  # whose name is not whoever asked
    (folder / "two.yaml").write_text("device: box\nbindings: [{cc: 1, to: gian}]")
    count, _ = params.answers.since(0)
    ask(rig, "mapping.load", "two", "osc:1")
    params.trigger("mapping.reload", "osc:2")
    rig.show(0.0)
    _, words = params.answers.since(count)
    assert [(origin, refused) for origin, _, refused in words] == [("osc:1", False), ("osc:2", False)]
    assert all("did you mean 'gain'?" in text for _, text, _ in words)


def test_pages_are_opened_and_shown(rig, params, told):
    ask(rig, "mapping.page", 3)
    assert rig.mappings[0].page_name == "3" and rig.page == 3
    rig.mappings[0].go("next")  # by a button of the controller
    rig.show(0.0)
    assert params["mapping.page"].base == 1
    ask(rig, "mapping.page", 9)
    assert told == ["mapping.page 9: no mapping that plays has so many pages"] and params["mapping.page"].base == 1


def test_learning_says_why_it_cannot(rig, params, told):
    ask(rig, "learn.to", "gian")
    assert params["learn.to"].base == "" and "did you mean 'gain'?" in params["learn.caught"].base and told
    ask(rig, "learn.to", "layers")
    assert "layers.center or layers.width" in params["learn.caught"].base
    ask(rig, "learn.to", "gain")
    assert rig.learner.armed == "gain" == params["learn.to"].base
    ask(rig, "learn.to", "")
    assert rig.learner.armed is None


def test_without_a_mapping_of_ones_own_there_is_nothing_to_write_to(params, told):
    rig = Rig(params, told.append)
    rig.load("lpd8")
    ask(rig, "learn.to", "gain")
    assert "play with --mapping my.yaml" in params["learn.caught"].base and rig.learner.armed is None


def test_a_knob_is_learnt_over_osc_while_the_show_plays_and_plays_at_once(params, folder):
    with running_jack():
        box, rig = Controller("box"), Rig(params, lambda text: None)
        rig.load("two", folder)
        midi = MidiPorts(None, rig, lambda text: None, api="JACK")
        osc = OscServer(params, rig, port=0, notices=lambda text: None)
        midi.start()
        assert wait_until(lambda: midi.status()["ports"], 60)
        reach(midi, box)
        osc.start()
        client = Client(osc.port)
        client.send("/learn/to", "gain")
        assert wait_until(lambda: rig.learner.armed == "gain", 60)
        for value in range(30, 90):
            box.send(0xB0, 20, value)
            time.sleep(0.004)
        wanted = f"gain: knob: cc 20 on channel 1, in {folder / 'two.yaml'}"
        assert wait_until(lambda: params["learn.caught"].base == wanted, 60), params["learn.caught"].base
        assert "{cc: 20, channel: 1, to: gain, takeover: pickup}" in (folder / "two.yaml").read_text()

        def sweep():
            for value in (0, 64, 127):
                box.send(0xB0, 20, value)
            return params["gain"].base == 1

        assert wait_until(sweep, 60) and params["learn.to"].base == ""
        osc.close()
        midi.close()
        client.close()
        box.unplug()


def test_any_text_for_any_of_them_leaves_the_rig_playing(rig, params):
    for id in ("mapping.load", "learn.to", "learn.caught"):
        for text in ("\0", "*", "{n}", "a" * 2000, "gain.", "mapping.load", "learn.to", "ä, \u2028"):
            ask(rig, id, text)
    ask(rig, "learn.to", "")
    ask(rig, "mapping.load", "one")
    assert mapping.load("one", rig._folder) and rig.handle(Touch("cc", 1, 127, 1), "midi:box")
    assert params["gain"].base == 1
