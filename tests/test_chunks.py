"""Steps and the past, live: what a hand turns, in the stream and in the loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span
from pipelines.recipes import KREA, LONGLIVE, RECIPES
from pipelines.schedule import Schedule
from tests.engine import Playing
from tests.recorded import small
from tests.tiny import RECIPE, play, prompt, stream


def test_a_recipes_own_number_of_steps_is_the_recipe_to_the_bit() -> None:
    usual, asked = stream(), stream()
    asked.steps_now = 6
    list(asked.denoise())
    asked.reset(0)
    asked.steps_now = asked.steps
    assert (play(usual, 3) == play(asked, 3)).all()


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_any_number_of_steps_is_that_many_passes_of_a_schedule(count: int) -> None:
    playing, passes = stream(), []
    forward = playing._forward
    playing._forward = lambda x, t, *rest: passes.append(t) or forward(x, t, *rest)
    playing.steps_now = count
    assert list(playing.denoise()) == list(range(count))
    assert passes[0] == pytest.approx(1000) and passes == sorted(passes, reverse=True) and len(passes) == count
    assert playing.commit() is not None and playing.steps == len(RECIPE.steps)


def test_a_step_scope_keeps_its_share_of_the_denoising() -> None:
    """A bend on the last of three steps acts in the last third of six, and in the last of two."""
    lever = discover()["ffn.out.gain"]
    bend = Bend("late", lever, Scope(steps=Span.of(2, 2)), "transient")
    for count, expected in ((3, [2]), (6, [4, 5]), (2, [1]), (1, [])):
        playing = stream((bend,))
        playing.bank.write({"late.gain": 4.0})
        playing.steps_now = count
        folded, heard = playing.bank.layers[0].points["ffn.out"][0].folded["gain"], []
        for step in playing.denoise():
            if step:
                heard.append(folded.item())  # of the pass before
        heard.append(folded.item())
        assert [step for step, gain in enumerate(heard) if gain != 1.0] == expected


def test_weights_and_lengths_of_a_video_source_follow_the_steps() -> None:
    playing = stream()
    source = torch.zeros(1, 16, 1, 8, 12)
    playing.steps_now = 2
    passes: list[float] = []
    forward = playing._forward
    playing._forward = lambda x, t, *rest: passes.append(t) or forward(x, t, *rest)
    list(playing.denoise(source, 0.5))
    assert passes == list(Schedule.of((500.0, 212.0), RECIPE.shift, RECIPE.warped).timesteps)


@pytest.mark.parametrize("name", ["house", *(name for name in RECIPES if name != "house")])
def test_a_past_that_is_held_stands_still_and_then_goes_on(name: str) -> None:
    recipe = RECIPE if name == "house" else small(RECIPES[name], steps=(1000, 500), window=9 if name != "krea" else 6)
    playing = stream(recipe=recipe)
    play(playing, 4)
    count = playing._past.count
    playing.past_mode = "hold"
    for _ in playing.denoise():
        pass
    position, held = playing._position, playing.cache.held()
    keys = playing.cache.k.clone()
    playing.commit()
    frames = [play(playing, 1) for _ in range(3)]
    assert playing.cache.held() == held and playing._past.count == count and playing._position == position
    own = slice_of(playing, recipe.chunk)
    kept = [slot for slot in range(len(held)) if slot not in own]
    tokens = playing._passes.frame_tokens
    for slot in kept:  # every frame but the chunk's own is as it was, to the bit
        at = slice(slot * tokens, (slot + 1) * tokens)
        assert torch.equal(playing.cache.k[:, :, at], keys[:, :, at])
    assert (frames[0] != frames[1]).any() and len(frames[0]) == 4 * recipe.chunk
    playing.read_prompt(prompt("a grey moon", seed=4))  # and a cache that is written again waits till it is let go
    play(playing, 1)
    playing.past_mode = "keep"
    play(playing, 3)
    assert playing._past.count == count + 3 * recipe.chunk and not playing._speech.stale


def slice_of(playing, frames: int) -> set[int]:
    """The slots of a chunk at the stream's position."""
    return {playing.cache._slot(playing._position + frame) for frame in range(frames)}


