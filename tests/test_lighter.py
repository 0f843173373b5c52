"""Lighter layers compute what the layers they stand for do, and only those that pay and are true are taken."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from pipelines import lighter
from pipelines.lighter import FORMS, QuickGELU, QuickRMSNorm, halve_decoder, lighter_layers
from pipelines.wan import RMSNorm
from tests import tiny


@pytest.mark.parametrize(("words", "bound"), [("bfloat16", 0.006), ("eight bits", 0.015)])
def test_a_lighter_layer_is_as_near_as_its_bits_let_it(words: str, bound: float) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(256, 768)
    x = torch.randn(1, 144, 256)
    exact, light = linear(x), FORMS[words](linear)(x)
    assert light.dtype == x.dtype and light.shape == exact.shape
    assert 0 < (light - exact).square().mean().sqrt() < bound * exact.square().mean().sqrt()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38, 0.0])
@pytest.mark.parametrize("words", FORMS)
def test_no_number_stops_it(words: str, bad: float) -> None:
    layer = FORMS[words](nn.Linear(32, 48))
    x = torch.randn(2, 5, 32)
    x[0, 1] = bad
    assert layer(x).shape == (2, 5, 48)


def test_gelu_is_the_tanh_form() -> None:
    x = torch.linspace(-12, 12, 4001)
    torch.testing.assert_close(QuickGELU()(x), nn.functional.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-6)


def test_the_norm_is_the_norm() -> None:
    torch.manual_seed(0)
    norm = RMSNorm(96, 1e-6)
    nn.init.uniform_(norm.weight)
    for size in (1e-4, 1.0, 1e4):
        x = size * torch.randn(2, 7, 96)
        torch.testing.assert_close(QuickRMSNorm(norm)(x), norm(x), rtol=1e-5, atol=1e-7)


def test_a_halved_decoder_makes_the_same_pictures() -> None:
    """To a step of a screen, chunk after chunk, whatever came before."""
    exact, half = tiny.taehv(), tiny.taehv()
    halve_decoder(half)
    memories = exact.fresh(), half.fresh()
    assert len(memories[0]) == len(memories[1])
    torch.manual_seed(0)
    for latents in torch.randn(4, 1, 2, 16, 8, 8):
        shown, lighter_shown = (d.decode(latents, m) for d, m in zip((exact, half), memories, strict=True))
        assert lighter_shown.dtype == torch.float32 and lighter_shown.shape == shown.shape
        assert 0 < (lighter_shown - shown).square().mean().sqrt() < 1 / 255


class Timed(nn.Module):
    """A layer that is right (but for a share `off`) after so many seconds."""

    def __init__(self, linear: nn.Linear, seconds: float, off: float = 0.0) -> None:
        super().__init__()
        # Every weight the same, as in the layer that tells whether a form is true, needs no product.
        self.same = bool((linear.weight == linear.weight[0, 0]).all())
        self.linear, self.seconds, self.off = linear, seconds, off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return self.linear(x) * (1 + self.off) if self.same else x


def _quick(linear: nn.Linear) -> nn.Module:
    return Timed(linear, 0.0)


def _slow(linear: nn.Linear) -> nn.Module:
    return Timed(linear, 0.1)


def _false(linear: nn.Linear) -> nn.Module:
    return Timed(linear, 0.0, off=-0.5)


def _missing(linear: nn.Linear) -> nn.Module:
    raise RuntimeError("no such engine here")


@pytest.mark.parametrize(
    ("eight", "half", "words", "halved"),
    [
        (_quick, _slow, "eight bits", False),
        (_slow, _quick, "bfloat16", True),
        (_quick, _quick, "bfloat16", True),  # the same speed: more bits
        (_slow, _slow, "", False),
        (_false, _slow, "", False),
        (_missing, _quick, "bfloat16", True),
        (_false, _missing, "", False),
    ],
)
def test_the_fewest_bits_that_pay_and_are_true_are_taken(monkeypatch, eight, half, words: str, halved: bool) -> None:
    monkeypatch.setattr(lighter, "FORMS", {"eight bits": eight, "bfloat16": half})
    monkeypatch.setattr(lighter, "_ROUNDS", 2)
    chosen = lighter_layers(256, 1024, 512)  # milliseconds in single precision, and no tenth of a second
    assert (chosen.words, chosen.half) == (words, halved)
    assert chosen.layers is {"eight bits": eight, "bfloat16": half, "": None}[words]
