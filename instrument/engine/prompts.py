"""What the model is asked to show: several prompts by weight, changes that take their time, a list to go along.

All of it runs in the engine's thread, as `tick` before every step. Knows parameters, prompts and embeddings; no stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from instrument.engine.encoding import Encodings
from instrument.parameters.answers import Asked, Tell
from instrument.parameters.params import ParamSet, shorten
from instrument.state.patch import MOST_PROMPTS, VOICE_TEXTS, VOICE_WEIGHTS, VOICES, Patch
from pipelines.bends import scope
from pipelines.spec import ChoiceSpec, ControlSpec, TextSpec, TriggerSpec, Value
from pipelines.text import Blend, Prompt, Spoken, TextEncoder, cross, share_at, speak

PROMPT, BLEND, TIME, GOTO = VOICE_TEXTS[0], "prompt.blend", "prompt.time", "prompt.goto"
NEXT, PREVIOUS = "prompt.next", "prompt.previous"
ORIGIN = "prompts"
_SETTLED = 0.25  # seconds without a move after which a fader is said to have arrived


def declare(params: ParamSet) -> None:
    """The parameters of prompts."""
    params.add(PROMPT, TextSpec(doc="what the model is asked to show"), group="prompt")
    params.alias("prompt.1.text", PROMPT)
    for number, id in enumerate(VOICE_TEXTS[1:], 2):
        params.add(id, TextSpec(doc=f"prompt {number}, sounding with the others by its weight"), group="prompt")
    for number, id in enumerate(VOICE_WEIGHTS, 1):
        share = ControlSpec(0, 1, float(number == 1), doc=f"how loud prompt {number} is beside the others")
        params.add(id, share, group="prompt")
    how = "between prompts: straight, or along great circles, which keeps the embeddings' lengths"
    params.add(BLEND, ChoiceSpec(("linear", "slerp"), "linear", how), group="prompt")
    params.add(TIME, ControlSpec(0, 60, 0, "cubed", "s", doc="how long a change of prompt takes"), "prompt", glide=0)
    place = ControlSpec(0, MOST_PROMPTS, 0, step=1, doc="plays the prompt of this place in the patch's list; 0: none")
    params.add(GOTO, place, group="prompt", glide=0, kept=False)
    params.add(NEXT, TriggerSpec("plays the next prompt of the patch's list"), group="prompt")
    params.add(PREVIOUS, TriggerSpec("plays the prompt before it in the patch's list"), group="prompt")


def set_prompts(params: ParamSet, patch: Patch) -> None:
    """The patch's prompts and their weights; voices that it does not have are silent."""
    for number, (text, weight) in enumerate(zip(VOICE_TEXTS, VOICE_WEIGHTS, strict=True)):
        voice = patch.voices[number] if number < len(patch.voices) else None
        params.set(text, voice.text if voice else "", "patch")
        params.set(weight, voice.weight if voice else 0.0, "patch")


class Saying(NamedTuple):
    """What the stream is to be told, and whether it is only on the way to something else."""

    spoken: Spoken
    passing: bool


class _Wish(NamedTuple):
    """What the parameters ask for: per voice its text, "" where it has none, and its weight; and the way of mixing."""

    texts: tuple[str, ...]
    weights: tuple[float, ...]
    blend: Blend

    @property
    def loud(self) -> set[int]:
        """The voices that sound, if they have a prompt; with every fader down the first one does."""
        return {number for number, weight in enumerate(self.weights) if weight > 0} or {0}


