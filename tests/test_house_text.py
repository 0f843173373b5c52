"""The house text encoder: words keep their places, look ahead only, and padding stays silent."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bends.scope import tokens
from pipelines.house.text import PAD, UNK, HouseText, TextConfig
from pipelines.house.world import VOCABULARY, captions, sample


@pytest.fixture(scope="module")
def text() -> HouseText:
    torch.manual_seed(0)
    return HouseText(TextConfig((",", *VOCABULARY), text_dim=16, hidden=16)).eval()


def test_tokens_and_places_in_the_text_as_given(text):
    prompt = text.encode("A  Purple tulip, swaying!")
    assert prompt.tokens == ("a", "purple", "tulip", ",", "swaying")
    assert [prompt.text[start:end] for start, end in prompt.offsets] == ["A", "Purple", "tulip", ",", "swaying"]
    assert prompt.notices == ()


def test_a_bend_finds_its_word(text):
    prompt = text.encode("a Purple tulip over a dark sea")
    assert [i for i, weight in enumerate(tokens("purple, dark sea", prompt.words)) if weight] == [1, 5, 6]


def test_rows_past_the_words_are_zero(text):
    rows = text.encode("a purple tulip").embeddings
    assert rows.shape == (1, 24, 16)
    assert bool(rows[:, :3].abs().sum(-1).gt(0).all()) and not rows[:, 3:].any()


def test_the_empty_prompt(text):
    prompt = text.encode("")
    assert not prompt.embeddings.any() and prompt.tokens == () and prompt.notices == ()


def test_a_noun_does_not_know_its_colour(text):
    purple, red = text.encode("a purple tulip swaying").embeddings[0], text.encode("a red tulip swaying").embeddings[0]
    assert torch.equal(purple[2:], red[2:])
    assert not torch.allclose(purple[1], red[1]) and not torch.allclose(purple[0], red[0])


def test_a_colour_knows_its_noun(text):
    tulip, moon = text.encode("a purple tulip").embeddings[0], text.encode("a purple moon").embeddings[0]
    assert not torch.allclose(tulip[1], moon[1])


def test_a_short_prompt_is_the_same_alone_and_in_a_batch(text):
    alone = text.encode("a purple tulip").embeddings
    together = text(text.batch(["a purple tulip", "a red moon rising over a dark sea"]))
    assert torch.allclose(alone[0], together[0])


def test_unknown_words_are_named_with_what_is_near(text):
    prompt = text.encode("a purpel tulip zzzz")
    assert prompt.tokens == ("a", "purpel", "tulip", "zzzz")
    assert prompt.notices[0].startswith("the model does not know 'purpel'; near it: purple")
    assert prompt.notices[1] == "the model does not know 'zzzz'"


def test_a_long_prompt_is_cut_and_says_where(text):
    prompt = text.encode(" ".join(["tulip"] * 24) + " moon")
    assert len(prompt.tokens) == 24
    assert "cut before 'moon'" in prompt.notices[-1] and "24" in prompt.notices[-1]


def test_every_caption_is_known(text):
    ids = text.batch(captions(sample(300, seed=3), seed=3))
    assert ids.shape == (300, 24) and not bool((ids == UNK).any()) and bool((ids != PAD).any(1).all())


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_prompt(written):
    torch.manual_seed(0)
    text = HouseText(TextConfig((",", "tulip"), text_dim=8, hidden=8))
    prompt = text.encode(written)
    assert prompt.embeddings.isfinite().all() and len(prompt.tokens) == len(prompt.offsets) <= 24
    assert all(0 <= start < end <= len(written) for start, end in prompt.offsets)
