"""Loading: every published layout, at small sizes and with all its key names; refusals that name what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipelines.checkpoint import LoadError, Stored, open_checkpoint
from pipelines.load import config_of, fill, make, open_transformer, original_names
from pipelines.lora import merge, read_lora
from pipelines.recipes import KREA, SELF_FORCING
from pipelines.rope import Rope
from pipelines.wan import Wan, WanConfig
from tests import golden
from tests.tiny import CONFIG, wan

LIKE = torch.empty(0)


def _state(seed: int = 0) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in wan(seed).state_dict().items()}


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def _diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names that diffusers' own converter gives."""
    convert = pytest.importorskip("diffusers.loaders.single_file_utils").convert_wan_transformer_to_diffusers
    return convert(dict(state))


def _shard(folder: Path, state: dict[str, Tensor], stem: str) -> Path:
    """Three safetensors files and their index, as the hub has large models."""
    names = sorted(state)
    listed = {}
    for i in range(3):
        file = f"{stem}-{i + 1:05d}-of-00003.safetensors"
        part = {name: state[name] for name in names[i::3]}
        folder.mkdir(exist_ok=True)
        save_file(part, folder / file)
        listed.update(dict.fromkeys(part, file))
    index = folder / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))
    return index


def _layout(kind: str, folder: Path, state: dict[str, Tensor]) -> Path:
    pickled, other, stem = folder / "model.pt", _state(9), "diffusion_pytorch_model"
    if kind == "averaged and raw":
        torch.save({"generator": _prefixed("model.", other), "generator_ema": _prefixed("model.", state)}, pickled)
    elif kind == "generator":
        torch.save({"generator": _prefixed("model.", state), "step": 600}, pickled)
    elif kind == "fsdp":
        torch.save({"generator": _prefixed("model._fsdp_wrapped_module.", state)}, pickled)
    elif kind == "state_dict in model":
        torch.save({"model": {"state_dict": _prefixed("_orig_mod.", state)}}, pickled)
    elif kind == "flat pickle":
        torch.save(state, pickled)
    elif kind == "flat with prefix":
        save_file(_prefixed("model.", state), folder / "one.safetensors")
        return folder / "one.safetensors"
    elif kind == "comfy prefix":
        save_file(_prefixed("model.diffusion_model.", state), folder / "one.safetensors")
        return folder / "one.safetensors"
    elif kind == "original in a folder":
        save_file(state, folder / f"{stem}.safetensors")
        return folder
    elif kind == "original in shards":
        return _shard(folder, state, stem)
    elif kind == "diffusers in shards":
        return _shard(folder / "transformer", _diffusers(state), stem).parent
    return pickled


LAYOUTS = (
    *("averaged and raw", "generator", "fsdp", "state_dict in model", "flat pickle", "flat with prefix"),
    *("comfy prefix", "original in a folder", "original in shards", "diffusers in shards"),
)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    state = _state(3)
    path = _layout(kind, tmp_path, state)
    model = make(lambda: Wan(CONFIG), open_transformer(path, CONFIG), str(path), LIKE)
    assert not any(parameter.requires_grad for parameter in model.parameters()) and not model.training
    loaded = model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


