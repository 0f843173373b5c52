"""Scope: where a bend acts, as numbers a hand can move: steps x layers x (tokens | neurons) x heads.

Everything here runs on the host with plain lists; the results are small weight vectors in 0..1. A weight blends a
lever toward its neutral amount. This file knows no tensors and no prompt beyond its text and token offsets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

ALL = "all"
PROMPT = "prompt"
_COMMAS = re.compile("[,，、]")
_APOSTROPHES = re.compile("['’]")
# Scripts written without spaces, by how Unicode names their letters: a word may begin and end anywhere in them.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


class ScopeError(ValueError):
    """A scope that cannot be read; the message says what is wrong and what is accepted."""


class Span(NamedTuple):
    """A soft-edged window on a line of indices, by its center and width: [center - width/2, center + width/2]."""

    center: float
    width: float
    feather: float = 0.0

    @classmethod
    def of(cls, lo: float, hi: float, feather: float = 0.0) -> Span:
        """The inclusive range lo..hi; raises ScopeError when it runs backwards."""
        if hi < lo:
            raise ScopeError(f"range [{lo}, {hi}] runs backwards; write the low end first")
        return cls((lo + hi) / 2, hi - lo, feather)

    def within(self, last: float) -> Span:
        """The same window, its ends cut to 0..last."""
        lo, hi = (min(max(end, 0.0), last) for end in (self.center - self.width / 2, self.center + self.width / 2))
        return Span.of(lo, hi, min(self.feather, last))

    def weight(self, index: float) -> float:
        """1 inside (ends included), falling to 0 at `feather` beyond the ends. A hard window narrower than one index
        holds the nearest, so that one swept along the line never holds nothing."""
        least = 0.0 if self.feather > 0 else 0.5
        outside = abs(index - self.center) - max(self.width / 2, least)
        if outside <= 1e-6:
            return 1.0
        return max(0.0, 1.0 - outside / self.feather) if self.feather > 0 else 0.0

    def weights(self, count: int) -> list[float]:
        return [self.weight(index) for index in range(count)]


@dataclass(frozen=True)
class Scope:
    """Where a bend acts when its patch loads; every field becomes a parameter. None = everywhere."""

    steps: Span | None = None
    layers: Span | None = None
    tokens: str = ALL
    neurons: str = ALL
    band: Span = field(default=Span(0.5, 1.0))
    heads: str = ALL


class Words(NamedTuple):
    """A prompt as a scope sees it: its text, each real token's (start, end) in it, and the padded length.

    While several prompts sound, `share` is how much of it is this one's, and `others` are the rest; shares sum to one.
    `said`: it was asked for, however empty; not so before the first prompt.
    """

    text: str
    offsets: Sequence[tuple[int, int]]
    length: int
    share: float = 1.0
    others: tuple[Words, ...] = ()
    said: bool = True

    @property
    def every(self) -> Iterator[Words]:
        """Each prompt that sounds, by itself."""
        yield self
        yield from self.others


def ranges(text: str, count: int, what: str) -> list[float]:
    """Weights (0 or 1) of 0..count-1 for "all" or ranges such as "0-1023, 4096-5119".

    Raises ScopeError naming `what` when the text is not of that form or an end lies outside.
    """
    if text.strip().lower() == ALL:
        return [1.0] * count
    weights = [0.0] * count
    for lo, hi in index_ranges(text, what):
        if hi >= count:
            raise ScopeError(f"{what} {hi} does not exist; they are 0-{count - 1}")
        weights[lo : hi + 1] = [1.0] * (hi + 1 - lo)
    return weights


def index_ranges(text: str, what: str) -> list[tuple[int, int]]:
    """ "0-1023, 4096" -> [(0, 1023), (4096, 4096)], ends inclusive; ScopeError naming `what` for anything else."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ScopeError(f"{what} '{part}' is not a number or a range; write for example 0-3, 7 or all")
        lo, hi = int(match[1]), int(match[2] or match[1])
        if hi < lo:
            raise ScopeError(f"{what} '{part}' runs backwards; write {hi}-{lo}")
        found.append((lo, hi))
    return found


