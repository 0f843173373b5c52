"""Noise levers: size, independence, seeds and motion; the sketch of the map's noise against a map of noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bends import noise
from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.lever import discover
from pipelines.bends.noise import SKETCH, VOICES, NoiseField, sketch_width
from pipelines.bends.scope import Scope, Span, Words

LEVERS = discover()
CPU = torch.device("cpu")
SHAPE = BankShape(3, 2, 16, 32, 6, (2, 3, 4), CPU, torch.float32, window=6)
NOISY = [id for id, lever in LEVERS.items() if "noise" in lever.amounts]


def _bank(*bends: Bend, shape: BankShape = SHAPE, **values) -> Bank:
    bank = Bank(bends, shape, 4)
    bank.read_prompt(Words("", (), shape.text_len))
    bank.write({name.replace("__", "."): value for name, value in values.items()})
    bank.fold(0)
    return bank


def _field(seed: int, motion: float, passes: int, dtype=torch.float32) -> torch.Tensor:
    field = NoiseField((1, 50, 40), 3, 7, torch.empty(0, dtype=dtype))
    frames = []
    for _ in range(passes):
        field.advance(seed, motion)
        frames.append(field.layer(1)[0].clone())
    return torch.stack(frames)


def test_motion_zero_stands_still_and_one_is_fresh_each_pass() -> None:
    still, fresh = _field(1, 0.0, 3), _field(1, 1.0, 60)
    assert torch.equal(still[0], still[2]) and torch.equal(still[0], fresh[0])
    neighbours = (fresh[1:] * fresh[:-1]).mean()
    assert neighbours.abs() < 0.02 and fresh.std().item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("motion", [0.05, 0.3, 0.8])
def test_a_walk_keeps_unit_variance_and_forgets_at_its_motions_pace(motion: float) -> None:
    slow = _field(1, motion, 500)
    assert slow[250:].std().item() == pytest.approx(1.0, rel=0.03)
    for lag in (1, 4):
        kept = (slow[lag:] * slow[:-lag]).mean().item()
        assert kept == pytest.approx((1 - motion**2) ** (lag / 2), abs=0.03)


def test_a_seed_makes_the_same_noise_again_and_another_makes_another() -> None:
    assert torch.equal(_field(1, 0.3, 5), _field(1, 0.3, 5))
    assert (_field(1, 0.0, 1) * _field(2, 0.0, 1)).mean().abs() < 0.06
    # The same in half precision, as a GPU hears it.
    torch.testing.assert_close(_field(3, 0.4, 9, torch.bfloat16).float(), _field(3, 0.4, 9), atol=0.02, rtol=0.01)


def test_layers_and_repeats_of_one_field_are_independent_at_one_place() -> None:
    field = NoiseField((2, 400, 300), 4, 7, torch.empty(0))
    field.advance(5, 0.0)
    seen = [field.layer(layer)[repeat] for layer in range(4) for repeat in (0, 1)]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert (one * other).mean().abs() < 0.01


@pytest.mark.parametrize("lever", NOISY)
def test_every_noise_lever_is_centred_and_as_large_as_it_says(lever: str) -> None:
    """Over many seeds: mean zero, variance proportional to the amount's square, nothing at zero."""
    x = _anything(lever)
    plain = _pass(lever, x, 0, 0.0)
    draws = {
        amount: torch.stack([_pass(lever, x, seed, amount) - plain for seed in range(250)]) for amount in (1.0, 2.0)
    }
    size = {amount: draw.square().mean().sqrt().item() for amount, draw in draws.items()}
    assert draws[1.0].mean().abs() < 0.05 * size[1.0]
    assert size[2.0] == pytest.approx(2 * size[1.0], rel=0.05) and size[1.0] > 0
    # Different seeds say nothing of each other.
    assert (draws[1.0][1:] * draws[1.0][:-1]).mean().abs() < 0.03 * size[1.0] ** 2


