"""Bends in diffusers' whole pipelines: steps, guidance, two transformers and prompts, as bends hear of them."""

from __future__ import annotations

import pytest
import torch

from pipelines.bends.bank import Bend
from pipelines.bends.foreign import BendError, Bending, StepCount
from pipelines.bends.scope import Scope, Span
from pipelines.pieces import pieces_of
from tests.foreign import GRID, LEVERS, WORDS, flow, given_pass, pipeline, same, traces, transformer
from tests.tiny import prompt


def test_a_pass_is_told_by_its_timestep_its_latents_and_its_text() -> None:
    count, word, no_word = StepCount(3), torch.zeros(1), torch.zeros(1)
    a, b, c, d = (torch.full((1,), float(i)) for i in range(4))
    assert count.read(900.0, a, word) == (0, True, True)
    assert count.read(900.0, a.clone(), no_word) == (0, False, False)  # guidance, on the same latents
    assert count.read(900.0, b, word) == (1, True, False)  # the same timestep once more, as Heun's
    assert count.read(900.0, b, no_word) == (1, False, False)
    assert count.read(500.0, c, word) == (2, True, False)
    assert count.read(900.0, a, word) == (0, True, True)  # the next generation
    assert count.read(700.0, d, word) == (1, True, False)
    assert count.read(900.0, a, no_word) == (0, True, True)  # and one after that was broken off
    for timestep in (800.0, 700.0):
        count.read(timestep, a, word)
    with pytest.raises(BendError, match="a step beyond the 3 bent for; give Bending the pipeline's num_inference_st"):
        count.read(600.0, a, word)


def test_one_step_is_a_generation_each_time() -> None:
    count, text = StepCount(1), torch.zeros(1)
    for latents in (torch.zeros(1), torch.zeros(1), torch.ones(1)):  # also from the same seed
        assert count.read(1000.0, latents, text) == (0, True, True)


def _film(pipe, guidance: float = 5.0, steps: int = 3, seed: int = 0, **more):
    words = torch.Generator().manual_seed(7)
    found = pipe(
        prompt_embeds=torch.randn(1, 16, 48, generator=words),
        negative_prompt_embeds=torch.randn(1, 16, 48, generator=words) if guidance > 1 else None,
        height=64,
        width=96,
        num_frames=9,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        **more,
    )
    return found.frames


@pytest.mark.parametrize("scheduler", ["euler", "unipc"])
def test_a_whole_pipeline(scheduler: str) -> None:
    pipe = pipeline(scheduler)
    unbent = _film(pipe)
    assert unbent.shape == (1, 9, 64, 96, 3)
    bends = [Bend("words", LEVERS["cross.map.gain"], Scope(tokens="tulip")), Bend("loud", LEVERS["self.out.gain"])]
    with Bending(pipe.transformer, bends, steps=3) as bending:
        bending.read_prompt(WORDS)
        assert (_film(pipe) == unbent).all()  # neutral
        for name in ("words.gain", "loud.gain"):
            bending.write({"words.gain": 1.0, "loud.gain": 1.0, name: 4.0})
            bent = _film(pipe)
            assert (bent != unbent).any() and (_film(pipe) == bent).all()  # the same again
        assert bending.held_tokens() == {"words": [2]} and bending.report() == []
    assert (_film(pipe) == unbent).all()


def _heard(pipe, passes: str, guidance: float) -> list[tuple[float, ...]]:
    """What each pass heard of three gains: one for every step, one for the step in the middle, one for a word."""
    bends = [
        Bend("always", LEVERS["self.out.gain"]),
        Bend("once", LEVERS["ffn.out.gain"], Scope(steps=Span.of(1, 1))),
        Bend("word", LEVERS["cross.value.gain"], Scope(tokens="moon")),
    ]
    heard = []
    bending = Bending([m for m in (pipe.transformer, pipe.transformer_2) if m is not None], bends, 3, passes)

    def listen(module, args, kwargs) -> None:
        layer = bending.layers[1]
        ones, values = torch.ones(1, 72, 128), torch.ones(1, 16, 4, 32)
        word = layer.attention("cross", torch.ones(1, 72, 4, 32), values, values, GRID, None).max()
        heard.append((layer.at("self.out", ones).max(), layer.at("ffn.out", ones).max(), word))

    with bending:
        bending.read_prompt(prompt("a purple moon").words, negative=prompt("a moon, blurred, bright").words)
        bending.write({"always.gain": 2.0, "once.gain": 3.0, "word.gain": 5.0})
        handles = [model.register_forward_pre_hook(listen, with_kwargs=True) for model in bending.models]
        _film(pipe, guidance=guidance, output_type="latent")
        for handle in handles:
            handle.remove()
    return [tuple(round(float(value), 3) for value in pass_) for pass_ in heard]


WORD = 1.25  # sixteen equal places, one of which counts fivefold: 20 / 16