def band(span: Span, count: int) -> list[float]:
    """Weights of 0..count-1 for a window given in 0..1 of the whole width."""
    if span.width >= 1.0 and abs(span.center - 0.5) < 1e-9:
        return [1.0] * count
    scaled = Span(span.center * count - 0.5, max(span.width * count - 1, 0.0), span.feather * count)
    return scaled.weights(count)


def tokens(text: str, words: Words) -> list[float]:
    """Weights of a prompt's tokens [words.length] for "all", "prompt", index ranges, or words and phrases of the
    prompt, comma-separated; matched whole-word and case-insensitively, every occurrence. In double quotes a
    number, "all" and "prompt" are words like any other.

    Words that are not in the prompt scope nothing (`missing` names them). Of several prompts that sound, each holds
    its own rows by its share, so that a row's weight is the share of the prompts in which it is in scope.
    """
    weights = [0.0] * words.length
    for each in words.every:
        for index in held(text, each):
            weights[index] += each.share
    return [min(round(weight, 6), 1.0) for weight in weights]  # shares sum to one but for rounding


def held(text: str, words: Words) -> tuple[int, ...]:
    """The indices of one prompt's tokens in scope, the other prompts that sound left out."""
    return _held(text, words.text, tuple(words.offsets), words.length)


@lru_cache(maxsize=1024)  # shares move at every step of a change of prompts; where words stand does not
def _held(text: str, prompt: str, offsets: tuple[tuple[int, int], ...], length: int) -> tuple[int, ...]:
    chosen: set[int] = set()
    for part in _parts(text):
        if part.lower() == ALL:
            return tuple(range(length))
        if part.lower() == PROMPT:
            chosen.update(range(len(offsets)))
        elif _RANGE.fullmatch(part):
            chosen.update(index for index, weight in enumerate(ranges(part, length, "token")) if weight)
        else:
            chosen.update(_occurrences(part, Words(prompt, offsets, length)))
    return tuple(sorted(chosen))


def asks_for_words(text: str) -> bool:
    """Whether what a token scope holds depends on the prompt: any word or phrase, or `prompt`."""
    return any(part.lower() != ALL and not _RANGE.fullmatch(part) for part in _parts(text))


def missing(text: str, words: Words) -> list[str]:
    """The words and phrases of a token scope that no prompt which sounds contains."""
    plain = [part for part in _parts(text) if part.lower() not in (ALL, PROMPT) and not _RANGE.fullmatch(part)]
    return [part.strip('"') for part in plain if not any(_occurrences(part, each) for each in words.every)]


def _parts(text: str) -> list[str]:
    return [part for part in (" ".join(piece.split()) for piece in _COMMAS.split(text)) if part]


def _occurrences(phrase: str, words: Words) -> list[int]:
    """The indices of the tokens that share a letter with the phrase, wherever it stands, also over itself."""
    matches = (match.span(1) for match in _pattern(phrase.strip('"')).finditer(words.text))
    found = [(begin, stop) for begin, stop in matches if not any(_runs_on(words.text, at) for at in (begin, stop))]
    return [
        index
        for index, (start, end) in enumerate(words.offsets)
        if any(start < stop and end > begin for begin, stop in found)
    ]


def _pattern(phrase: str) -> re.Pattern[str]:
    """The phrase in any case, with either apostrophe, its accents joined to their letters or not."""
    forms = dict.fromkeys(unicodedata.normalize(form, phrase) for form in ("NFC", "NFD"))
    written = (r"\s+".join(re.escape(word) for word in form.split()) for form in forms)
    return re.compile("(?=(" + _APOSTROPHES.sub("['’]", "|".join(written)) + "))", re.IGNORECASE)


def _runs_on(text: str, at: int) -> bool:
    """Whether a word of the text goes on over this place."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if not (_in_word(left) and _in_word(right)):
        return False
    return _is_mark(right) or not any(unicodedata.name(char, "").startswith(_UNSPACED) for char in (left, right))


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_" or _is_mark(char)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")  # an accent or vowel sign of the letter before it
