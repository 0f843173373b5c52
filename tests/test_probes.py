"""Probes: what they show is what the network computes, bends included, and looking changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.bends.bank import CACHE_PASS, Bend
from pipelines.bends.lever import discover
from pipelines.bends.probes import MOST, MapLook, NeuronLook
from pipelines.bends.scope import Scope
from tests import oracle
from tests.tiny import CONFIG, stream

LEVERS = discover()


def _chunk(playing) -> torch.Tensor:
    for _ in playing.denoise():
        pass
    return playing.commit().latents


def _recorded(playing, layer: int, step: int | None) -> dict[str, torch.Tensor]:
    """q, k and hidden of one block in one pass, caught beside the probes."""
    caught: dict[str, torch.Tensor] = {}
    block, passes = playing.model.blocks[layer], [*range(playing.steps), CACHE_PASS]
    counts = {"q": 0, "hidden": 0}

    def at(name: str):
        def hook(module, args, out) -> None:
            if passes[counts[name] % len(passes)] == step:
                caught[name] = out
            counts[name] += 1

        return hook

    hooks = [block.cross_attn.norm_q.register_forward_hook(at("q")), block.ffn[1].register_forward_hook(at("hidden"))]
    _chunk(playing)
    for hook in hooks:
        hook.remove()
    caught["k"] = playing._speech.text.k[layer]
    return caught


def test_a_map_look_shows_the_columns_of_the_map() -> None:
    for bends, slow in (
        ((), []),
        (
            (Bend("x", LEVERS["cross.map.gain"], Scope(tokens="2", heads="1")),),
            [oracle.Bent("map.gain", {"gain": 3.0}, 1.0, [0, 1, 0, 0], [0, 0, 1.0] + [0] * 13)],
        ),
    ):
        for head in (None, 1):
            playing = stream(bends)
            playing.bank.write({"x.gain": 3.0})
            look = MapLook(layer=1, step=2, tokens=(2, 7, 15), head=head)
            playing.probes.ask(look)
            assert playing.probes.take(look) is None
            caught = _recorded(playing, 1, 2)
            q = caught["q"].unflatten(-1, (CONFIG.num_heads, -1))
            marks = torch.eye(16)[None, :, None].expand(-1, -1, CONFIG.num_heads, -1)
            a = oracle.attention(slow, q, caught["k"], marks, playing.grid)[0]  # [Lq, heads, tokens]
            a = a.mean(1) if head is None else a[:, head]
            expected = a[:, [2, 7, 15]].T.reshape(3, *playing.grid)
            seen = playing.probes.take(look)
            np.testing.assert_allclose(seen, expected, atol=1e-5)
            assert playing.probes.take(look) is None  # once


def test_more_tokens_than_channels_and_a_moved_map() -> None:
    """All columns of an unbent map sum to one; moved wholly out of the picture they sum to nothing."""
    playing = stream([Bend("x", LEVERS["cross.map.transform"])])
    look = MapLook(0, CACHE_PASS, tuple(range(16)) * 3)
    playing.probes.ask(look)
    _chunk(playing)
    np.testing.assert_allclose(playing.probes.take(look).sum(0), 3.0, rtol=1e-5)
    playing.bank.write({"x.translate_x": 1.0})
    playing.probes.ask(look)
    _chunk(playing)
    np.testing.assert_allclose(playing.probes.take(look).sum(0), 0.0, atol=1e-5)


def test_a_neuron_look_shows_the_loudness_of_bands_and_the_loudest() -> None:
    playing = stream([Bend("x", LEVERS["ffn.hidden.gain"], Scope(neurons="40-49"))])
    playing.bank.write({"x.gain": 8.0})
    look = NeuronLook(layer=2, step=0, bands=7, top=5)
    playing.probes.ask(look)
    hidden = _recorded(playing, 2, 0)["hidden"][0].clone()
    hidden[:, 40:50] *= 8.0
    seen = playing.probes.take(look)
    power = hidden.square().mean(0)
    np.testing.assert_allclose(seen.bands, [band.mean().sqrt() for band in power.tensor_split(7)], rtol=1e-5)
    assert seen.top.tolist() == power.topk(5).indices.tolist() and all(40 <= i < 50 for i in seen.top)
    np.testing.assert_allclose(seen.loudness, power.topk(5).values.sqrt(), rtol=1e-5)


def test_looking_changes_nothing_and_not_looking_arms_nothing() -> None:
    bends = [Bend(f"b{i}", lever) for i, lever in enumerate(LEVERS.values())]
    plain, watched = stream(bends), stream(bends)
    for playing in (plain, watched):
        playing.bank.write(
            {f"b{i}.{lever.main}": lever.amounts[lever.main].map(0.55) for i, lever in enumerate(LEVERS.values())}
        )
    for _ in range(2):
        for step in (0, 1, 2, CACHE_PASS):
            watched.probes.ask(MapLook(1, step, (0, 1)))
            watched.probes.ask(NeuronLook(1, step))
        assert torch.equal(_chunk(plain), _chunk(watched))
    assert all(layer.watch is None for layer in watched.bank.layers)
    assert not plain.probes.arm(0, plain.bank.layers)


def test_what_does_not_exist_is_never_seen_and_stops_nothing() -> None:
    playing = stream()
    looks = [MapLook(99, 0, (0,)), MapLook(0, 0, (0, 999)), MapLook(0, 0, (1,), head=9), MapLook(0, 77, (1,))]
    for look in looks:
        playing.probes.ask(look)
    _chunk(playing)
    assert [playing.probes.take(look) for look in looks] == [None] * 4
    playing.probes.forget()


def test_looks_that_mean_nothing_are_refused_and_forgotten_ones_do_not_pile_up() -> None:
    for wrong in (lambda: MapLook(0, 0, ()), lambda: NeuronLook(0, 0, bands=0), lambda: NeuronLook(0, 0, top=-1)):
        with pytest.raises(ValueError):
            wrong()
    playing = stream()
    for i in range(3 * MOST):
        playing.probes.ask(MapLook(i, 99, (0,)))
    assert len(playing.probes._asked) == MOST
    for i in range(2 * MOST):
        playing.probes.ask(NeuronLook(0, 0, top=i + 1))
    _chunk(playing)
    assert len(playing.probes._seen) <= MOST


def test_a_fixed_bank_shows_the_same() -> None:
    seen = []
    for fixed in (False, True):
        playing = stream()
        playing.play(playing.make_bank((), fixed))
        playing.probes.ask(MapLook(0, 0, (0,)))
        _chunk(playing)
        seen.append(playing.probes.take(MapLook(0, 0, (0,))))
    assert (seen[0] == seen[1]).all()
