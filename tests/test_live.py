"""Bends under a hand: what knobs may never do to a compiled forward, to memory, or to what is out of scope."""

from __future__ import annotations

import random
import resource

import pytest
import torch

from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span
from pipelines.rope import Rope
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec
from pipelines.wan import Wan
from tests.tiny import CONFIG, prompt, wan

LEVERS = discover()
GRID = (2, 3, 4)
TEXTS = {
    "tokens": ("all", "prompt", "tulip", "purple tulip, sea", "nothing of it", "2-5"),
    "heads": ("all", "0", "1-2"),
}
TEXTS["neurons"] = ("all", "0-9", "3, 100-255")


def bank_of(*bends: Bend, fixed: bool = False, dtype=torch.float32, device: str = "cpu") -> Bank:
    sizes = CONFIG.num_layers, CONFIG.num_heads, CONFIG.dim, CONFIG.ffn_dim, CONFIG.text_len
    bank = Bank(bends, BankShape(*sizes, GRID, torch.device(device), dtype, None, fixed), 4)
    bank.read_prompt(prompt().words)
    bank.fold(0)
    return bank


def every_lever() -> list[Bend]:
    plain = [Bend(f"b{i}", lever) for i, lever in enumerate(LEVERS.values())]
    return plain + [
        Bend(f"r{i}", lever, renormalize=True) for i, lever in enumerate(LEVERS.values()) if lever.renormalised
    ]


class Forward:
    """One forward of a tiny Wan on fixed inputs, under any bank."""

    def __init__(self, model: Wan, dtype=torch.float32, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(5)
        frames, height, width = GRID
        self.model = model.to(device, dtype)
        self.x = torch.randn(1, 16, frames, 2 * height, 2 * width, generator=generator).to(device, dtype)
        self.t = torch.full((1, frames), 700.0, device=device)
        self.text = self.model.read_text(prompt().embeddings.to(device, dtype))
        rope = Rope(CONFIG.head_dim, height, width, device)
        self.turn = rope.turn(range(frames))._replace(phase=None)  # as GPUs turn

    def __call__(self, bank: Bank | None = None) -> torch.Tensor:
        with torch.inference_mode():
            return self.model(self.x, self.t, self.text, self.turn, bends=bank.layers if bank else None)


def turn(bank: Bank, dice: random.Random, share: float = 0.2) -> None:
    """A share of all knobs to random places, scopes and words included, and another step."""
    values = {}
    for id, spec in bank.parameters().items():
        if dice.random() > share:
            continue
        if isinstance(spec, ControlSpec):
            values[id] = spec.map(dice.random())
        elif isinstance(spec, SwitchSpec):
            values[id] = dice.random() < 0.7
        elif isinstance(spec, ChoiceSpec):
            values[id] = dice.choice(spec.options)
        elif isinstance(spec, TextSpec):
            values[id] = dice.choice(TEXTS[id.rsplit(".", 1)[1]])
    bank.write(values)
    bank.fold(dice.choice((0, 1, 2, 3, CACHE_PASS)))


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # which a reset leaves
    yield torch._dynamo.utils.counters
    torch._dynamo.config.error_on_recompile = False
    torch._dynamo.reset()


def test_a_thousand_turns_of_all_knobs_never_recompile_or_break_the_graph(fresh_compiler) -> None:
    forward, bank, dice = Forward(wan()), bank_of(*every_lever(), fixed=True), random.Random(1)
    for block in forward.model.blocks:
        block.compile(backend="eager", fullgraph=True)
    forward(bank)
    graphs = fresh_compiler["stats"]["unique_graphs"]
    assert graphs == 1, "thirty blocks share one graph"
    torch._dynamo.config.error_on_recompile = True
    peaks = []
    for count in range(1000):
        turn(bank, dice)
        forward(bank)
        if count in (300, 999):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
    assert fresh_compiler["stats"]["unique_graphs"] == graphs and not fresh_compiler["graph_break"]
    assert peaks[1] - peaks[0] < 4096


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_neutral_is_bit_identical_compiled(fresh_compiler, backend: str) -> None:
    forward = Forward(wan())
    for block in forward.model.blocks:
        block.compile(backend=backend, fullgraph=True)
    assert torch.equal(forward(bank_of(*every_lever(), fixed=True)), forward())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fixed", [False, True])
def test_neutral_is_bit_identical_whether_carried_out_or_passed_over(dtype, fixed: bool) -> None:
    forward = Forward(wan(), dtype)
    assert torch.equal(forward(bank_of(*every_lever(), fixed=fixed, dtype=dtype)), forward())


def test_passing_over_what_is_neutral_changes_no_bit() -> None:
    forward, dice = Forward(wan()), random.Random(2)
    lazy, fixed = bank_of(*every_lever()), bank_of(*every_lever(), fixed=True)
    for _ in range(60):
        state = dice.getstate()
        turn(lazy, dice, 0.05)
        dice.setstate(state)
        turn(fixed, dice, 0.05)
        torch.testing.assert_close(forward(lazy), forward(fixed), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["float32", "bfloat16", "float16"]
)
def test_every_lever_at_both_ends_of_every_range_stays_finite(dtype) -> None:
    """One whole forward each; shape and dtype are kept."""
    forward = Forward(wan(), dtype)
    unbent = forward()
    for bend in every_lever():
        for name, spec in bend.lever.amounts.items():
            ends = (spec.lo, spec.hi) if isinstance(spec, ControlSpec) else getattr(spec, "options", (False, True))
            for end in ends:
                bank = bank_of(bend, dtype=dtype)
                bank.write({f"{bend.name}.{bend.lever.main}": off_neutral(bend), f"{bend.name}.{name}": end})
                bank.fold(0)
                bent = forward(bank)
                assert bent.isfinite().all(), f"{bend.lever.id}: {name} at {end}"
                assert bent.shape == unbent.shape and bent.dtype == dtype


def off_neutral(bend: Bend) -> float:
    spec = bend.lever.amounts[bend.lever.main]
    return spec.map(0.6) if spec.default != spec.map(0.6) else spec.map(0.4)


def _residuals(forward: Forward, bank: Bank | None) -> list[torch.Tensor]:
    """The residual stream after every block."""
    seen: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: seen.append(out)) for block in forward.model.blocks]
    forward(bank)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("layer", range(CONFIG.num_layers))
