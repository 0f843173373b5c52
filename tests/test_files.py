"""Where a model's files are looked for, and what is said of those that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import files
from pipelines.checkpoint import LoadError
from pipelines.recipes import HOUSE, KREA, LONGLIVE, RECIPES

LORA = LONGLIVE.lora


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and no models beside it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def _put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_folder_of_models_with_or_without_the_owner(tmp_path: Path) -> None:
    owner, name, path = LORA.split("/", 2)
    for place in (tmp_path / "mine" / name / path, tmp_path / "mine" / owner / name / path):
        assert files.locate(LORA, tmp_path / "mine") != place
        assert files.locate(LORA, _put(place) and tmp_path / "mine") == place
    assert files.locate(LORA) is None
    assert files.locate(LORA, None) is None and files.places()[0] == Path("models")


def test_the_hubs_cache_and_the_revision_it_points_at(hub: Path) -> None:
    repo = hub / "models--Efficient-Large-Model--LongLive-1.3B"
    old, new = (_put(repo / "snapshots" / revision / "models" / "lora.pt") for revision in ("aaa", "bbb"))
    assert files.locate(LORA) == old
    _put(repo / "refs" / "main").write_text("bbb\n")
    assert files.locate(LORA) == new


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    _put(tmp_path / "models" / LORA)
    with pytest.raises(LoadError) as refused:
        files.located(LONGLIVE)
    text = str(refused.value)
    assert "\n" not in text and "lora.pt" not in text
    for words in (LONGLIVE.weights, "umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", str(tmp_path / "hub"), "--models-dir"):
        assert words in text
    assert text.endswith("get them with: bender fetch longlive")
    assert "hf download Efficient-Large-Model/LongLive-1.3B models/longlive_base.pt" in "\n".join(
        files.report(LONGLIVE)
    )


def test_either_layout_of_a_part_will_do(tmp_path: Path) -> None:
    _put(tmp_path / "models" / "Wan2.1-T2V-1.3B-Diffusers" / "text_encoder" / "model.safetensors")
    found, missing = files.survey(KREA)
    assert found["text"].name == "text_encoder" and {need.part for need in missing} == {
        "transformer",
        "tokenizer",
        "vae",
    }


def test_every_row_names_its_files_and_the_house_needs_none() -> None:
    assert files.needs(HOUSE) == ()
    for row in RECIPES.values():
        for need in files.needs(row):
            assert all(file.count("/") >= 2 for file in need.files), row.name


def test_a_folder_that_is_not_whole_is_missing_and_says_what_it_lacks(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers" / "text_encoder"
    _put(folder / "config.json")
    assert files.gaps(folder) == ["its content"]
    index = _put(folder / "model.safetensors.index.json")
    assert files.gaps(folder) == [index.name]  # nothing can be read of it
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    index.write_text(json.dumps({"weight_map": {f"w{i}": shards[i % 3] for i in range(9)}}))
    for i in (0, 2):
        _put(folder / shards[i])
    assert {need.part for need in files.survey(KREA)[1]} >= {"text"}
    told = "\n".join(files.report(KREA))
    assert f"text_encoder/ is here but lacks {shards[1]}" in told
    _put(folder / shards[1])
    assert files.survey(KREA)[0]["text"].absolute() == folder


def test_the_command_that_gets_a_model_names_its_options(tmp_path: Path) -> None:
    small = files.with_decoder(KREA, "taehv")
    lines = files.report(small, tmp_path / "my models")
    assert f"bender fetch krea --decoder taehv --models-dir '{tmp_path / 'my models'}'" in lines
    assert "or: hf download Kijai/WanVideo_comfy taew2_1.safetensors" in lines
    by_hand = f"taew2_1.pth of github.com/madebyollin/taehv into {tmp_path / 'my models' / 'madebyollin' / 'taehv'}"
    assert f"or: put {by_hand}" in lines
    assert files.with_decoder(KREA, "wan") == KREA
    with pytest.raises(LoadError, match="model 'house' has only its own"):
        files.with_decoder(HOUSE, "wan")
