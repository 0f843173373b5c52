"""The bank: neutral is untouched, scopes reach exactly what they name, and bends fold."""

from __future__ import annotations

import random

import pytest
import torch

from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec
from tests.tiny import play, prompt, stream

LEVERS = discover()
SHAPE = BankShape(3, 4, 128, 256, 16, (1, 4, 6), torch.device("cpu"), torch.float32)
WORDS = prompt().words


def _bank(*bends: Bend, **values) -> Bank:
    bank = Bank(bends, SHAPE, 4)
    bank.read_prompt(WORDS)
    bank.write({name.replace("__", "."): value for name, value in values.items()})
    bank.fold(0)
    return bank


def _gain(bank: Bank, layer: int, point: str) -> torch.Tensor:
    return bank.layers[layer].points[point][0].folded["gain"]


def _ends(spec) -> list:
    if isinstance(spec, ControlSpec):
        return [spec.lo, spec.hi]
    return list(spec.options) if isinstance(spec, ChoiceSpec) else [False, True]


@pytest.fixture(scope="module")
def unbent():
    return play(stream(), 3)


def _latents(bends: list[Bend], dtype: torch.dtype) -> torch.Tensor:
    """The latents of three chunks, before any rounding to pixels."""
    playing = stream(bends, dtype=dtype)
    made = []
    for _ in range(3):
        for _ in playing.denoise():
            pass
        made.append(playing.commit().latents)
    return torch.cat(made)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def plain(request) -> torch.Tensor:
    return _latents([], request.param)


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_is_bit_identical_at_neutral(lever: str, plain: torch.Tensor) -> None:
    assert torch.equal(_latents([Bend("x", LEVERS[lever])], plain.dtype), plain)


def test_all_levers_at_once_are_bit_identical_at_neutral(plain: torch.Tensor) -> None:
    bends = [Bend(name.replace(".", "_"), lever) for name, lever in LEVERS.items()]
    assert torch.equal(_latents(bends, plain.dtype), plain)


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_changes_the_picture_and_stays_finite_at_its_ends(lever: str, unbent) -> None:
    changed = False
    for name, spec in LEVERS[lever].amounts.items():
        if name in ("motion", "seed", "padding", "mix"):
            continue  # these only shape another amount
        for end in _ends(spec):
            playing = stream([Bend("x", LEVERS[lever])])
            playing.bank.write({f"x.{name}": end})
            frames = play(playing, 3)
            assert frames.shape == unbent.shape and not playing.notice
            changed |= bool((frames != unbent).any())
    assert changed


def test_master_and_mute_return_to_neutral(unbent) -> None:
    for silence in ({"master.mix": 0.0}, {"x.on": False}):
        playing = stream([Bend("x", LEVERS["ffn.hidden.gain"])])
        playing.bank.write({"x.gain": 6.0, **silence})
        assert (play(playing, 2) == unbent[:8]).all()


def test_gain_reaches_exactly_its_scope() -> None:
    scope = Scope(layers=Span.of(1, 1), tokens="tulip, sea", heads="0, 2")
    bank = _bank(Bend("x", LEVERS["cross.map.gain"], scope), x__gain=3.0)
    for layer in range(3):
        gain = _gain(bank, layer, "cross.columns")  # [heads, tokens]
        expected = torch.ones(4, 16)
        if layer == 1:
            for head in (0, 2):
                expected[head, [2, 7]] = 3.0
        torch.testing.assert_close(gain, expected)
    assert bank.held_tokens() == {"x": [2, 7]}


def test_steps_and_the_cache_pass() -> None:
    scope = Scope(steps=Span.of(1, 2))
    for persist, in_cache in (("cache", 2.0), ("transient", 1.0)):
        bank = _bank(Bend("x", LEVERS["ffn.out.gain"], scope, persist), x__gain=2.0)
        heard = []
        for step in (0, 1, 2, 3, CACHE_PASS):
            bank.fold(step)
            heard.append(_gain(bank, 0, "ffn.out").item())
        assert heard == [1.0, 2.0, 2.0, 1.0, in_cache]


