"""Prompts and their blending."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text import between, blend, cross, mix, share_at, speak, transition
from tests.tiny import prompt


def test_a_blend_is_the_weighted_mean() -> None:
    a, b = prompt("a moon", seed=1), prompt("a star", seed=2)
    torch.testing.assert_close(blend([a, b], [1.0, 3.0]), 0.25 * a.embeddings + 0.75 * b.embeddings)
    assert torch.equal(blend([a], [2.0]), a.embeddings)
    for weights in ([1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="positive sum"):
            blend([a, b], weights)


def test_a_spherical_blend_keeps_the_length_and_turns_evenly() -> None:
    a, b = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [0.0, 4.0], [0.0, 0.0]]])
    half = between(a, b, 1 / 3, "slerp")[0]
    angle = math.pi / 6
    expected = torch.tensor([[math.cos(angle), math.sin(angle)], [0, 0], [0, 0]])
    torch.testing.assert_close(half[0], expected[0])
    torch.testing.assert_close(half[1].norm(), torch.tensor(2 + 2 / 3))
    assert half[2].tolist() == [0.0, 0.0]  # padding stays padding


@pytest.mark.parametrize("how", ["linear", "slerp"])
def test_the_ends_of_a_blend_are_the_prompts_themselves(how: str) -> None:
    a, b, c = (prompt(seed=seed).embeddings for seed in (1, 2, 3))
    assert torch.equal(between(a, b, 0.0, how), a) and torch.equal(between(a, b, 1.0, how), b)
    assert torch.equal(mix([a, b, c], [0, 2.5, 0], how), b)
    assert torch.isfinite(mix([a, -a, a], [1, 1, 1], how)).all()  # opposite rows have no one way
    torch.testing.assert_close(mix([a, a, a], [1, 2, 3], how), a, atol=1e-5, rtol=1e-5)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5).filter(lambda weights: sum(weights) > 1e-3))
@settings(max_examples=40, deadline=None)
def test_a_linear_mix_of_any_number_is_their_weighted_mean(weights: list[float]) -> None:
    rows = [torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(i)) for i in range(len(weights))]
    expected = sum(row * (weight / sum(weights)) for row, weight in zip(rows, weights, strict=True))
    torch.testing.assert_close(mix(rows, weights), expected, atol=1e-5, rtol=1e-5)


def test_transitions() -> None:
    a, b = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    assert [float(x[0, 0, 0]) for x in transition(a, b, 5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert torch.equal(transition(a, b, 1)[0], b)  # never stuck on the old one
    with pytest.raises(ValueError, match="1 or more"):
        transition(a, b, 0)
    assert [share_at(now, 10.0, 4.0) for now in (9, 10, 11, 14, 99)] == [0.0, 0.0, 0.25, 1.0, 1.0]
    assert share_at(10.0, 10.0, 0.0) == 1.0


def test_words_are_what_a_scope_needs() -> None:
    words = prompt("a purple moon").words
    assert words.text[slice(*words.offsets[1])] == "purple" and words.length == 16


def test_what_is_said_knows_its_prompts_and_their_shares() -> None:
    a, b, c = (prompt(text, seed=seed) for seed, text in enumerate(("a moon", "a red star", "a sea"), 1))
    both = speak([a, b, c], [1, 3, 0])
    assert both.parts == ((b, 0.75), (a, 0.25)) and torch.equal(both.embeddings, blend([a, b], [1, 3]))
    assert [(each.text, each.share) for each in both.words.every] == [("a red star", 0.75), ("a moon", 0.25)]
    assert speak([a], [0.2]).embeddings is a.embeddings and speak([a], [0.2]).words == a.words
    way = cross(both, speak([c], [1]), 0.5)
    assert [(part.text, share) for part, share in way.parts] == [
        ("a sea", 0.5),
        ("a red star", 0.375),
        ("a moon", 0.125),
    ]
    torch.testing.assert_close(way.embeddings, between(both.embeddings, c.embeddings, 0.5))
    assert cross(both, way, 0.0) is both and cross(both, way, 1.0) is way
    assert speak([a, b], [1, 1e-5]).parts == ((a, 1.0),)  # what nobody would notice


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4).filter(lambda weights: sum(weights) > 0.1), st.floats(0, 1))
def test_shares_always_sum_to_one(weights: list[float], share: float) -> None:
    prompts = [prompt(f"a moon {index}", seed=index) for index in range(len(weights))]
    way = cross(speak(prompts, weights), speak([prompt("a sea", seed=9)], [1]), share)
    assert sum(own for _, own in way.parts) == pytest.approx(1)
    assert [own for _, own in way.parts] == sorted((own for _, own in way.parts), reverse=True)
