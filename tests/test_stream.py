"""The stream: what a seed fixes, what the past does, and endless play."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.recipes import HOUSE
from pipelines.stream import Stream, sized
from tests.tiny import RECIPE, play, stream, taehv, wan


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


def test_latents_stay_within_the_recipes_limit() -> None:
    playing = stream(recipe=replace(RECIPE, latent_limit=0.5))
    for _ in playing.denoise():
        pass
    assert playing.commit().latents.abs().max() <= 0.5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        sized(HOUSE, 250, 144)
    with pytest.raises(RuntimeError, match="no prompt"):
        next(Stream(wan(), taehv(), RECIPE).denoise())
    with pytest.raises(RuntimeError, match="no chunk to commit"):
        stream().commit()
