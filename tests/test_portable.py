"""Devices without double precision, as Apple's GPUs are: a pass under every lever makes none there.

The device is torch's `meta`, which has shapes and no numbers, so that this can be told anywhere. It does not tell
whether such a device has every kernel.
"""

from __future__ import annotations

import traceback

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipelines import wan as network
from pipelines.bends.bank import Bank
from pipelines.bends.fold import BankShape
from pipelines.passes import Passes
from tests.test_live import every_lever, off_neutral
from tests.tiny import CONFIG, RECIPE, prompt, taehv, wan

DEVICE = torch.device("meta")
TOO_FINE = (torch.float64, torch.complex64, torch.complex128)


class Watched(TorchDispatchMode):
    """Notes every tensor of the device that such a device has not, and who made it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.device == DEVICE and leaf.dtype in TOO_FINE:
                caller = next(frame for frame in reversed(traceback.extract_stack()[:-1]) if "/torch/" not in frame[0])
                self.found.append(f"{caller.name}: {leaf.dtype}")
        return out


@pytest.mark.parametrize("fixed", [False, True])
def test_a_pass_under_every_lever_and_its_decoding(fixed: bool) -> None:
    model, decoder = wan().to(DEVICE), taehv().to(DEVICE)
    sizes = CONFIG.num_layers, CONFIG.num_heads, CONFIG.dim, CONFIG.ffn_dim, CONFIG.text_len
    with Watched() as watched:
        bank = Bank(every_lever(), BankShape(*sizes, (1, 4, 6), DEVICE, torch.float32, 4, fixed), 3)
        bank.read_prompt(prompt().words)
        for bend in every_lever():
            bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend)})
        bank.fold(0)
        passes = Passes(model, RECIPE, (8, 12), 1)
        text = passes.model.read_text(prompt().embeddings.to(DEVICE))
        x, t = torch.zeros(1, 16, 1, 8, 12, device=DEVICE), torch.zeros(1, 1, device=DEVICE)
        flow = passes.at(passes.place(0, 1), text, bank)(x, t)
        pixels = decoder.decode(flow.transpose(1, 2), decoder.fresh())
    assert flow.shape == x.shape and pixels.shape == (1, 4, 3, 64, 96)
    assert {line.split(":")[0] for line in watched.found} == {"sinusoid"}  # which asks what the device has


def test_the_one_that_asks_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in single precision, to rounding."""

    class Apple(torch.Tensor):
        device = torch.device("mps")

    t = torch.tensor([[0.0, 500.0, 937.5]])
    made = []
    arange = torch.arange
    monkeypatch.setattr(
        network.torch, "arange", lambda count, device, dtype: made.append(dtype) or arange(count, dtype=dtype)
    )
    got, expected = network.sinusoid(t.as_subclass(Apple), 64), network.sinusoid(t, 64)
    assert made == [torch.float32, torch.float64]
    torch.testing.assert_close(got.as_subclass(torch.Tensor).double(), expected, atol=1e-4, rtol=0)
