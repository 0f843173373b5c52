"""Scopes: windows with soft edges, ranges as text, bands, and words found in a prompt."""

from __future__ import annotations

import pytest

from pipelines.bends.scope import ScopeError, Span, Words, band, missing, ranges, tokens
from tests.tiny import prompt

WORDS = prompt("A purple tulip, and a Purple moon").words


def test_a_span_covers_its_ends_and_fades_over_its_feather() -> None:
    assert Span.of(2, 4).weights(7) == [0, 0, 1, 1, 1, 0, 0]
    assert Span.of(2.5, 4).weights(6) == [0, 0, 0, 1, 1, 0]
    assert Span.of(3, 3, feather=2).weights(7) == [0, 0, 0.5, 1, 0.5, 0, 0]
    assert Span(3.25, 0, 1).weights(5) == [0, 0, 0, 0.75, 0.25]
    with pytest.raises(ScopeError, match="backwards"):
        Span.of(4, 2)


def test_ranges() -> None:
    assert ranges("0-1, 3", 5, "head") == [1, 1, 0, 1, 0]
    assert ranges("ALL", 3, "head") == [1, 1, 1]
    for text, message in (("1-9", "9 does not exist; they are 0-3"), ("3-1", "write 1-3"), ("x", "is not a number")):
        with pytest.raises(ScopeError, match=message):
            ranges(text, 4, "head")


def test_a_band_of_a_whole_width_is_everything() -> None:
    assert band(Span(0.5, 1.0), 8) == [1] * 8
    assert band(Span(0.25, 0.5), 8) == [1, 1, 1, 1, 0, 0, 0, 0]
    soft = band(Span(0.5, 0.25, 0.25), 8)
    assert soft[3:5] == [1, 1] and 0 < soft[2] < 1 and soft[0] == 0


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("purple", [1, 5]),  # every occurrence, any case
        ("purple moon", [5, 6]),
        ("TULIP", [2]),  # punctuation beside a word does not hide it
        ("tul", []),  # whole words only
        ("tulip, moon", [2, 6]),
        ("0-1, 6", [0, 1, 6]),
        ("prompt", [0, 1, 2, 3, 4, 5, 6]),
        ("all", list(range(16))),
        ("", []),
    ],
)
def test_tokens_by_words(text: str, held: list[int]) -> None:
    weights = tokens(text, WORDS)
    assert [i for i, weight in enumerate(weights) if weight] == held and len(weights) == 16


@pytest.mark.parametrize(
    ("prompt_text", "text", "held"),
    [
        ("red red red", "red red", [0, 1, 2]),  # a phrase that overlaps itself, at both places
        ("a tulip’s petal", "tulip's", [1]),
        ("a tulip's petal", "Tulip’s", [1]),
        ("a star-shaped star", "-shaped", [1]),
        ("a star-shaped lamp", "star", [1]),
        ("İstanbul at night", "İSTANBUL", [0]),  # lower case of this letter is two letters
        ("a cafe\u0301 at night", "CAFÉ", [1]),  # the accent apart in the prompt, joined in the scope
        ("a café at night", "cafe\u0301", [1]),
        ("a cafe\u0301 at night", "cafe", []),  # and never half a letter
        ("a कि b", "क", []),
        ("ΟΔΟΣ in the sun", "οδος", [0]),
        ("紫色的郁金香 在海上", "郁金香", [0]),  # no spaces to find a word between
        ("紫色的郁金香 在海上", "海，郁金香", [0, 1]),
        ("紫色的郁金香 在海上", "月", []),
        ("a purple tulip", "PROMPT", [0, 1, 2]),
        ("a purple tulip", "purple   tulip , ,a", [0, 1, 2]),
        ("a (red) *star*", "*star*, red", [1, 2]),
    ],
)
def test_words_as_people_write_them(prompt_text: str, text: str, held: list[int]) -> None:
    words = prompt(prompt_text).words
    assert [i for i, weight in enumerate(tokens(text, words)) if weight] == held
    assert bool(missing(text, words)) == (not held)


def test_a_word_of_several_pieces_is_one_target() -> None:
    words = Words("jellyfish", ((0, 5), (5, 9)), 4)
    assert tokens("jellyfish", words) == [1, 1, 0, 0]


def test_missing_words_are_named() -> None:
    assert missing("purple, rose, 0-2, all", WORDS) == ["rose"]


def test_a_hard_window_swept_along_never_holds_nothing() -> None:
    for center in (0.0, 0.3, 2.5, 3.49, 4.0):
        assert sum(Span(center, 0.0).weights(5)) >= 1
    assert Span(3.3, 0.9).weights(5) == [0, 0, 0, 1, 0] and Span.of(4, 4).weights(6) == [0, 0, 0, 0, 1, 0]


def test_quoted_words_are_words() -> None:
    words = prompt("3 red stars all around").words
    held = {text: [i for i, w in enumerate(tokens(text, words)) if w] for text in ('"3"', "3", '"all"', '"red stars"')}
    assert held == {'"3"': [0], "3": [3], '"all"': [3], '"red stars"': [1, 2]}
    assert missing('"7"', words) == ["7"]


def test_of_several_prompts_each_holds_its_own_rows_by_its_share() -> None:
    moon = prompt("a white moon and a star").words._replace(share=0.75)
    both = moon._replace(others=(prompt("a star at night").words._replace(share=0.25),))
    assert tokens("star", both)[:7] == [0, 0.25, 0, 0, 0, 0.75, 0]
    assert tokens("a", both)[:7] == [1, 0, 0, 0, 0.75, 0, 0]  # in both at the first row
    assert tokens("prompt", both)[:8] == [1, 1, 1, 1, 0.75, 0.75, 0, 0]
    assert tokens("1-2", both)[:4] == [0, 1, 1, 0] and tokens("all", both) == [1] * 16
    assert missing("night, white, sun", both) == ["sun"]
    thirds = prompt("a b").words._replace(share=1 / 3)
    assert tokens("a", thirds._replace(others=(thirds, thirds)))[:2] == [1, 0]  # whole, to the last bit
