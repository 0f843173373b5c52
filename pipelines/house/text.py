"""The house model's text: a word-level tokenizer and a tiny encoder, trained together with the transformer.

In English what describes comes before what is described: "a purple tulip swaying". So each layer lets a word look at
itself and at the few words that follow, never back. "purple" comes to know that it belongs to a tulip, while "tulip"
stays the same whatever its colour. That is what makes words playable one by one: a bend scoped to "purple" moves the
colour of that one thing and leaves the tulip, and every other thing, alone.

Knows nothing of the transformer beyond the size of the rows it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

from pipelines.text import Prompt

PAD, UNK = 0, 1
_SPECIAL = ("[PAD]", "[UNK]")


@dataclass(frozen=True)
class TextConfig:
    """`vocabulary`: every known token, in the order of the embedding's rows after [PAD] and [UNK]. `ahead`: how many
    following words one layer sees."""

    vocabulary: tuple[str, ...]
    text_len: int = 24
    text_dim: int = 128
    hidden: int = 128
    layers: int = 2
    ahead: int = 3


class Tokens(NamedTuple):
    """A text in pieces, cut to what the model reads: ids, the words themselves, their places, and notices."""

    ids: list[int]
    words: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    notices: tuple[str, ...]


def word_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """Lower-case words and punctuation marks, each with its place in the text as given."""
    ids = {token: index for index, token in enumerate((*_SPECIAL, *vocabulary))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=_SPECIAL[UNK]))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


class LookAhead(nn.Module):
    """x_t plus a small network over x_t ... x_{t + ahead}; past the end of the text there are zeros."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ahead = config.ahead
        self.norm = nn.LayerNorm(config.text_dim)
        self.mlp = nn.Sequential(
            nn.Linear((1 + config.ahead) * config.text_dim, config.hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.hidden, config.text_dim),
        )

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x [B, L, dim], real [B, L, 1] in 0/1."""
        length = x.shape[1]
        padded = F.pad(self.norm(x) * real, (0, 0, 0, self.ahead))
        view = torch.cat([padded[:, k : k + length] for k in range(self.ahead + 1)], dim=-1)
        return x + self.mlp(view)


class HouseText(nn.Module):
    """Text to the rows a transformer attends to; satisfies `pipelines.text.TextEncoder`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = word_tokenizer(config.vocabulary)
        self.embedding = nn.Embedding(len(config.vocabulary) + len(_SPECIAL), config.text_dim)
        self.layers = nn.ModuleList([LookAhead(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.text_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids [B, text_len], padded with 0 -> [B, text_len, text_dim], exactly zero on padding."""
        real = (ids != PAD).unsqueeze(-1).to(self.norm.weight.dtype)
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, real)
        return self.norm(x) * real

    @property
    def quick(self) -> bool:
        """A millisecond or two."""
        return True

    def encode(self, text: str) -> Prompt:
        """Any text; unknown words and what was cut off are told in the prompt's notices."""
        tokens = self.tokenize(text)
        ids = self._padded([tokens.ids]).to(self.norm.weight.device)
        with torch.no_grad():
            rows = self(ids)
        return Prompt(text, rows, tokens.words, tokens.offsets, tokens.notices)

    def let_go(self) -> None:
        """It is small; there is nothing to free."""

    def tokenize(self, text: str) -> Tokens:
        """Punctuation the model has never seen is passed over; an unknown word stays as [UNK]."""
        found = self.tokenizer.encode(text)
        kept = [
            (index, place)
            for index, place in zip(found.ids, found.offsets, strict=True)
            if index != UNK or any(letter.isalnum() for letter in text[slice(*place)])
        ]
        read = kept[: self.config.text_len]
        words = tuple(text[slice(*place)].lower() for _, place in read)
        notices = [self._unknown(word) for word, (index, _) in zip(words, read, strict=True) if index == UNK]
        if len(kept) > len(read):
            first, limit = text[slice(*kept[len(read)][1])], self.config.text_len
            notices.append(f"the prompt is cut before '{first}': the model reads {limit} words and commas")
        places = tuple(place for _, place in read)
        return Tokens([index for index, _ in read], words, places, tuple(dict.fromkeys(notices)))

    def batch(self, texts: Sequence[str]) -> Tensor:
        """Ids [len(texts), text_len] int64 on the CPU, padded and cut."""
        return self._padded([found.ids for found in self.tokenizer.encode_batch(list(texts))])

    def _padded(self, rows: list[list[int]]) -> Tensor:
        length = self.config.text_len
        return torch.tensor([(row + [PAD] * length)[:length] for row in rows], dtype=torch.long).view(-1, length)

    def _unknown(self, word: str) -> str:
        near = get_close_matches(word, self.config.vocabulary, n=3, cutoff=0.6)
        hint = f"; near it: {', '.join(near)}" if near else ""
        return f"the model does not know '{word}'{hint}"
