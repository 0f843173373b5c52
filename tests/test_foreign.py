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
from pipelines.bends.foreign import BendError, Bending
from pipelines.bends.scope import Scope, Span, Words
from pipelines.load import fill, original_names
from pipelines.rope import Rope
from pipelines.spec import ControlSpec
from pipelines.wan import Wan, WanConfig
from tests.foreign import FRAMES, GRID, LEVERS, WORDS, flow, given_pass, moved, same, traces, transformer


@pytest.fixture(scope="module")
def theirs():
    return transformer()


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
    bends, values, given = [Bend("x", LEVERS[lever], scope)], moved(lever), given_pass()
    with Bending(theirs, bends, steps=4) as bending:
        bending.read_prompt(WORDS)
        bending.write(values)
        got = flow(theirs, given)
    torch.testing.assert_close(got, _ours_bent(ours, bends, values, given, 0), atol=1e-4, rtol=0)
    assert (got - flow(theirs, given)).abs().max() > 1e-3


def test_all_levers_together_at_a_later_step(theirs, ours: Wan) -> None:
    bends = [Bend(f"x{i}", lever) for i, lever in enumerate(LEVERS.values())]
    values = {}
    for i, name in enumerate(LEVERS):
        for key, value in moved(name).items():
            spec = LEVERS[name].amounts[key.removeprefix("x.")]
            if isinstance(spec, ControlSpec):  # gently: many levers at once are loud
                value = spec.clamp(spec.default + 0.1 * (value - spec.default))
            values[key.replace("x.", f"x{i}.", 1)] = value
    given = given_pass()
    with Bending(theirs, bends, steps=4) as bending:
        bending.read_prompt(WORDS)
        bending.write(values)
        for timestep in (999.0, 900.0):
            flow(theirs, given_pass(timestep=timestep, seed=int(timestep)))
        got = flow(theirs, given)
    torch.testing.assert_close(got, _ours_bent(ours, bends, values, given, 2), atol=1e-4, rtol=0)


def test_nothing_is_left_behind() -> None:
    model, given = transformer(), given_pass()
    before, weights, unbent = traces(model), {k: v.clone() for k, v in model.state_dict().items()}, None
    unbent = flow(model, given)
    bending = Bending(model, [Bend("x", LEVERS["ffn.hidden.gain"])], steps=4)
    for _ in range(2):  # and again
        bending.bend()
        bending.write({"x.gain": 3.0})
        assert not same(traces(model), before) and model.state_dict().keys() == weights.keys()
        assert not torch.equal(flow(model, given), unbent)
        bending.unbend()
        bending.unbend()  # off already: nothing happens
        assert same(traces(model), before) and torch.equal(flow(model, given), unbent)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    gone = weakref.ref(bending)
    del bending
    gc.collect()
    assert gone() is None


