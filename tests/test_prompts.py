"""Several prompts by weight, changes that take their time, the list to go along; alone and in the loop."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
import torch

from instrument.engine.engine import Engine
from instrument.engine.prompts import PromptDesk, Saying
from instrument.parameters.params import ParamSet
from instrument.state.patch import dump, loads
from instrument.state.saving import as_patch
from pipelines.spec import TextSpec, TriggerSpec
from pipelines.text import between, blend
from tests import tiny
from tests.engine import Encoder, Playing

MOON, STAR, TULIP = "a white moon", "a red star at night", "a purple tulip swaying"


class Desk:
    """A desk on parameters of its own, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.params, self.encoder, self.now = ParamSet(self.told.append), Encoder(), 10.0
        self.desk = PromptDesk(self.params, self.encoder, lambda label, action, asked: action(), self.told.append)

    def set(self, **values: object) -> None:
        for id, value in values.items():
            self.params.set(f"prompt.{id.replace('_', '.')}", value)

    def tick(self, later: float = 0.0) -> Saying | None:
        self.now += later
        for id in self.params.drain():
            assert self.desk.obey(id)
        self.desk.follow()
        return self.desk.tick(self.params.tick(self.now), self.now)

    def rows(self, *texts: str) -> list[torch.Tensor]:
        return [self.encoder.encode(text).embeddings for text in texts]


def shares(saying: Saying) -> dict[str, float]:
    return {prompt.text: pytest.approx(share) for prompt, share in saying.spoken.parts}


def test_one_prompt_is_said_as_it_was_encoded_and_once() -> None:
    desk = Desk()
    desk.set(text=MOON)
    saying = desk.tick()
    assert torch.equal(saying.spoken.embeddings, desk.rows(MOON)[0]) and not saying.passing
    assert shares(saying) == {MOON: 1.0} and desk.tick(1.0) is None
    desk.set(**{"1_text": STAR})  # the same parameter
    assert desk.params["prompt.text"].base == STAR and shares(desk.tick()) == {STAR: 1.0}


@pytest.mark.parametrize("how", ["linear", "slerp"])
def test_faders_mix_prompts_at_once(how: str) -> None:
    desk = Desk()
    desk.set(text=MOON, **{"2_text": STAR, "3_text": TULIP, "blend": how})
    assert shares(desk.tick()) == {MOON: 1.0}
    desk.set(**{"2_weight": 0.5, "3_weight": 0.5})
    saying = desk.tick(0.01)
    assert shares(saying) == {MOON: 0.5, STAR: 0.25, TULIP: 0.25} and saying.passing
    prompts = [desk.encoder.encode(text) for text in (MOON, STAR, TULIP)]
    torch.testing.assert_close(saying.spoken.embeddings, blend(prompts, [1, 0.5, 0.5], how))
    assert desk.tick(0.05) is None
    settled = desk.tick(0.5)  # nobody moves it any more: told once that this is it
    assert settled.spoken is saying.spoken and not settled.passing and desk.tick(1.0) is None
    desk.set(**{"1_weight": 0, "3_weight": 0})
    assert torch.equal(desk.tick().spoken.embeddings, desk.rows(STAR)[0])


def test_with_every_fader_down_the_first_prompt_plays() -> None:
    desk = Desk()
    desk.set(text=MOON, **{"2_text": STAR, "2_weight": 1})
    assert shares(desk.tick()) == {MOON: 0.5, STAR: 0.5}
    desk.set(**{"1_weight": 0, "2_weight": 0})
    assert shares(desk.tick()) == {MOON: 1.0}
    desk.set(**{"2_weight": 1, "2_text": ""})
    desk.tick(1.0)
    desk.set(**{"4_weight": 0.5})  # the fader of a voice without a prompt says nothing new
    assert desk.tick(1.0) is None


def test_a_timed_change_goes_evenly_and_ends_exactly() -> None:
    desk = Desk()
    desk.set(text=MOON, time=4.0)
    desk.tick()
    desk.set(text=STAR)
    moon, star = desk.rows(MOON, STAR)
    begins = desk.tick()
    assert torch.equal(begins.spoken.embeddings, moon) and begins.passing  # no time has passed yet
    for at in (0.25, 0.5, 0.75):
        saying = desk.tick(1.0)
        torch.testing.assert_close(saying.spoken.embeddings, between(moon, star, at))
        assert shares(saying) == {MOON: 1 - at, STAR: at} and saying.passing
    last = desk.tick(1.0)
    assert torch.equal(last.spoken.embeddings, star) and shares(last) == {STAR: 1.0}
    arrived = desk.tick(1.0)
    assert not arrived.passing and arrived.spoken is last.spoken and desk.tick(1.0) is None