class PromptDesk:
    """`on_time(label, action, asked)` runs an action now or on the next beat; `tell` takes a line for the player."""

    def __init__(
        self,
        params: ParamSet,
        encoder: TextEncoder,
        on_time: Callable[[str, Callable[[], None], Asked], None],
        tell: Callable[[str], None],
    ) -> None:
        declare(params)
        self._params, self._on_time, self._tell = params, on_time, Tell(tell, params.answers)
        self._list: tuple[str, ...] = ()
        self._place = -1
        self._seen = {id: params[id].version for id in (PROMPT, GOTO)}
        self._encodings = Encodings(encoder, self._not_encoded)
        self.use(encoder, torch.device("cpu"))

    def use(self, encoder: TextEncoder, device: torch.device, known: Mapping[str, Prompt] | None = None) -> None:
        """Another encoder, and where its embeddings are wanted: everything is said anew, and encoded unless it is
        `known`, by its text; the first of those is said until what is asked for is there. The same encoder keeps what
        it has encoded."""
        if encoder is not self._encodings.encoder:
            patient = self._encodings.patient
            self._encodings.close()
            self._encodings = Encodings(encoder, self._not_encoded)
            self._encodings.patient = patient
        self._encodings.learn(known or {})
        self._device = device
        self._voices: list[tuple[str, Prompt] | None] = [None] * VOICES
        self._wish: _Wish | None = None
        self._target: Spoken | None = None
        self._blend: Blend = "linear"  # of the target
        self._start: Spoken | None = None  # of a change under way
        self._began = 0.0
        self._moved: float | None = None
        self._said: Saying | None = None
        for text, prompt in list((known or {}).items())[:1]:
            self._voices[0] = text, self._placed(prompt)
            self._target = speak([self._voices[0][1]], [1.0])
        self._encodings.ahead(self._list)

    def wait_for_all(self) -> None:
        """From now on no picture is made before its prompt is there: for rendering."""
        self._encodings.patient = True

    def close(self) -> None:
        """End the worker, if there is one."""
        self._encodings.close()

    # --- patches ---

    def load(self, patch: Patch) -> None:
        """The patch's list becomes the one to go along."""
        self._list, self._place = tuple(patch.prompt_list), -1
        self._encodings.ahead(self._list)
        self._follow_text()

    def first(self, patch: Patch) -> Spoken:
        """What the patch says first, encoded and remembered. Raises what the encoder raises."""
        voices = [(self._encodings.fetch(voice.text), voice.weight) for voice in patch.voices]
        heard = [pair for pair, voice in zip(voices, patch.voices, strict=True) if voice.text and voice.weight > 0]
        prompts, weights = zip(*(heard or [(voices[0][0], 1.0)]), strict=True)
        return speak(prompts, weights)

    # --- the engine's side ---

    def obey(self, id: str, origin: str = "") -> bool:
        """A trigger was fired; whether it was one of the list's."""
        if id in (NEXT, PREVIOUS):
            self._on_time("prompt", partial(self._step, 1 if id == NEXT else -1, origin), Asked(id, origin))
        return id in (NEXT, PREVIOUS)

    def follow(self) -> None:
        """Go where `prompt.goto` was set to; find what was set by hand in the list. Before the parameters are read."""
        goto, text = self._params[GOTO], self._params[PROMPT]
        if goto.version != self._seen[GOTO]:
            self._seen[GOTO] = goto.version
            if goto.origin != ORIGIN and goto.base > 0:
                asked = Asked(f"{GOTO} {goto.base}", goto.origin)
                self._on_time("prompt", partial(self._play, int(goto.base) - 1, goto.origin), asked)
        if text.version != self._seen[PROMPT]:
            self._follow_text()

    def tick(self, values: Mapping[str, Value], now: float) -> Saying | None:
        """What to say from now on, None where that was said last. As long as nothing was said at all it waits for the
        encoder, and raises what that raises."""
        self._encodings.tick()
        texts, weights = tuple(str(values[id]) for id in VOICE_TEXTS), tuple(float(values[id]) for id in VOICE_WEIGHTS)
        wish = _Wish(texts, weights, values[BLEND])
        if wish != self._wish or any(_lacks(pair) for pair in zip(texts, self._voices, strict=True)):
            self._aim(wish, now)
        return self._say(now, float(values[TIME]), wish.blend)

    @property
    def loudest(self) -> Prompt | None:
        """The prompt that is heard most now; None before the first."""
        return self._said.spoken.parts[0][0] if self._said else None

    @property
    def notices(self) -> list[str]:
        """What the player should know of the prompts that sound, and of the one that is being encoded."""
        target, wish, text = self._target, self._wish, self._encodings.waiting
        found = [notice for prompt, _ in (target.parts if target else ()) for notice in _noticed(prompt)]
        waiting = [f"encoding '{shorten(text, 40)}'"] if text and wish and text in wish.texts else []
        return [*dict.fromkeys(found), *waiting, *self._encodings.refusals(wish.texts if wish else ())]

    def names(self, tokens: str, rows: list[int]) -> list[str]:
        """The words at these rows that a token scope holds; a row's own number where no word stands."""
        parts = self._said.spoken.parts if self._said else ()
        found = {row: prompt.tokens[row] for prompt, _ in reversed(parts) for row in _words_in(tokens, prompt)}
        return [found.get(row, str(row)) for row in rows]

    def _not_encoded(self, why: str) -> None:
        """The encoder refused a text: whoever has set it in a voice is answered."""
        voices = [self._params[id] for id in VOICE_TEXTS]
        askers = {voice.origin for voice in voices if self._encodings.refusals([str(voice.base)]) == [why]}
        for asker in sorted(askers) or [""]:
            self._tell(why, asker)

    # --- from wishes to embeddings ---

    def _aim(self, wish: _Wish, now: float) -> None:
        """Give each voice the prompt it wants, or leave it the one it has; mix anew where anything changed."""
        self._encodings.wanted(wish.texts)
        voices = list(self._voices)
        for number in sorted(range(VOICES), key=lambda number: -wish.weights[number]):  # the loudest is encoded first
            text = wish.texts[number]
            if number > 0 and not text:
                voices[number] = None
            elif _lacks((text, voices[number])) or voices[number] is None:
                prompt = self._encodings.fetch(text) if self._target is None else self._encodings.get(text)
                voices[number] = voices[number] if prompt is None else (text, self._placed(prompt))
        before = self._wish or wish
        changed = any(voices[number] is not self._voices[number] for number in before.loud | wish.loud)
        turned = (before.weights, before.blend) != (wish.weights, wish.blend)
        self._voices, self._wish = voices, wish
        if changed or turned:
            self._mix(wish, now, changed)

    def _placed(self, prompt: Prompt) -> Prompt:
        return replace(prompt, embeddings=prompt.embeddings.to(self._device))

    def _mix(self, wish: _Wish, now: float, changed: bool) -> None:
        """The mix of the voices; where their prompts have changed, it is come to from what is said now."""
        voices = [(voice[1], weight) for voice, weight in zip(self._voices, wish.weights, strict=True) if voice]
        sounding = [pair for pair in voices if pair[1] > 0] or [(voices[0][0], 1.0)]
        prompts, weights = zip(*sounding, strict=True)
        target = speak(prompts, weights, wish.blend)
        same = self._target is not None and (target.parts, wish.blend) == (self._target.parts, self._blend)
        if same and not changed:  # the fader of a voice that has no prompt
            return
        if changed and self._said is not None:
            self._start, self._began = self._said.spoken, now
        elif self._said is not None:
            self._moved = now
        self._target, self._blend = target, wish.blend

    def _say(self, now: float, seconds: float, how: Blend) -> Saying | None:
        spoken = self._target
        if self._start is not None:
            spoken = cross(self._start, self._target, share_at(now, self._began, seconds), how)
            if spoken is self._target:
                self._start = None
            if seconds > 0:
                self._moved = now
        saying = Saying(spoken, self._moved is not None and now - self._moved < _SETTLED)
        if self._said is not None and self._said.spoken is spoken and self._said.passing == saying.passing:
            return None
        self._said = saying
        return saying

    # --- the list ---

    def _step(self, by: int, origin: str) -> None:
        self._play(self._place + by, origin)

    def _play(self, place: int, origin: str) -> None:
        if 0 <= place < len(self._list):
            self._place = place
            self._params.set(PROMPT, self._list[place], ORIGIN)
            self._show(place + 1)
            return
        self._follow_text()  # what is shown is what plays
        if self._list:
            self._tell(f"the patch's prompt_list has {len(self._list)} prompts, no number {place + 1}", origin)
        else:
            self._tell("the patch has no prompts to go along; give it a prompt_list", origin)

    def _follow_text(self) -> None:
        """Show where the prompt that is set stands in the list. One that is not there leaves the place as it was."""
        parameter = self._params[PROMPT]
        self._seen[PROMPT], text = parameter.version, parameter.base
        stands = 0 <= self._place < len(self._list) and self._list[self._place] == text
        if text in self._list and not stands:
            self._place = self._list.index(text)
        self._show(self._place + 1 if text in self._list else 0)

    def _show(self, place: int) -> None:
        self._params.set(GOTO, place, ORIGIN)
        self._seen[GOTO] = self._params[GOTO].version


def _lacks(pair: tuple[str, tuple[str, Prompt] | None]) -> bool:
    """Whether a voice has another prompt than it wants, or none though it wants one."""
    text, voice = pair
    return text != voice[0] if voice else bool(text)


def _noticed(prompt: Prompt) -> tuple[str, ...]:
    """What the player should know of a prompt that sounds."""
    if prompt.text.strip() and not prompt.tokens:
        return (*prompt.notices, f"the prompt '{shorten(prompt.text, 40)}' has no word that the model reads")
    return prompt.notices


def _words_in(tokens: str, prompt: Prompt) -> Iterator[int]:
    """The rows of a prompt that a token scope holds and that are words."""
    try:
        return (row for row in scope.held(tokens, prompt.words) if row < len(prompt.tokens))
    except scope.ScopeError:  # typed live
        return iter(())