def test_soft_layers_blend_toward_neutral() -> None:
    bank = _bank(Bend("x", LEVERS["self.out.gain"], Scope(layers=Span(0, 0, 2))), x__gain=3.0)
    assert [_gain(bank, layer, "self.out").item() for layer in range(3)] == [3.0, 2.0, 1.0]


def test_several_bends_fold() -> None:
    gains = _bank(
        Bend("a", LEVERS["ffn.hidden.gain"], Scope(neurons="0-9")),
        Bend("b", LEVERS["ffn.hidden.gain"], Scope(neurons="5-19")),
        a__gain=2.0,
        b__gain=3.0,
    )
    gain = _gain(gains, 0, "ffn.hidden")[0]
    assert gain[[0, 5, 10, 20]].tolist() == [2.0, 6.0, 3.0, 1.0]


def test_noise_variances_add_and_every_bend_keeps_its_own_seed_and_motion() -> None:
    still, moving = Bend("a", LEVERS["ffn.out.noise"]), Bend("b", LEVERS["ffn.out.noise"])
    bank = _bank(still, moving, a__noise=0.3, b__noise=0.4, b__motion=1.0, a__seed=5, b__seed=5)
    alone = _bank(still, a__noise=0.3, a__seed=5)
    x = torch.randn(1, 24, 128)
    rms = x.square().mean(-1, keepdim=True).sqrt()
    frozen = (alone.layers[0].at("ffn.out", x) - x) / rms
    seen = []
    for step in range(100):
        bank.fold(step % 4)
        seen.append((bank.layers[0].at("ffn.out", x) - x) / rms)
    noise = torch.stack(seen)
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)
    # What stays is the still one's own texture, whatever the moving one does.
    assert (noise.mean(0) - frozen).std() < 0.06
    moved = torch.stack([(noise[i] - frozen).flatten() for i in (1, 2)])
    assert torch.corrcoef(moved)[0, 1].abs() < 0.1


def test_a_window_too_wide_is_cut_not_shifted() -> None:
    bank = _bank(Bend("x", LEVERS["self.out.gain"], Scope(layers=Span.of(1, 19))), x__gain=3.0)
    assert [_gain(bank, layer, "self.out").item() for layer in range(3)] == [1.0, 3.0, 3.0]


def test_a_scope_that_cannot_be_read_at_first_holds_nothing() -> None:
    bank = _bank(Bend("x", LEVERS["ffn.hidden.gain"], Scope(neurons="900-999")), x__gain=3.0)
    assert (_gain(bank, 0, "ffn.hidden") == 1).all() and "they are 0-255" in bank.report()[0]


def test_a_knob_writes_into_the_same_tensors() -> None:
    """Compiled and captured forwards keep the addresses they saw."""
    bank = _bank(*[Bend(name.replace(".", "_"), lever) for name, lever in LEVERS.items()])
    before = _addresses(bank)
    for value in (0.1, 0.5, 0.9):
        bank.write({name: spec.map(value) for name, spec in bank.parameters().items() if isinstance(spec, ControlSpec)})
        bank.fold(1)
    assert _addresses(bank) == before


def _addresses(bank: Bank) -> list[int]:
    folded = [act.folded for layer in bank.layers for acts in layer.points.values() for act in acts]
    values = [value if isinstance(value, tuple) else (value,) for own in folded for value in own.values()]
    return [item.data_ptr() for several in values for item in several if isinstance(item, torch.Tensor)]