def test_a_change_within_a_change_goes_on_from_where_it_is() -> None:
    desk = Desk()
    desk.set(text=MOON, time=4.0)
    desk.tick()
    desk.set(text=STAR)
    desk.tick()
    half = desk.tick(2.0).spoken.embeddings
    desk.set(text=TULIP)
    desk.tick()
    saying = desk.tick(1.0)
    torch.testing.assert_close(saying.spoken.embeddings, between(half, desk.rows(TULIP)[0], 0.25))
    assert shares(saying) == {MOON: 0.375, STAR: 0.375, TULIP: 0.25}
    assert sum(share for _, share in saying.spoken.parts) == pytest.approx(1)


def test_a_silent_voice_changes_its_prompt_unheard() -> None:
    desk = Desk()
    desk.set(text=MOON, time=4.0)
    desk.tick()
    desk.set(**{"2_text": STAR})
    assert desk.tick() is None and STAR in desk.encoder.asked  # ready for when its fader comes up
    desk.set(**{"2_weight": 1.0})
    assert shares(desk.tick(0.1)) == {MOON: 0.5, STAR: 0.5}  # the fader is the change; it takes no time of its own


LIST = f"prompt_list: [{MOON}, {STAR}, {TULIP}]"


def test_the_list_is_gone_along() -> None:
    desk = Desk()
    patch = loads(LIST)
    desk.set(text=patch.prompt)
    desk.desk.load(patch)
    assert shares(desk.tick()) == {MOON: 1.0} and desk.params["prompt.goto"].base == 1
    for trigger, text, place in (("next", STAR, 2), ("next", TULIP, 3), ("previous", STAR, 2)):
        desk.params.trigger(f"prompt.{trigger}")
        assert shares(desk.tick()) == {text: 1.0}
        assert (desk.params["prompt.text"].base, desk.params["prompt.goto"].base) == (text, place)
    desk.set(goto=3)
    assert shares(desk.tick()) == {TULIP: 1.0}
    desk.params.trigger("prompt.next")
    assert desk.tick() is None and desk.told == ["the patch's prompt_list has 3 prompts, no number 4"]
    desk.set(goto=9)
    assert desk.tick() is None and desk.told[-1].endswith("no number 9") and desk.params["prompt.goto"].base == 3
    desk.set(text="something else")
    desk.tick()
    assert desk.params["prompt.goto"].base == 0  # none of the list
    desk.set(goto=3)
    assert shares(desk.tick()) == {TULIP: 1.0}
    desk.set(text=MOON)
    desk.tick()
    assert desk.params["prompt.goto"].base == 1
    for _ in range(3):
        desk.tick()
    assert sorted(set(desk.encoder.asked)) == sorted({MOON, STAR, TULIP, "something else"})
    assert len(desk.encoder.asked) == 4


def test_without_a_list_the_triggers_say_so() -> None:
    desk = Desk()
    desk.tick()
    desk.params.trigger("prompt.next")
    assert desk.tick() is None and "give it a prompt_list" in desk.told[0]


# --- in the loop ---

SONG = f"""
version: 2
prompts:
  - {MOON}
  - {{text: {STAR}, weight: 0.25}}
prompt_list: [{TULIP}, {MOON}]
seed: 3
bends:
  - {{name: words, lever: cross.map.gain, scope: {{tokens: "moon, star, tulip"}}}}
values: {{words.gain: 3, prompt.time: 0.5}}
snapshots:
  far: {{prompt.2.weight: 1, prompt.1.weight: 0, prompt.2.text: {TULIP}}}
"""


def test_token_scopes_hold_each_prompts_words_at_its_own_rows_by_its_share() -> None:
    playing = Playing(SONG)
    playing.chunks(1)
    bank = playing.engine.stream.bank
    folded = bank.layers[0].points["cross.columns"][0].folded["gain"]
    weights = (folded[0] - 1) / 2  # of a gain of 3
    expected = torch.zeros(16)
    expected[2] = 0.8 + 0.2  # "moon" and "star" both stand in the third row
    torch.testing.assert_close(weights, expected)
    playing.params.set("words.tokens", "star, red")
    playing.chunks(1)
    folded = bank.layers[0].points["cross.columns"][0].folded["gain"]
    expected = torch.zeros(16)
    expected[1] = expected[2] = 0.2
    torch.testing.assert_close((folded[0] - 1) / 2, expected)
    assert playing.engine.held == {"words": ["red", "star"]} and playing.engine.notices == []
    playing.params.set("words.tokens", "tulip, moon")
    playing.chunks(1)
    assert playing.engine.held == {"words": ["moon"]}
    assert playing.engine.notices == ["words: the prompt has no 'tulip'"]


