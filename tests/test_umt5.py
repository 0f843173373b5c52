"""The text encoder against the reference, from both of its layouts; embeddings kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipelines import umt5
from pipelines.checkpoint import LoadError
from pipelines.pieces import Piece, PieceTokenizer
from pipelines.umt5 import UMT5Text, load_umt5, umt5_names
from tests import golden

pytest.importorskip("transformers")
pytest.importorskip("ftfy")
CASE = "umt5/tiny"


def _weights() -> dict[str, Tensor]:
    return {name[2:]: tensor for name, tensor in golden.tensors(CASE).items() if name.startswith("w.")}


def _original(folder: Path) -> Path:
    path = folder / "models_t5_umt5-xxl-enc-bf16.pth"
    torch.save(_weights(), path)
    return path


def _transformers(folder: Path) -> Path:
    """As diffusers' repository has it: a folder, the word table under its two names or one."""
    tensors = umt5_names(_weights())
    del tensors["encoder.embed_tokens.weight"]
    (folder / "text_encoder").mkdir()
    save_file(tensors, folder / "text_encoder" / "model.safetensors")
    return folder / "text_encoder"


def _split(text: str) -> list[Piece]:
    """Words to made-up ids."""
    pieces, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        pieces.append(Piece(2 + sum(word.encode()) % 190, word, (at, at + len(word)), False))
        at += len(word)
    return pieces


TOKENIZER = PieceTokenizer(_split, 24)


@pytest.mark.parametrize("layout", [_original, _transformers])
def test_both_layouts_equal_the_reference(layout, tmp_path: Path) -> None:
    """Only the real tokens are run: masked padding changes nothing in them."""
    case, model = golden.tensors(CASE), load_umt5(layout(tmp_path), torch.empty(0))
    for ids, mask, expected in zip(case["ids"], case["mask"], case["out_zero_padded"], strict=True):
        count = int(mask.sum())
        with torch.inference_mode():
            rows = model(input_ids=ids[None, :count]).last_hidden_state[0]
        print(f"{layout.__name__}: within {(rows - expected[:count]).abs().max():.1e}")
        torch.testing.assert_close(rows, expected[:count], atol=1e-4, rtol=0)
        assert not expected[count:].any()


def test_the_word_table_is_held_once(tmp_path: Path) -> None:
    model = load_umt5(_original(tmp_path), torch.empty(0, dtype=torch.bfloat16))
    assert model.shared.weight.data_ptr() == model.encoder.embed_tokens.weight.data_ptr()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_prompt_has_its_words_and_zero_rows_past_them(tmp_path: Path) -> None:
    encoder = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0))
    prompt = encoder.encode("  a purple   tulip ")
    assert prompt.text == "a purple tulip" and prompt.tokens == ("a", "purple", "tulip", "</s>")
    assert prompt.embeddings.shape == (1, 24, 32) and not prompt.embeddings[:, 4:].any()
    assert prompt.embeddings[:, :4].abs().min(dim=-1).values.max() > 0 and prompt.notices == ()
    words = prompt.words
    assert words.text[slice(*words.offsets[1])] == "purple" and words.length == 24


def test_embeddings_are_kept_on_disk_by_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = _original(tmp_path), []
    load = umt5.load_umt5
    monkeypatch.setattr(umt5, "load_umt5", lambda path, like: opened.append(path) or load(path, like))

    def encode(text: str, **options) -> Tensor:
        return UMT5Text(path, TOKENIZER, torch.empty(0), tmp_path / "kept", **options).encode(text).embeddings

    first = encode("a moon")
    assert torch.equal(encode(" a  moon"), first) and len(opened) == 1  # cleaned, it is the same prompt
    assert not torch.equal(encode("a star"), first) and len(opened) == 2
    for file in (tmp_path / "kept").iterdir():  # as a crash or a full disk leaves them
        file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(encode("a moon"), first) and len(opened) == 3
    tensors = _weights()
    tensors["extra"] = torch.ones(99)
    torch.save(tensors, path)  # another encoder's file
    with pytest.raises(LoadError, match="unexpected extra"):
        encode("a moon")


def test_the_encoder_can_be_dropped_after_use(tmp_path: Path) -> None:
    for keep in (True, False):
        encoder = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0), keep=keep)
        encoder.encode("a moon")
        assert (encoder._model is not None) == keep


def test_dropped_it_is_opened_again_for_the_next_new_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, load = [], umt5.load_umt5
    monkeypatch.setattr(umt5, "load_umt5", lambda path, like: opened.append(like.device.type) or load(path, like))
    encoder = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0), tmp_path / "kept", keep=False)
    kept = [encoder.encode(text).embeddings for text in ("a moon", "a star", "a moon")]
    assert opened == ["cpu", "cpu"] and torch.equal(kept[0], kept[2]) and not torch.equal(kept[0], kept[1])


def test_where_the_card_is_full_it_runs_on_the_cpu_and_says_so(tmp_path: Path, monkeypatch, caplog) -> None:
    load, tried = umt5.load_umt5, []

    def full(path: Path, like: Tensor):
        tried.append(like.device.type)
        if like.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load(path, like)

    monkeypatch.setattr(umt5, "load_umt5", full)
    encoder = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0, device="meta"))
    expected = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0)).encode("a moon").embeddings
    assert torch.equal(encoder.encode("a moon").embeddings, expected)
    assert torch.equal(encoder.encode("a moon").embeddings, expected)
    assert tried == ["cpu", "meta", "cpu"]
    assert [record.getMessage() for record in caplog.records] == [
        "the text encoder does not fit on meta beside the model; it runs on the CPU now"
    ]


def test_a_disk_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    prompt = UMT5Text(_original(tmp_path), TOKENIZER, torch.empty(0), tmp_path / "kept").encode("a moon")
    assert len(prompt.notices) == 1 and "could not be kept" in prompt.notices[0]


def test_every_original_name_has_its_place() -> None:
    expected = golden.facts("umt5/key_map_original_to_hf")
    got = umt5_names({name: name for name in expected})
    assert got == {theirs: name for name, both in expected.items() for theirs in both}


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(LoadError, match=r"no UMT5 encoder: it lacks shared\.weight"):
        load_umt5(tmp_path / "a.safetensors", torch.empty(0))
