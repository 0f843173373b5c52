"""The UMT5 kind of tokenizer: text in pieces of words, each piece with its place in the text.

Reads a folder that holds a SentencePiece model (`spiece.model`) or the same as `tokenizer.json`, or takes what a
pipeline of diffusers has loaded. Conventions are those Wan was trained with: cleaned text, an end mark after it, 512
rows. Knows nothing of embeddings or encoders.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipelines.bends.scope import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, END = 0, 1
PAD_PIECE, END_PIECE = "<pad>", "</s>"
TEXT_LEN = 512
SPACE = "\u2581"  # how a piece writes the space before it: "▁"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how a piece writes one byte of a letter that the vocabulary does not have


class PiecesError(RuntimeError):
    """A tokenizer that cannot be used; the message names the folder, what is wrong with it and the remedy."""


class Piece(NamedTuple):
    """One piece: its row in the vocabulary, its text there, (start, end) in the cleaned text, and whether it stands
    for letters the vocabulary does not have."""

    id: int
    text: str
    place: tuple[int, int]
    unknown: bool


class Pieces(NamedTuple):
    """A prompt in pieces, cut to what the model reads. `text` is the cleaned prompt that `offsets` point into; the
    last piece is the end mark, which has a row but no place (an empty one at the end of the text)."""

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    notices: tuple[str, ...]
    length: int

    @property
    def words(self) -> Words:
        """What a bend's token scope needs of this prompt."""
        return Words(self.text, self.offsets, self.length)

    @property
    def padded(self) -> list[int]:
        """The ids filled up to the length the model reads."""
        return [*self.ids, *[PAD] * (self.length - len(self.ids))]


class PieceTokenizer:
    """Any text to pieces; made by `open_pieces`."""

    def __init__(self, split: Callable[[str], list[Piece]], length: int = TEXT_LEN) -> None:
        self._split, self.length = split, length

    def tokenize(self, text: str) -> Pieces:
        """Clean, split, cut and end the text; what was cut off or not known is told in the notices."""
        text = clean(text)
        found = [piece for piece in self._split(text) if piece.id not in (PAD, END)]  # nobody may write an end mark
        read = found[: self.length - 1]
        notices = [f"the model cannot read '{text[slice(*piece.place)]}'" for piece in read if piece.unknown]
        if len(found) > len(read):
            rest = text[found[len(read)].place[0] :]
            notices.append(f"the prompt is cut before '{rest[:24].strip()}': the model reads {len(read)} pieces")
        end = Piece(END, END_PIECE, (len(text), len(text)), False)
        ids, tokens, places, _ = zip(*read, end, strict=True)
        return Pieces(text, ids, tokens, places, tuple(dict.fromkeys(notices)), self.length)


def open_pieces(folder: Path, length: int = TEXT_LEN) -> PieceTokenizer:
    """The tokenizer in a folder, from its `spiece.model` or else its `tokenizer.json`; raises PiecesError."""
    for name, read in (("spiece.model", _sentencepiece), ("tokenizer.json", _tokenizers)):
        path = folder / name
        if path.is_file():
            return PieceTokenizer(read(path), length)
    raise PiecesError(f"no tokenizer in {folder}; it needs spiece.model or tokenizer.json, as google/umt5-xxl has them")


def pieces_of(tokenizer: PreTrainedTokenizerFast, length: int = TEXT_LEN) -> PieceTokenizer:
    """The same from a tokenizer of transformers that stands in memory, `pipe.tokenizer` say; raises PiecesError. Its
    settings for cutting and padding are cleared: transformers sets them anew at every call."""
    model = getattr(tokenizer, "backend_tokenizer", None)
    if model is None:
        raise PiecesError(f"{type(tokenizer).__name__} does not say where pieces stand; load its fast kind")
    return PieceTokenizer(_split_by(model, type(tokenizer).__name__), length)


