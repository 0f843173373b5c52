"""What a patch brings beside bends, and the set list, on a tiny model: modulators, snapshots, patches that follow."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from instrument.state.patch import PatchError, loads
from pipelines.taehv import TAEHV
from tests.engine import Playing
from tests.tiny import TAE

MOVING = """
version: 2
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip}}
values: {words.gain: 2.0}
modulators:
  - {lfo: square, period: 2 beats, to: loud.gain, depth: 0.4}
snapshots:
  high: {loud.gain: 4.0, words.layers: [0, 1]}
"""


def gain_of(playing: Playing, point: str = "ffn.out") -> float:
    return playing.engine.stream.bank.layers[0].points[point][0].folded["gain"].item()


def test_modulation_is_heard_at_every_step_and_is_no_turn_of_a_knob() -> None:
    playing = Playing(MOVING)
    now = [0.0]
    playing.engine.clock = lambda: now[0]
    playing.chunks(1)
    playing.params.take_change()
    gains = []
    for step in playing.engine.stream.denoise():
        now[0] = step * 0.5  # one beat at 120
        playing.engine._listen()
        playing.engine.stream.bank.fold(step)
        gains.append(gain_of(playing))
    low, high = (playing.params["loud.gain"].spec.map(0.5 + sign * 0.4) for sign in (-1, 1))
    assert gains == pytest.approx([high, low, high, low][: len(gains)], rel=1e-5)
    assert playing.params["loud.gain"].base == 1.0 and playing.params.take_change() is None


def test_a_depth_of_nothing_is_the_unmodulated_picture_bit_for_bit() -> None:
    still, moving = Playing(MOVING), Playing(MOVING)
    for playing in (still, moving):
        playing.engine.keep_picture_time(20)
        playing.params.set("lfo1.depth", 0)
    still.params.set("lfo1.on", False)
    assert (still.chunks(3) == moving.chunks(3)).all()
    moving.params.set("lfo1.depth", 0.4)
    assert (still.chunks(2) != moving.chunks(2)).any()


def test_in_picture_time_a_run_with_modulators_is_reproducible() -> None:
    one, two = Playing(MOVING), Playing(MOVING)
    for playing in (one, two):
        playing.engine.keep_picture_time(20)
    first = one.chunks(4)
    time.sleep(0.1)
    assert (two.chunks(4) == first).all()
    assert one.engine.clock() == pytest.approx(4 * 4 / 20)


def test_in_picture_time_what_counts_is_the_frames_shown() -> None:
    """A refused chunk shows none; a decoder that begins anew gives fewer than four for a latent frame."""
    playing = Playing(MOVING, TAEHV(replace(TAE, trim=3)).eval())
    playing.engine.keep_picture_time(20)
    playing.chunks(2)
    weight = playing.engine.stream.model.head.head.weight
    good = weight.clone()
    weight.fill_(float("nan"))
    playing.engine.play_chunk()
    weight.copy_(good)
    playing.chunks(2)
    assert len(playing.frames) == 1 + 4 + 4 + 4 and playing.engine.chunks == 5
    assert playing.engine.clock() == pytest.approx(len(playing.frames) / 20)


def test_a_snapshot_is_heard_within_the_chunk() -> None:
    playing = Playing(MOVING)
    playing.params.set("lfo1.on", False)
    playing.chunks(1)
    for step in playing.engine.stream.denoise():
        if step == 1:
            playing.params.trigger("snapshot.1.recall")
        playing.engine._listen()
        playing.engine.stream.bank.fold(step)
        assert gain_of(playing) == (4.0 if step else 1.0)
    assert playing.params["words.layers.center"].base == 0.5


def test_panic_stops_modulators_too_and_undo_brings_all_back() -> None:
    playing = Playing(MOVING)
    playing.params.set("loud.gain", 5.0)
    playing.chunks(1)
    playing.params.trigger("panic")
    playing.chunks(1)
    assert playing.params.heard("loud.gain") == 1.0 and not playing.params["lfo1.on"].base
    playing.params.trigger("undo")
    playing.chunks(1)
    assert playing.params["loud.gain"].base == 5.0 and playing.params["lfo1.on"].base
    assert playing.params["words.gain"].base == 2.0


def test_the_set_list_is_prepared_and_changed_between_chunks() -> None:
    playing, told = Playing(), []
    playing.engine.tell = told.append
    first = loads(MOVING, name="first")
    second = loads("prompt: a moon\nbends: [{name: b, lever: self.out.gain}]", name="second")
    playing.engine.sound_check([first, second])
    playing.engine.load(first)
    assert playing.encoder.asked == ["a purple tulip swaying", "a moon"]
    playing.chunks(2)
    bank = playing.engine.stream.bank
    playing.params.trigger("patch.next")
    assert playing.chunks(1).shape[0] == 4
    assert "b.gain" in playing.params and "lfo1.depth" not in playing.params and "loud.gain" not in playing.params
    assert playing.params["prompt.text"].base == "a moon" and told == ["now playing second"]
    playing.params.trigger("patch.previous")
    playing.chunks(1)
    assert playing.engine.stream.bank is bank and playing.params["words.gain"].base == 2.0
    assert playing.encoder.asked == ["a purple tulip swaying", "a moon"]  # nobody waited for the encoder again


def test_what_is_stored_in_the_first_patch_is_there_when_the_set_comes_back_to_it() -> None:
    playing = Playing()
    first, second = loads(MOVING, name="first"), loads("prompt: a moon", name="second")
    playing.engine.load(first)  # as a show does, before the sound-check
    playing.engine.sound_check([first, second])
    playing.chunks(1)
    playing.params.set("loud.gain", 5.0)
    for press in ("snapshot.3.store", "patch.next", "patch.previous", "snapshot.3.recall"):
        playing.params.trigger(press)
        playing.chunks(1)
    assert playing.params["loud.gain"].base == 5.0


def test_a_patch_that_does_not_fit_changes_nothing_while_playing(tmp_path) -> None:
    playing, told = Playing(MOVING), []
    playing.engine.tell = told.append
    playing.engine.desk.folder = tmp_path
    (tmp_path / "bad.yaml").write_text("bends: [{name: b, lever: self.out.gian}]")
    playing.chunks(1)
    before = {p.id: p.base for p in playing.params if p.group != "patch"}
    playing.params.set("patch.load", "bad", "osc")
    deadline = time.monotonic() + 20
    while not told and time.monotonic() < deadline:
        playing.chunks(1)
    assert "bad.yaml:1: no lever 'self.out.gian'; did you mean 'self.out.gain'" in told[0]
    assert {p.id: p.base for p in playing.params if p.group != "patch"} == before
    with pytest.raises(PatchError, match="no lever"):
        playing.engine.sound_check([loads("bends: [{name: b, lever: self.out.gian}]")])


def test_what_is_saved_live_loads_as_what_was_played(tmp_path) -> None:
    playing, told = Playing(MOVING), []
    playing.engine.tell = told.append
    playing.engine.desk.folder = tmp_path
    playing.params.set("loud.gain", 3.5)
    playing.params.set("lfo1.rate", 0.75)
    playing.params.trigger("snapshot.3.store")
    playing.params.set("patch.name", "tonight")
    playing.params.trigger("patch.save")
    deadline = time.monotonic() + 20
    while not any("tonight" in text for text in told) and time.monotonic() < deadline:
        playing.chunks(1)
    again = Playing((tmp_path / "tonight.yaml").read_text())
    assert {p.id: p.base for p in again.params if p.kept} == {p.id: p.base for p in playing.params if p.kept}
    assert again.engine.console.snapshots == playing.engine.console.snapshots
    assert again.engine.console.snapshots[3].values["loud.gain"] == 3.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("to: loud.gain", "to: loud.gian"), r":10: no parameter 'loud.gian'; did you mean 'loud.gain'"),
        (("to: loud.gain", "to: words.tokens"), "words.tokens is a text and cannot be modulated"),
        (("lfo: square", "hold: nobody"), "no signal 'nobody'"),
        (("period: 2 beats", "name: clock"), "no modulator can be named 'clock': the instrument itself uses it"),
        (("loud.gain: 4.0", "loud.gian: 4.0"), ":12: no parameter 'loud.gian'"),
        (("values: {words.gain: 2.0}", "glide: {words.tokens: 20}"), "words.tokens cannot glide; only numbers do"),
        (("name: loud", "name: audio"), "no bend can be named 'audio'"),
    ],
)
def test_every_part_of_a_patch_is_tried_before_it_plays(change: tuple[str, str], message: str) -> None:
    playing = Playing()
    before = {p.id: p.base for p in playing.params}
    with pytest.raises(PatchError, match=message):
        playing.engine.load(loads(MOVING.replace(*change), "song.yaml"))
    assert {p.id: p.base for p in playing.params} == before