def test_a_prompt_change_moves_the_words() -> None:
    bank = _bank(Bend("x", LEVERS["cross.map.gain"], Scope(tokens="sea")), x__gain=2.0)
    assert bank.held_tokens() == {"x": [7]} and bank.report() == []
    bank.read_prompt(prompt("a sea of light").words)
    bank.fold(0)
    assert bank.held_tokens() == {"x": [1]}
    bank.read_prompt(prompt("a star").words)
    bank.fold(0)
    assert bank.held_tokens() == {"x": []} and bank.report() == ["x: the prompt has no 'sea'"]
    bank.write({"x.tokens": "star"})
    bank.fold(0)
    assert bank.held_tokens() == {"x": [1]} and bank.report() == []
    bank.read_prompt(prompt("").words)  # no words are no words of it either
    bank.fold(0)
    assert bank.held_tokens() == {"x": []} and bank.report() == ["x: the prompt has no 'star'"]


def test_words_that_the_loudest_prompt_lacks_are_told_and_whether_another_has_them() -> None:
    bank = _bank(Bend("x", LEVERS["cross.map.gain"], Scope(tokens="sea")), x__gain=2.0)
    loud, quiet = prompt("a red star").words, prompt("a moon over the sea").words
    bank.write({"x.tokens": "sea, red  star, night"})
    bank.read_prompt(loud._replace(share=0.6, others=(quiet._replace(share=0.4),)))
    bank.fold(0)
    assert bank.words_apart() == {"x": {"sea": True, "night": False}} and bank.holding_nothing() == []
    assert bank.report() == ["x: the prompt has no 'night'"]
    bank.read_prompt(prompt("a tulip").words)
    bank.fold(0)
    assert bank.words_apart() == {"x": {"sea": False, "red star": False, "night": False}}
    assert bank.holding_nothing() == ["x"]
    bank.write({"x.tokens": "tulip"})
    bank.fold(0)
    assert bank.words_apart() == {} and bank.holding_nothing() == []


def test_before_the_first_prompt_no_word_is_missed() -> None:
    bank = Bank([Bend("x", LEVERS["cross.map.gain"], Scope(tokens="sea"))], SHAPE, 2)
    assert bank.held_tokens() == {"x": []} and bank.report() == [] and bank.words_apart() == {}


def test_a_scope_typed_wrong_keeps_the_last_good_one() -> None:
    bank = _bank(Bend("x", LEVERS["ffn.hidden.gain"], Scope(neurons="0-3")), x__gain=2.0)
    bank.write({"x.neurons": "9999-x"})
    bank.fold(0)
    assert _gain(bank, 0, "ffn.hidden")[0, :5].tolist() == [2.0, 2.0, 2.0, 2.0, 1.0]
    assert "9999-x" in bank.report()[0]


def test_bends_that_cannot_play_together_or_at_all_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'x': 'cross\.map\.gain' is not a Lever; give discover\(\)\['cross\.map\.gain'\]"
    ):
        Bend("x", "cross.map.gain")
    with pytest.raises(ValueError, match="two bends are named 'x'"):
        _bank(Bend("x", LEVERS["ffn.out.gain"]), Bend("x", LEVERS["self.out.gain"]))


def test_parameters_describe_every_handle() -> None:
    found = Bend("x", LEVERS["cross.map.gain"]).parameters(4, 3)
    assert list(found) == [
        "x.gain",
        "x.on",
        *(f"x.{axis}.{part}" for axis in ("steps", "layers") for part in ("center", "width", "feather")),
        "x.tokens",
        "x.heads",
        "x.persist",
    ]
    assert isinstance(found["x.on"], SwitchSpec) and found["x.layers.width"].default == 2


def test_turning_one_of_many_transforms_gives_what_folding_all_anew_gives() -> None:
    """What lies around the bend turned last is kept; any order of turns must end alike."""
    bends = [Bend(f"b{i}", LEVERS["cross.map.transform"], Scope(layers=Span.of(0, i % 3))) for i in range(5)]
    bank, dice = _bank(*bends), random.Random(3)
    values: dict[str, float | bool] = {}
    for _ in range(40):
        name = f"b{dice.randrange(5)}"
        values[f"{name}.{dice.choice(('rotate', 'translate_x', 'blur', 'mix', 'shift_t'))}"] = dice.uniform(0, 1)
        if dice.random() < 0.2:
            values[f"{name}.on"] = dice.random() < 0.5
        bank.write(values)
        bank.fold(0)
        anew = _bank(*bends)
        anew.write(values)
        anew.fold(0)
        for layer in range(3):
            for key in ("moves", "shifts"):
                kept, fresh = (b.layers[layer].points["cross.map"][0].folded[key] for b in (bank, anew))
                torch.testing.assert_close(kept, fresh, atol=1e-5, rtol=0)


