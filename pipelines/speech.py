"""What a stream's network is told: a prompt from the next pass on, or on the way from one to the next, chunk by chunk.

Knows when the past was made under another text, not what is done about it; no schedule and no cache.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from pipelines.bends.scope import Words
from pipelines.passes import Passes
from pipelines.text import Prompt, Spoken, transition
from pipelines.transfer import to_device
from pipelines.wan import TextMemory


class Speech:
    """One stream's. `text` is what the blocks read now, None before the first prompt; `spoken` what they read for the
    last chunk; `words` are the prompt's, for bends."""

    def __init__(self, passes: Passes, chunks: int, device: torch.device) -> None:
        """`chunks`: how many a change of prompt takes, as the recipe has it."""
        self._passes, self._chunks, self._device = passes, chunks, device
        self.forget()

    def forget(self) -> None:
        """Nothing was ever said."""
        self.text: TextMemory | None = None
        self.spoken: TextMemory | None = None
        self.words: Words | None = None
        self.embeddings: Tensor | None = None  # of `text`
        self.coming: deque[Tensor] = deque()  # what they will be, chunk by chunk
        self.stale = False  # the past holds an older text
        self._passing = False  # the text is on its way to another

    def read(self, prompt: Prompt | Spoken, passing: bool = False) -> None:
        """As Stream.read_prompt."""
        self.words, self._passing = prompt.words, passing
        self.coming.clear()
        by_and_by = self._chunks > 1 and self.embeddings is not None
        embeddings = to_device(prompt.embeddings, self._device)  # from wherever they were made
        if passing or not by_and_by or embeddings is self.embeddings:
            self._say(embeddings, keep=not passing)
        else:
            self.coming.extend(transition(self.embeddings, embeddings, self._chunks))

    def onward(self) -> None:
        """A chunk begins: one further on the way to the prompt."""
        if self.coming:
            self._say(self.coming.popleft())

    @property
    def rewrite_due(self) -> bool:
        """Whether the past holds an older text than the one that is said, which is not on its way to another: time to
        write the past again. Whoever does sets `stale` back."""
        return self.stale and not self._passing

    def was_heard(self) -> None:
        """A chunk was denoised."""
        self.spoken = self.text

    def _say(self, embeddings: Tensor, keep: bool = True) -> None:
        with torch.inference_mode():
            text = self._passes.read_text(embeddings, keep)
        self.stale |= text is not self.text
        self.text, self.embeddings = text, embeddings
