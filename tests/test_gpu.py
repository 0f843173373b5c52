"""Bends on a CUDA device, by name: pytest -m gpu."""

from __future__ import annotations

import random

import pytest
import torch

from pipelines import attention
from pipelines.attention import Size, Way, use
from pipelines.cache import LayerMemory, remember
from pipelines.capture import Captured
from pipelines.checkpoint import LoadError
from pipelines.flash import installed
from pipelines.offload import PLACES, offload
from pipelines.quantise import Float8Linear, convert, emulated, quantise, to_fp8, works
from pipelines.rope import Rope
from pipelines.spec import ControlSpec
from pipelines.tune import compile_blocks
from pipelines.wan import WanConfig
from tests.test_live import Forward, bank_of, every_lever, off_neutral, turn
from tests.tiny import play, prompt, stream, wan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("fixed", [False, True])
def test_neutral_is_bit_identical(dtype, fixed: bool) -> None:
    forward = Forward(wan(), dtype, "cuda")
    assert torch.equal(forward(bank_of(*every_lever(), fixed=fixed, dtype=dtype, device="cuda")), forward())


@pytest.mark.parametrize("way", [Way(), Way("cudnn", 3), Way("flash 4"), Way("flash 4", 3)])
def test_neutral_is_bit_identical_compiled(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    if way.kernel == "flash 4" and not installed():
        pytest.skip("flash-attn-4 is not installed")
    forward = Forward(wan(), torch.bfloat16, "cuda")
    config, tokens = forward.model.config, forward.turn.cos.shape[0]
    monkeypatch.setattr(attention, "_ways", {})
    use(Size(tokens, tokens, config.num_heads, config.head_dim), way)
    gone, before = [], attention.attend_by
    monkeypatch.setattr(attention, "attend_by", lambda way, *qkv: gone.append(way) or before(way, *qkv))
    torch._dynamo.reset()
    compile_blocks(forward.model)
    bank = bank_of(*every_lever(), fixed=True, dtype=torch.bfloat16, device="cuda")
    assert torch.equal(forward(bank), forward())
    assert set(gone) == {way}


def test_every_lever_does_what_it_does_on_the_cpu() -> None:
    here, there = Forward(wan()), Forward(wan(), device="cuda")
    for bend in every_lever():
        outs = []
        for forward, device in ((here, "cpu"), (there, "cuda")):
            bank = bank_of(bend, device=device)
            bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend)})
            bank.fold(0)
            outs.append(forward(bank).cpu())
        torch.testing.assert_close(outs[1], outs[0], atol=5e-3, rtol=5e-3, msg=bend.lever.id)


@pytest.mark.parametrize("dtype", HALF)
def test_every_lever_at_both_ends_stays_finite(dtype) -> None:
    forward = Forward(wan(), dtype, "cuda")
    for bend in every_lever():
        for name, spec in bend.lever.amounts.items():
            for end in (spec.lo, spec.hi) if isinstance(spec, ControlSpec) else ():
                bank = bank_of(bend, dtype=dtype, device="cuda")
                bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend), f"{bend.name}.{name}": end})
                bank.fold(0)
                assert forward(bank).isfinite().all(), f"{bend.lever.id}: {name} at {end}"


def test_a_recorded_forward_hears_every_knob() -> None:
    forward, dice = Forward(wan(), torch.bfloat16, "cuda"), random.Random(4)
    bank = bank_of(*every_lever(), fixed=True, dtype=torch.bfloat16, device="cuda")
    recorded = Captured(
        lambda x, t: forward.model(x, t, forward.text, forward.turn, bends=bank.layers), forward.x, forward.t
    )
    forward(bank)  # libraries take room of their own the first time
    used = torch.cuda.memory_allocated()
    for _ in range(200):
        turn(bank, dice, 0.1)
        torch.testing.assert_close(recorded(forward.x, forward.t), forward(bank), rtol=0, atol=0, equal_nan=True)
    assert torch.cuda.memory_allocated() <= used + 2**20


