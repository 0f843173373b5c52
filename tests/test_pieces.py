"""Pieces of words: places in the text, from either file, and words found through them."""

from __future__ import annotations

import io
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import Precompiled, Replace, Strip
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as PreTokenizers

from pipelines.bends.scope import Words, missing, tokens
from pipelines.house.text import HouseText, TextConfig
from pipelines.pieces import END, PAD, SPACE, PiecesError, PieceTokenizer, clean, open_pieces, pieces_of

LENGTH = 64
SENTENCES = (
    "a purple tulip swaying over a dark sea",
    "the tulip's petals, and a star-shaped lantern",
    "a red star spinning above city lights",
    "slow black water under ice, a purple moon",
    "jellyfish drifting in the ocean at night",
    "a café in Zürich, two tulips and an orange house",
    "紫色的郁金香在黑暗的海面上",
    "медленная чёрная вода",
)


def _model(bytes_known: bool) -> sentencepiece_model_pb2.ModelProto:
    """A small unigram model with UMT5's special ids, trained here; with or without pieces for single bytes."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 8),
        model_writer=made,
        model_type="unigram",
        vocab_size=128 + 256 * bytes_known,
        hard_vocab_limit=False,
        byte_fallback=bytes_known,
        character_coverage=1.0,
        pad_id=PAD,
        eos_id=END,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(made.getvalue())
    return model


def _as_json(model: sentencepiece_model_pb2.ModelProto, words_first: bool) -> str:
    """The same model as the tokenizers package writes it, in both ways that such files are put together."""
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces]
    made = Tokenizer(Unigram(vocabulary, unk_id=2, byte_fallback=model.trainer_spec.byte_fallback))
    normal = Precompiled(model.normalizer_spec.precompiled_charsmap)
    spaces = Metaspace(replacement=SPACE, prepend_scheme="always")
    if words_first:  # as T5's
        made.normalizer, made.pre_tokenizer = normal, PreTokenizers([WhitespaceSplit(), spaces])
    else:
        made.normalizer = Normalizers([normal, Strip(left=False, right=True), Replace(Regex(" {2,}"), SPACE)])
        made.pre_tokenizer = spaces
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.enable_truncation(5)  # as files in the wild may say; the prompt's own length is what counts
    made.enable_padding(length=7)
    return made.to_str()


MODEL, JSON, WORDS_JSON = "spiece.model", "tokenizer.json", "words first, tokenizer.json"
NAMES = (MODEL, JSON, WORDS_JSON)
KINDS = [f"{name} {kind}" for name in NAMES for kind in ("unknown", "bytes")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Tokenizer folders by what they hold: the file, and whether letters it does not know fall back to bytes."""
    found = {}
    for kind, bytes_known in (("unknown", False), ("bytes", True)):
        model = _model(bytes_known)
        contents = {
            MODEL: model.SerializeToString(),
            JSON: _as_json(model, words_first=False).encode(),
            WORDS_JSON: _as_json(model, words_first=True).encode(),
        }
        for name, content in contents.items():
            folder = tmp_path_factory.mktemp(kind)
            (folder / name.split()[-1]).write_bytes(content)
            found[f"{name} {kind}"] = folder
    return found


@pytest.fixture(scope="module")
def opened(folders) -> dict[str, PieceTokenizer]:
    return {kind: open_pieces(folder, LENGTH) for kind, folder in folders.items()}


@pytest.fixture(params=KINDS)
def tokenizer(request, opened) -> PieceTokenizer:
    return opened[request.param]


LETTERS = string.ascii_letters + "   '-.,:!()&_…“”’ﬁ①㌔½Ⅷ日本語郁金香かがカ가각ไทย😀🚀ßİıſςΣéüёЧ\u00a0\u3000"
NATURAL = st.text(st.sampled_from(LETTERS), max_size=24)
ANY = NATURAL | st.text(max_size=12) | st.text(st.sampled_from("ab ¨´¯\u0301\u0308\u200d\u200b\u00ad\u0345\u2581हिन्दी"))


def test_text_is_cleaned_as_the_model_was_trained() -> None:
    assert clean(" a  tulip&amp;amp;rose\n\tthe\u00a0sea ") == "a tulip&rose the sea"
    assert clean("the tulipâ€™s ﬁrst \u201cred\u201d cafe\u0301") == 'the tulip\'s first "red" café'
    assert clean("\ud800 a\x00b") == "\ufffd ab" and clean("") == ""


