"""Prompts and their blending."""

from __future__ import annotations

import pytest
import torch

from pipelines.text import blend
from tests.tiny import prompt


def test_a_blend_is_the_weighted_mean() -> None:
    a, b = prompt("a moon", seed=1), prompt("a star", seed=2)
    torch.testing.assert_close(blend([a, b], [1.0, 3.0]), 0.25 * a.embeddings + 0.75 * b.embeddings)
    assert torch.equal(blend([a], [2.0]), a.embeddings)
    for weights in ([1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="positive sum"):
            blend([a, b], weights)


def test_words_are_what_a_scope_needs() -> None:
    words = prompt("a purple moon").words
    assert words.text[slice(*words.offsets[1])] == "purple" and words.length == 16
