"""Files of tensors, opened without reading them: safetensors, torch pickles, and either in several shards.

Each tensor is read when it is asked for, so that a model can be filled one tensor at a time. Knows no names and no
models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from pipelines.refusal import Refusal

# What checkpoints of training runs wrap their weights in; averaged weights before the raw ones.
_WRAPS = ("generator_ema", "generator", "generator_lora", "model", "state_dict")
_KINDS = (".safetensors", ".pt", ".pth", ".bin")


class LoadError(Refusal, RuntimeError):
    """A checkpoint that cannot be used; the message names the file, what is wrong with it and the remedy."""


class Stored(NamedTuple):
    """A tensor in a file: its shape, and how to get it (on the CPU, a view of the file where that is possible)."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def open_checkpoint(path: Path) -> dict[str, Stored]:
    """The tensors of a file, of an index of shards (`*.index.json`), or of a folder that holds one or the other.

    Raises LoadError naming the file that is missing or cannot be read.
    """
    if path.is_dir():
        path = _inside(path)
    if not path.is_file():
        raise LoadError(f"no weights at {path}; check the path, or see what is installed with `bender list`")
    try:
        if path.name.endswith(".index.json"):
            return _open_shards(path)
        return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)
    except LoadError:
        raise
    except Exception as error:  # the many kinds a broken file raises, all meaning the same to a player
        why = f"{path} cannot be read ({_first_line(error)})"
        raise LoadError(f"{why}; fetch it again: bender fetch MODEL --check") from error


def _inside(folder: Path) -> Path:
    """The one checkpoint in a folder; an index goes before the shards it lists, safetensors before pickles."""
    found = sorted(folder.glob("*.index.json"), key=lambda file: ".safetensors." not in file.name)
    if not found:
        found = [file for kind in _KINDS for file in sorted(folder.glob(f"*{kind}"))]
        found = [file for file in found if file.suffix == found[0].suffix]
        if len(found) > 1:
            raise LoadError(f"{folder} holds {len(found)} checkpoints and no index; name the file that is meant")
    if not found:
        raise LoadError(f"no weights in {folder}; it needs one file of {', '.join(_KINDS)}, or shards and their index")
    return found[0]


def _open_safetensors(path: Path) -> dict[str, Stored]:
    file = safe_open(str(path), framework="pt")
    names = list(file.keys())
    return {name: Stored(tuple(file.get_slice(name).get_shape()), partial(file.get_tensor, name)) for name in names}


def _open_pickle(path: Path) -> dict[str, Stored]:
    content = _unwrapped(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
    return {name: Stored(tuple(tensor.shape), partial(_itself, tensor)) for name, tensor in content.items()}


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors in the wrappers a training run saved them in; what else it saved beside them is left out."""
    while isinstance(content, dict):
        wrap = next((key for key in _WRAPS if isinstance(content.get(key), dict)), None)
        if wrap is None:
            break
        content = content[wrap]
    if not isinstance(content, dict) or not content:
        raise LoadError(f"{path} holds no tensors by name; is it the right file?")
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise LoadError(f"{path}: {strange[0]} is no tensor; it needs a state dict, or one under {', '.join(_WRAPS)}")
    return content


def _open_shards(index: Path) -> dict[str, Stored]:
    listed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    shards = {name: open_checkpoint(_beside(index, name)) for name in sorted(set(listed.values()))}
    for name, shard in listed.items():
        if name not in shards[shard]:
            raise LoadError(f"{index.parent / shard} lacks {name}, which {index.name} lists there; fetch it again")
    return {name: shards[shard][name] for name, shard in listed.items()}


def _beside(index: Path, name: str) -> Path:
    if Path(name).name != name:
        raise LoadError(f"{index} names the shard '{name}', which is not beside it; fetch it again")
    return index.parent / name


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
