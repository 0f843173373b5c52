"""The stream: what a seed fixes, what the past does, and endless play."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from pipelines.recipes import HOUSE, KREA, LONGLIVE, RECIPES, SELF_FORCING, Recipe, sized
from pipelines.stream import Stream
from pipelines.taehv import TAEHV
from tests.recorded import small
from tests.tiny import RECIPE, TAE, play, prompt, stream, taehv, wan


def test_a_seed_fixes_everything_and_reset_starts_it_again() -> None:
    first, other = stream(seed=1), stream(seed=2)
    frames = play(first, 6)
    assert frames.shape == (24, 64, 96, 3) and (play(other, 6) != frames).any()
    first.reset(1)
    assert (play(first, 6) == frames).all()


def test_denoise_yields_before_every_step() -> None:
    assert list(stream().denoise()) == list(range(len(RECIPE.steps)))


def test_play_goes_past_any_window_and_any_table() -> None:
    """A stream far beyond the 1024 positions of a table still makes the same kind of picture."""
    playing = stream(recipe=replace(RECIPE, steps=(1000,)))
    address = playing.cache.k.data_ptr()
    early = play(playing, 6)[-4:].astype(float)
    playing._position = playing.cache.end = 5_000_000
    late = play(playing, 8)[-4:].astype(float)
    assert playing.cache.k.data_ptr() == address
    assert abs(late.mean() - early.mean()) < 0.2 * early.mean() and late.std() < 2 * early.std()


def test_positions_count_from_the_window_where_the_recipe_says_so() -> None:
    """With relative positions nothing depends on how long the stream has played."""
    recipe = replace(RECIPE, positions="window", sink=1)
    playing = stream(recipe=recipe)
    play(playing, 9)
    place = playing._passes.place(playing._position, 1)
    turn, keys = playing._passes.turns(place)
    assert keys is not None and keys.cos.shape[0] == recipe.window * 24
    torch.testing.assert_close(turn.cos, playing._passes.rope.turn([recipe.window - 1]).cos)
    oldest = place.slots.ranks.index(0)
    torch.testing.assert_close(keys.cos[oldest * 24 : oldest * 24 + 24], playing._passes.rope.turn([0]).cos)


def test_without_a_sink_both_ways_of_counting_are_the_same_picture() -> None:
    """Attention feels only differences of positions."""
    absolute, relative = stream(), stream(recipe=replace(RECIPE, positions="window"))
    for _ in range(7):
        for playing in (absolute, relative):
            for _ in playing.denoise():
                pass
        a, b = absolute.commit().latents, relative.commit().latents
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_forgetting_keeps_the_prompt_and_goes_on() -> None:
    playing = stream()
    play(playing, 3)
    playing.forget()
    assert playing.cache.end == 0 and play(playing, 1).shape[0] == 4 and playing.cache.end == 1


def test_alone_every_chunk_is_a_first_one() -> None:
    """Without a past, the prompt kept; the picture goes on from the decoder's memory, and so does the noise."""
    playing, fresh = stream(), stream()
    play(playing, 3), play(fresh, 3)
    playing.alone = True
    for _ in range(2):
        fresh.forget()
        assert (play(playing, 1) == play(fresh, 1)).all()
        assert playing.cache.end == 1
    playing.alone = False
    assert (play(playing, 2) == play(fresh, 2)).all() and playing.cache.end == 3


@pytest.mark.parametrize("name", ["self-forcing", "causvid", "longlive", "longlive-endless", "krea"])
def test_the_past_can_be_taken_away_and_given_back_in_every_system(name: str) -> None:
    playing = stream(recipe=small(RECIPES[name], steps=(1000, 500), window=9 if name != "krea" else 6))
    play(playing, 4)
    playing.read_prompt(prompt("a grey moon", seed=4))
    playing.alone = True
    play(playing, 2)
    assert playing._position == 3 and playing._past.count == 3
    playing.alone = False
    assert play(playing, 4).shape == (4 * 12, 64, 96, 3)


@pytest.mark.parametrize("row", [HOUSE, replace(SELF_FORCING, window=9, first_chunk=1), KREA], ids=lambda row: row.name)
@pytest.mark.parametrize("trim", [0, 3])
def test_how_many_frames_come_is_known_before(row: Recipe, trim: int) -> None:
    playing = stream(recipe=small(row, steps=(1000,)), decoder=TAEHV(replace(TAE, trim=trim)).eval())
    for change in (None, playing.forget, playing.reset, partial(setattr, playing, "alone", True)):
        if change is not None:
            change()
        for _ in range(2):
            for _ in playing.denoise():
                coming = playing.coming
            assert len(list(playing.decode(playing.commit()))) == coming


def test_a_new_prompt_comes_in_at_once_or_by_and_by() -> None:
    new = prompt("a grey moon", seed=4)
    for chunks in (1, 3):
        playing = stream(recipe=replace(RECIPE, prompt_chunks=chunks))
        old = playing._speech.embeddings
        play(playing, 1)
        playing.read_prompt(new)
        shares = []
        for _ in range(4):
            play(playing, 1)
            shares.append(float(((playing._speech.embeddings - old) / (new.embeddings - old)).nanmean()))
        assert shares == pytest.approx([1.0] * 4 if chunks == 1 else [0.0, 0.5, 1.0, 1.0], abs=1e-4)


def test_a_prompt_changed_within_a_chunk_is_heard_at_the_next_step() -> None:
    """And rewrites the memory before the next chunk, where the recipe rewrites it."""
    recipe = small(LONGLIVE, window=6, sink=1, chunk=2, first_chunk=2, steps=(1000, 500))
    playing = stream(recipe=recipe)
    play(playing, 3)
    steps = playing.denoise()
    next(steps)
    old = playing._speech.text
    playing.read_prompt(prompt("a grey moon", seed=4))
    assert playing._speech.text is not old and playing._speech.stale
    assert list(steps) == [1]
    playing.commit()
    kept = playing.cache.k.clone()
    next(playing.denoise())
    changed = (playing.cache.k != kept).flatten(3).any(-1)[:, 0]  # [layers, tokens]
    # The first layer's keys come before any text; the sink stays as it is.
    assert not changed[:, :24].any() and changed[1:, 24:].all() and not playing._speech.stale


def test_latents_stay_within_the_recipes_limit() -> None:
    playing = stream(recipe=replace(RECIPE, latent_limit=0.5))
    for _ in playing.denoise():
        pass
    assert playing._latents.abs().max() <= 0.5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        sized(HOUSE, 250, 144)
    with pytest.raises(RuntimeError, match="no prompt"):
        next(Stream(wan(), taehv(), RECIPE).denoise())
    with pytest.raises(RuntimeError, match="no chunk to commit"):
        stream().commit()


def test_streams_side_by_side_play_what_each_would_alone() -> None:
    def latents(seed, batch: int):
        playing = Stream(wan(), taehv(), RECIPE, seed=seed, batch=batch)
        playing.read_prompt(prompt())
        made = []
        for _ in range(3):
            list(playing.denoise())
            made.append(playing.commit().latents)
        return torch.cat(made, dim=2)

    together = latents([7, 3], 2)
    for row, seed in enumerate((7, 3)):
        assert torch.allclose(together[row], latents(seed, 1)[0], atol=1e-4)
    assert torch.allclose(latents(3, 2)[1], latents(4, 1)[0], atol=1e-4)
    with pytest.raises(ValueError, match="3 seeds for 2 streams"):
        latents([1, 2, 3], 2)