def test_the_master_blends_toward_neutral() -> None:
    bank = _bank(Bend("x", LEVERS["self.out.gain"]), x__gain=3.0, master__mix=0.25)
    assert _gain(bank, 0, "self.out").item() == 1.5


def test_only_so_many_token_sets_move_and_the_rest_are_told() -> None:
    bends = [Bend(f"b{i}", LEVERS["cross.map.transform"], Scope(tokens=str(i))) for i in range(6)]
    bank = _bank(*bends, **{f"b{i}__rotate": 30.0 for i in range(6)})
    assert bank.report() == ["cross.map.transform: 6 token sets are to be moved at once; only the first 4 are"]
    bank.write({f"b{i}.on": False for i in range(2)})
    bank.fold(0)
    assert bank.report() == []


def test_another_padding_makes_another_move() -> None:
    bank = _bank(Bend("x", LEVERS["cross.map.transform"]), x__translate_x=0.5)
    before = bank.layers[0].points["cross.map"][0].folded["moves"].clone()
    bank.write({"x.padding": "border"})
    bank.fold(0)
    assert not torch.equal(bank.layers[0].points["cross.map"][0].folded["moves"], before)


def test_a_scope_that_cannot_be_read_is_found_anew_in_a_new_prompt() -> None:
    bank = _bank(Bend("x", LEVERS["cross.map.gain"], Scope(tokens="sea")), x__gain=2.0)
    bank.write({"x.tokens": "sea, 900"})
    bank.fold(0)
    assert bank.held_tokens() == {"x": [7]} and "900" in bank.report()[0]
    bank.read_prompt(prompt("a sea of light").words)
    bank.fold(0)
    assert bank.held_tokens() == {"x": [1]} and "900" in bank.report()[0]


def test_a_words_share_of_a_long_prompt_when_all_others_are_taken_away() -> None:
    """Equal to adding log(gain) to the logits: the one key left is read whole, however small its weight was."""
    shape = BankShape(1, 4, 128, 256, 600, (1, 4, 6), torch.device("cpu"), torch.float32)
    bank = Bank([Bend("x", LEVERS["cross.map.gain"], Scope(tokens="0-598"), renormalize=True)], shape, 4)
    bank.write({"x.gain": 0.0})
    bank.fold(0)
    q, k, v = torch.randn(1, 24, 4, 32), torch.randn(1, 600, 4, 32), torch.randn(1, 600, 4, 32)
    k[:, 599] = -4 * q.mean(1)
    got = bank.layers[0].attention("cross", q, k, v, shape.grid, None)
    torch.testing.assert_close(got, v[:, 599:].expand_as(got), atol=1e-4, rtol=1e-4)


def test_what_a_bank_keeps_is_counted_and_does_not_grow_under_a_hand() -> None:
    noise = _bank(Bend("x", LEVERS["ffn.hidden.noise"]))
    assert noise.nbytes > 4 * 24 * 256
    scopes = [Scope(layers=Span(i, 1, 2)) for i in range(3)]
    bends = [Bend(f"b{i}", LEVERS["cross.map.transform"], scope) for i, scope in enumerate(scopes)]
    bank, sizes = _bank(*bends), []
    for turn in range(60):
        bank.write({f"b{turn % 3}.rotate": 1.0 + turn})
        bank.fold(0)
        sizes.append(bank.nbytes)
    assert max(sizes[6:]) <= max(sizes[:6])
