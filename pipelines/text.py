"""Prompts: text to the embeddings a transformer reads, with every token's place in the text.

Any text encoder is an object with `encode(text) -> Prompt`; the offsets let a bend find words, whatever the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
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


@dataclass(frozen=True)
class Spoken:
    """What the transformer is told: one prompt, several at once, or something on the way between them.

    `embeddings` is [1, text_len, text_dim]; `parts` are the prompts in it with their shares, the largest first, which
    sum to one.
    """

    embeddings: Tensor = field(compare=False, repr=False)
    parts: tuple[tuple[Prompt, float], ...]

    @property
    def words(self) -> Words:
        """What token scopes need: every prompt's words at their own rows, weighed by its share."""
        first, *others = (prompt.words._replace(share=share) for prompt, share in self.parts)
        return first._replace(others=tuple(others))


class TextEncoder(Protocol):
    """From words to what a transformer reads of them."""

    @property
    def quick(self) -> bool:
        """Whether `encode` takes no longer than a few milliseconds, so that a picture may wait for it."""

    def encode(self, text: str) -> Prompt:
        """Any text, however odd, gives a prompt; what was not understood is in its notices."""

    def let_go(self) -> None:
        """Free what is large; it comes back with the next text that needs it."""


Blend = Literal["linear", "slerp"]


FAINTEST = 1e-3  # shares below this are not told apart from nothing


def speak(prompts: Sequence[Prompt], weights: Sequence[float], how: Blend = "linear") -> Spoken:
    """Several prompts at once, by weight. Raises ValueError as `mix` does."""
    embeddings, total = blend(prompts, weights, how), sum(weights)
    return Spoken(
        embeddings, _shares((prompt, weight / total) for prompt, weight in zip(prompts, weights, strict=True))
    )


def cross(start: Spoken, end: Spoken, share: float, how: Blend = "linear") -> Spoken:
    """On the way from one to the other; the ends themselves at 0 and 1."""
    if share <= 0.0 or share >= 1.0:
        return start if share <= 0.0 else end
    parts = [(prompt, own * (1 - share)) for prompt, own in start.parts]
    parts += [(prompt, own * share) for prompt, own in end.parts]
    return Spoken(between(start.embeddings, end.embeddings, share, how), _shares(parts))


def _shares(parts: Iterable[tuple[Prompt, float]]) -> tuple[tuple[Prompt, float], ...]:
    """Each prompt once, the largest share first, without those that nobody would notice; they sum to one."""
    sums: dict[int, tuple[Prompt, float]] = {}
    for prompt, share in parts:
        sums[id(prompt)] = prompt, share + sums.get(id(prompt), (prompt, 0.0))[1]
    kept = sorted((part for part in sums.values() if part[1] >= FAINTEST), key=lambda part: -part[1])
    total = sum(share for _, share in kept)
    return tuple((prompt, share / total) for prompt, share in kept)


def blend(prompts: Sequence[Prompt], weights: Sequence[float], how: Blend = "linear") -> Tensor:
    """Prompts' embeddings mixed by weight, [1, text_len, text_dim]; weights need not sum to one. See `mix`."""
    return mix([prompt.embeddings for prompt in prompts], weights, how)


def mix(embeddings: Sequence[Tensor], weights: Sequence[float], how: Blend = "linear") -> Tensor:
    """Embeddings [1, rows, dim] mixed by weight: their mean, or with "slerp" one after the other along great circles.

    Raises ValueError when the lists differ in length, a weight is negative or all are zero.
    """
    if len(embeddings) != len(weights) or min(weights, default=-1.0) < 0 or not sum(weights) > 0:
        raise ValueError(f"blending needs one weight per prompt, none negative and a positive sum, got {list(weights)}")
    mixed, total = embeddings[0] * 0.0, 0.0
    for rows, weight in zip(embeddings, weights, strict=True):
        if weight > 0:
            total += weight
            mixed = rows if total == weight else between(mixed, rows, weight / total, how)
    return mixed


def between(start: Tensor, end: Tensor, share: float, how: Blend = "linear") -> Tensor:
    """Embeddings [..., rows, dim] on the way from start (share 0) to end (share 1).

    "slerp" turns each row's direction at an even speed and moves its length linearly (Shoemake 1985); rows without a
    direction of their own, or with opposite ones, go straight.
    """
    if share <= 0.0 or share >= 1.0:
        return start if share <= 0.0 else end
    straight = start + (end - start) * share
    if how == "linear":
        return straight
    lengths = start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True)
    a, b = start / lengths[0].clamp(min=SHORTEST), end / lengths[1].clamp(min=SHORTEST)
    cosine = (a * b).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    turned = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle).clamp(min=SHORTEST)
    turned = turned * (lengths[0] + (lengths[1] - lengths[0]) * share)
    clear = (torch.minimum(*lengths) > SHORTEST) & (cosine.abs() < PARALLEL)
    return torch.where(clear, turned, straight)


SHORTEST = 1e-6  # rows shorter than this have no direction
PARALLEL = 1 - 1e-6  # cosine beyond which a great circle is a straight line, or no one circle


def transition(start: Tensor, end: Tensor, count: int, how: Blend = "linear") -> list[Tensor]:
    """`count` embeddings from start to end, both included: one a chunk. A single one is the end."""
    if count < 1:
        raise ValueError(f"a transition of {count} chunks: take 1 or more")
    if count == 1:
        return [end]
    return [between(start, end, i / (count - 1), how) for i in range(count)]


def share_at(now: float, began: float, seconds: float) -> float:
    """How far a timed transition has come, 0..1: even in time, and done at once where it takes none."""
    if seconds <= 0.0:
        return 1.0
    return min(max((now - began) / seconds, 0.0), 1.0)
