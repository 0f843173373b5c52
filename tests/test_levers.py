"""Levers one by one, by examples a person can follow; test_oracle tries them all in any combination."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.bends.bank import Bank, Bend
from pipelines.bends.geometry import transform_matrix
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec
from tests.test_bank import SHAPE, WORDS

LEVERS = discover()
GRID = SHAPE.grid
H, W = GRID[1:]
NEUTRAL = {name: spec.default for name, spec in LEVERS["cross.map.transform"].amounts.items()}


def _bent(lever: str, scope: Scope, values: dict, q, k, v) -> torch.Tensor:
    bank = Bank((Bend("x", LEVERS[lever], scope),), SHAPE, 4)
    bank.read_prompt(WORDS)
    bank.write({f"x.{name}": value for name, value in values.items()})
    bank.fold(0)
    return bank.layers[1].attention(lever.split(".")[0], q, k, v, GRID, None)


def _map(q, k) -> torch.Tensor:
    """[B, heads, Lq, Lk]."""
    return torch.einsum("bqhd,bkhd->bhqk", q / math.sqrt(q.shape[-1]), k).softmax(-1)


def _values(a, v) -> torch.Tensor:
    return torch.einsum("bhqk,bkhd->bqhd", a, v)


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(1, H * W, 4, 32), torch.randn(1, 16, 4, 32), torch.randn(1, 16, 4, 32)


def test_map_gain_scales_columns_after_softmax(qkv) -> None:
    q, k, v = qkv
    a = _map(q, k)
    a[:, 1:3, :, [1, 2]] *= 2.5
    got = _bent("cross.map.gain", Scope(tokens="purple tulip", heads="1-2"), {"gain": 2.5}, q, k, v)
    torch.testing.assert_close(got, _values(a, v), atol=1e-4, rtol=0)


def test_map_focus_is_an_inverse_temperature(qkv) -> None:
    q, k, v = qkv
    for site in ("cross", "self"):
        expected = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(32)
        expected[:, 0] *= 3.0
        got = _bent(f"{site}.map.focus", Scope(heads="0"), {"focus": 3.0}, q, k, v)
        torch.testing.assert_close(got, _values(expected.softmax(-1), v), atol=1e-4, rtol=0)


def test_value_gain_scales_rows_of_v(qkv) -> None:
    q, k, v = qkv
    louder = v.clone()
    louder[:, 7, 3] *= 0.25
    got = _bent("cross.value.gain", Scope(tokens="sea", heads="3"), {"gain": 0.25}, q, k, v)
    torch.testing.assert_close(got, _values(_map(q, k), louder), atol=1e-4, rtol=0)
    got = _bent("self.value.gain", Scope(), {"gain": 3.0}, q, k, v)
    torch.testing.assert_close(got, _values(_map(q, k), 3.0 * v), atol=1e-4, rtol=0)


def test_self_map_gain_scales_every_column(qkv) -> None:
    q, k, v = qkv
    got = _bent("self.map.gain", Scope(), {"gain": 0.5}, q, k, v)
    torch.testing.assert_close(got, _values(0.5 * _map(q, k), v), atol=1e-4, rtol=0)


def test_directions_on_screen() -> None:
    """Positive translation is right and down; positive rotation is clockwise; a square stays a square."""
    dot = torch.zeros(H, W)
    dot[1, 1] = 1.0

    def moved(**change) -> tuple[int, int]:
        matrix = transform_matrix(H, W, {**NEUTRAL, **change}, torch.device("cpu")) + torch.eye(H * W)
        return divmod(int((matrix @ dot.flatten()).argmax()), W)

    assert moved(translate_x=2 / W) == (1, 3) and moved(translate_y=1 / H) == (2, 1)
    # (1, 1) lies 1.5 left of and 0.5 above the centre; a quarter turn clockwise puts it 1.5 above and 0.5 right.
    assert moved(rotate=90.0) == (0, 3)
    assert moved(flip_x=True) == (1, W - 2) and moved(flip_y=True) == (H - 2, 1)


def test_identity_is_exactly_nothing() -> None:
    for padding in ("zeros", "border", "reflection"):
        assert transform_matrix(9, 16, {**NEUTRAL, "padding": padding}, torch.device("cpu")).abs().max() == 0


def test_hidden_gain_and_out_levers() -> None:
    x = torch.randn(1, H * W, 256)
    bank = Bank((Bend("x", LEVERS["ffn.hidden.gain"], Scope(neurons="3, 200-255")),), SHAPE, 4)
    bank.write({"x.gain": 0.0})
    bank.fold(2)
    expected = x.clone()
    expected[..., 3] = 0
    expected[..., 200:] = 0
    torch.testing.assert_close(bank.layers[0].at("ffn.hidden", x), expected)
    assert bank.layers[0].at("ffn.in", x) is x


def test_hidden_threshold_silences_the_quiet_neurons_in_scope() -> None:
    x = torch.randn(1, H * W, 256)
    bank = Bank((Bend("x", LEVERS["ffn.hidden.threshold"], Scope(neurons="100-255")),), SHAPE, 4)
    bank.write({"x.threshold": 0.8})
    bank.fold(0)
    quiet = x.abs() < 0.8 * x.square().mean(-1, keepdim=True).sqrt()
    quiet[..., :100] = False
    got = bank.layers[0].at("ffn.hidden", x)
    assert torch.equal(got, x.masked_fill(quiet, 0.0)) and quiet.any()


def test_in_gain_scales_the_input() -> None:
    x = torch.randn(1, H * W, 128)
    bank = Bank((Bend("x", LEVERS["ffn.in.gain"]),), SHAPE, 4)
    bank.write({"x.gain": 2.0})
    bank.fold(0)
    assert torch.equal(bank.layers[0].at("ffn.in", x), 2.0 * x)


def test_every_lever_is_declared_completely() -> None:
    for name, lever in LEVERS.items():
        assert name == lever.id and lever.doc.endswith(".") and lever.amounts
        assert lever.point.split(".")[0] == lever.site
        for spec in lever.amounts.values():
            assert isinstance(spec, ControlSpec | SwitchSpec | ChoiceSpec)