@pytest.mark.parametrize("recipe", [RECIPE, small(LONGLIVE, window=6, chunk=1, first_chunk=1, sink=1, steps=(1000,))])
def test_a_past_may_be_forgotten_whenever_its_window_is_full(recipe) -> None:
    playing = stream(recipe=recipe)
    playing.past_mode = "restart"
    ends = []
    for _ in range(2 * recipe.window + 1):
        play(playing, 1)
        ends.append(playing.cache.end)
    whole = list(range(1, recipe.window + 1))
    assert ends == [*whole, *whole, 1]


def test_a_memory_that_is_made_anew_forgets_after_a_window_too() -> None:
    playing = stream(recipe=small(KREA, window=6, steps=(1000, 0)))
    playing.past_mode = "restart"
    counts = []
    for _ in range(5):
        play(playing, 1)
        counts.append(playing._past.count)
    assert counts == [3, 6, 3, 6, 3]


def test_a_prompt_on_its_way_rewrites_no_memory_until_it_has_arrived() -> None:
    recipe = small(LONGLIVE, window=6, sink=1, chunk=2, first_chunk=2, steps=(1000, 500))
    playing = stream(recipe=recipe)
    play(playing, 3)
    writes: list[int] = []
    clean = playing._clean_pass

    def counted(latents, place, *rest, **more):
        writes.append(place.frames)
        return clean(latents, place, *rest, **more)

    playing._clean_pass = counted
    for seed in (4, 5, 6):
        playing.read_prompt(prompt("a grey moon", seed=seed), passing=True)
        play(playing, 1)
    assert writes == [2, 2, 2]  # each chunk's own
    playing.read_prompt(prompt("a grey moon", seed=6))
    play(playing, 2)
    assert writes[3:] == [6, 2, 2]
    assert len(playing._passes._texts) == 2  # what passed by is not kept


def test_a_prompt_on_its_way_is_said_at_once_whatever_the_recipe() -> None:
    playing = stream(recipe=replace(RECIPE, prompt_chunks=4))
    play(playing, 1)
    last = prompt("a grey moon", seed=4)
    playing.read_prompt(last, passing=True)
    assert playing._speech.embeddings is last.embeddings
    playing.read_prompt(last)  # arrived: there is no way to go any more
    assert not playing._speech.coming
    playing.read_prompt(prompt("a star", seed=5))
    assert len(playing._speech.coming) == 4


# --- in the loop ---


def test_everything_is_a_parameter_and_reallocates_nothing() -> None:
    playing = Playing()
    address = playing.engine.stream.cache.k.data_ptr()
    own = len(RECIPE.steps)
    assert (playing.params["engine.steps"].base, playing.params["engine.steps"].spec.hi) == (own, 2 * own)
    assert playing.params["engine.steps"].kept and playing.params["cache.mode"].kept
    playing.chunks(2)
    for id, value in (("engine.steps", 1), ("cache.past", 0.3), ("cache.mode", "hold"), ("cache.disable", 1)):
        playing.params.set(id, value)
        assert playing.chunks(2).shape[0] == 8
    stream = playing.engine.stream
    assert (stream.steps_now, stream.alone, stream.past_weight, stream.past_mode) == (1, True, 0.3, "hold")
    assert stream.cache.end == 1 and stream.cache.k.data_ptr() == address
    playing.engine.load(playing.engine.desk._playing)
    playing.chunks(1)
    assert (stream.steps_now, stream.alone, stream.past_weight, stream.past_mode) == (own, False, 1.0, "keep")


def test_a_neutral_past_is_the_recipes_own() -> None:
    krea = Playing()
    krea.engine.stream.recipe = replace(RECIPE, past_weight=0.4)
    krea.chunks(1)
    assert krea.engine.stream.past_weight == pytest.approx(0.4)
    krea.params.set("cache.past", 0.5)
    krea.chunks(1)
    assert krea.engine.stream.past_weight == pytest.approx(0.2)


def test_a_snapshot_holds_steps_and_past() -> None:
    text = "prompt: a moon\nsnapshots: {rough: {engine.steps: 1, cache.mode: hold, cache.past: 0.2}}"
    playing = Playing(text)
    playing.chunks(1)
    playing.params.trigger("snapshot.1.recall")
    playing.chunks(2)
    stream = playing.engine.stream
    assert (stream.steps_now, stream.past_mode, stream.past_weight) == (1, "hold", pytest.approx(0.2))
