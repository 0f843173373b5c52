"""The stream: what a seed fixes, what the past does, endless play, and the reference loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.load import fill, original_names
from pipelines.recipes import HOUSE, Recipe
from pipelines.stream import Stream, sized
from pipelines.wan import Wan
from tests import golden
from tests.tiny import CONFIG, RECIPE, play, prompt, stream, taehv, wan


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
    placement = playing.cache.place(playing._position, 1)
    turn, keys = playing._turns(playing._position, placement)
    assert keys is not None and keys.cos.shape[0] == recipe.window * 24
    torch.testing.assert_close(turn.cos, playing._rope.turn([recipe.window - 1]).cos)
    oldest = placement.ranks.index(0)
    torch.testing.assert_close(keys.cos[oldest * 24 : oldest * 24 + 24], playing._rope.turn([0]).cos)


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


class _Recorded(Stream):
    """A stream whose noise was recorded from the reference implementation."""

    def __init__(self, model: Wan, recipe: Recipe, noise: list[torch.Tensor]) -> None:
        self._recorded = noise
        super().__init__(model, taehv(), recipe)

    def _noise(self) -> torch.Tensor:
        return self._recorded.pop(0)


@pytest.mark.parametrize("case", ["global_b1", "local6_b1"])
def test_the_whole_loop_equals_the_reference(case: str) -> None:
    """Recorded noise in, latents out: denoising, fresh re-noising and the clean pass, chunk after chunk."""
    tensors, facts = golden.tensors(f"self_forcing/{case}"), golden.facts(f"self_forcing/{case}")
    model = Wan(CONFIG).eval().requires_grad_(False)
    fill(model, original_names(golden.tensors("self_forcing/weights")), "weights")
    window = facts["local_attn_size"] if facts["local_attn_size"] > 0 else 21
    recipe = replace(
        HOUSE,
        config=CONFIG,
        steps=(1000, 750, 500, 250),
        renoise="fresh",
        chunk=3,
        window=window,
        latent_limit=None,
        width=96,
        height=64,
    )
    playing = _Recorded(model, recipe, _in_order(tensors))
    playing.read_prompt(replace(prompt(), embeddings=tensors["prompt_embeds.p0"]))
    made = []
    for _ in range(tensors["output_latents"].shape[1] // 3):
        for _ in playing.denoise():
            pass
        made.append(playing.commit().latents.transpose(1, 2))
    torch.testing.assert_close(torch.cat(made, 1), tensors["output_latents"], atol=1e-4, rtol=0)


def _in_order(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Each chunk's first noise and then its re-noisings, as [1, C, F, H, W]."""
    first = tensors["noise"].split(3, dim=1)
    again = [tensors[name] for name in sorted(name for name in tensors if name.startswith("renoise"))]
    per_chunk = len(again) // len(first)
    ordered = []
    for i, noise in enumerate(first):
        ordered.append(noise.transpose(1, 2))
        chunk = again[i * per_chunk : (i + 1) * per_chunk]
        ordered += [piece.reshape(1, 3, *piece.shape[-3:]).transpose(1, 2) for piece in chunk]
    return ordered


def test_refusals() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        sized(HOUSE, 250, 144)
    with pytest.raises(RuntimeError, match="no prompt"):
        next(Stream(wan(), taehv(), RECIPE).denoise())
    with pytest.raises(RuntimeError, match="no chunk to commit"):
        stream().commit()
