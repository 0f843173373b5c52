"""Checkpoints to modules, strictly: every key has its place, or the load fails and names it.

Reads the original Wan2.1 naming (with the wrappers that real-time repositories add around it) and diffusers' naming.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

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


class LoadError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, what is wrong with it and the remedy."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one .safetensors, .pt or .pth file, on the CPU; raises LoadError."""
    if not path.is_file():
        raise LoadError(f"no weights at {path}; check the path, or see what is installed with `bender list`")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the many kinds a broken file raises, all meaning the same to a player
        raise LoadError(f"{path} cannot be read ({error}); fetch it again") from error


def original_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the original Wan names, whatever wrappers, prefix or naming they came with."""
    bare: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")
        bare[name] = tensor
    for prefix in _PREFIXES:
        if bare and all(name.startswith(prefix) for name in bare):
            bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    if any(name.startswith("condition_embedder.") for name in bare):
        bare = {_from_diffusers(name): tensor for name, tensor in bare.items()}
    return bare


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load by exact name and shape; LoadError names what is missing, unexpected or of another shape."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise LoadError(f"{source} does not fit: missing {_some(missing)}; unexpected {_some(unexpected)}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise LoadError(f"{source}: {name} is {tuple(tensor.shape)}, the model needs {tuple(own[name].shape)}")
    module.load_state_dict(tensors)


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


def _some(names: list[str], most: int = 4) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