@pytest.mark.parametrize("second", [False, True], ids=["one transformer", "two transformers"])
def test_steps_are_counted_with_and_without_guidance(second: bool) -> None:
    pipe = pipeline("euler", second)
    first, middle, last = (2.0, 1.0, WORD), (2.0, 3.0, WORD), (2.0, 1.0, WORD)
    assert _heard(pipe, "both", 1.0) == [first, middle, last]
    assert _heard(pipe, "conditional", 1.0) == [first, middle, last]
    off = (1.0, 1.0, 1.0)
    assert _heard(pipe, "conditional", 5.0) == [first, off, middle, off, last, off]
    both = _heard(pipe, "both", 5.0)  # the negative prompt has the word as well, elsewhere
    assert both == [first, first, middle, middle, last, last]


def test_words_are_looked_up_in_each_passes_own_prompt() -> None:
    pipe = pipeline("euler")
    bends = [Bend("word", LEVERS["cross.map.gain"], Scope(tokens="tulip"))]
    films = []
    for passes in ("both", "conditional"):
        with Bending(pipe.transformer, bends, 3, passes) as bending:
            bending.read_prompt(WORDS, negative=prompt("blurred, bright").words)
            bending.write({"word.gain": 6.0})
            films.append(_film(pipe))
    assert (films[0] == films[1]).all() and (films[0] != _film(pipe)).any()


def test_both_passes_of_a_step_hear_one_noise() -> None:
    """With the same text in both passes guidance has nothing to add, and a bend of both must not either."""
    model, text = transformer(), torch.randn(1, 16, 48)
    with Bending(model, [Bend("x", LEVERS["self.out.noise"])], steps=3) as bending:
        bending.write({"x.noise": 0.5, "x.motion": 1.0})
        seen = []
        for timestep in (900.0, 500.0):
            given = given_pass(timestep=timestep, seed=int(timestep))
            pair = [flow(model, {**given, "encoder_hidden_states": words}) for words in (text, text.clone())]
            assert torch.equal(*pair)
            seen.append(bending.layers[0].at("self.out", torch.ones(1, 72, 128)))
    assert not torch.equal(*seen)  # and it moves from step to step


def test_size_and_text_length_may_change_between_generations() -> None:
    model, bends = transformer(), [Bend("x", LEVERS["cross.map.transform"], Scope(tokens="tulip"))]
    with Bending(model, bends, steps=1) as bending:
        bending.read_prompt(WORDS)
        bending.write({"x.rotate": 90.0})
        for frames, height, width, length in ((1, 4, 4, 8), (2, 8, 6, 16), (1, 4, 4, 2)):
            given = {
                "hidden_states": torch.randn(2, 16, frames, height, width),
                "timestep": torch.tensor([900.0, 900.0]),
                "encoder_hidden_states": torch.randn(2, length, 48),
            }
            assert torch.isfinite(flow(model, given)).all()
            assert bending.grid == (frames, height // 2, width // 2)
            assert bending.held_tokens() == {"x": [2] if length > 2 else []}


def test_moving_noise_is_the_same_in_every_generation() -> None:
    pipe = pipeline("euler")
    with Bending(pipe.transformer, [Bend("x", LEVERS["ffn.out.noise"])], steps=3) as bending:
        bending.write({"x.noise": 0.5, "x.motion": 0.7})
        assert (_film(pipe) == _film(pipe)).all()


def test_more_steps_than_bent_for_are_refused() -> None:
    pipe = pipeline("euler")
    before = traces(pipe.transformer.blocks)
    with pytest.raises(BendError, match="a step beyond the 3"), Bending(pipe.transformer, [], steps=3):
        _film(pipe, steps=4)
    assert same(traces(pipe.transformer.blocks), before)


def test_words_are_found_by_the_pipelines_own_tokenizer() -> None:
    """The whole way from two prompts in plain words: rows of the text that the transformer is given, and no others."""
    pipe, negative = pipeline("euler", speaking=True), "a blurred red moon"
    said = {"prompt": "a red  star over\na dark sea", "negative_prompt": negative, "height": 64, "width": 96}
    pieces = pieces_of(pipe.tokenizer)
    words, without = pieces.tokenize(said["prompt"]).words, pieces.tokenize(negative).words
    seen = []
    with Bending(pipe.transformer, [Bend("hue", LEVERS["cross.value.gain"], Scope(tokens="red, sea"))], 2) as bending:
        bending.read_prompt(words, without)
        bending.write({"hue.gain": 0.0})

        def look(module, args, kwargs) -> None:
            values = torch.ones(1, kwargs["encoder_hidden_states"].shape[1], 4, 32)
            seen.append(bending.layers[0].at("cross.v", values)[0, :, 0, 0].eq(0).nonzero().flatten().tolist())

        handle = pipe.transformer.register_forward_pre_hook(look, with_kwargs=True)
        pipe(**said, num_frames=5, num_inference_steps=2, output_type="latent")
        handle.remove()
        assert bending.held_tokens() == {"hue": [1, 6]} and bending.report() == []
    ids = pipe.tokenizer(words.text).input_ids
    assert pipe.tokenizer.convert_ids_to_tokens([ids[1], ids[6]]) == ["▁red", "▁sea"]
    assert seen == [[1, 6], [2]] * 2