@pytest.mark.parametrize("name", [JSON, WORDS_JSON])
def test_a_tokenizer_in_memory_reads_as_its_file_does(name: str, folders, opened) -> None:
    """And goes on as it did: transformers cuts and pads by its own settings at every call."""
    transformers = pytest.importorskip("transformers")
    path = folders[f"{name} bytes"] / JSON
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<pad>", eos_token="</s>")
    asked = {"padding": "max_length", "max_length": 9, "truncation": True}
    before = theirs("a red star spinning above city lights", **asked).input_ids
    for text in SENTENCES:
        assert pieces_of(theirs, LENGTH).tokenize(text) == opened[f"{name} bytes"].tokenize(text)
    assert theirs("a red star spinning above city lights", **asked).input_ids == before and len(before) == 9
    with pytest.raises(PiecesError, match="object does not say where pieces stand; load its fast kind"):
        pieces_of(object())


def test_a_prompt_ends_and_is_padded(tokenizer: PieceTokenizer) -> None:
    pieces = tokenizer.tokenize("  a purple   tulip ")
    assert pieces.text == "a purple tulip" and pieces.ids[-1] == END and pieces.ids.count(END) == 1
    assert pieces.padded == [*pieces.ids, *[PAD] * (LENGTH - len(pieces.ids))]
    assert pieces.tokens[-1] == "</s>" and pieces.offsets[-1] == (14, 14) and pieces.notices == ()
    assert "".join(pieces.tokens[:-1]) == f"{SPACE}a{SPACE}purple{SPACE}tulip"
    assert pieces.words.length == LENGTH and tokens("prompt", pieces.words).count(1.0) == len(pieces.ids)
    empty = tokenizer.tokenize(" \n ")
    assert empty.ids == (END,) and empty.offsets == ((0, 0),) and empty.text == ""


def test_a_long_prompt_is_cut_before_its_end_mark(tokenizer: PieceTokenizer) -> None:
    pieces = tokenizer.tokenize("star " * 80)
    assert len(pieces.ids) == LENGTH and pieces.ids[-1] == END and PAD not in pieces.padded
    assert pieces.notices == (f"the prompt is cut before '{'star ' * 4}star': the model reads {LENGTH - 1} pieces",)


def test_end_marks_in_a_prompt_are_plain_text(tokenizer: PieceTokenizer) -> None:
    assert tokenizer.tokenize("a </s> star").ids.count(END) == 1


def test_unknown_letters_are_told(folders) -> None:
    for name in NAMES:
        pieces = open_pieces(folders[f"{name} unknown"]).tokenize("a 龍 star 龍")
        assert pieces.notices == ("the model cannot read '龍'",)
        assert open_pieces(folders[f"{name} bytes"]).tokenize("a 龍 star").notices == ()


@pytest.mark.parametrize(
    "text",
    ["a purple tulip", "Ⅷ star", "x ① ⅔ star", "㌔㌔ moon", "👩\u200d🚀 sea", "Zürich ½ ice", "é́ x̣̂ tulip", "¨ ´ red"],
)
def test_places_are_right_behind_letters_that_change_length(tokenizer: PieceTokenizer, text: str) -> None:
    pieces = tokenizer.tokenize(text)
    last = pieces.text.rindex(" ") + 1
    held = [i for i, weight in enumerate(tokens(pieces.text[last:], pieces.words)) if weight]
    assert held == list(range(held[0], len(pieces.ids) - 1))
    assert pieces.offsets[held[0]][0] == last and pieces.offsets[held[-1]][1] == len(pieces.text)
    assert "".join(pieces.tokens[i] for i in held).lstrip(SPACE) == pieces.text[last:]


def test_all_bytes_of_a_letter_lie_on_it(folders) -> None:
    for name in NAMES:
        pieces = open_pieces(folders[f"{name} bytes"]).tokenize("a 😀龍 star")
        on = [pieces.offsets[i] for i, piece in enumerate(pieces.tokens) if piece.startswith("<0x")]
        assert on == [(2, 3)] * 4 + [(3, 4)] * 3
        assert tokens("😀龍", pieces.words).count(1.0) == 7


@settings(max_examples=200, deadline=None)
@given(text=ANY)
def test_every_piece_lies_on_its_letters(opened, folders, text: str) -> None:
    for kind in ("unknown", "bytes"):
        _lies_on_its_letters(opened[f"{MODEL} {kind}"], folders[f"{MODEL} {kind}"], text)


@settings(max_examples=200, deadline=None)
@given(text=NATURAL)
def test_every_piece_of_the_other_file_does(opened, folders, text: str) -> None:
    for kind in ("unknown", "bytes"):
        for name in (JSON, WORDS_JSON):
            _lies_on_its_letters(opened[f"{name} {kind}"], folders[f"{MODEL} {kind}"], text)


