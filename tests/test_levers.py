"""Levers one by one, by examples a person can follow; test_oracle tries them all in any combination."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from pipelines.bends import levers
from pipelines.bends.bank import Bank, Bend
from pipelines.bends.fold import Each, Fold, Maximum, Product, Sum
from pipelines.bends.geometry import transform_matrix
from pipelines.bends.hooks import thrown_by_lever
from pipelines.bends.lever import Lever, LeverError, discover, lever, mistakes
from pipelines.bends.noise import Noises
from pipelines.bends.scope import Scope, Span
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
    for name, kind in LEVERS.items():
        assert name == kind.id and kind.doc.endswith(".") and kind.amounts
        assert kind.point.split(".")[0] == kind.site
        for spec in kind.amounts.values():
            assert isinstance(spec, ControlSpec | SwitchSpec | ChoiceSpec)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"at": {"ffn": "ffn.hiden"}}, "no hook point 'ffn.hiden'; there are: self.q"),
        ({"fold": Product("gian")}, "its fold is of 'gian', which is none of"),
        ({"fold": Noises("gain", "tokens", "dim")}, "its fold is of 'seed', which is none of"),
        ({"fold": Sum("gain")}, "'gain' is 1 by default, but its fold does nothing at 0.0; make that its default, or"),
        ({"fold": Maximum("gain")}, "does nothing at 0.0"),
        ({"amounts": {"gain": ControlSpec(0, 2, 0)}}, "'gain' is 0 by default, but its fold does nothing at 1.0"),
        (
            {"amounts": {"gain": ControlSpec(0, 2, 1), "bias": ControlSpec(0, 2, 0)}},
            r"no fold reads 'bias', .* such as Each\(Product\(\.\.\.\), Sum\('bias'\)\)",
        ),
        ({"at": {"cross": "cross.map"}}, r"called as .*\(x, attention, \*, gain\): .*multiple values"),
        ({"renormalised": ("cross.share", lambda attention: attention)}, "unexpected keyword argument 'gain'"),
    ],
)
def test_a_lever_declared_wrong_says_so(changed: dict, message: str) -> None:
    right = {"at": {"ffn": "ffn.hidden"}, "fold": Product("gain"), "amounts": {"gain": ControlSpec(0, 2, 1)}}
    assert lever("hidden.bias", **right)(lambda hidden, gain: hidden)[0].id == "ffn.hidden.bias"
    with pytest.raises(LeverError, match=message):
        lever("hidden.bias", **{**right, **changed})(lambda hidden, gain: hidden)


def test_two_folds_of_one_amount_are_refused() -> None:
    with pytest.raises(ValueError, match="two folds read 'gain'"):
        Each(Product("gain"), Sum("gain"))


@pytest.mark.parametrize("id", LEVERS)
def test_a_fold_gives_what_it_says_and_is_neutral_where_it_says(id: str) -> None:
    fold, defaults = LEVERS[id].fold, {name: spec.default for name, spec in LEVERS[id].amounts.items()}
    assert set(fold.reads) == set(defaults) and fold.is_neutral(defaults)
    for amount in fold.neutral:
        spec = LEVERS[id].amounts[amount]
        assert not fold.is_neutral(defaults | {amount: _off(spec)})
    assert set(Bank((Bend("x", LEVERS[id]),), SHAPE, 4).layers[0].points[LEVERS[id].point][0].folded) == set(fold.gives)


def _off(spec: ControlSpec | SwitchSpec) -> float | bool:
    """Any value but the default."""
    if isinstance(spec, SwitchSpec):
        return not spec.default
    return spec.hi if spec.hi != spec.default else spec.lo


# --- levers that do not ship: of sums, and of several amounts ---


def _hidden(fold: Fold, amounts: dict, apply) -> Lever:
    return lever("hidden.own", at={"ffn": "ffn.hidden"}, fold=fold, amounts=amounts, columns={"ffn": "neurons"})(apply)[
        0
    ]


SHIFT = _hidden(Sum("shift"), {"shift": ControlSpec(-2, 2, 0)}, lambda hidden, shift: hidden + shift[0])
BOTH = _hidden(
    Each(Product("gain"), Noises("noise", "tokens", "ffn_dim")),
    {"gain": ControlSpec(0, 2, 1), **LEVERS["ffn.hidden.noise"].amounts},
    lambda hidden, gain, noise, epsilon, voices: LEVERS["ffn.hidden.noise"].apply(
        hidden * gain[0], noise, epsilon, voices
    ),
)


def test_sums_are_weighed_as_everything_else() -> None:
    """Half of the master, half of the feather at layer 2, a soft band: all of it weighs toward 0."""
    scope = Scope(layers=Span.of(0, 1, 2), neurons="0-99")
    bank, x = (
        Bank((Bend("a", SHIFT, scope), Bend("b", SHIFT, Scope(neurons="50-255"))), SHAPE, 4),
        torch.randn(1, 20, 256),
    )
    bank.write({"a.shift": 2.0, "b.shift": -1.0, "master.mix": 0.5})
    bank.fold(0)
    expected = x.clone()
    expected[..., :100] += 0.5 * 0.5 * 2.0
    expected[..., 50:] -= 0.5 * 1.0
    torch.testing.assert_close(bank.layers[2].at("ffn.hidden", x), expected)
    bank.write({"a.shift": 0.0, "b.shift": 0.0})
    bank.fold(0)
    assert bank.layers[2].at("ffn.hidden", x) is x


def test_each_amount_of_a_lever_is_heard_alone_and_together() -> None:
    bank, x = Bank((Bend("x", BOTH, Scope(neurons="0-99")),), SHAPE, 4), torch.randn(1, H * W, 256)

    def played(gain: float, noise: float) -> torch.Tensor:
        bank.write({"x.gain": gain, "x.noise": noise})
        bank.fold(0)
        assert bank.working() == (frozenset() if (gain, noise) == (1, 0) else {"x"})
        return bank.layers[1].at("ffn.hidden", x)

    assert played(1, 0) is x
    scaled = x.clone()
    scaled[..., :100] *= 2
    assert torch.equal(played(2, 0), scaled)
    loud, both = played(1, 0.5), played(2, 0.5)
    assert torch.equal(loud[..., 100:], x[..., 100:]) and not torch.equal(loud, x)
    assert torch.equal(both[..., 100:], x[..., 100:]) and not torch.equal(both, scaled)
    assert played(1, 0) is x


def test_what_a_lever_throws_is_told_with_its_place() -> None:
    def divide(hidden: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return hidden / gain[7, 0]

    bank = Bank((Bend("x", _hidden(Product("gain"), {"gain": ControlSpec(0, 2, 1)}, divide)),), SHAPE, 4)
    bank.write({"x.gain": 2.0})
    bank.fold(0)
    with pytest.raises(IndexError) as raised:
        bank.layers[0].at("ffn.hidden", torch.ones(1, 4, 256))
    thrown = thrown_by_lever(raised.value)
    assert thrown.lever == "ffn.hidden.own" and thrown.text.startswith("IndexError in test_levers.py, line ")
    with pytest.raises(TypeError) as raised:
        bank.layers[0].at()
    assert thrown_by_lever(raised.value) is None


# --- the folder ---

GOOD = """
from pipelines.bends.fold import Sum
from pipelines.bends.lever import lever
from pipelines.bends.levers.hidden_gain import hidden_gain
from pipelines.spec import ControlSpec