def test_with_one_layer_in_scope_everything_before_it_is_untouched(lever: str, layer: int) -> None:
    bend = Bend("x", LEVERS[lever], Scope(steps=Span.of(1, 2), layers=Span.of(layer, layer)))
    forward, bank = Forward(wan()), bank_of(bend)
    bank.write({"x." + bend.lever.main: off_neutral(bend)})
    unbent = _residuals(forward, None)
    for step, acts in ((0, False), (1, True), (2, True), (3, False)):
        bank.fold(step)
        bent = _residuals(forward, bank)
        same = [torch.equal(a, b) for a, b in zip(bent, unbent, strict=True)]
        assert same == [True] * layer + [not acts] * (CONFIG.num_layers - layer)


def test_steps_layers_and_tokens_together_perturb_exactly_what_they_should() -> None:
    """A word taken away at one layer and step is, to the last block, a network whose text lacks that word there."""
    scope = Scope(steps=Span.of(1, 1), layers=Span.of(1, 1), tokens="purple tulip")
    forward, bank = Forward(wan()), bank_of(Bend("x", LEVERS["cross.map.gain"], scope))
    bank.write({"x.gain": 0.0})
    values = list(forward.text.v)
    values[1] = values[1].clone()
    values[1][:, [1, 2]] = 0
    unbent, whole = forward(), forward.text
    forward.text = whole._replace(v=tuple(values))
    without = forward()
    forward.text = whole
    for step, expected in ((0, unbent), (1, without), (2, unbent), (3, unbent)):
        bank.fold(step)
        torch.testing.assert_close(forward(bank), expected, atol=1e-6, rtol=0)
    assert (without - unbent).abs().max() > 1e-3


def test_a_renormalised_bend_leaves_other_heads_bit_identical() -> None:
    q, k, v = torch.randn(3, 1, 24, CONFIG.num_heads, 32).unbind()
    k, v = k[:, : CONFIG.text_len], v[:, : CONFIG.text_len]
    plain = bank_of().layers[0].attention("cross", q, k, v, GRID, None)
    for id in ("cross.map.gain", "cross.map.transform"):
        bank = bank_of(Bend("x", LEVERS[id], Scope(tokens="tulip", heads="0"), renormalize=True))
        bank.write({"x." + LEVERS[id].main: off_neutral(bank.bends[0])})
        bank.fold(0)
        bent = bank.layers[0].attention("cross", q, k, v, GRID, None)
        assert torch.equal(bent[:, :, 1:], plain[:, :, 1:]) and not torch.equal(bent[:, :, 0], plain[:, :, 0])


@pytest.mark.parametrize("heads", ["0", "1-3"])
@pytest.mark.parametrize("tokens", ["tulip", "2, 7-15"])
def test_tokens_and_heads_out_of_scope_are_untouched(tokens: str, heads: str) -> None:
    """With a one-hot value per token, the product with the map shows the map: only the columns in scope change."""
    q, k = torch.randn(2, 1, 24, CONFIG.num_heads, 32).unbind()
    k = k[:, : CONFIG.text_len]
    v = torch.eye(CONFIG.text_len, 32)[None, :, None].expand(-1, -1, CONFIG.num_heads, -1)
    held_heads = [0] if heads == "0" else [1, 2, 3]
    for id in ("cross.map.gain", "cross.map.transform", "cross.map.noise"):
        bank = bank_of(Bend("x", LEVERS[id], Scope(tokens=tokens, heads=heads)))
        bank.write({"x." + LEVERS[id].main: off_neutral(bank.bends[0])})
        bank.fold(0)
        held = bank.held_tokens()["x"]
        change = bank.layers[0].attention("cross", q, k, v, GRID, None) - bank_of().layers[0].attention(
            "cross", q, k, v, GRID, None
        )
        touched = change[0].abs().amax(0) > 0  # [heads, tokens]
        expected = torch.zeros_like(touched)
        expected[torch.tensor(held_heads)[:, None], torch.tensor(held)] = True
        assert torch.equal(touched, expected)