def test_an_error_while_playing_takes_the_bends_off() -> None:
    model = transformer()
    before = traces(model)
    with pytest.raises(RuntimeError), Bending(model, [Bend("x", LEVERS["self.out.gain"])], steps=4):
        model(torch.zeros(1, 3, 1, 8, 12), torch.tensor([1.0]), torch.zeros(1, 16, 48))
    assert same(traces(model), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_neutral_is_bit_identical(dtype: torch.dtype) -> None:
    """Also as diffusers loads a model in bfloat16: norms, tables and time stay in float32."""
    model = transformer()
    for name, parameter in model.named_parameters():
        if not set(name.split(".")) & set(model._keep_in_fp32_modules):
            parameter.data = parameter.data.to(dtype)
    assert model.blocks[0].norm2.weight.dtype == model.scale_shift_table.dtype == torch.float32
    assert model.blocks[0].attn1.to_q.weight.dtype == dtype
    given = {**given_pass(), "hidden_states": given_pass()["hidden_states"].to(dtype)}
    given["encoder_hidden_states"] = given["encoder_hidden_states"].to(dtype)
    unbent = flow(model, given)
    bends = [Bend(f"x{i}", lever) for i, lever in enumerate(LEVERS.values())]
    with Bending(model, bends, steps=4):
        assert torch.equal(flow(model, given), unbent)
    for name in LEVERS:
        with Bending(model, [Bend("x", LEVERS[name])], steps=4) as bending:
            bending.write(moved(name))
            bent = flow(model, given)
            assert bent.dtype == dtype and torch.isfinite(bent).all() and not torch.equal(bent, unbent)


def test_fused_projections_are_bent_too() -> None:
    model, given = transformer(), given_pass()
    bends, values = [Bend("x", LEVERS["cross.value.gain"])], {"x.gain": 2.5}
    with Bending(model, bends, steps=4) as bending:
        bending.write(values)
        apart = flow(model, given)
    model.fuse_qkv_projections()
    unbent = flow(model, given)
    with Bending(model, bends, steps=4) as bending:
        assert torch.equal(flow(model, given), unbent)
        bending.write(values)
        torch.testing.assert_close(flow(model, given), apart, atol=1e-5, rtol=0)


def test_inference_mode_and_plain_calls_may_alternate() -> None:
    model = transformer()
    bends = [Bend(name.replace(".", "_"), lever) for name, lever in LEVERS.items()]
    with Bending(model, bends, steps=2) as bending:
        for step, mode in enumerate((torch.inference_mode, torch.no_grad) * 2):
            bending.write({key: spec.map(0.5 + 0.05 * step) for key, spec in _knobs(bending).items()})
            with mode():
                model(**given_pass(timestep=900.0 - step % 2, seed=step))


def _knobs(bending: Bending) -> dict[str, ControlSpec]:
    return {name: spec for name, spec in bending.parameters.items() if isinstance(spec, ControlSpec)}


def test_what_cannot_be_bent_is_refused() -> None:
    model, bends = transformer(), [Bend("x", LEVERS["ffn.out.gain"])]
    before = traces(model)
    with pytest.raises(BendError, match="Linear is not diffusers' WanTransformer3DModel"):
        Bending(torch.nn.Linear(1, 1), bends, 4)
    with pytest.raises(BendError, match=r"added k and v projections.*text-to-video"):
        Bending(transformer(added_kv_proj_dim=128, image_dim=32), bends, 4)
    with pytest.raises(BendError, match="transformers of one size"):
        Bending((model, transformer(ffn_dim=128)), bends, 4)
    with pytest.raises(BendError, match="passes 'one' is not one of both, conditional"):
        Bending(model, bends, 4, "one")
    bending = Bending(model, bends, 4)
    with pytest.raises(BendError, match=r"no parameter 'x\.gian'; did you mean 'x\.gain'\?"):
        bending.write({"x.gian": 1.0})
    with bending:
        for again in (bending, Bending(model, bends, 4), Bending((transformer(), model), bends, 4)):
            with pytest.raises(BendError, match="bent already; unbend it first"):
                again.bend()
        model.blocks[0].attn1.set_processor(kept := type(transformer().blocks[0].attn1.processor)())
    assert model.blocks[0].attn1.processor is kept  # set by someone else meanwhile, and theirs to take off
    model.blocks[0].attn1.processor = before["blocks.0.attn1.processor"]
    assert same(traces(model), before)

    class Other:
        pass

    model.blocks[1].attn2.set_processor(Other())
    with pytest.raises(BendError, match=r"blocks\.1\.attn2\.processor is a Other, which a bend would replace"):
        bending.bend()
    other = transformer()
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
    model = transformer()
    with Bending(model, [Bend("x", LEVERS["cross.map.gain"], Scope(tokens="moon"))], steps=1) as bending:
        assert bending.report() == [] and bending.held_tokens() == {}
        bending.read_prompt(Words("a red star", ((0, 1), (2, 5), (6, 10)), 512))
        flow(model, given_pass())
        assert bending.report() == ["x: the prompt has no 'moon'"] and bending.held_tokens() == {"x": []}


def test_words_that_were_never_said_are_asked_for() -> None:
    """A bend that is to act on words holds nothing before it has heard them: no silent nothing."""
    model, given = transformer(), given_pass()
    unbent = flow(model, given)
    bends = [Bend("hue", LEVERS["cross.map.gain"], Scope(tokens="tulip"))]
    for acting in ({"hue.tokens": "all"}, {"hue.tokens": "0-3"}):
        with Bending(model, bends, steps=1) as bending:
            bending.write({"hue.gain": 0.0, **acting})
            assert not torch.equal(flow(model, given), unbent)
    for silent in ({"hue.gain": 1.0}, {"hue.on": False}, {"master.mix": 0.0}):
        with Bending(model, bends, steps=1) as bending:
            bending.write({"hue.gain": 0.0, **silent})
            assert torch.equal(flow(model, given), unbent)
    for tokens in ("tulip", "0-3, sea", "prompt"):
        with Bending(model, bends, steps=1) as bending:
            bending.write({"hue.gain": 0.0, "hue.tokens": tokens})
            with pytest.raises(BendError, match=f"'hue' acts on '{tokens}'.*call read_prompt before the first forward"):
                flow(model, given)
            bending.read_prompt(WORDS)
            assert not torch.equal(flow(model, given), unbent)


def test_words_without_their_places_are_refused() -> None:
    bending = Bending(transformer(), [], steps=1)
    for given in (("a red star",), (WORDS, "blurred")):
        with pytest.raises(BendError, match=r"not '.*'; give pieces_of\(pipe\.tokenizer\)\.tokenize\(prompt\)\.words"):
            bending.read_prompt(*given)


def test_two_bends_of_one_name_are_refused() -> None:
    bends = [Bend("hue", LEVERS["cross.map.gain"]), Bend("hue", LEVERS["ffn.out.gain"])]
    with pytest.raises(BendError, match="two bends are named 'hue'"):
        Bending(transformer(), bends, steps=1)


def test_numbers_beyond_their_range_are_brought_into_it() -> None:
    model = transformer()
    with Bending(model, [Bend("x", LEVERS["self.out.noise"])], steps=3) as bending:
        bending.write({"x.noise": -0.5, "x.motion": 2})
        assert flow(model, given_pass()).isfinite().all()
        with pytest.raises(BendError, match="not a number"):
            bending.write({"x.noise": float("nan")})
