"""The loop on a tiny model: knobs heard within the chunk, commands between chunks, faults survived."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import PatchError, loads
from pipelines.bends.probes import MapLook
from pipelines.taehv import TAEHV
from pipelines.text import Prompt
from tests.tiny import TAE, prompt, stream

PATCH = """
version: 1
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip, layers: [1, 2]}}
values: {words.gain: 2.0}
"""


class Encoder:
    """Prompts with random embeddings, one seed a text."""

    quick = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, text: str) -> Prompt:
        self.asked.append(text)
        return prompt(text, seed=len(text))

    def let_go(self) -> None:
        """There is nothing to free."""


class Playing:
    """An engine on the tiny model whose frames and stamps are kept."""

    def __init__(self, text: str = PATCH, decoder: TAEHV | None = None) -> None:
        self.frames: list[np.ndarray] = []
        self.stamps: list[object] = []
        self.encoder, self.params = Encoder(), ParamSet()
        self.engine = Engine(stream(decoder=decoder), self.encoder, self.params, self._keep)
        self.engine.load(loads(text))

    def _keep(self, frame: np.ndarray, stamp: object) -> None:
        self.frames.append(frame)
        self.stamps.append(stamp)

    def chunks(self, count: int) -> np.ndarray:
        before = len(self.frames)
        for _ in range(count):
            self.engine.play_chunk()
        self.engine.finish()
        return np.stack(self.frames[before:])


def test_a_patch_becomes_parameters_and_values() -> None:
    playing = Playing()
    assert playing.params["words.gain"].base == 2.0 and playing.params["words.tokens"].base == "tulip"
    assert playing.params["words.layers.center"].base == 1.5 and playing.params["words.layers.width"].base == 1
    playing.params.set("bend.1.amount", 3.0)
    assert playing.params["loud.gain"].base == 3.0
    playing.chunks(1)
    assert playing.engine.stream.bank.held_tokens() == {"words": [2]}


def test_a_seed_makes_a_run_reproducible_and_another_one_different() -> None:
    first, again = Playing(), Playing()
    reference = first.chunks(4)
    assert (again.chunks(4) == reference).all()
    again.params.set("engine.seed", 4)
    assert (again.chunks(4) != reference).any()
    again.params.set("engine.seed", 3)
    assert (again.chunks(4) == reference).all()
    again.params.trigger("engine.reseed")
    assert (again.chunks(4) == reference).all()


def test_a_knob_changes_the_next_chunk_and_only_then() -> None:
    steady, turned = Playing(), Playing()
    assert (steady.chunks(2) == turned.chunks(2)).all()
    turned.params.set("loud.gain", 4.0)
    assert (steady.chunks(1) != turned.chunks(1)).any()


def test_a_knob_turned_during_a_chunk_is_heard_at_its_next_step() -> None:
    playing = Playing()
    playing.chunks(1)
    for step in playing.engine.stream.denoise():
        if step == 2:
            playing.params.set("loud.gain", 5.0)
        playing.engine._listen()
    gain = playing.engine.stream.bank.layers[0].points["ffn.out"][0].folded["gain"]
    assert gain.item() == 5.0


def test_the_first_frame_with_a_change_carries_its_stamp() -> None:
    playing = Playing()
    playing.chunks(2)
    playing.stamps.clear()
    playing.chunks(1)
    assert playing.stamps == [None] * 4
    before = time.monotonic()
    playing.params.set("loud.gain", 2.0)
    playing.chunks(1)
    assert before <= playing.stamps[-4] <= time.monotonic() and playing.stamps[-3:] == [None] * 3


def test_a_new_prompt_is_encoded_once() -> None:
    playing = Playing()
    playing.chunks(2)
    playing.params.set("prompt.text", "a green moon")
    playing.chunks(2)
    assert playing.encoder.asked == ["a purple tulip swaying", "a green moon"]
    assert playing.engine.notices == ["words: the prompt has no 'tulip'"]


def test_panic_is_neutral_again() -> None:
    playing = Playing()
    playing.params.set("loud.gain", 8.0)
    playing.chunks(2)
    playing.params.trigger("panic")
    playing.chunks(1)
    assert playing.params["loud.gain"].base == 1.0 and playing.params["words.gain"].base == 1.0
    assert playing.engine.stream.cache.end == 1


def test_a_knob_turned_after_panic_has_the_last_word() -> None:
    playing = Playing()
    playing.params.trigger("panic")
    playing.params.set("loud.gain", 2.5)
    playing.chunks(1)
    assert playing.params["loud.gain"].base == 2.5 and playing.params["words.gain"].base == 1.0


def test_a_chunk_that_is_not_finite_is_dropped_and_play_goes_on() -> None:
    playing = Playing()
    playing.chunks(2)
    weight = playing.engine.stream.model.head.head.weight
    good = weight.clone()
    weight.fill_(float("nan"))
    shown = len(playing.frames)
    playing.engine.play_chunk()
    assert len(playing.frames) == shown and "not finite" in playing.engine.notices[0]
    weight.copy_(good)
    frames = playing.chunks(2)
    assert frames.shape[0] == 8 and playing.engine.stream.cache.end == 2


def test_run_survives_a_fault_and_says_so() -> None:
    playing = Playing()
    real = playing.encoder.encode
    playing.encoder.encode = lambda text: (_ for _ in ()).throw(RuntimeError("no such word"))
    thread = threading.Thread(target=playing.engine.run)
    thread.start()
    deadline = time.monotonic() + 10
    while not playing.engine.fault and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "no such word" in playing.engine.notices[0]
    heard = len(playing.encoder.asked)
    playing.encoder.encode = real
    while not playing.frames and time.monotonic() < deadline:
        time.sleep(0.01)
    playing.engine.stop()
    thread.join(10)
    assert playing.frames and not playing.engine.fault
    assert playing.encoder.asked[heard:] == ["a purple tulip swaying"]  # what failed is tried again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ffn.out.gain", "ffn.out.gian"), r"no lever 'ffn.out.gian'; did you mean 'ffn.out.gain'"),
        (("{name: loud, lever: ffn.out.gain}", "{name: loud, lever: ffn.out.gain, scope: {heads: 1}}"), "heads"),
        (("words.gain: 2.0", "words.gian: 2.0"), "did you mean 'words.gain'"),
        (("name: loud", "name: master"), "the instrument itself uses it"),
        (("layers: [1, 2]", "layers: [7, 9]"), r"layers \[7.0, 9.0\] lie beyond this model's 0-2"),
        (("layers: [1, 2]", "heads: 7"), "head 7 does not exist; they are 0-3"),
        (("lever: ffn.out.gain", "lever: ffn.out.gain, renormalize: true"), "'ffn.out.gain' cannot renormalize"),
    ],
)
def test_a_broken_patch_changes_nothing(change: tuple[str, str], message: str) -> None:
    playing = Playing()
    before = {p.id: p.base for p in playing.params}
    with pytest.raises(PatchError, match=message):
        playing.engine.load(loads(PATCH.replace(*change)))
    assert {p.id: p.base for p in playing.params} == before


def test_another_patch_replaces_the_bends() -> None:
    playing = Playing()
    playing.chunks(1)
    playing.engine.load(loads("version: 1\nprompt: a moon\nbends: [{name: b, lever: self.out.gain}]"))
    assert "b.gain" in playing.params and "loud.gain" not in playing.params
    assert playing.chunks(1).shape[0] == 4


def test_a_bend_that_renormalizes_gives_the_others_what_the_chosen_lose() -> None:
    """With one word's gain at 0, rows still sum to one: the map under marks for every token shows it."""
    text = "version: 2\nprompt: a purple tulip swaying\nbends: [{name: b, lever: cross.map.gain, "
    text += "scope: {tokens: tulip}, renormalize: true}]\nvalues: {b.gain: 0.0}"
    playing = Playing(text)
    look = MapLook(1, 0, tuple(range(16)))
    playing.engine.stream.probes.ask(look)
    playing.chunks(1)
    columns = playing.engine.stream.probes.take(look)
    np.testing.assert_allclose(columns.sum(0), 1.0, rtol=1e-4)
    assert abs(columns[2]).max() == 0


def test_bends_say_which_words_they_hold() -> None:
    text = "version: 2\nprompt: a purple tulip swaying\nbends:\n"
    scopes = ("tulip", "purple tulip", "moon", "3-4", "all")
    for index, words in enumerate(scopes):
        text += f"  - {{name: b{index}, lever: cross.map.gain, scope: {{tokens: {words}}}}}\n"
    playing = Playing(text)
    playing.chunks(1)
    expected = [["tulip"], ["purple", "tulip"], [], ["swaying", "4"], ["all"]]
    assert list(playing.engine.held.values()) == expected


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