def _anything(lever: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)

    def randn(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    point = LEVERS[lever].point
    if point in ("self.map", "cross.map", "self.v", "cross.v"):
        keys = SHAPE.keys if point.startswith("self") else SHAPE.text_len
        return randn(1, SHAPE.tokens, 2, 8), randn(1, keys, 2, 8), randn(1, keys, 2, 8)
    return (randn(1, SHAPE.tokens, 32 if point == "ffn.hidden" else 16),)


def _pass(lever: str, x: tuple[torch.Tensor, ...], seed: int, amount: float, **scope) -> torch.Tensor:
    bank = _bank(Bend("x", LEVERS[lever], Scope(**scope)), x__noise=amount, x__seed=seed)
    site, point = LEVERS[lever].site, LEVERS[lever].point
    if len(x) == 1:
        return bank.layers[1].at(point, x[0])
    return bank.layers[1].attention(site, *x, SHAPE.grid, None)


@pytest.mark.parametrize("site", ["self", "cross"])
def test_map_noise_has_the_covariance_of_a_map_of_noise(site: str) -> None:
    """A + s eps / Lk, eps iid: per query and head the product with V is Gaussian with covariance s^2 V^T V / Lk^2."""
    q, k, v = _anything(f"{site}.map.noise")
    keys, amount = v.shape[1], 3.0
    plain = _pass(f"{site}.map.noise", (q, k, v), 0, 0.0)
    draws = torch.stack([_pass(f"{site}.map.noise", (q, k, v), s, amount) - plain for s in range(1500)])[:, 0]
    for head in range(2):
        expected = (amount / keys) ** 2 * v[0, :, head].T @ v[0, :, head]
        noise = draws[:, :, head].flatten(0, 1)  # [draws * queries, d]
        got = noise.T @ noise / len(noise)
        assert (got - expected).norm() < 0.06 * expected.norm()
    first, second = draws[:, 0, 0], draws[:, 5, 0]  # two queries
    assert (first * second).mean().abs() < 0.05 * first.square().mean()
    assert (draws[:, :, 0] * draws[:, :, 1]).mean().abs() < 0.02 * draws.square().mean()  # two heads


def test_map_noise_shakes_only_the_columns_in_scope() -> None:
    q, k, v = _anything("cross.map.noise")
    v[:, 2] = 0
    plain = _pass("cross.map.noise", (q, k, v), 0, 0.0)
    assert torch.equal(_pass("cross.map.noise", (q, k, v), 7, 5.0, tokens="2"), plain)
    assert not torch.equal(_pass("cross.map.noise", (q, k, v), 7, 5.0, tokens="3"), plain)
    one_head = _pass("cross.map.noise", (q, k, v), 7, 5.0, heads="1")
    assert torch.equal(one_head[:, :, 0], plain[:, :, 0]) and not torch.equal(one_head[:, :, 1], plain[:, :, 1])


def test_value_noise_is_relative_to_each_tokens_own_size() -> None:
    shape = BankShape(1, 2, 16, 32, 6, (1, 3, 4), CPU, torch.float32)
    v = torch.randn(1, 6, 2, 8) * torch.tensor([1.0, 10.0, 0.1, 0.0, 3.0, 1.0])[None, :, None, None]
    seen = []
    for seed in range(400):
        bank = _bank(
            Bend("x", LEVERS["cross.value.noise"], Scope(tokens="0-3")), shape=shape, x__noise=0.5, x__seed=seed
        )
        seen.append(bank.layers[0].at("cross.v", v) - v)
    sizes = torch.cat(seen).square().mean((0, 2, 3)).sqrt() / v.square().mean((0, 2, 3)).sqrt()
    torch.testing.assert_close(sizes[:3], torch.full((3,), 0.5), atol=0.02, rtol=0)
    assert torch.cat(seen)[:, 3:].abs().max() == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 2), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3)), min_size=1, max_size=9)
)
def test_variances_add_whatever_the_number_of_bends(uses) -> None:
    """Amounts, motions and seeds at random; more different ones than there are voices, too."""
    bends = [Bend(f"b{i}", LEVERS["ffn.in.noise"]) for i in range(len(uses))]
    bank = Bank(bends, BankShape(1, 2, 64, 32, 6, (1, 30, 30), CPU, torch.float32), 4)
    for i, (amount, motion, seed) in enumerate(uses):
        bank.write({f"b{i}.noise": amount, f"b{i}.motion": motion, f"b{i}.seed": seed})
    for _ in range(3):
        bank.fold(1)
    assert len(bank.layers[0].points["ffn.in"][0].folded["epsilon"]) == min(len(uses), VOICES)
    x = torch.ones(1, 900, 64)
    sound = bank.layers[0].at("ffn.in", x) - x
    assert sound.square().mean().item() == pytest.approx(sum(amount**2 for amount, _, _ in uses), rel=0.08)


def test_a_walk_goes_on_whatever_is_turned_elsewhere_and_whichever_step_it_is() -> None:
    early = Scope(steps=Span.of(0, 0))
    bends = Bend("a", LEVERS["ffn.in.noise"], early), Bend("b", LEVERS["ffn.in.noise"])
    x = torch.ones(1, SHAPE.tokens, 16)

    def walk(touch: bool) -> torch.Tensor:
        bank = _bank(*bends, b__noise=1.0, b__motion=0.5, b__seed=3)
        seen = []
        for chunk in range(4):
            if touch and chunk == 2:
                bank.write({"a.noise": 0.7, "a.seed": 9})
            for step in (1, 2, CACHE_PASS):  # a is silent in all of them
                bank.fold(step)
                seen.append(bank.layers[0].at("ffn.in", x))
        return torch.stack(seen)

    calm, touched = walk(False), walk(True)
    silent = [i for i in range(12) if i % 3 != 2]  # the cache pass has no step: there a is heard
    assert torch.equal(calm[silent], touched[silent])