def test_a_compiled_pass_writes_into_the_cache_and_copies_none_of_it() -> None:
    """Of 64 MiB, of which a compiler would else make a second one in every pass."""
    kept = torch.zeros(3, 1, 4, 2**16, 128, device="cuda", dtype=torch.bfloat16)
    k, v = kept[1].transpose(1, 2), kept[2].transpose(1, 2)
    packed = torch.randn(1, 96, 3 * 512, device="cuda", dtype=torch.bfloat16)
    index = torch.arange(700, 796, device="cuda")

    def run(packed: torch.Tensor, k: torch.Tensor, v: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        rows = [part.unflatten(-1, (4, 128)) for part in packed.chunk(3, dim=-1)]
        k, v = remember(LayerMemory(k, v, (), 2**16, None, index), 2 * rows[1], rows[2])
        return k[:, 700:796] + v[:, 700:796]

    compiled = torch.compile(run, dynamic=False)
    with torch.inference_mode():
        compiled(packed, k, v, index)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        got = compiled(packed, k, v, index)
    assert torch.cuda.max_memory_allocated() - before < 2**22
    _, keys, values = (part.unflatten(-1, (4, 128)) for part in packed.chunk(3, dim=-1))
    assert torch.equal(got, 2 * keys + values)
    assert torch.equal(k[:, 700:796], 2 * keys) and torch.equal(v[:, 700:796], values)
    assert kept[0].count_nonzero() == 0 and k[:, :700].count_nonzero() == 0 and k[:, 796:].count_nonzero() == 0


def test_folding_never_waits_for_the_device() -> None:
    dice = random.Random(4)
    bank = bank_of(*every_lever(), fixed=True, dtype=torch.bfloat16, device="cuda")
    turn(bank, dice, 0.3)  # fields and matrices are made
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            turn(bank, dice, 0.3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- eight-bit linear layers ---


@pytest.fixture
def card() -> torch.device:
    device = torch.device("cuda")
    if not works(device, "tensor"):
        with pytest.raises(LoadError, match="does not multiply eight-bit numbers"):
            quantise(wan(), "fp8", device)
        pytest.skip("this card does not multiply eight-bit numbers, and says so")
    return device


@pytest.mark.parametrize("scaling", ["row", "tensor"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_eight_bit_products_are_the_emulated_ones(card, scaling, dtype) -> None:
    """At the sizes of the real networks, and with a count of tokens that is no multiple of anything."""
    if not works(card, scaling):
        pytest.skip(f"no scaling by {scaling} here; quantise takes the other")
    for inside, out in ((1536, 1536), (1536, 8960), (8960, 1536), (5120, 13824)):
        torch.manual_seed(0)
        made = Float8Linear(torch.nn.Linear(inside, out, device=card, dtype=dtype), scaling)
        x = torch.randn(1, 2163, inside, device=card, dtype=dtype) * torch.logspace(-2, 2, 2163, device=card)[:, None]
        x = x.to(dtype)
        rows, scale = to_fp8(x[0], scaling)
        expected = emulated(rows, scale, made, torch.float32)
        off = (made(x)[0].float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        print(f"{scaling} {dtype} {inside}x{out}: off by {off:.1e}")
        assert off < (3e-3 if dtype == torch.float16 else 1e-2)


def test_a_quantised_model_plays_neutral_to_the_bit(card) -> None:
    forward = Forward(wan(), torch.bfloat16, "cuda")
    exact = forward().float()
    quantise(forward.model, "fp8")
    plain = forward()
    off = (plain.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 1e-4 < off < 0.06
    for fixed in (False, True):
        bank = bank_of(*every_lever(), fixed=fixed, dtype=torch.bfloat16, device="cuda")
        assert torch.equal(forward(bank), plain)


def test_a_quantised_model_compiled_and_recorded_hears_every_knob_and_never_waits(card) -> None:
    torch._dynamo.reset()
    forward, dice = Forward(wan(), torch.bfloat16, "cuda"), random.Random(4)
    quantise(forward.model, "fp8")
    for block in forward.model.blocks:
        block.compile(fullgraph=True, dynamic=False)
    bank = bank_of(*every_lever(), fixed=True, dtype=torch.bfloat16, device="cuda")
    recorded = Captured(
        lambda x, t: forward.model(x, t, forward.text, forward.turn, bends=bank.layers), forward.x, forward.t
    )
    for _ in range(50):
        turn(bank, dice, 0.1)
        got = recorded(forward.x, forward.t).clone()
        torch.testing.assert_close(got, forward(bank), rtol=0, atol=0, equal_nan=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            forward.model.blocks[0].ffn[0](torch.randn(1, 40, 128, device="cuda", dtype=torch.bfloat16))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_stream_plays_quantised_from_the_cpus_weights(card) -> None:
    """Layer by layer to the device, of which the whole of the unquantised model is never on."""
    model = wan().to(torch.bfloat16)
    before = torch.cuda.memory_allocated()
    quantise(model, "fp8", card)
    held = torch.cuda.memory_allocated() - before
    assert held < 1.3 * sum(tensor.nbytes for tensor in model.state_dict().values())
    playing = stream(dtype=torch.bfloat16)
    playing = type(playing)(model, playing.decoder.to("cuda"), playing.recipe)
    playing.read_prompt(prompt())
    frames = play(playing, 3)
    assert playing.notice == "" and frames.std() > 0


def test_emulated_and_real_models_agree(card) -> None:
    """The CPU's emulation is what the tests without a card stand on."""
    here, there = Forward(wan()), Forward(wan(), torch.float32, "cuda")
    convert(here.model)
    quantise(there.model, "fp8")
    exact = Forward(wan())()
    off = (here() - there().cpu()).square().mean().sqrt() / exact.square().mean().sqrt()
    assert off < 0.02


# --- blocks that come as they are needed ---


@pytest.mark.parametrize("stay", [0, 1])
def test_streamed_blocks_give_the_same_numbers_however_busy_the_card_is(stay: int) -> None:
    """At a size where copying a block takes longer than computing it, and the other way round."""
    config = WanConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=7, text_dim=48, text_len=16, freq_dim=64)
    whole, streamed = (wan(0, config).to(torch.bfloat16) for _ in range(2))
    plain = whole.to("cuda")
    before = torch.cuda.memory_allocated()
    offload(streamed, torch.device("cuda"), stay)
    block = sum(tensor.nbytes for tensor in plain.blocks[0].state_dict().values())
    other = sum(tensor.nbytes for name, tensor in plain.state_dict().items() if not name.startswith("blocks"))
    assert torch.cuda.memory_allocated() - before < (PLACES + stay) * block * 1.05 + other + 2**21
    for frames in (1, 8, 1, 8):
        grid = (frames, 10, 18)
        x = torch.randn(1, 16, frames, 20, 36, device="cuda", dtype=torch.bfloat16)
        t, words = torch.full((1, frames), 700.0, device="cuda"), torch.randn(1, 16, 48, device="cuda")
        turn = Rope(config.head_dim, *grid[1:], "cuda").turn(range(frames))
        with torch.inference_mode():
            outs = [m(x, t, m.read_text(words.to(torch.bfloat16)), turn) for m in (plain, streamed) for _ in range(3)]
        assert all(torch.equal(out, outs[0]) for out in outs)


def test_streamed_blocks_refuse_to_be_recorded() -> None:
    forward = Forward(wan(), torch.bfloat16, "cuda")
    offload(forward.model, torch.device("cuda"))
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        Captured(lambda x, t: forward.model(x, t, forward.text, forward.turn), forward.x, forward.t)