def test_prompts_are_saved_loaded_and_morphed() -> None:
    playing = Playing(SONG)
    params = playing.params
    assert [params[f"prompt.{n}.weight"].base for n in (1, 2, 3)] == [1, 0.25, 0]
    assert params["prompt.text"].base == MOON and params["prompt.2.text"].base == STAR
    playing.chunks(1)
    params.set("morph.position", 0.25)
    playing.chunks(1)
    assert params["prompt.2.weight"].base == pytest.approx(0.4375) and params["prompt.2.text"].base == STAR
    params.set("morph.position", 0.75)
    playing.chunks(1)
    assert params["prompt.2.weight"].base == pytest.approx(0.8125) and params["prompt.2.text"].base == TULIP
    saved = loads(dump(as_patch(playing.engine.desk._playing, params, playing.engine.console.snapshots)))
    assert [(voice.text, round(voice.weight, 4)) for voice in saved.voices] == [(MOON, 0.25), (TULIP, 0.8125)]
    assert saved.prompt_list == [TULIP, MOON] and saved.values["prompt.time"] == pytest.approx(0.5)
    again = Playing(dump(saved))
    assert {p.id: p.base for p in again.params if p.kept} == {p.id: p.base for p in params if p.kept}
    playing.engine.load(loads("prompt: a moon"))
    assert [params[f"prompt.{n}.weight"].base for n in (1, 2)] == [1, 0] and params["prompt.2.text"].base == ""
    assert params["prompt.time"].base == 0  # the last patch's


def test_a_prompt_step_waits_for_the_bar() -> None:
    playing = Playing(SONG)
    now = [0.0]
    playing.engine.clock = lambda: now[0]
    playing.params.set("clock.quantise", "bar")
    playing.chunks(1)
    now[0] = 0.5
    playing.params.trigger("prompt.next")
    playing.chunks(1)
    assert playing.params["prompt.text"].base == MOON
    now[0] = 2.01
    playing.chunks(1)
    assert playing.params["prompt.text"].base == MOON  # it already stands on the second of two: there is no third
    now[0] = 2.5
    playing.params.trigger("prompt.previous")
    playing.chunks(1)
    assert playing.params["prompt.text"].base == MOON
    now[0] = 4.01
    playing.chunks(1)
    assert playing.params["prompt.text"].base == TULIP


def test_the_picture_of_a_blend_lies_nowhere_near_a_stall() -> None:
    """Every step of a timed change has another text; the memory of texts does not grow by it."""
    playing = Playing(f"prompt: {MOON}\nvalues: {{prompt.time: 2}}")
    now = [0.0]
    playing.engine.clock = lambda: now[0]
    playing.chunks(1)
    playing.params.set("prompt.text", STAR)
    texts = playing.engine.stream._passes._texts
    before = len(texts)
    heard = []
    for _ in range(6):
        now[0] += 0.3
        playing.chunks(1)
        heard.append(playing.engine.stream._speech.embeddings.clone())
    assert len(texts) == before and all((a != b).any() for a, b in pairwise(heard))
    now[0] += 2.0
    playing.chunks(2)
    assert torch.equal(playing.engine.stream._speech.embeddings, Encoder().encode(STAR).embeddings)


def test_a_show_of_another_encoder_says_everything_anew() -> None:
    playing = Playing()
    playing.chunks(1)
    other = Encoder()
    playing.engine.prompts.use(other, torch.device("cpu"))
    playing.chunks(1)
    assert other.asked == ["a purple tulip swaying"]


def test_any_storm_over_prompts_steps_and_past_ends_where_the_hand_ended() -> None:
    dice, playing = Random(4), Playing(SONG)
    playing.engine.keep_picture_time(20)
    texts = ("", MOON, STAR, TULIP, "🌙 " * 40, "a\x00b")
    ids = [id for id in playing.params.ids() if id.split(".")[0] in ("prompt", "cache") or id == "engine.steps"]
    for _ in range(60):
        for id in dice.sample(ids, 4):
            spec = playing.params[id].spec
            if isinstance(spec, TextSpec):
                playing.params.set(id, dice.choice(texts))
            elif isinstance(spec, TriggerSpec):
                playing.params.trigger(id)
            else:
                playing.params.set_normalised(id, dice.random())
        playing.engine.play_chunk()
        assert playing.engine.stream._latents is None and playing.engine.stream.notice == ""
    playing.params.set("prompt.time", 0)
    for number in range(2, 5):
        playing.params.set(f"prompt.{number}.weight", 0)
    playing.params.set("prompt.1.weight", 0.2)
    playing.params.set("prompt.text", STAR)
    playing.params.set("engine.steps", 2)
    playing.chunks(3)
    stream = playing.engine.stream
    assert torch.equal(stream._speech.embeddings, Encoder().encode(STAR).embeddings) and stream.steps_now == 2


def test_rendering_waits_for_a_slow_encoder() -> None:
    class Slow(Encoder):
        quick = False

    params = ParamSet()
    engine = Engine(tiny.stream(), Slow(), params, lambda frame, stamp: None)
    engine.keep_picture_time(20)
    engine.load(loads(f"prompt: {MOON}"))
    engine.play_chunk()
    params.set("prompt.text", STAR)
    engine.play_chunk()
    assert engine.prompt.text == STAR
    engine.finish()
