"""Lighter layers compute what the layers they stand for do, and only those that pay and are true are taken."""

from __future__ import annotations

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


class Clock:
    """Stands still but for layers that take so many seconds."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Timed(nn.Module):
    """A layer that is right (but for a share `off`) and takes so many seconds."""

    def __init__(self, clock: Clock, linear: nn.Linear, seconds: float, off: float = 0.0) -> None:
        super().__init__()
        self.clock, self.linear, self.seconds, self.off = clock, linear, seconds, off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clock.now += self.seconds
        return self.linear(x) * (1 + self.off)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Layers as they are take a second."""
    made, plain = Clock(), nn.Linear.forward

    def forward(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        made.now += 1.0
        return plain(linear, x)

    monkeypatch.setattr(lighter, "time", made)
    monkeypatch.setattr(nn.Linear, "forward", forward)
    return made


def _form(clock: Clock, seconds: float | None, off: float = 0.0):
    """Seconds besides those of the plain layer inside; None: there is no such form here."""

    def form(linear: nn.Linear) -> nn.Module:
        if seconds is None:
            raise RuntimeError("no such engine here")
        return Timed(clock, linear, seconds - 1.0, off)

    return form


@pytest.mark.parametrize(
    ("eight", "half", "words", "halved"),
    [
        ((0.5,), (2.0,), "eight bits", False),
        ((0.3,), (0.5,), "eight bits", True),
        ((2.0,), (0.5,), "bfloat16", True),
        ((0.5,), (0.5,), "bfloat16", True),  # the same speed: more bits
        ((0.45,), (0.5,), "bfloat16", True),  # hardly faster
        ((0.9,), (0.9,), "", False),
        ((2.0,), (2.0,), "", False),
        ((0.5, -0.5), (2.0,), "", False),
        ((0.5, float("nan")), (2.0,), "", False),
        ((None,), (0.5,), "bfloat16", True),
        ((0.5, -0.5), (None,), "", False),
    ],
)
def test_the_fewest_bits_that_pay_and_are_true_are_taken(monkeypatch, clock, eight, half, words, halved) -> None:
    forms = {"eight bits": _form(clock, *eight), "bfloat16": _form(clock, *half)}
    monkeypatch.setattr(lighter, "FORMS", forms)
    chosen = lighter_layers(32, 64, 8)
    assert (chosen.words, chosen.half) == (words, halved)
    assert chosen.layers is forms.get(words)


class Scaleless(nn.Module):
    """Right where all weights are 1, as those are that would overflow."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("sign", linear.weight.sign())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.sign, self.bias)


def test_a_form_must_be_true_of_more_than_loud_numbers(monkeypatch, clock) -> None:
    monkeypatch.setattr(lighter, "FORMS", {"eight bits": Scaleless})
    assert lighter_layers(32, 64, 8).layers is None


def test_a_large_model_is_not_timed_for_long(monkeypatch, clock) -> None:
    seen = []

    class Seen(Timed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    monkeypatch.setattr(lighter, "FORMS", {"eight bits": lambda linear: Seen(clock, linear, 0.0)})
    lighter_layers(32, 64, 100_000)
    assert max(seen) <= 1024
    assert clock.now < 40  # two rounds of four, and a few for truth