def test_no_row_of_a_layer_or_repeat_is_a_row_of_another() -> None:
    """As the house model and a real one are laid out; a copy of a row would be seen as a shifted picture."""
    for rows, width, layers, repeats in ((144, 256, 12, 6), (144, 768, 12, 1), (24, 128, 3, 4), (96, 24, 4, 1)):
        field = NoiseField((repeats, rows, width), layers, 7, torch.empty(0))
        field.advance(1, 0.0)
        every = torch.cat([field.layer(layer).flatten(0, 1) for layer in range(layers)])
        assert len(every.unique(dim=0)) == layers * repeats * rows


def test_turning_one_bend_leaves_anothers_texture_alone() -> None:
    """Both begin with one seed and motion, and so with one voice."""
    a, b = Bend("a", LEVERS["ffn.in.noise"], Scope(layers=Span.of(0, 0))), Bend("b", LEVERS["ffn.in.noise"])
    bank = _bank(a, b, a__noise=1.0, b__noise=1.0)
    x = torch.ones(1, SHAPE.tokens, 16)
    before = bank.layers[1].at("ffn.in", x)
    for turned in ({"a.seed": 5}, {"a.motion": 0.5}, {"a.noise": 0.0}, {"a.on": False}, {"a.noise": 1.0, "a.on": True}):
        bank.write(turned)
        bank.fold(1)
        assert torch.equal(bank.layers[1].at("ffn.in", x), before)


def test_muted_bends_take_no_voice_and_too_many_are_told() -> None:
    bends = [Bend(f"b{i}", LEVERS["ffn.in.noise"]) for i in range(6)]
    values = {f"b{i}.{name}": value for i in range(6) for name, value in (*_manner(i), ("on", False))}
    bank = _bank(*bends)
    bank.write({**values, "b5.on": True, "b5.motion": 0.0})
    x, heard = torch.ones(1, SHAPE.tokens, 16), []
    for step in range(3):
        bank.fold(step)
        heard.append(bank.layers[0].at("ffn.in", x))
    assert torch.equal(heard[0], heard[2]) and bank.report() == []
    bank.write({f"b{i}.on": True for i in range(6)})
    bank.fold(0)
    assert bank.report() == ["ffn.in.noise: 6 different seeds and motions at once; those beyond 4 join the last"]


def test_after_a_reset_the_same_values_make_the_same_noise_whatever_came_before() -> None:
    bends = [Bend(f"b{i}", LEVERS["ffn.in.noise"]) for i in range(6)]
    values = {f"b{i}.{name}": value for i in range(6) for name, value in _manner(i)}
    x = torch.ones(1, SHAPE.tokens, 16)

    def heard(past: dict) -> torch.Tensor:
        bank = _bank(*bends)
        for state in (past, values):
            bank.write(state)
            bank.fold(0)
        bank.reset()
        bank.fold(1)
        bank.fold(2)
        return bank.layers[1].at("ffn.in", x)

    assert torch.equal(heard({}), heard({"b3.noise": 1.0, "b3.seed": 3, "b1.noise": 0.5, "b1.motion": 0.9}))


@pytest.mark.parametrize("motion", [0.2, 0.5])
def test_the_maps_noise_walks_at_its_motions_pace(motion: float) -> None:
    q, k, v = _anything("self.map.noise")
    k, v = k.repeat(1, 3, 1, 1)[:, :144], v.repeat(1, 3, 1, 1)[:, :144]
    shape = BankShape(1, 2, 16, 32, 6, (2, 3, 4), CPU, torch.float32, window=12)
    bank = _bank(Bend("x", LEVERS["self.map.noise"]), shape=shape, x__noise=5.0, x__motion=motion)
    plain = _bank(shape=shape).layers[0].attention("self", q, k, v, shape.grid, None)
    seen = []
    for _ in range(300):
        bank.fold(1)
        seen.append(bank.layers[0].attention("self", q, k, v, shape.grid, None) - plain)
    walk = torch.stack(seen)
    kept = ((walk[1:] * walk[:-1]).mean() / walk.square().mean()).item()
    assert kept == pytest.approx((1 - motion**2) ** 0.5, abs=0.03)