def test_weights_are_cast_on_the_way(tmp_path: Path) -> None:
    state = _state(3)
    path = _layout("generator", tmp_path, state)
    model = make(lambda: Wan(CONFIG), open_transformer(path, CONFIG), "file", LIKE.to(torch.bfloat16))
    assert all(torch.equal(t, state[name].to(torch.bfloat16)) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("row", "tensors", "parameters"), [(SELF_FORCING, 825, 1_418_996_800), (KREA, 1095, 14_288_491_584)]
)
def test_the_rows_describe_the_published_networks(row, tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        state = Wan(row.config).state_dict()
    assert len(state) == tensors and sum(tensor.numel() for tensor in state.values()) == parameters


def test_the_sizes_are_read_from_the_shapes(tmp_path: Path) -> None:
    other = WanConfig(dim=64, ffn_dim=96, num_heads=2, num_layers=2, text_dim=24, text_len=16, freq_dim=32)
    torch.save(wan(0, other).state_dict(), tmp_path / "model.pt")
    stored = open_checkpoint(tmp_path / "model.pt")
    assert config_of(stored, CONFIG, "file") == other
    sizes = "dim 64 instead of 128, ffn_dim 96 instead of 256, num_heads 2 instead of 4, num_layers 2 instead of 3"
    with pytest.raises(LoadError, match=f"another model: {sizes}"):
        open_transformer(tmp_path / "model.pt", CONFIG)
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(LoadError, match="no Wan transformer: it lacks patch_embedding"):
        open_transformer(tmp_path / "model.pt", CONFIG)


# --- LoRA ---


def _lora(state: dict[str, Tensor], rank: int = 4) -> dict[str, Tensor]:
    """Of every linear layer of every block, under PEFT's names."""
    generator, made = torch.Generator().manual_seed(4), {}
    for name, weight in state.items():
        if name.startswith("blocks.") and name.endswith(".weight") and weight.ndim == 2:
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            made[f"{stem}.lora_A.weight"] = torch.randn(rank, weight.shape[1], generator=generator)
            made[f"{stem}.lora_B.weight"] = torch.randn(weight.shape[0], rank, generator=generator)
    return made


def _merged(folder: Path, lora: dict[str, Tensor], alpha: float | None = None) -> dict[str, Tensor]:
    torch.save({"generator": _prefixed("model.", _state(3))}, folder / "base.pt")
    torch.save({"generator_lora": lora}, folder / "lora.pt")
    changes = read_lora(open_checkpoint(folder / "lora.pt"), "lora.pt", alpha)
    stored = merge(open_transformer(folder / "base.pt", CONFIG), changes, "lora.pt")
    return make(lambda: Wan(CONFIG), stored, "base.pt", LIKE).state_dict()


def test_a_lora_is_merged_into_every_layer_it_changes(tmp_path: Path) -> None:
    state, lora = _state(3), _lora(_state(3))
    assert len(lora) == 2 * 10 * CONFIG.num_layers
    for alpha, scale in ((None, 1.0), (2.0, 0.5)):
        for name, weight in _merged(tmp_path, lora, alpha).items():
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            expected = state[name]
            if f"{stem}.lora_A.weight" in lora:
                expected = expected + scale * lora[f"{stem}.lora_B.weight"] @ lora[f"{stem}.lora_A.weight"]
                assert not torch.equal(weight, state[name])
            torch.testing.assert_close(weight, expected, atol=1e-4, rtol=1e-5)


def test_an_adapters_name_and_diffusers_names_are_read_too(tmp_path: Path) -> None:
    lora = _lora(_state(3))
    expected = _merged(tmp_path, lora)
    named = {name.replace(".weight", ".default.weight"): tensor for name, tensor in lora.items()}
    renamed = dict(zip((k.removesuffix(".weight") for k in _diffusers(_state(3))), _state(3), strict=True))
    back = {original.removesuffix(".weight"): theirs for theirs, original in renamed.items()}
    theirs = {}
    for name, tensor in lora.items():
        stem, _, leaf = name.removeprefix("base_model.model.").partition(".lora_")
        theirs[f"{back[stem]}.lora_{leaf}"] = tensor
    assert any(".attn1.to_q.lora_A" in name for name in theirs)
    for variant in (named, theirs):
        got = _merged(tmp_path, variant)
        assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_the_reference_lora_merges_as_the_reference_does() -> None:
    stored = open_checkpoint(golden.path("longlive/weights.safetensors"))
    changes = read_lora(open_checkpoint(golden.path("longlive/lora.safetensors")), "lora", 8.0)
    merged = merge(original_names(stored), changes, "lora")
    expected = golden.tensors("longlive/weights_lora_merged")
    assert len(changes) == 30 and merged.keys() == expected.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor.read(), expected[name], atol=1e-6, rtol=0)


