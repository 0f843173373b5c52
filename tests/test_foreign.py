"""Bends in diffusers' Wan transformer: the same as in ours, and gone without a trace."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch

from pipelines.bends.bank import Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.foreign import BendError, Bending, StepCount
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span, Words
from pipelines.load import fill, original_names
from pipelines.rope import Rope
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec
from pipelines.wan import Wan, WanConfig
from tests.tiny import prompt

diffusers = pytest.importorskip("diffusers")

LEVERS = discover()
FRAMES, LATENT = 3, (8, 12)
GRID = (FRAMES, 4, 6)
WORDS = prompt().words  # "a purple tulip swaying over a dark sea"
SIZES = {
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "text_dim": 48,
    "freq_dim": 64,
    "ffn_dim": 256,
    "num_layers": 3,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}


def _theirs(seed: int = 0, **changed):
    torch.manual_seed(seed)
    return diffusers.WanTransformer3DModel(**(SIZES | changed)).eval().requires_grad_(False)


def _given(seed: int = 1, timestep: float = 431.0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(1, 16, FRAMES, *LATENT, generator=generator),
        "timestep": torch.tensor([timestep]),
        "encoder_hidden_states": torch.randn(1, 16, 48, generator=generator),
    }


def _flow(model, given: dict) -> torch.Tensor:
    with torch.no_grad():
        return model(**given, return_dict=False)[0]


def _moved(name: str) -> dict:
    """Every amount of a lever away from its neutral value."""
    values = {}
    for amount, spec in LEVERS[name].amounts.items():
        if isinstance(spec, ControlSpec):
            values[f"x.{amount}"] = spec.map(0.7 if spec.map(0.7) != spec.default else 0.4)
        elif isinstance(spec, SwitchSpec):
            values[f"x.{amount}"] = not spec.default
        elif isinstance(spec, ChoiceSpec):
            values[f"x.{amount}"] = next(option for option in spec.options if option != spec.default)
    return values


@pytest.fixture(scope="module")
def theirs():
    return _theirs()


@pytest.fixture(scope="module")
def ours(theirs) -> Wan:
    model = Wan(WanConfig(dim=128, ffn_dim=256, num_heads=4, num_layers=3, text_dim=48, text_len=16, freq_dim=64))
    fill(model, original_names(theirs.state_dict()), "diffusers")
    return model.eval().requires_grad_(False)


def _ours_bent(ours: Wan, bends: list[Bend], values: dict, given: dict, step: int) -> torch.Tensor:
    shape = BankShape(3, 4, 128, 256, 16, GRID, torch.device("cpu"), torch.float32)
    bank = Bank(bends, shape, 4)
    bank.read_prompt(WORDS)
    bank.write(values)
    for passed in range(step + 1):
        bank.fold(passed)
    text = ours.read_text(given["encoder_hidden_states"])
    t = given["timestep"][:, None].expand(-1, FRAMES)
    with torch.no_grad():
        return ours(given["hidden_states"], t, text, Rope(32, *GRID[1:]).turn(range(FRAMES)), bends=bank.layers)


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_does_what_it_does_in_our_transformer(lever: str, theirs, ours: Wan) -> None:
    scope = Scope(layers=Span.of(0.5, 2, 1), tokens="tulip, dark sea", neurons="0-99", heads="0-2")
    bends, values, given = [Bend("x", LEVERS[lever], scope)], _moved(lever), _given()
    with Bending(theirs, bends, steps=4) as bending:
        bending.read_prompt(WORDS)
        bending.write(values)
        got = _flow(theirs, given)
    torch.testing.assert_close(got, _ours_bent(ours, bends, values, given, 0), atol=1e-4, rtol=0)
    assert (got - _flow(theirs, given)).abs().max() > 1e-3


def test_all_levers_together_at_a_later_step(theirs, ours: Wan) -> None:
    bends = [Bend(f"x{i}", lever) for i, lever in enumerate(LEVERS.values())]
    values = {}
    for i, name in enumerate(LEVERS):
        for key, value in _moved(name).items():
            spec = LEVERS[name].amounts[key.removeprefix("x.")]
            if isinstance(spec, ControlSpec):  # gently: many levers at once are loud
                value = spec.clamp(spec.default + 0.1 * (value - spec.default))
            values[key.replace("x.", f"x{i}.", 1)] = value
    given = _given()
    with Bending(theirs, bends, steps=4) as bending:
        bending.read_prompt(WORDS)
        bending.write(values)
        for timestep in (999.0, 900.0):
            _flow(theirs, _given(timestep=timestep, seed=int(timestep)))
        got = _flow(theirs, given)
    torch.testing.assert_close(got, _ours_bent(ours, bends, values, given, 2), atol=1e-4, rtol=0)


def _traces(model) -> dict:
    """Everything that could be set on a module of the model: attributes, processors, hooks."""
    found = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            found[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else value
    return found


def _same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        _same(a[key], b[key]) if isinstance(a[key], dict) else a[key] is b[key] or a[key] == b[key] for key in a
    )


def test_nothing_is_left_behind() -> None:
    model, given = _theirs(), _given()
    before, weights, unbent = _traces(model), {k: v.clone() for k, v in model.state_dict().items()}, None
    unbent = _flow(model, given)
    bending = Bending(model, [Bend("x", LEVERS["ffn.hidden.gain"])], steps=4)
    for _ in range(2):  # and again
        bending.bend()
        bending.write({"x.gain": 3.0})
        assert not _same(_traces(model), before) and model.state_dict().keys() == weights.keys()
        assert not torch.equal(_flow(model, given), unbent)
        bending.unbend()
        bending.unbend()  # off already: nothing happens
        assert _same(_traces(model), before) and torch.equal(_flow(model, given), unbent)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    gone = weakref.ref(bending)
    del bending
    gc.collect()
    assert gone() is None


def test_an_error_while_playing_takes_the_bends_off() -> None:
    model = _theirs()
    before = _traces(model)
    with pytest.raises(RuntimeError), Bending(model, [Bend("x", LEVERS["self.out.gain"])], steps=4):
        model(torch.zeros(1, 3, 1, 8, 12), torch.tensor([1.0]), torch.zeros(1, 16, 48))
    assert _same(_traces(model), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_neutral_is_bit_identical(dtype: torch.dtype) -> None:
    """Also as diffusers loads a model in bfloat16: norms, tables and time stay in float32."""
    model = _theirs()
    for name, parameter in model.named_parameters():
        if not set(name.split(".")) & set(model._keep_in_fp32_modules):
            parameter.data = parameter.data.to(dtype)
    assert model.blocks[0].norm2.weight.dtype == model.scale_shift_table.dtype == torch.float32
    assert model.blocks[0].attn1.to_q.weight.dtype == dtype
    given = {**_given(), "hidden_states": _given()["hidden_states"].to(dtype)}
    given["encoder_hidden_states"] = given["encoder_hidden_states"].to(dtype)
    unbent = _flow(model, given)
    bends = [Bend(f"x{i}", lever) for i, lever in enumerate(LEVERS.values())]
    with Bending(model, bends, steps=4):
        assert torch.equal(_flow(model, given), unbent)
    for name in LEVERS:
        with Bending(model, [Bend("x", LEVERS[name])], steps=4) as bending:
            bending.write(_moved(name))
            bent = _flow(model, given)
            assert bent.dtype == dtype and torch.isfinite(bent).all() and not torch.equal(bent, unbent)


def test_fused_projections_are_bent_too() -> None:
    model, given = _theirs(), _given()
    bends, values = [Bend("x", LEVERS["cross.value.gain"])], {"x.gain": 2.5}
    with Bending(model, bends, steps=4) as bending:
        bending.write(values)
        apart = _flow(model, given)
    model.fuse_qkv_projections()
    unbent = _flow(model, given)
    with Bending(model, bends, steps=4) as bending:
        assert torch.equal(_flow(model, given), unbent)
        bending.write(values)
        torch.testing.assert_close(_flow(model, given), apart, atol=1e-5, rtol=0)


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


def _pipeline(scheduler: str, second: bool = False):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    chosen = {
        "euler": diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0),
        "unipc": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
    }[scheduler]
    pipe = diffusers.WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae.eval(),
        scheduler=chosen,
        transformer=_theirs(2),
        transformer_2=_theirs(3) if second else None,
        boundary_ratio=0.9 if second else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


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
    pipe = _pipeline(scheduler)
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
        bending.write({"always.gain": 2.0, "once.gain": 3.0, "word.gain": 9.0})
        handles = [model.register_forward_pre_hook(listen, with_kwargs=True) for model in bending.models]
        _film(pipe, guidance=guidance, output_type="latent")
        for handle in handles:
            handle.remove()
    return [tuple(round(float(value), 3) for value in pass_) for pass_ in heard]


WORD = 1.5  # sixteen equal places, one of which counts ninefold: 24 / 16


@pytest.mark.parametrize("second", [False, True], ids=["one transformer", "two transformers"])
def test_steps_are_counted_with_and_without_guidance(second: bool) -> None:
    pipe = _pipeline("euler", second)
    first, middle, last = (2.0, 1.0, WORD), (2.0, 3.0, WORD), (2.0, 1.0, WORD)
    assert _heard(pipe, "both", 1.0) == [first, middle, last]
    assert _heard(pipe, "conditional", 1.0) == [first, middle, last]
    off = (1.0, 1.0, 1.0)
    assert _heard(pipe, "conditional", 5.0) == [first, off, middle, off, last, off]
    both = _heard(pipe, "both", 5.0)  # the negative prompt has the word as well, elsewhere
    assert both == [first, first, middle, middle, last, last]


def test_words_are_looked_up_in_each_passes_own_prompt() -> None:
    pipe = _pipeline("euler")
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
    model, text = _theirs(), torch.randn(1, 16, 48)
    with Bending(model, [Bend("x", LEVERS["self.out.noise"])], steps=3) as bending:
        bending.write({"x.noise": 0.5, "x.motion": 1.0})
        seen = []
        for timestep in (900.0, 500.0):
            given = _given(timestep=timestep, seed=int(timestep))
            pair = [_flow(model, {**given, "encoder_hidden_states": words}) for words in (text, text.clone())]
            assert torch.equal(*pair)
            seen.append(bending.layers[0].at("self.out", torch.ones(1, 72, 128)))
    assert not torch.equal(*seen)  # and it moves from step to step


def test_size_and_text_length_may_change_between_generations() -> None:
    model, bends = _theirs(), [Bend("x", LEVERS["cross.map.transform"], Scope(tokens="tulip"))]
    with Bending(model, bends, steps=1) as bending:
        bending.read_prompt(WORDS)
        bending.write({"x.rotate": 90.0})
        for frames, height, width, length in ((1, 4, 4, 8), (2, 8, 6, 16), (1, 4, 4, 2)):
            given = {
                "hidden_states": torch.randn(2, 16, frames, height, width),
                "timestep": torch.tensor([900.0, 900.0]),
                "encoder_hidden_states": torch.randn(2, length, 48),
            }
            assert torch.isfinite(_flow(model, given)).all()
            assert bending.grid == (frames, height // 2, width // 2)
            assert bending.held_tokens() == {"x": [2] if length > 2 else []}


def test_inference_mode_and_plain_calls_may_alternate() -> None:
    model = _theirs()
    bends = [Bend(name.replace(".", "_"), lever) for name, lever in LEVERS.items()]
    with Bending(model, bends, steps=2) as bending:
        for step, mode in enumerate((torch.inference_mode, torch.no_grad) * 2):
            bending.write({key: spec.map(0.5 + 0.05 * step) for key, spec in _knobs(bending).items()})
            with mode():
                model(**_given(timestep=900.0 - step % 2, seed=step))


def _knobs(bending: Bending) -> dict[str, ControlSpec]:
    return {name: spec for name, spec in bending.parameters.items() if isinstance(spec, ControlSpec)}


def test_moving_noise_is_the_same_in_every_generation() -> None:
    pipe = _pipeline("euler")
    with Bending(pipe.transformer, [Bend("x", LEVERS["ffn.out.noise"])], steps=3) as bending:
        bending.write({"x.noise": 0.5, "x.motion": 0.7})
        assert (_film(pipe) == _film(pipe)).all()


def test_more_steps_than_bent_for_are_refused() -> None:
    pipe = _pipeline("euler")
    before = _traces(pipe.transformer.blocks)
    with pytest.raises(BendError, match="a step beyond the 3"), Bending(pipe.transformer, [], steps=3):
        _film(pipe, steps=4)
    assert _same(_traces(pipe.transformer.blocks), before)


def test_what_cannot_be_bent_is_refused() -> None:
    model, bends = _theirs(), [Bend("x", LEVERS["ffn.out.gain"])]
    before = _traces(model)
    with pytest.raises(BendError, match="Linear is not diffusers' WanTransformer3DModel"):
        Bending(torch.nn.Linear(1, 1), bends, 4)
    with pytest.raises(BendError, match=r"added k and v projections.*text-to-video"):
        Bending(_theirs(added_kv_proj_dim=128, image_dim=32), bends, 4)
    with pytest.raises(BendError, match="transformers of one size"):
        Bending((model, _theirs(ffn_dim=128)), bends, 4)
    with pytest.raises(BendError, match="passes 'one' is not one of both, conditional"):
        Bending(model, bends, 4, "one")
    bending = Bending(model, bends, 4)
    with pytest.raises(BendError, match=r"no parameter 'x\.gian'; did you mean 'x\.gain'\?"):
        bending.write({"x.gian": 1.0})
    with bending:
        for again in (bending, Bending(model, bends, 4), Bending((_theirs(), model), bends, 4)):
            with pytest.raises(BendError, match="bent already; unbend it first"):
                again.bend()
        model.blocks[0].attn1.set_processor(kept := type(_theirs().blocks[0].attn1.processor)())
    assert model.blocks[0].attn1.processor is kept  # set by someone else meanwhile, and theirs to take off
    model.blocks[0].attn1.processor = before["blocks.0.attn1.processor"]
    assert _same(_traces(model), before)

    class Other:
        pass

    model.blocks[1].attn2.set_processor(Other())
    with pytest.raises(BendError, match=r"blocks\.1\.attn2\.processor is a Other, which a bend would replace"):
        bending.bend()
    other = _theirs()
    other.set_attention_backend("native")
    with pytest.raises(BendError, match="backend of its own; call reset_attention_backend"):
        Bending(other, bends, 4).bend()
    other.reset_attention_backend()
    other.compile_repeated_blocks()
    with pytest.raises(BendError, match="compiled, and would not hear"):
        Bending(other, bends, 4).bend()


def test_diffusers_is_imported_only_where_a_model_of_it_is_bent() -> None:
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from pipelines.bends.foreign import Bending, BendError, StepCount\n"
        "assert sys.modules['diffusers'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_word_that_is_not_there_is_told() -> None:
    model = _theirs()
    with Bending(model, [Bend("x", LEVERS["cross.map.gain"], Scope(tokens="moon"))], steps=1) as bending:
        assert bending.report() == [] and bending.held_tokens() == {}
        bending.read_prompt(Words("a red star", ((0, 1), (2, 5), (6, 10)), 512))
        _flow(model, _given())
        assert bending.report() == ["x: the prompt has no 'moon'"] and bending.held_tokens() == {"x": []}
