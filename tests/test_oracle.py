"""The fast path against a slow one that really builds every map: any bends, any scopes, any shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.bends.bank import Bank, Bend
from pipelines.bends.fold import BankShape, Each, Product, Sum
from pipelines.bends.lever import discover, lever
from pipelines.bends.scope import Scope, Span, Words
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec
from tests import oracle

(LINE,) = lever(
    "hidden.line",
    at={"ffn": "ffn.hidden"},
    fold=Each(Product("slope"), Sum("shift")),
    amounts={"slope": ControlSpec(-2.0, 2.0, 1.0), "shift": ControlSpec(-4.0, 4.0, 0.0)},
    columns={"ffn": "neurons"},
)(lambda hidden, slope, shift: hidden * slope[0] + shift[0])
LEVERS = {**discover(), LINE.id: LINE}
STEPS, LAYERS = 4, 5
MAPS = ("cross.map.gain", "cross.map.transform", "cross.map.focus", "cross.value.gain")
SELF = ("self.map.gain", "self.map.focus", "self.value.gain")
HIDDEN = ("ffn.hidden.gain", "ffn.hidden.threshold")


def _amount(draw, spec):
    if isinstance(spec, SwitchSpec):
        return draw(st.booleans())
    if isinstance(spec, ChoiceSpec):
        return draw(st.sampled_from(spec.options))
    corner = st.sampled_from([spec.lo, spec.hi, spec.default])
    return spec.clamp(draw(st.one_of(corner, st.floats(spec.lo, spec.hi, width=32))))


def _some(draw, count: int) -> tuple[str, list[float]]:
    """A range text and the weights it stands for."""
    if draw(st.booleans()):
        return "all", [1.0] * count
    chosen = draw(st.sets(st.integers(0, count - 1), min_size=1))
    return ", ".join(map(str, sorted(chosen))), [float(i in chosen) for i in range(count)]


def _window(lo: float, hi: float, feather: float, at: int) -> float:
    if not feather and hi - lo < 1:  # a hard window narrower than one index holds the nearest
        lo, hi = (lo + hi) / 2 - 0.5, (lo + hi) / 2 + 0.5
    beyond = max(lo - at, at - hi, 0.0)
    if beyond < 1e-6:
        return 1.0
    return max(0.0, 1 - beyond / feather) if feather else 0.0


@st.composite
def _bend(draw, levers, index: int, heads: int, columns: int):
    """A bend of the fast path, its values, and the slow path's view of it at one step and layer."""
    lever = LEVERS[draw(st.sampled_from(levers))]
    amounts = {name: _amount(draw, spec) for name, spec in lever.amounts.items()}
    # Mostly everywhere, so that bends meet; else a window.
    somewhere = st.tuples(st.floats(0, LAYERS - 1, width=16), st.floats(0, LAYERS - 1, width=16))
    lo, hi = sorted(draw(st.one_of(st.just((0.0, LAYERS - 1.0)), st.just((0.0, LAYERS - 1.0)), somewhere)))
    feather = draw(st.sampled_from([0.0, 1.5]))
    some = st.tuples(st.integers(0, STEPS - 1), st.integers(0, STEPS - 1))
    steps = sorted(draw(st.one_of(st.just((0, STEPS - 1)), st.just((0, STEPS - 1)), some)))
    head_text, head_weights = _some(draw, heads) if lever.heads else ("all", [])
    text, weights = _some(draw, columns) if lever.columns else ("all", [])
    renormalize = lever.renormalised is not None and draw(st.booleans())
    scope = Scope(Span.of(*steps), Span.of(lo, hi, feather), text, text, heads=head_text)
    if lever.columns == "tokens":
        scope = Scope(Span.of(*steps), Span.of(lo, hi, feather), tokens=text, heads=head_text)
    bend = Bend(f"b{index}", lever, scope, renormalize=renormalize)
    values = {f"b{index}.{name}": value for name, value in amounts.items()}

    def seen(step: int, layer: int) -> oracle.Bent:
        weight = _window(lo, hi, feather, layer) * _window(*steps, 0.0, step)
        return oracle.Bent(lever.id.split(".", 1)[1], amounts, weight, head_weights, weights, renormalize)

    return bend, values, seen


@st.composite
def _case(draw, levers, columns_of):
    heads = draw(st.integers(1, 3))
    grid = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    columns = draw(st.integers(1, columns_of))
    bends = [draw(_bend(levers, i, heads, columns)) for i in range(draw(st.integers(1, 5)))]
    return heads, grid, columns, bends, draw(st.integers(0, STEPS - 1)), draw(st.integers(0, LAYERS - 1))


def _bank(case, text_len: int, ffn_dim: int, fixed: bool) -> Bank:
    heads, grid, _, bends, step, _ = case
    like = torch.device("cpu"), torch.float32
    shape = BankShape(LAYERS, heads, 8 * heads, ffn_dim, text_len, grid, *like, None, fixed)
    bank = Bank([bend for bend, _, _ in bends], shape, STEPS)
    bank.read_prompt(Words("", (), text_len))
    for _, values, _ in bends:
        bank.write(values)
    bank.fold(step)
    assert bank.report() == []
    return bank


def _qkv(heads: int, queries: int, keys: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, queries, heads, 8), (2, keys, heads, 8), (2, keys, heads, 8))
    return [2 * torch.randn(size, generator=generator) for size in sizes]


