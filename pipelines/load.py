"""Checkpoints to modules, strictly: every key has its place, or the load fails and names it.

Reads the original Wan2.1 naming (with the wrappers that real-time repositories add around it) and diffusers' naming.
A module is made without memory and takes each tensor straight from its file to its device: nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipelines.checkpoint import LoadError, Stored, open_checkpoint
from pipelines.wan import WanConfig

NOT_IT = "choose another file: `bender models` tells which belongs there"
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.")
_PREFIXES = ("model.diffusion_model.", "model.")

# diffusers names -> original names; norm2 and norm3 trade places, so block names are mapped whole.
_TOP = {
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
_BLOCK = {
    **{f"attn1.to_{part}": f"self_attn.{part}" for part in "qkv"},
    **{f"attn2.to_{part}": f"cross_attn.{part}" for part in "qkv"},
    **{f"attn1.norm_{part}": f"self_attn.norm_{part}" for part in "qk"},
    **{f"attn2.norm_{part}": f"cross_attn.norm_{part}" for part in "qk"},
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_out.0": "cross_attn.o",
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}


T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


def original_names(named: Mapping[str, T]) -> dict[str, T]:
    """Anything kept under names of a Wan transformer's weights, under the original ones, whatever wrappers, prefix or
    naming they came with."""
    bare: dict[str, T] = {}
    for name, value in named.items():
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")
        bare[name] = value
    for prefix in _PREFIXES:
        if bare and all(name.startswith(prefix) for name in bare):
            bare = {name.removeprefix(prefix): value for name, value in bare.items()}
    if any(name.startswith("condition_embedder.") or ".attn1." in name for name in bare):
        bare = {_from_diffusers(name): value for name, value in bare.items()}
    return bare


def config_of(stored: Mapping[str, Stored], like: WanConfig, source: str) -> WanConfig:
    """The sizes of the transformer whose tensors these are; what shapes do not tell (the size of a head, the length
    of a text) is taken from `like`. Raises LoadError where they are no transformer's."""
    needed = ("patch_embedding", "text_embedding.0", "time_embedding.0", "blocks.0.ffn.0", "head.head")
    if lacking := [f"{name}.weight" for name in needed if f"{name}.weight" not in stored]:
        raise LoadError(f"{source} holds no Wan transformer: it lacks {some(lacking)}; {NOT_IT}")
    patch, text, time, ffn, head = (stored[f"{name}.weight"].shape for name in needed)
    blocks = {int(name.split(".")[1]) for name in stored if name.startswith("blocks.")}
    patch_size = (patch[2], patch[3], patch[4])
    return replace(
        like,
        dim=patch[0],
        ffn_dim=ffn[0],
        num_heads=patch[0] // like.head_dim,
        num_layers=max(blocks) + 1,
        in_dim=patch[1],
        out_dim=head[0] // (patch[2] * patch[3] * patch[4]),
        text_dim=text[1],
        freq_dim=time[1],
        patch_size=patch_size,
    )


def check_config(stored: Mapping[str, Stored], config: WanConfig, source: str) -> None:
    """LoadError with every size in which a checkpoint is another network than the recipe's."""
    found = config_of(stored, config, source)
    names = [field.name for field in fields(WanConfig) if getattr(found, field.name) != getattr(config, field.name)]
    if names:
        sizes = ", ".join(f"{name} {getattr(found, name)} instead of {getattr(config, name)}" for name in names)
        raise LoadError(f"{source} is another model: {sizes}; choose the model that these weights belong to")


def open_transformer(path: Path, config: WanConfig) -> dict[str, Stored]:
    """A transformer's tensors under their original names, not yet read. LoadError where they are another's."""
    stored = original_names(open_checkpoint(path))
    check_config(stored, config, str(path))
    return stored


def make(build: Callable[[], M], stored: Mapping[str, Stored], source: str, like: Tensor) -> M:
    """A module filled from a checkpoint: made without memory, then each tensor read to the device and dtype of `like`.

    Raises LoadError as `fill` does.
    """
    with torch.device("meta"):
        module = build()
    _check(module, {name: tensor.shape for name, tensor in stored.items()}, source)
    # To the device before the cast, so that what is cast on the way is one tensor at a time. A tensor that the module
    # has under two names is read once.
    read: dict[int, Tensor] = {}
    for tensor in stored.values():
        if id(tensor) not in read:
            read[id(tensor)] = tensor.read().to(like.device).to(like.dtype)
    module.load_state_dict({name: read[id(tensor)] for name, tensor in stored.items()}, assign=True)
    return module.eval().requires_grad_(False)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load by exact name and shape; LoadError names what is missing, unexpected or of another shape."""
    _check(module, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    module.load_state_dict(tensors)


def _check(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing, unexpected = sorted(own.keys() - shapes.keys()), sorted(shapes.keys() - own.keys())
    if missing or unexpected:
        raise LoadError(f"{source} does not fit: missing {some(missing)}; unexpected {some(unexpected)}")
    for name, shape in shapes.items():
        if shape != own[name]:
            raise LoadError(f"{source}: {name} is {shape}, the model needs {own[name]}")


def _from_diffusers(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        stem, leaf = name, ""
    if stem.startswith("blocks."):
        blocks, index, rest = stem.split(".", 2)
        stem = f"{blocks}.{index}.{_BLOCK.get(rest, rest)}"
    else:
        stem = _TOP.get(stem, stem)
    return f"{stem}.{leaf}" if leaf else stem


def some(names: list[str], most: int = 4) -> str:
    """A few of these names, and how many more there are."""
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
