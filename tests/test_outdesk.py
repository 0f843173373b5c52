"""Outputs added and removed while the show plays, and what words from the network may not do."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.outputs import OutputError, OutputGroup, desk, parse
from instrument.outputs.desk import LONGEST, MOST, OutputDesk, confined
from instrument.parameters.params import ParamSet
from tests.playing import Playing, wait_until


class Stage:
    """A group that plays, with a desk that obeys."""

    def __init__(self, folder: Path, rule="local"):
        self.told, self.params, self.group = [], ParamSet(), OutputGroup([parse("dummy")])
        desk.declare(self.params)
        self.group.start(64, 48, 20)
        self.desk = OutputDesk(self.params, self.group, self.told.append, folder, rule)
        self.desk.start()

    def until_told(self, text):
        assert wait_until(lambda: any(text in line for line in self.told), 20), self.told

    def names(self):
        return [runner.name for runner in self.group.runners]

    def close(self):
        self.desk.close()
        self.group.close()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.close()


def test_an_output_comes_and_goes_and_its_file_is_finished(stage, tmp_path):
    stage.params.set("out.add", "file:take.mkv?lossless", "osc:127.0.0.1:9")
    stage.until_told("added")
    assert stage.names() == ["dummy", f"file:{tmp_path}/take.mkv"]
    for value in range(12):
        stage.group.send(np.full((48, 64, 3), 10 * value, np.uint8))
        time.sleep(0.02)
    stage.params.set("out.remove", "file:take.mkv", "osc:127.0.0.1:9")
    stage.until_told("removed")
    with av.open(str(tmp_path / "take.mkv")) as take:
        assert len(list(take.decode(video=0))) >= 6
    assert stage.names() == ["dummy"]
    assert wait_until(lambda: stage.params["out.add"].base == "" == stage.params["out.remove"].base)


def test_an_output_goes_by_the_words_that_added_it(tmp_path):
    stage = Stage(tmp_path, "any")
    try:
        for words, name in (("stream:udp://127.0.0.1:9?kbps=500", "udp"), ("file:take.mp4?quality=30", "take.mp4")):
            stage.params.set("out.add", words, "osc")
            stage.until_told("added")
            assert any(name in each for each in stage.names())
            stage.params.set("out.remove", words, "osc")
            stage.until_told("removed")
            assert stage.names() == ["dummy"]
            stage.told.clear()
    finally:
        stage.close()


def test_wishes_are_kept_in_order_and_none_is_lost(stage):
    for number in range(10):
        stage.params.set("out.add", "dummy", "page")
        stage.params.set("out.add", f"dummy?fps={number + 1}", "page")
        stage.params.set("out.remove", "dummy", "page")
    assert wait_until(lambda: sum("added" in text or "removed" in text for text in stage.told) == 30), stage.told
    assert len(stage.names()) == 11
    assert wait_until(lambda: stage.params["out.add"].base == "" == stage.params["out.remove"].base)


def test_there_are_never_too_many(stage):
    for _ in range(MOST + 3):
        stage.params.set("out.add", "dummy", "page")
    stage.until_told(f"there are {MOST} outputs already; take one away first")
    assert len(stage.names()) == MOST


def test_a_wish_that_cannot_be_is_told_and_nothing_else(stage):
    stage.params.set("out.add", "camera?backend=none", "page")
    stage.until_told("camera")
    stage.params.set("out.remove", "dumy", "page")
    stage.until_told("there is no such output; did you mean 'dummy'?")
    assert stage.names() == ["dummy"]


REFUSED = {
    "file:/etc/take.mp4": "plain name",
    "file:../take.mp4": "plain name",
    "file:~/take.mp4": "plain name",
    "file:a/b.mp4": "plain name",
    "file:..": "plain name",
    "file:.hidden.mp4": "plain name",
    "file:": "plain name",
    "file:take.mp4?overwrite": "cannot be overwritten",
    "file:take.mp4?size=64x48&overwrite=yes": "cannot be overwritten",
    "file:take.sh": "cannot tell the format",
    "take.mp4": "did you mean 'file:take.mp4'",
    "dummy:/tmp/log.jsonl": "write dummy alone",
    "dummy?keep=1": "frames cannot be kept from the network",
    "dummy?fps=9&keep": "frames cannot be kept from the network",
    "stream:rtmp://example.com/live": "cannot be added from the network",
    "camera:/dev/sda": "no name of a camera",
    "camera:/dev/video1/../sda": "no name of a camera",
    "nid": "did you mean 'ndi'",
    "ndi:a\nb": "cannot be read",
    "ndi:" + "x" * LONGEST: "cannot be read",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_words_from_the_network_may_not(spec, tmp_path):
    with pytest.raises(OutputError) as refusal:
        confined(spec, tmp_path, "local")
    assert REFUSED[spec] in str(refusal.value)


def test_streams_are_for_those_who_said_so(tmp_path):
    assert confined("stream:udp://127.0.0.1:9", tmp_path, "any").name == "stream:udp://127.0.0.1:9"
    with pytest.raises(OutputError, match="plain name"):
        confined("file:../a.mp4", tmp_path, "any")
    with pytest.raises(OutputError, match="--live-out local"):
        confined("dummy", tmp_path, "off")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="abc./~#:?&=\\%-_ \0", max_size=40).map("file:".__add__)))
def test_no_text_leaves_the_folder(tmp_path_factory, text):
    folder = Path("/nowhere/out")
    try:
        output = confined(text, folder, "any")
    except OutputError:
        return
    path = getattr(getattr(output, "inner", output), "path", None)
    assert path is None or path.parent == folder


def test_where_nobody_may_nothing_happens(tmp_path):
    made = Stage(tmp_path, "off")
    try:
        made.params.set("out.add", "dummy", "page")
        made.until_told("cannot be added while this show plays")
        made.params.set("out.remove", "dummy", "page")
        made.until_told("cannot be removed")
        assert made.names() == ["dummy"]
    finally:
        made.close()


def test_a_running_show_records_for_a_while_by_osc(tmp_path):
    with Playing(tmp_path, "--out-dir", tmp_path) as show:
        assert show.plays_on()
        show.send(("/out/add", "file:take.mp4"))
        assert wait_until(lambda: any("added" in text for text in show.notices())), show.notices()
        assert show.plays_on(20)
        status = show.status()
        take = status["outputs"][-1]
        assert take["name"] == f"file:{take['writing']}" and take["writing"] == str(tmp_path / "take.mp4")
        assert 0 < take["seconds"] == status["recording_s"]
        assert status["outputs_told"].endswith(f" s into {tmp_path / 'take.mp4'}")
        show.send(("/out/remove", "file:take.mp4"), ("/out/add", "file:/tmp/elsewhere.mp4"))
        assert wait_until(lambda: any("plain name" in text for text in show.notices())), show.notices()
        assert show.plays_on() and show.errors == ""
    with av.open(str(tmp_path / "take.mp4")) as take:
        assert len(list(take.decode(video=0))) > 5
    assert not Path("/tmp/elsewhere.mp4").exists()