@settings(max_examples=250, deadline=None)
@given(_case(MAPS, 12), st.booleans(), st.integers(0, 99))
def test_cross_attention_is_what_the_built_map_says(case, fixed: bool, seed: int) -> None:
    heads, grid, columns, bends, step, layer = case
    q, k, v = _qkv(heads, grid[0] * grid[1] * grid[2], columns, seed)
    got = _bank(case, columns, 16, fixed).layers[layer].attention("cross", q, k, v, grid, None)
    slow = [seen(step, layer) for _, _, seen in bends]
    assume(_holds(slow, q, k))
    unmoved = oracle.attention([bend for bend in slow if bend.lever != "map.transform"], q, k, v, grid)
    _close(got, oracle.attention(slow, q, k, v, grid), unmoved)


@settings(max_examples=60, deadline=None)
@given(_case(SELF, 1), st.booleans(), st.integers(0, 99))
def test_self_attention_is_what_the_built_map_says(case, fixed: bool, seed: int) -> None:
    heads, grid, _, bends, step, layer = case
    tokens = grid[0] * grid[1] * grid[2]
    q, k, v = _qkv(heads, tokens, tokens, seed)
    got = _bank(case, 4, 16, fixed).layers[layer].attention("self", q, k, v, grid, None)
    _close(got, oracle.attention([seen(step, layer) for _, _, seen in bends], q, k, v, grid))


@settings(max_examples=60, deadline=None)
@given(_case(HIDDEN, 24), st.booleans(), st.integers(0, 99))
def test_hidden_levers_are_what_they_say(case, fixed: bool, seed: int) -> None:
    _, grid, columns, bends, step, layer = case
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, grid[0] * grid[1] * grid[2], columns, generator=generator)
    got = _bank(case, 4, columns, fixed).layers[layer].at("ffn.hidden", z)
    _close(got, oracle.hidden([seen(step, layer) for _, _, seen in bends], z))


@settings(max_examples=60, deadline=None)
@given(_case((LINE.id, "ffn.hidden.gain"), 24), st.booleans(), st.integers(0, 99))
def test_what_is_multiplied_and_what_is_added_fold_apart(case, fixed: bool, seed: int) -> None:
    """No shipped lever adds a number, or folds two: one that does both, among gains, which come before it."""
    _, grid, columns, bends, step, layer = case
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, grid[0] * grid[1] * grid[2], columns, generator=generator)
    got = _bank(case, 4, columns, fixed).layers[layer].at("ffn.hidden", z)
    _close(got, oracle.hidden([seen(step, layer) for _, _, seen in bends], z))


def _holds(bends: list[oracle.Bent], q: torch.Tensor, k: torch.Tensor) -> bool:
    """Whether what is left of every renormalised row is plainly a number of single precision, or plainly none."""
    left = _left(bends, q, k)
    return not ((left > 1e-4 * oracle.TINY) & (left < 1e4 * oracle.TINY)).any()


def _left(bends: list[oracle.Bent], q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    sharing = [bend for bend in bends if bend.renormalize]
    share = oracle.product(sharing, "map.gain", "gain", q.shape[2], k.shape[1])
    return oracle.kept(oracle.focused(bends, q, k), share)


@pytest.mark.parametrize("fixed", [False, True])
def test_of_a_row_that_had_one_word_only_nothing_is_left(fixed: bool) -> None:
    """Focus 8 twice, and the strongest word gone of a map whose rows are normalised: the next would have 1e-50."""
    focus, gain = LEVERS["cross.map.focus"], LEVERS["cross.map.gain"]
    bends = [Bend("a", focus, Scope()), Bend("b", focus, Scope()), Bend("c", gain, Scope(tokens="0"), renormalize=True)]
    shape = BankShape(1, 1, 8, 16, 2, (1, 1, 1), torch.device("cpu"), torch.float32, None, fixed)
    bank = Bank(bends, shape, 1)
    bank.read_prompt(Words("", (), 2))
    bank.write({"a.focus": 8.0, "b.focus": 8.0, "c.gain": 0.0})
    bank.fold(0)
    q = torch.ones(1, 1, 1, 8)
    k = torch.stack([torch.full((1, 1, 8), 0.65), torch.zeros(1, 1, 8)], dim=1)
    got = bank.layers[0].attention("cross", q, k, torch.ones_like(k), (1, 1, 1), None)
    everywhere = [
        oracle.Bent("map.focus", {"focus": 8.0}),
        oracle.Bent("map.focus", {"focus": 8.0}),
        oracle.Bent("map.gain", {"gain": 0.0}, columns=[1.0, 0.0], renormalize=True),
    ]
    assert 0 < _left(everywhere, q, k) < oracle.TINY
    assert got.eq(0).all() and oracle.attention(everywhere, q, k, torch.ones_like(k), (1, 1, 1)).eq(0).all()


def _close(got: torch.Tensor, expected: torch.Tensor, largest: torch.Tensor | None = None) -> None:
    """Equal to 1e-4 of the largest number that was at work: gains of up to 8^4 may cancel again."""
    size = float((expected if largest is None else largest).abs().max())
    torch.testing.assert_close(got.double(), expected, atol=1e-4 * max(1.0, size), rtol=0)


def test_every_deterministic_lever_is_in_the_oracle() -> None:
    plain = {"self.out.gain", "cross.out.gain", "ffn.out.gain", "ffn.in.gain"}  # one factor for everything
    noisy = {id for id, lever in discover().items() if "noise" in lever.amounts}
    assert set(discover()) - plain - noisy == {*MAPS, *SELF, *HIDDEN}