def clean(text: str) -> str:
    """The text as Wan's prompts were cleaned: broken encodings mended, HTML entities read (twice, as pages quote
    them), every run of white space one space, none at the ends."""
    try:
        import ftfy
    except ImportError as error:
        raise PiecesError("cleaning prompts needs the package ftfy; install attentionbender[gpu]") from error
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def _sentencepiece(path: Path) -> Callable[[str], list[Piece]]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise PiecesError(f"{path} needs the package sentencepiece; install attentionbender[gpu]") from error
    model = SentencePieceProcessor()
    try:
        model.Load(str(path))
    except (RuntimeError, OSError) as error:
        raise PiecesError(f"{path} cannot be read ({error}); fetch it again") from error
    _check(path, model.id_to_piece(PAD), model.id_to_piece(END))

    def split(text: str) -> list[Piece]:
        ids, pieces = model.encode(text, out_type=int), model.encode(text, out_type=str)
        raw = [
            bytes([int(piece[3:5], 16)]) if model.is_byte(index) else piece.encode()
            for index, piece in zip(ids, pieces, strict=True)
        ]
        places = _places(raw, *model.normalize(text, with_offsets=True))
        return [
            Piece(index, piece, _letters(text, piece, place), model.is_unknown(index))
            for index, piece, place in zip(ids, pieces, places, strict=True)
        ]

    return split


def _places(raw: Sequence[bytes], normal: str, origin: Sequence[int]) -> list[tuple[int, int]]:
    """Where pieces lie in the text they were made from.

    `raw` are the pieces in UTF-8, together `normal`, the text as the tokenizer normalised it; `origin` gives the place
    in the text of each letter of `normal`, and the text's end. Pieces that share one letter of the text (the bytes of
    an emoji, the f of a ligature) all lie on the whole of it.
    """
    letter = [index for index, char in enumerate(normal) for _ in char.encode()]  # of each byte
    after, following = [0] * len(normal), origin[len(normal)]  # where the text goes on behind each letter
    for index in reversed(range(len(normal))):
        if origin[index + 1] > origin[index]:
            following = origin[index + 1]
        after[index] = following
    places, at = [], 0
    for piece in raw:
        places.append((origin[letter[at]], after[letter[at + len(piece) - 1]]))
        at += len(piece)
    return places


def _tokenizers(path: Path) -> Callable[[str], list[Piece]]:
    from tokenizers import Tokenizer

    try:
        model = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing more exact
        raise PiecesError(f"{path} cannot be read ({error}); fetch it again") from error
    return _split_by(model, path)


def _split_by(model: Tokenizer, name: Path | str) -> Callable[[str], list[Piece]]:
    # Places are the package's own. Where one sign became several around an accent or a joiner ("¨"), they can be one
    # sign off; SentencePiece's are exact.
    _check(name, model.id_to_token(PAD), model.id_to_token(END))
    model.no_truncation()
    model.no_padding()
    unknown = model.token_to_id("<unk>")
    normal = (lambda letter: letter) if model.normalizer is None else model.normalizer.normalize_str

    def split(text: str) -> list[Piece]:
        found = model.encode(text, add_special_tokens=False)
        places = [_whole(text, *place) for place in _single(text, found.tokens, found.offsets, normal)]
        return [
            Piece(index, piece, _letters(text, piece, place), index == unknown)
            for index, piece, place in zip(found.ids, found.tokens, places, strict=True)
        ]

    return split


def _single(
    text: str, pieces: Sequence[str], places: Sequence[tuple[int, int]], normal: Callable[[str], str]
) -> list[tuple[int, int]]:
    """Runs of byte pieces, which all come with the place of their whole run, each put on its own letter where the
    letters normalise one by one."""
    found: list[tuple[int, int]] = []
    while len(found) < len(pieces):
        first = last = len(found)
        while last < len(pieces) and _BYTE.fullmatch(pieces[last]) and places[last] == places[first]:
            last += 1
        start, end = places[first]
        run = bytes(int(piece[3:5], 16) for piece in pieces[first:last])
        letters = [normal(letter).encode() for letter in text[start:end]]
        if run and b"".join(letters) == run:
            found.extend((start + i, start + i + 1) for i, letter in enumerate(letters) for _ in letter)
        else:
            found.extend([(start, end)] * max(last - first, 1))
    return found


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """The place with the accents behind it, which the package leaves out where they joined a letter."""
    while start < end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return start, end


def _letters(text: str, piece: str, place: tuple[int, int]) -> tuple[int, int]:
    """The place without the space before the letters. A piece that is only a space lies on it, and at the beginning,
    where the text has none, nowhere."""
    start, end = place
    if not piece.strip(SPACE):
        spaces = [at for at in (start, start - 1) if text[max(at, 0) : at + 1].isspace()]
        return (spaces[0], spaces[0] + 1) if spaces else (start, start)
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _check(name: Path | str, pad: str | None, end: str | None) -> None:
    if (pad, end) != (PAD_PIECE, END_PIECE):
        raise PiecesError(f"{name} has '{pad}' and '{end}' at ids 0 and 1, not {PAD_PIECE} and {END_PIECE} as UMT5 has")
