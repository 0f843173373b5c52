"""Each lever against a slow version that really builds the attention map."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.bends.bank import Bank, Bend
from pipelines.bends.geometry import transform_matrix
from pipelines.bends.lever import discover
from pipelines.bends.noise import NoiseField
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


@pytest.mark.parametrize(("lever", "point", "width"), [("in", "ffn.in", 128), ("hidden", "ffn.hidden", 256)])
def test_ffn_noise_has_the_stated_size_where_it_is_in_scope(lever: str, point: str, width: int) -> None:
    scope = Scope(neurons="0-99") if lever == "hidden" else Scope()
    bank = Bank((Bend("x", LEVERS[f"ffn.{lever}.noise"], scope),), SHAPE, 4)
    bank.write({"x.noise": 0.5, "x.motion": 1.0})
    x = torch.randn(1, H * W, width)
    seen = []
    for _ in range(200):
        bank.fold(1)
        seen.append((bank.layers[0].at(point, x) - x) / x.square().mean(-1, keepdim=True).sqrt())
    noise = torch.cat(seen)
    loud = noise[..., :100] if lever == "hidden" else noise
    assert loud.mean().abs() < 0.005 and loud.std().item() == pytest.approx(0.5, rel=0.01)
    assert lever == "in" or noise[..., 100:].abs().max() == 0


@pytest.mark.parametrize("site", ["self", "cross", "ffn"])
def test_out_noise_has_the_stated_size(site: str) -> None:
    bank = Bank((Bend("x", LEVERS[f"{site}.out.noise"]),), SHAPE, 4)
    bank.write({"x.noise": 0.5, "x.motion": 1.0})
    x = torch.randn(1, H * W, 128) * torch.rand(1, H * W, 1)
    seen = []
    for step in range(200):
        bank.fold(step % 4)
        seen.append((bank.layers[2].at(f"{site}.out", x) - x) / x.square().mean(-1, keepdim=True).sqrt())
    noise = torch.cat(seen)  # [200, L, 128]
    assert noise.mean().abs() < 0.005 and noise.std().item() == pytest.approx(0.5, rel=0.01)
    pairs = (noise[1:] * noise[:-1]).mean()  # fresh each pass: one pass says nothing of the next
    assert pairs.abs() < 0.005


def test_noise_walks_with_its_motion_and_repeats_with_its_seed() -> None:
    def walk(seed: int, motion: float, passes: int) -> torch.Tensor:
        field = NoiseField(50, 40, 3, 7, torch.device("cpu"), torch.float32)
        frames = []
        for _ in range(passes):
            field.advance(seed, motion)
            frames.append(field.layer(1).clone())
        return torch.stack(frames)

    still = walk(1, 0.0, 3)
    assert torch.equal(still[0], still[2])
    assert torch.equal(walk(1, 0.3, 5), walk(1, 0.3, 5)) and not torch.equal(walk(1, 0.3, 5), walk(2, 0.3, 5))
    slow = walk(1, 0.3, 400)
    assert slow.std().item() == pytest.approx(1.0, rel=0.02)
    neighbours = (slow[1:] * slow[:-1]).mean().item()
    assert neighbours == pytest.approx(math.sqrt(1 - 0.09), abs=0.02)


def test_layers_of_one_field_are_independent_at_one_place() -> None:
    field = NoiseField(400, 300, 2, 7, torch.device("cpu"), torch.float32)
    field.advance(5, 0.0)
    assert (field.layer(0) * field.layer(1)).mean().abs() < 0.01


def test_every_lever_is_declared_completely() -> None:
    for name, lever in LEVERS.items():
        assert name == lever.id and lever.doc.endswith(".") and lever.amounts
        assert lever.point.split(".")[0] == lever.site
        for spec in lever.amounts.values():
            assert isinstance(spec, ControlSpec | SwitchSpec | ChoiceSpec)
