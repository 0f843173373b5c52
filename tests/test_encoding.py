"""A slow encoder holds nobody up: the old prompt plays on, the latest wish is next, a failure is told."""

from __future__ import annotations

import threading

import pytest
import torch

from instrument.engine.encoding import REMEMBERED, Encodings
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from pipelines.quicken import make_stream
from pipelines.recipes import HOUSE, sized
from pipelines.systems import open_system
from pipelines.text import Prompt
from tests.engine import Encoder, Playing
from tests.playing import wait_until


class Slow(Encoder):
    """Answers only when it is let go; a text with "bad" in it is refused."""

    quick = False

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def encode(self, text: str) -> Prompt:
        self.asked.append(text)
        assert self.go.wait(30)
        if "bad" in text:
            raise RuntimeError("no such file")
        return super().encode(text)


def arrived(encodings: Encodings, text: str) -> bool:
    encodings.tick()
    return encodings.get(text) is not None


def test_a_quick_encoder_answers_at_once() -> None:
    encodings = Encodings(Encoder(), print)
    assert encodings.get("a moon").text == "a moon" and encodings.waiting is None


def test_a_slow_one_gets_one_text_at_a_time_and_only_what_is_still_wanted() -> None:
    encoder = Slow()
    encodings = Encodings(encoder, print)
    for text in ("one", "two", "three", "four"):  # a hand that types
        assert encodings.get(text) is None
        encodings.tick()
    assert encodings.waiting == "one"
    encoder.go.set()
    assert wait_until(lambda: arrived(encodings, "four"))
    assert set(encoder.asked) == {"one", "four"}
    encodings.close()


def test_a_refusal_is_told_once_and_tried_again_when_asked_anew() -> None:
    told: list[str] = []
    encoder = Slow()
    encoder.go.set()
    encodings = Encodings(encoder, told.append)
    assert encodings.get("bad moon") is None
    assert wait_until(lambda: encodings.tick() or told)
    for _ in range(5):
        encodings.wanted(["bad moon"])
        assert encodings.get("bad moon") is None
        encodings.tick()
    assert encoder.asked.count("bad moon") == 1 and len(told) == 1
    assert told[0].startswith("the prompt 'bad moon' cannot be encoded (RuntimeError: no such file)")
    encodings.wanted(["a moon"])
    assert encodings.get("bad moon") is None and encodings.waiting == "bad moon"
    encodings.close()


def test_what_is_ahead_waits_for_what_is_wanted_and_memory_is_bounded() -> None:
    encoder = Encoder()
    encodings = Encodings(encoder, print)
    encodings.ahead(["b", "c"])
    encodings.get("a")
    encodings.tick()
    encodings.tick()
    assert encoder.asked[-2:] == ["b", "c"] and encodings.get("c").text == "c" and encoder.asked.count("c") == 1
    for number in range(2 * REMEMBERED):
        encodings.get(f"text {number}")
    assert len(encodings._known) == REMEMBERED


@pytest.fixture
def slow() -> tuple[Playing, Slow]:
    playing, encoder = Playing(), Slow()
    playing.engine.tell = (told := []).append
    playing.told = told
    encoder.go.set()
    playing.engine.prompts.use(encoder, playing.engine.stream.device)
    playing.chunks(1)
    encoder.go.clear()
    return playing, encoder


def test_the_old_prompt_plays_on_till_the_new_one_is_there(slow: tuple[Playing, Slow]) -> None:
    playing, encoder = slow
    playing.params.set("prompt.text", "a green moon")
    playing.chunks(2)
    playing.params.set("prompt.text", "a white star")  # the first was begun already; this one is what counts
    playing.chunks(2)
    assert playing.engine.prompt.text == "a purple tulip swaying"
    assert playing.engine.stream.bank.held_tokens() == {"words": [2]}  # "tulip", still
    encoder.go.set()
    assert wait_until(lambda: len(playing.chunks(1)) and said(playing) == "a white star")
    assert playing.engine.notices == ["words: the prompt has no 'tulip'"] and not playing.engine.fault