def _lies_on_its_letters(tokenizer: PieceTokenizer, folder: Path, text: str) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / MODEL))
    pieces = tokenizer.tokenize(text)
    starts = [start for start, _ in pieces.offsets]
    assert starts == sorted(starts)
    for piece, (start, end) in zip(pieces.tokens[:-1], pieces.offsets[:-1], strict=True):
        assert 0 <= start <= end <= len(pieces.text)
        letters = piece.strip(SPACE)
        raw = bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else letters.encode()
        assert raw in model.normalize(pieces.text[start:end]).encode(), (piece, pieces.text[start:end])
    on = {at for start, end in pieces.offsets for at in range(start, end)}
    read = pieces.text[: starts[-2] if len(pieces.ids) == LENGTH else None]
    assert all(at in on for at, char in enumerate(read) if char.isalnum())


@settings(max_examples=200, deadline=None)
@given(text=NATURAL)
def test_all_files_give_the_same_pieces(opened, text: str) -> None:
    for kind in ("unknown", "bytes"):
        a, b, c = (opened[f"{name} {kind}"].tokenize(text) for name in NAMES)
        assert a == b == c


WORDS = ("a", "purple", "red", "tulip", "tulips", "s", "star", "shaped", "over", "dark", "sea", "and", "the", "'", "-")


@pytest.fixture(params=["house", *KINDS])
def read(request, opened) -> Callable[[str], Words]:
    """A prompt as a scope sees it, through each kind of tokenizer."""
    if request.param != "house":
        return lambda text: opened[request.param].tokenize(text).words
    house = HouseText(TextConfig(WORDS, text_len=LENGTH))
    return lambda text: house.encode(text).words


@pytest.mark.parametrize(
    ("marked", "scope"),
    [
        ("a [purple] tulip over a dark sea", "purple"),  # a word of several pieces
        ("a [purple tulip] over a dark sea", "purple tulip"),  # a phrase over pieces
        ("a [red] star and a [red] tulip", "red"),  # every occurrence
        ("a red star, and a [red tulip].", "red tulip"),
        ("a [Purple] tulip, [PURPLE]!", "pURPLE"),
        ('a ([tulip]), [tulip]; "[tulip]"...', "tulip"),  # punctuation beside
        ("the [tulip]'s sea", "tulip"),  # and inside
        ("the [tulip's] sea", "tulip's"),
        ("a [star]-shaped [star]", "star"),
        ("a [star-shaped] star", "star-shaped"),
        ("a tulip and two tulips", "tul"),  # half a word is no word
        ("a tulip and two [tulips]", "tulips"),
        ("a dark  purple\n[red  tulip]", "red tulip"),  # however the prompt is spaced
        ("a [purple red tulip] over", "purple red, red tulip"),  # phrases that overlap
        ("[red red red] tulip", "red red"),  # and one that overlaps itself
        ("a [café] in [Zürich]", "zürich, CAFÉ"),
        ("日本 [star] ﬁre [tulip] 😀 [sea]", "star, tulip, sea"),  # behind letters that the vocabulary does not have
        ("a star", "moon"),
        ("a star", ""),
    ],
)
def test_words_are_found_through_every_tokenizer(read, marked: str, scope: str) -> None:
    words = read(marked.replace("[", "").replace("]", ""))
    weights = tokens(scope, words)
    held = {at for place, weight in zip(words.offsets, weights, strict=False) if weight for at in range(*place)}
    shown = "".join(char if at in held else "·" for at, char in enumerate(words.text))
    assert _letters(shown) == _letters(_only_marked(marked)), shown
    assert len(weights) == LENGTH and not any(weights[len(words.offsets) :])
    assert missing(scope, words) == ([] if "[" in marked or not scope else [scope])


def _only_marked(text: str) -> str:
    return " ".join(re.findall(r"\[([^]]*)\]", text))


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def test_a_tokenizer_that_cannot_be_used_says_why(folders, tmp_path) -> None:
    with pytest.raises(PiecesError, match=r"no tokenizer in .*; it needs spiece\.model or tokenizer\.json"):
        open_pieces(tmp_path)
    for name in (MODEL, JSON):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"not a tokenizer")
        with pytest.raises(PiecesError, match="cannot be read"):
            open_pieces(folder)
    other = Tokenizer.from_file(str(folders[f"{JSON} bytes"] / JSON)).to_str()
    (tmp_path / JSON).write_text(other.replace("</s>", "<end>"))
    with pytest.raises(PiecesError, match="has '<pad>' and '<end>' at ids 0 and 1"):
        open_pieces(tmp_path)


@pytest.mark.parametrize("package", ["sentencepiece", "ftfy"])
def test_a_missing_package_is_named(folders, monkeypatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PiecesError, match=rf"needs the package {package}; install attentionbender\[gpu\]"):
        open_pieces(folders[f"{MODEL} bytes"]).tokenize("a star")
