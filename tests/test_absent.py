"""Words that a scope asks for and the prompt lacks: told to whoever asked, once."""

from __future__ import annotations

import pytest

from tests.engine import Playing


@pytest.fixture
def playing() -> Playing:
    return Playing()


def answers(playing: Playing) -> list[tuple[str, str, bool]]:
    """What is new, two chunks later."""
    playing.chunks(3)
    since = getattr(playing, "since", 0)
    playing.since, words = playing.params.answers.since(since)
    return [tuple(each) for each in words]


def test_who_asks_for_a_word_that_is_not_there_is_told_once(playing: Playing) -> None:
    assert answers(playing) == []
    playing.params.set("words.tokens", "tulpi", "osc:1")
    assert answers(playing) == [("osc:1", "words: the prompt has no 'tulpi'", False)]
    assert answers(playing) == [] and playing.engine.notices == ["words: the prompt has no 'tulpi'"]
    playing.params.set("words.tokens", "tulip", "osc:1")
    assert answers(playing) == [] and playing.engine.notices == []
    playing.params.set("words.tokens", "tulpi", "page")
    assert answers(playing) == [("page", "words: the prompt has no 'tulpi'", False)]


def test_who_asked_long_before_the_prompt_changed_is_not(playing: Playing) -> None:
    playing.params.set("words.tokens", "swaying", "osc:1")
    assert answers(playing) == []
    playing.params.set("prompt.text", "a green moon", "page")
    assert answers(playing) == [] and playing.engine.notices == ["words: the prompt has no 'swaying'"]
