"""From a recipe to what plays it: transformer, decoder and text encoder, loaded and on the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.house import model as house
from pipelines.recipes import Recipe
from pipelines.taehv import TAEHV
from pipelines.text import TextEncoder
from pipelines.wan import Wan


@dataclass(frozen=True)
class System:
    """Everything a Stream needs, and the encoder that makes its prompts."""

    recipe: Recipe
    model: Wan
    decoder: TAEHV
    encoder: TextEncoder


def open_system(recipe: Recipe, device: torch.device, dtype: torch.dtype, weights: Path | None = None) -> System:
    """Load a recipe's weights, from `weights` or from where they ship. Raises LoadError naming what is wrong."""
    model, decoder, encoder = house.load(weights or house.WEIGHTS, device, dtype)
    return System(recipe, model, decoder, encoder)


def random_model(recipe: Recipe, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Wan:
    """The recipe's transformer with random weights, made on the device: for speed, which does not depend on them."""
    torch.manual_seed(seed)
    with torch.device(device):
        return Wan(recipe.config).to(dtype).eval().requires_grad_(False)


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU. ValueError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{name}': this torch sees no CUDA GPU; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device '{name}': there are only {torch.cuda.device_count()} GPUs; use --device cuda")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device '{name}': this torch sees no Apple GPU; use --device cpu")
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """float32 where it is the fastest (CPUs without matrix units for bf16), else bfloat16."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32