def test_a_merged_lora_plays_as_an_unmerged_one() -> None:
    """W x + B (A x) in every layer, as the reference runs it."""
    lora = _lora(_state(3), rank=2)
    merged, plain = Wan(CONFIG), Wan(CONFIG)
    plain.load_state_dict(_state(3))
    stored = {name: _stored(tensor) for name, tensor in _state(3).items()}
    changes = read_lora({name: _stored(tensor * 0.1) for name, tensor in lora.items()}, "lora")
    merged.load_state_dict({name: tensor.read() for name, tensor in merge(stored, changes, "lora").items()})
    for name, module in plain.named_modules():
        if f"{name}.weight" in changes:
            change = changes[f"{name}.weight"]
            module.register_forward_hook(
                lambda _, args, out, change=change: out + args[0] @ change.down.read().T @ change.up.read().T
            )
    x, t = torch.randn(1, 16, 3, 8, 12), torch.full((1, 3), 500.0)
    text, turn = torch.randn(1, 16, 48), Rope(32, 4, 6).turn(range(3))
    with torch.no_grad():
        got, expected = (model(x, t, model.read_text(text), turn) for model in (merged, plain))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def _stored(tensor: Tensor) -> Stored:
    return Stored(tuple(tensor.shape), lambda: tensor)


def test_a_lora_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    lora = _lora(_state(3))
    first = next(iter(lora))
    wrong = {
        "it has blocks.0.extra": lora | {"blocks.0.extra": torch.ones(1)},
        "lacks one of lora_A and lora_B": {name: tensor for name, tensor in lora.items() if name != first},
        "which the model does not have": {name.replace("blocks.2", "blocks.7"): t for name, t in lora.items()},
        "have ranks 5 and 4": lora | {first: torch.randn(5, 128)},
        "belongs to another model": lora | {first: torch.randn(4, 99)},
    }
    for words, tensors in wrong.items():
        with pytest.raises(LoadError, match=words):
            _merged(tmp_path, tensors)


# --- refusals ---


def test_wrappers_and_prefixes_are_taken_off() -> None:
    own = wan().state_dict()
    wrapped = {f"model._fsdp_wrapped_module.{name}": tensor for name, tensor in own.items()}
    assert original_names(wrapped).keys() == own.keys()


def test_strict_fill_names_keys_and_shapes() -> None:
    model = wan()
    tensors = dict(model.state_dict())
    del tensors["head.head.bias"]
    tensors["blocks.0.extra"] = torch.zeros(1)
    for load in (lambda: fill(model, tensors, "file"), lambda: make(lambda: Wan(CONFIG), _all(tensors), "file", LIKE)):
        with pytest.raises(LoadError, match=r"missing head\.head\.bias; unexpected blocks\.0\.extra"):
            load()
    tensors = dict(model.state_dict()) | {"head.head.bias": torch.zeros(3)}
    with pytest.raises(LoadError, match=r"head\.head\.bias is \(3,\)"):
        fill(model, tensors, "file")


def _all(tensors: dict[str, Tensor]) -> dict[str, Stored]:
    return {name: _stored(tensor) for name, tensor in tensors.items()}


def _read(path: Path) -> dict[str, Tensor]:
    return {name: stored.read() for name, stored in open_checkpoint(path).items()}


