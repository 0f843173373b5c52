"""A system made faster keeps its picture: fewer bits where they pay, and neutral bends still change no bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines import quicken
from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.lighter import FORMS, HALF, Chosen, lighten
from pipelines.offload import stream_blocks
from pipelines.quicken import make_stream, quickened
from pipelines.systems import System
from tests import tiny


def _system(**more: object) -> System:
    return replace(System(tiny.RECIPE, tiny.wan(), tiny.taehv(), None), **more)


def _latents(system: System, bends: tuple[Bend, ...] = (), chunks: int = 6) -> torch.Tensor:
    stream, made = make_stream(system, seed=2), []
    stream.play(stream.make_bank(bends))
    stream.read_prompt(tiny.prompt())
    for _ in range(chunks):
        for _ in stream.denoise():
            pass
        made.append(stream.commit().latents)
    return torch.cat(made, dim=2)


def _lightened(words: str) -> System:
    system = _system(memory=HALF)
    lighten(system.model, Chosen(FORMS[words], words, True))
    return system


@pytest.mark.parametrize(("words", "bound"), [("bfloat16", 0.05), ("eight bits", 0.1)])
def test_fewer_bits_make_the_same_picture_but_for_rounding(words: str, bound: float) -> None:
    exact, light = _latents(_system()), _latents(_lightened(words))
    off = ((light - exact).square().mean() / exact.square().mean()).sqrt()
    assert 0 < off < bound


@pytest.mark.parametrize("words", FORMS)
def test_neutral_is_bit_identical_in_fewer_bits(words: str) -> None:
    bends = tuple(Bend(f"b{i}", lever) for i, lever in enumerate(discover().values()))
    assert torch.equal(_latents(_lightened(words), bends, 5), _latents(_lightened(words), (), 5))


@pytest.mark.parametrize("words", FORMS)
def test_every_lever_acts_as_it_does_in_single_precision(words: str) -> None:
    """What a bend changes points the same way."""
    for lever in discover().values():
        bend = (Bend("b", lever),)
        name = f"b.{lever.main}"
        value = lever.amounts[lever.main].map(0.7)
        changes = []
        for system in (_system(), _lightened(words)):
            stream = make_stream(system, seed=2)
            stream.play(stream.make_bank(bend))
            stream.read_prompt(tiny.prompt())
            made = []
            for amount in (lever.amounts[lever.main].default, value):
                stream.reset(2)
                stream.bank.write({name: amount})
                for _ in stream.denoise():
                    pass
                made.append(stream.commit().latents.flatten())
            changes.append(made[1] - made[0])
        if changes[0].norm() > 1e-2:  # one frame alone is beyond what some levers move
            assert torch.cosine_similarity(*changes, dim=0) > 0.95, lever.id


@pytest.mark.parametrize("words", FORMS)
@pytest.mark.parametrize("lever", discover())
def test_every_lever_acts_on_a_full_window_as_it_does_in_single_precision(lever: str, words: str) -> None:
    """Over more keys than the noise of a map is dealt from one by one."""
    bend = Bend("b", discover()[lever])
    spec = bend.lever.amounts[bend.lever.main]
    values = [spec.default, spec.map(0.6 if spec.map(0.6) != spec.default else 0.4)]
    changes = []
    for system in (_system(), _lightened(words)):
        stream, made = make_stream(system, seed=2), []
        stream.play(stream.make_bank((bend,)))
        stream.read_prompt(tiny.prompt())
        for value in values:
            stream.reset(2)
            stream.bank.write({f"b.{bend.lever.main}": spec.default})
            tiny.play(stream, tiny.RECIPE.window)
            stream.bank.write({f"b.{bend.lever.main}": value})
            for _ in stream.denoise():
                pass
            made.append(stream.commit().latents.flatten())
        changes.append(made[1] - made[0])
    assert all(change.norm() > 0 for change in changes)
    if changes[0].norm() > 1e-2:  # else rounding is as large
        assert torch.cosine_similarity(*changes, dim=0) > 0.95


@pytest.mark.parametrize(
    ("chosen", "dtype"),
    [
        (Chosen(None, "", False), torch.float32),
        (Chosen(FORMS["bfloat16"], "bfloat16", True), HALF),
        (Chosen(FORMS["eight bits"], "eight bits", True), HALF),
        (Chosen(FORMS["eight bits"], "eight bits", False), torch.float32),
    ],
)
def test_the_layers_become_what_pays(chosen: Chosen, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quicken, "lighter_layers", lambda dim, ffn_dim, tokens: chosen)
    system = quickened(_system())
    assert not system.recorded and make_stream(system).cache.k.dtype == dtype
    layer = type(system.model.blocks[0].ffn[0])
    assert layer is (chosen.layers or torch.nn.Linear)
    assert chosen.words in system.notes.get("precision", ""), "the start sheet says so"
    assert ("cache and decoder in bfloat16" in system.notes.get("precision", "")) == chosen.half


@pytest.mark.parametrize("streamed", [False, True])
def test_blocks_that_come_as_they_are_needed_are_not_compiled(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor recorded: every turn of a knob may ask for another form of them. Nor has their attention ways that only
    compiled passes take."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(quicken, "choose_attention", lambda *size: asked.append(size) or "cudnn")
    model = tiny.wan()
    if streamed:
        model = stream_blocks(model, torch.device("cpu"))
    made = quicken._on_card(_system(model=model), 24, None)
    assert made.recorded is not streamed and asked == [(24, 24 * made.recipe.window, model, not streamed)]
    assert [block._compiled_call_impl is None for block in model.blocks] == [streamed] * len(model.blocks)


def test_packed_projections_compute_what_the_three_did() -> None:
    model, packed = tiny.wan(), tiny.wan()
    for block in packed.blocks:
        block.self_attn.pack()
    x = torch.randn(1, 10, tiny.CONFIG.dim)
    for one, other in zip(model.blocks, packed.blocks, strict=True):
        for a, b in zip(one.self_attn.project(x), other.self_attn.project(x), strict=True):
            torch.testing.assert_close(a, b)
    assert packed.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, packed.state_dict()[key]) for key, value in model.state_dict().items())
    packed.half()
    assert packed.blocks[0].self_attn._packed is None