def test_an_encoder_that_fails_is_told_of_and_the_show_goes_on(slow: tuple[Playing, Slow]) -> None:
    playing, encoder = slow
    playing.params.set("prompt.text", "a bad moon")
    playing.chunks(1)
    assert "encoding 'a bad moon'" in playing.engine.notices
    encoder.go.set()
    assert wait_until(lambda: len(playing.chunks(1)) and playing.told)
    assert "'a bad moon' cannot be encoded" in playing.told[0] and said(playing) == "a purple tulip swaying"
    playing.params.set("prompt.text", "a good moon")
    assert wait_until(lambda: len(playing.chunks(1)) and said(playing) == "a good moon")


def said(playing: Playing) -> str:
    return playing.engine.prompt.text


def test_a_quick_encoder_that_fails_while_playing_is_no_fault_either() -> None:
    playing = Playing()
    told: list[str] = []
    playing.engine.tell = told.append
    playing.chunks(1)
    playing.encoder.encode = lambda text: (_ for _ in ()).throw(MemoryError("full"))
    playing.params.set("prompt.text", "a moon")
    assert len(playing.chunks(2)) == 8 and len(told) == 1 and "MemoryError: full" in told[0]


@pytest.mark.parametrize("quick", [True, False])
def test_a_prompt_that_is_refused_stays_a_warning_as_long_as_it_is_asked_for(quick: bool) -> None:
    playing, encoder = Playing(), Slow()
    encoder.go.set()
    encoder.quick = quick
    playing.engine.prompts.use(encoder, playing.engine.stream.device)
    playing.chunks(1)
    playing.params.set("prompt.text", "a bad moon")
    warning = "the prompt 'a bad moon' cannot be encoded (RuntimeError: no such file); what played before plays on"
    assert wait_until(lambda: len(playing.chunks(1)) and warning in playing.engine.notices)
    for _ in range(3):
        assert len(playing.chunks(1)) and warning in playing.engine.notices and not playing.engine.fault
    assert said(playing) == "a purple tulip swaying" and encoder.asked.count("a bad moon") == 1
    playing.params.set("prompt.text", "a purple tulip swaying")  # back to what plays: there is nothing to say
    playing.chunks(1)
    assert playing.engine.notices == []
    playing.params.set("prompt.2.text", "a bad star")  # a voice beside it
    playing.params.set("prompt.2.weight", 0.5)
    assert wait_until(lambda: len(playing.chunks(1)) and any("'a bad star'" in note for note in playing.engine.notices))
    assert said(playing) == "a purple tulip swaying"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a red star " * 40, "the prompt is cut before"),
        ("?! ...", "the prompt '?! ...' has no word that the model reads"),
        ("", None),
    ],
    ids=["too long", "no word", "empty"],
)
def test_a_prompt_that_is_too_long_or_holds_nothing_plays_and_is_told_of(text: str, told: str | None) -> None:
    """By the model that ships."""
    system = open_system(sized(HOUSE, 64, 48), torch.device("cpu"), torch.float32)
    params, frames = ParamSet(), []
    engine = Engine(make_stream(system), system.encoder, params, lambda frame, stamp: frames.append(frame))
    engine.load(loads("prompt: a red star"))
    engine.play_chunk()
    assert engine.notices == []
    params.set("prompt.text", text)
    engine.play_chunk()
    engine.finish()
    assert engine.prompt.text == text and len(frames) == 8 * HOUSE.chunk
    assert [told in notice for notice in engine.notices] == ([True] if told else [])


def test_an_empty_prompt_lacks_the_words_that_a_bend_holds() -> None:
    playing = Playing()
    playing.chunks(1)
    playing.params.set("prompt.text", "")
    playing.chunks(1)
    assert playing.engine.notices == ["words: the prompt has no 'tulip'"]


def test_params_without_an_engine_have_the_prompts_too() -> None:
    from instrument.engine import prompts

    params = ParamSet()
    prompts.declare(params)
    params.set("prompt.1.text", "x")
    assert params["prompt.text"].base == "x" and params["prompt.4.weight"].base == 0