def test_missing_and_broken_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no weights at"):
        _read(tmp_path / "none.safetensors")
    with pytest.raises(LoadError, match="no weights in"):
        _read(tmp_path)
    for name in ("broken.safetensors", "broken.pt", "broken.safetensors.index.json"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
        with pytest.raises(LoadError, match=r"cannot be read .*; fetch it again"):
            _read(tmp_path / name)
    save_file({"a": torch.ones(2)}, tmp_path / "good.safetensors")
    assert _read(tmp_path / "good.safetensors")["a"].tolist() == [1.0, 1.0]


def test_a_pickle_runs_no_code_and_holds_tensors_only(tmp_path: Path) -> None:
    torch.save({"generator": {"a": torch.ones(1), "b": 3}}, tmp_path / "x.pt")
    with pytest.raises(LoadError, match="b is no tensor"):
        _read(tmp_path / "x.pt")
    torch.save({"generator": {"a": Path("/")}}, tmp_path / "x.pt")
    with pytest.raises(LoadError, match="cannot be read"):
        _read(tmp_path / "x.pt")
    torch.save([torch.ones(1)], tmp_path / "x.pt")
    with pytest.raises(LoadError, match="no tensors by name"):
        _read(tmp_path / "x.pt")


def test_shards_are_complete_or_refused(tmp_path: Path) -> None:
    index = _shard(tmp_path, _state(3), "m")
    shard = tmp_path / "m-00002-of-00003.safetensors"
    save_file({"other": torch.ones(1)}, shard)
    with pytest.raises(LoadError, match=r"m-00002-of-00003\.safetensors lacks .*, which m\.safetensors\.index\.json"):
        _read(index)
    shard.unlink()
    with pytest.raises(LoadError, match=r"no weights at .*m-00002-of-00003\.safetensors"):
        _read(index)
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(LoadError, match="which is not beside it"):
        _read(index)
    index.unlink()
    with pytest.raises(LoadError, match="holds 2 checkpoints and no index"):
        _read(tmp_path)


_LOAD = """
import sys, time, torch
from dataclasses import replace
from pathlib import Path
from pipelines.load import make, open_transformer
from pipelines.recipes import SELF_FORCING
from pipelines.stream import Stream
from pipelines.taehv import TAEHV
from pipelines.wan import Wan
from tests.tiny import play, prompt
def size(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))
like, path, config = torch.empty(0, dtype=torch.bfloat16), Path(sys.argv[1]), SELF_FORCING.config
before, began = size("RssAnon"), time.monotonic()
model = make(lambda: Wan(config), open_transformer(path, config), str(path), like)
held, loaded = size("RssAnon") - before, time.monotonic()
row = replace(SELF_FORCING, width=96, height=64, steps=(1000,), window=3)
stream = Stream(model, TAEHV().to(torch.bfloat16).eval().requires_grad_(False), row)
words = prompt()
stream.read_prompt(replace(words, embeddings=torch.nn.functional.pad(words.embeddings, (0, 4096 - 48))))
frames = play(stream, 1)
most = size("VmHWM")
print(held, most, len(model.state_dict()), len(frames), float(frames.std()))
print(f"loaded in {loaded - began:.1f} s, a chunk of one step in {time.monotonic() - loaded:.1f} s", file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("layout", ["pickle", "shards"])
def test_a_full_size_model_is_loaded_without_a_second_copy_and_plays(layout: str, tmp_path: Path) -> None:
    """1.3B in half precision, end to end: its file is mapped, so that hardly anything is held besides."""
    config = SELF_FORCING.config
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Wan(config).state_dict().items()}
    state = {name: torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02) for name, shape in shapes.items()}
    if layout == "pickle":
        path = tmp_path / "model.pt"
        torch.save({"generator_ema": _prefixed("model.", state)}, path)
    else:
        path = _shard(tmp_path, state, "diffusion_pytorch_model")
    del state
    words = [sys.executable, "-c", _LOAD, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
    held, most, count, frames, contrast = map(float, done.stdout.split())
    print(f"{layout}: {held / 1024:.0f} MiB held of its own, {most / 1024:.0f} MiB at most; {done.stderr.strip()}")
    assert count == 825 and held < 300 * 1024 and frames == 9 and contrast > 0
