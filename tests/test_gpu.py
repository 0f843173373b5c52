"""Bends on a CUDA device, by name: pytest -m gpu."""

from __future__ import annotations

import random

import pytest
import torch

from pipelines.capture import Captured
from pipelines.spec import ControlSpec
from pipelines.tune import compile_blocks
from tests.test_live import Forward, bank_of, every_lever, off_neutral, turn
from tests.tiny import wan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("fixed", [False, True])
def test_neutral_is_bit_identical(dtype, fixed: bool) -> None:
    forward = Forward(wan(), dtype, "cuda")
    assert torch.equal(forward(bank_of(*every_lever(), fixed=fixed, dtype=dtype, device="cuda")), forward())


def test_neutral_is_bit_identical_compiled() -> None:
    forward = Forward(wan(), torch.bfloat16, "cuda")
    compile_blocks(forward.model)
    bank = bank_of(*every_lever(), fixed=True, dtype=torch.bfloat16, device="cuda")
    assert torch.equal(forward(bank), forward())


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
    used = torch.cuda.memory_allocated()
    for _ in range(200):
        turn(bank, dice, 0.1)
        torch.testing.assert_close(recorded(forward.x, forward.t), forward(bank), rtol=0, atol=0, equal_nan=True)
    assert torch.cuda.memory_allocated() <= used + 2**20


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
