"""Prompts: text to the embeddings a transformer reads, with every token's place in the text.

Any text encoder is an object with `encode(text) -> Prompt`; the offsets let a bend find words, whatever the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from pipelines.bends.scope import Words


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt.

    `embeddings` is [1, text_len, text_dim], zero past the real tokens; `tokens` and `offsets` (start, end in `text`)
    describe the real ones. `notices` is what a player should hear of it (unknown words).
    """

    text: str
    embeddings: Tensor = field(compare=False, repr=False)
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    notices: tuple[str, ...] = ()

    @property
    def words(self) -> Words:
        """What a bend's token scope needs of this prompt."""
        return Words(self.text, self.offsets, self.embeddings.shape[1])


class TextEncoder(Protocol):
    def encode(self, text: str) -> Prompt:
        """Any text, however odd, gives a prompt; what was not understood is in its notices."""


def blend(prompts: Sequence[Prompt], weights: Sequence[float]) -> Tensor:
    """The weighted mean of prompts' embeddings, [1, text_len, text_dim]; weights need not sum to one.

    Raises ValueError when the lists differ in length or all weights are zero.
    """
    if len(prompts) != len(weights) or not sum(weights) > 0:
        raise ValueError(f"blending needs one weight per prompt and a positive sum, got {list(weights)}")
    total = sum(weights)
    mixed = prompts[0].embeddings * (weights[0] / total)
    for prompt, weight in zip(prompts[1:], weights[1:], strict=True):
        mixed = mixed + prompt.embeddings * (weight / total)
    return mixed
