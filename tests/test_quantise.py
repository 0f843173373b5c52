"""Eight-bit linear layers: how far they may be from what they replace, and that bends are what they were."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipelines.checkpoint import LoadError
from pipelines.quantise import (
    FP8,
    KINDS,
    Float8Linear,
    convert,
    emulated,
    quantise,
    to_fp8,
    works,
)
from tests.test_live import Forward, bank_of, every_lever, off_neutral, turn
from tests.tiny import CONFIG, play, stream, wan

HALF_STEP = 2.0**-4  # rounding moves a normal number by at most this share of it,
HALF_LEAST = 2.0**-10  # and a smaller one by at most this much, before scaling
CPU = torch.device("cpu")
SCALINGS = ("row", "tensor")


def _linear(inside: int = 64, out: int = 48, seed: int = 0, dtype=torch.float32) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inside, out, dtype=dtype).requires_grad_(False)


def _moved(exact: Tensor, scale: Tensor) -> Tensor:
    """How far rounding to eight bits may move each number."""
    return torch.maximum(exact.abs() * HALF_STEP, scale * HALF_LEAST) * 1.0001


@given(st.integers(0, 10**6), st.floats(-12, 12), st.sampled_from(SCALINGS))
def test_rounding_moves_a_number_by_half_a_step_at_most(seed: int, size: float, scaling) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 40, generator=generator) * torch.logspace(-3, 3, 5)[:, None] * 2.0**size
    small, scale = to_fp8(rows, scaling)
    assert small.dtype == FP8 and scale.shape == ((5, 1) if scaling == "row" else (1, 1))
    assert ((small.float() * scale - rows).abs() <= _moved(rows, scale)).all()


@given(st.integers(0, 10**6), st.floats(-6, 6), st.sampled_from(SCALINGS))
def test_a_layer_stays_within_the_bound_that_rounding_gives(seed: int, size: float, scaling) -> None:
    """|sum(a b) - sum(a' b')| <= sum(|a| db + |b| da + da db), with da and db the most that each number moved."""
    layer = _linear(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 64, generator=generator) * 2.0**size
    exact, made = layer(x), Float8Linear(layer, scaling)
    da, db = _moved(x, to_fp8(x, scaling)[1]), _moved(layer.weight, made.scale.T)
    bound = x.abs() @ db.T + da @ layer.weight.abs().T + da @ db.T
    assert ((made(x) - exact).abs() <= bound + 1e-5 * exact.abs().max()).all()


def test_zeros_stay_zeros_and_what_is_not_finite_stays_so() -> None:
    layer = _linear()
    made = Float8Linear(layer)
    x = torch.randn(4, 64)
    x[0], x[1, 3], x[2, 5] = 0.0, float("inf"), float("nan")
    out = made(x)
    torch.testing.assert_close(out[0], layer.bias)
    assert not out[1:3].isfinite().any() and out[3].isfinite().all()


def test_shapes_and_dtypes_are_those_of_the_layer_it_replaces() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        layer = _linear(dtype=dtype)
        made = Float8Linear(layer)
        x = torch.randn(2, 3, 64, dtype=dtype)
        assert made(x).shape == (2, 3, 48) and made(x).dtype == dtype
        assert made.weight.dtype == FP8 and made.scale.shape == (1, 48) and made.bias.dtype == dtype


@pytest.mark.parametrize("scaling", SCALINGS)
def test_torchs_own_product_of_such_numbers_is_the_emulated_one(scaling) -> None:
    made = Float8Linear(_linear(), scaling)
    rows, scale = to_fp8(torch.randn(33, 64), scaling)
    try:
        got = torch._scaled_mm(rows, made.weight.t(), scale, made.scale, out_dtype=torch.float32)
    except RuntimeError as problem:
        pytest.skip(f"this torch has no such product on the CPU: {problem}")
    torch.testing.assert_close(got + made.bias, emulated(rows, scale, made, torch.float32), atol=2e-5, rtol=1e-5)


# --- in the model ---


def _quantised(seed: int = 0, scaling="row"):
    model = wan(seed)
    convert(model, scaling)
    return model


def test_the_blocks_linear_layers_are_replaced_and_nothing_else() -> None:
    before, model = wan().state_dict(), wan()
    names = convert(model)
    assert len(names) == 10 * CONFIG.num_layers == len(set(names))
    assert {name.split(".", 2)[2] for name in names} == {
        *(f"{site}.{part}" for site in ("self_attn", "cross_attn") for part in "qkvo"),
        *("ffn.0", "ffn.2"),
    }
    after = model.state_dict()
    for name, tensor in before.items():
        same = name.removesuffix(".weight") not in names
        assert (after[name].dtype == FP8) != same
        assert not same or torch.equal(after[name], tensor)
    assert sum(tensor.nbytes for tensor in after.values()) < 0.45 * sum(tensor.nbytes for tensor in before.values())
    x = torch.randn(3, 128)
    assert not torch.equal(model.blocks[0].ffn[0](x), wan().blocks[0].ffn[0](x))


def test_packing_before_or_after_changes_nothing() -> None:
    expected, model = Forward(_quantised())(), wan()
    for block in model.blocks:
        block.self_attn.pack()
    convert(model)
    forward = Forward(model)
    assert torch.equal(forward(), expected)
    for block in forward.model.blocks:
        block.self_attn.pack()
    assert torch.equal(forward(), expected)


def test_a_layer_whose_size_the_matrix_units_do_not_take_is_left() -> None:
    model = wan()
    model.blocks[1].ffn[0] = nn.Linear(128, 250)
    assert len(convert(model)) == 10 * CONFIG.num_layers - 1 and type(model.blocks[1].ffn[0]) is nn.Linear


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_whole_model_is_near_the_unquantised_one(scaling) -> None:
    for seed in range(3):
        exact, rounded = Forward(wan(seed))(), Forward(_quantised(seed, scaling))()
        off = (rounded - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        print(f"{scaling}, seed {seed}: off by {off:.4f} of its size")
        assert 1e-4 < off < 0.05


def test_neutral_is_bit_identical_to_the_unbent_quantised_model() -> None:
    forward = Forward(_quantised())
    for fixed in (False, True):
        assert torch.equal(forward(bank_of(*every_lever(), fixed=fixed)), forward())


def test_every_lever_does_to_it_what_it_does_to_the_unquantised_one() -> None:
    """The change that a bend makes points the same way, and is of the same size."""
    plain, rounded = Forward(wan()), Forward(_quantised())
    for bend in every_lever():
        changes = []
        for forward in (plain, rounded):
            bank = bank_of(bend)
            bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend)})
            bank.fold(0)
            changes.append((forward(bank) - forward()).flatten())
        if not changes[0].any():  # one gain for all tokens, and rows that keep their sum
            assert bend.renormalize and not changes[1].any()
            continue
        assert torch.cosine_similarity(*changes, dim=0) > 0.95, bend.lever.id
        assert 0.95 < changes[1].norm() / changes[0].norm() < 1.05, bend.lever.id


def test_compiled_it_is_one_graph_that_hears_every_knob() -> None:
    torch._dynamo.reset()
    forward, eager, dice = Forward(_quantised()), Forward(_quantised()), random.Random(1)
    bank = bank_of(*every_lever(), fixed=True)
    for block in forward.model.blocks:
        block.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    try:
        for _ in range(6):
            turn(bank, dice, 0.1)
            # Rounding steps turn a last bit of difference into a whole step now and then.
            expected = eager(bank)
            off = (forward(bank) - expected).square().mean().sqrt() / expected.square().mean().sqrt()
            assert off < 0.02
    finally:
        torch._dynamo.reset()


def test_a_stream_plays_quantised() -> None:
    playing = stream()
    convert(playing.model)
    frames = play(playing, 3)
    assert playing.notice == "" and frames.std() > 0


# --- refusals ---


def test_devices_that_cannot_are_refused_with_a_remedy_and_nothing_is_replaced() -> None:
    assert not works(CPU, "row") and not works(CPU, "tensor")
    for kind in KINDS:
        model = wan()
        with pytest.raises(LoadError, match=r"device 'cpu' does not multiply eight-bit .*; play without --quantize"):
            quantise(model, kind)
        assert type(model.blocks[0].ffn[0]) is nn.Linear


def test_kinds_that_do_not_exist_are_refused() -> None:
    with pytest.raises(LoadError, match="--quantize int3: there is no such kind; choose one of fp8, fp8-tensor"):
        quantise(wan(), "int3")
