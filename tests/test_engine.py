"""The loop on a tiny model: knobs heard within the chunk, commands between chunks, faults survived."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from instrument.state.patch import PatchError, loads
from pipelines.bends.probes import MapLook
from tests.engine import PATCH, Playing


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