@lever("hidden.extra", at={"ffn": "ffn.hidden"}, fold=Sum("extra"), amounts={"extra": ControlSpec(0, 1, 0)})
def hidden_extra(hidden, extra):
    "Add a little."
    return hidden + extra[0]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n\nx = lever", r"own_lever.py, line 3: NameError: name 'lever' is not defined"),
        ("def half(:", r"own_lever.py, line 1: SyntaxError: invalid syntax"),
        ("import no_such_package", "own_lever.py, line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        (GOOD.replace("0, 1, 0", "0, 1, 1"), "own_lever.py, line 7: lever 'hidden.extra': 'extra' is 1 by default"),
        (GOOD.replace("hidden.extra", "hidden.gain"), "own_lever.py: two levers are declared as 'ffn.hidden.gain'"),
        (GOOD + GOOD.split("\n\n")[1].replace("def hidden_e", "def e"), "own_lever.py: two levers are declared"),
    ],
    ids=["name", "syntax", "import", "declaration", "taken", "twice"],
)
def test_a_file_with_a_mistake_is_named_and_the_others_are_read(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levers, "__path__", [*levers.__path__, str(tmp_path)])
    (tmp_path / "own_lever.py").write_text(text, encoding="utf-8")
    monkeypatch.delitem(sys.modules, f"{levers.__name__}.own_lever", raising=False)
    assert discover() == LEVERS
    (found,) = mistakes()
    assert found.startswith(str(tmp_path)) and told in found


def test_a_file_with_a_mistake_is_run_again_only_once_a_file_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bend that comes while the show plays asks for every lever."""
    monkeypatch.setattr(levers, "__path__", [*levers.__path__, str(tmp_path)])
    helping, own, runs = (tmp_path / name for name in ("a_helping_lever.py", "counted_lever.py", "runs"))
    helping.write_text("HALF = 1 / 0", encoding="utf-8")
    own.write_text(
        f"with open({str(runs)!r}, 'a') as runs: runs.write('.')\nfrom {levers.__name__}.a_helping_lever import HALF\n"
        + GOOD.replace("hidden.extra", "hidden.own"),
        encoding="utf-8",
    )
    for _ in range(3):
        assert discover() == LEVERS and len(mistakes()) == 2
    assert runs.read_text() == "."
    helping.write_text("HALF = 1 / 2  # put right", encoding="utf-8")
    assert set(discover()) - set(LEVERS) == {"ffn.hidden.own"} and mistakes() == []
    assert runs.read_text() == ".."


def test_a_file_in_the_folder_is_a_lever_whatever_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levers, "__path__", [*levers.__path__, str(tmp_path)])
    (tmp_path / "extra_lever.py").write_text(GOOD, encoding="utf-8")
    assert mistakes() == [] and set(discover()) - set(LEVERS) == {"ffn.hidden.extra"}
