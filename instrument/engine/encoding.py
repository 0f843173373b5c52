"""Texts to prompts without holding anybody up: a slow encoder works in a thread of its own, only the latest wish waits.

Knows encoders; no parameters, no stream.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from instrument.parameters.values import shorten
from pipelines.text import Prompt, TextEncoder

REMEMBERED = 160  # prompts: a whole list of them, and some that were typed


class Encodings:
    """One encoder's. Asked from the engine's thread only; `tell` takes a line for the player and must not wait."""

    def __init__(self, encoder: TextEncoder, tell: Callable[[str], None]) -> None:
        self.encoder, self._tell = encoder, tell
        self.patient = False  # wait for every prompt, however long it takes: for rendering
        self._known: OrderedDict[str, Prompt] = OrderedDict()
        self._refused: dict[str, str] = {}  # text -> what the player should know
        self._ahead: list[str] = []
        self._awaited: tuple[str, Future[Prompt]] | None = None
        self._worker: ThreadPoolExecutor | None = None

    def get(self, text: str) -> Prompt | None:
        """The prompt if it can be had within this step; None where it is awaited or was refused. Ask again at the next
        step.

        An encoder that says it is quick is waited for, so that its answer is heard at the very step that asks; a slow
        one is given one text at a time, and a text that nobody asks for any more is never begun.
        """
        prompt = self._recall(text)
        if prompt is not None or text in self._refused:
            return prompt
        if not (self.patient or self.encoder.quick):
            self._await(text)
            return None
        try:
            return self.fetch(text)
        except Exception as problem:  # an encoder may fail in any way; the show goes on
            self._refuse(text, problem)
            return None

    def fetch(self, text: str) -> Prompt:
        """The prompt, however long it takes. Raises what the encoder raises."""
        return self._recall(text) or self._keep(text, self.encoder.encode(text))

    def learn(self, prompts: Mapping[str, Prompt]) -> None:
        """What somebody else had encoded, by its text; where they are too many the first are kept."""
        for text, prompt in reversed(prompts.items()):
            self._keep(text, prompt)

    def wanted(self, texts: Iterable[str]) -> None:
        """What is asked for now. A text that was refused is tried again once it was given up and asked for anew."""
        kept = set(texts)
        self._refused = {text: why for text, why in self._refused.items() if text in kept}

    def refusals(self, texts: Iterable[str]) -> list[str]:
        """What the player should know of those of these texts that cannot be had."""
        return [self._refused[text] for text in dict.fromkeys(texts) if text in self._refused]

    def ahead(self, texts: Iterable[str]) -> None:
        """Encode these too, whenever there is nothing else to do."""
        self._ahead = [text for text in dict.fromkeys(texts) if text not in self._known]

    def tick(self) -> None:
        """Take what the worker has done, and give it more if it is idle."""
        if self._awaited is not None and self._awaited[1].done():
            (text, future), self._awaited = self._awaited, None
            try:
                self._keep(text, future.result())
            except Exception as problem:  # as above
                self._refuse(text, problem)
        if self._ahead and self._awaited is None:
            self.get(self._ahead.pop(0))

    @property
    def waiting(self) -> str | None:
        """The text that is being encoded."""
        return self._awaited[0] if self._awaited else None

    def close(self) -> None:
        """The worker ends with what it is at."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _recall(self, text: str) -> Prompt | None:
        prompt = self._known.get(text)
        if prompt is not None:
            self._known.move_to_end(text)
        return prompt

    def _keep(self, text: str, prompt: Prompt) -> Prompt:
        self._known[text] = prompt  # the newest last
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return prompt

    def _await(self, text: str) -> None:
        if self._awaited is None:
            self._worker = self._worker or ThreadPoolExecutor(1, "prompts")
            self._awaited = text, self._worker.submit(self.encoder.encode, text)

    def _refuse(self, text: str, problem: Exception) -> None:
        fault = f"{type(problem).__name__}: {shorten(' '.join(str(problem).split()), 200)}"
        why = f"the prompt '{shorten(text, 40)}' cannot be encoded ({fault}); what played before plays on"
        self._refused[text] = why
        self._tell(why)