def test_the_maps_noise_reads_values_that_no_gain_of_the_map_weighs() -> None:
    """A U + s eps: with every column's gain at 0 the noise is all there is."""
    q, k, v = _anything("cross.map.noise")
    bends = Bend("n", LEVERS["cross.map.noise"]), Bend("g", LEVERS["cross.map.gain"])
    plain = _bank().layers[1].attention("cross", q, k, v, SHAPE.grid, None)
    noisy = _bank(*bends, n__noise=5.0).layers[1].attention("cross", q, k, v, SHAPE.grid, None)
    only = _bank(*bends, n__noise=5.0, g__gain=0.0).layers[1].attention("cross", q, k, v, SHAPE.grid, None)
    torch.testing.assert_close(only, noisy - plain, atol=1e-5, rtol=0)
    assert only.abs().max() > 0.1


def test_noise_comes_after_the_threshold() -> None:
    bends = Bend("n", LEVERS["ffn.hidden.noise"]), Bend("t", LEVERS["ffn.hidden.threshold"])
    x = torch.randn(1, SHAPE.tokens, 32)
    silenced = _bank(*bends, t__threshold=1.0).layers[1].at("ffn.hidden", x)
    both = _bank(*bends, t__threshold=1.0, n__noise=0.5).layers[1].at("ffn.hidden", x)
    assert (silenced == 0).float().mean() > 0.5 and (both == 0).sum() == 0


@pytest.mark.parametrize("lever", NOISY)
def test_the_first_turn_of_a_noise_waits_for_no_numbers(lever: str) -> None:
    """They are drawn, and brought to the device, when the bank is made."""
    noise._pool.cache_clear()
    bank = _bank(Bend("b", LEVERS[lever]))
    drawn = noise._pool.cache_info().misses
    bank.write({"b.noise": 1.0})
    bank.fold(1)
    assert bank.working() == {"b"} and noise._pool.cache_info().misses == drawn == 1


def test_every_lever_has_noise_of_its_own() -> None:
    """The same seed at two levers is two noises."""
    bank = _bank(*[Bend(site, LEVERS[f"{site}.out.noise"]) for site in ("cross", "ffn")], cross__noise=1, ffn__noise=1)
    one, other = (bank.layers[0].points[f"{site}.out"][0].folded["epsilon"][0] for site in ("cross", "ffn"))
    assert (one * other).mean().abs() < 0.2


def test_value_noise_knows_the_whole_vector_not_a_head() -> None:
    v = torch.randn(1, 6, 2, 8) * torch.tensor([1.0, 0.01])[:, None]
    seen = []
    for seed in range(200):
        bank = _bank(Bend("x", LEVERS["cross.value.noise"]), x__noise=0.5, x__seed=seed)
        seen.append(bank.layers[0].at("cross.v", v) - v)
    heads = torch.cat(seen).square().mean((0, 1, 3)).sqrt()
    assert heads[0].item() == pytest.approx(heads[1].item(), rel=0.1)


def test_those_beyond_the_last_voice_never_make_it_start_again() -> None:
    """Six different noises, each heard in a step of its own: the last voice walks on with its own seed."""
    bends = [Bend(f"b{i}", LEVERS["ffn.in.noise"], Scope(steps=Span.of(i % 3, i % 3))) for i in range(6)]
    bank = _bank(*bends, **{f"b{i}__{name}": value for i in range(6) for name, value in _manner(i)})
    last = bank.layers[0].points["ffn.in"][0].folded["epsilon"][VOICES - 1]
    seen = []
    for step in (0, 1, 2) * 20:
        bank.fold(step)
        seen.append(last.clone())
    moved = torch.stack([a for a, b in zip(seen[1:], seen, strict=False) if not torch.equal(a, b)])
    kept = ((moved[1:] * moved[:-1]).mean() / moved.square().mean()).item()
    assert kept == pytest.approx((1 - 0.2**2) ** 0.5, abs=0.03)


def _manner(i: int) -> list[tuple[str, float]]:
    return [("noise", 1.0), ("motion", 0.2), ("seed", i)]


def test_a_sketch_holds_all_keys() -> None:
    assert [sketch_width(n) for n in (1, 24, SKETCH)] == [1, 24, SKETCH]
    assert [sketch_width(n) for n in (864, 720 * 21, 16 * 37, 37 * 41)] == [32, 24, 16, 32]


def test_noise_is_finite_and_of_its_size_in_half_precision() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        field = NoiseField((1, 64, 64), 2, 1, torch.empty(0, dtype=dtype))
        for _ in range(50):
            field.advance(1, 0.1)
        heard = field.layer(1).float()
        assert heard.isfinite().all() and heard.std().item() == pytest.approx(1, rel=0.1)
        assert math.isfinite(heard.abs().max())
