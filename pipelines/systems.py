"""From a recipe to what plays it: transformer, decoder and text encoder, loaded and on the device."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipelines.house import model as house
from pipelines.recipes import HOUSE, Recipe
from pipelines.stream import Stream
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.text import Prompt, TextEncoder
from pipelines.wan import Wan, WanConfig


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


SHAPES = {  # of real-time systems, for their speed
    "1.3b": replace(
        HOUSE,
        name="1.3b (random weights)",
        doc="the shape of Wan2.1 1.3B as Self-Forcing and LongLive play it",
        config=WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30),
        steps=(1000, 750, 500, 250),
        renoise="fresh",
        chunk=3,
        window=21,
        latent_limit=None,
        width=576,
        height=320,
        weights="",
        licence="",
    )
}


def random_stream(recipe: Recipe, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Stream:
    """A stream of this recipe with random weights, made on the device, and a random prompt: for measuring speed, which
    does not depend on them."""
    torch.manual_seed(seed)
    with torch.device(device):
        model = Wan(recipe.config).to(dtype).eval().requires_grad_(False)
        decoder = TAEHV(TAEHVConfig()).to(dtype).eval().requires_grad_(False)
    stream = Stream(model, decoder, recipe, seed=seed)
    rows, words = 8, "a red star spinning above city lights tonight"
    embeddings = torch.zeros(1, recipe.config.text_len, recipe.config.text_dim)
    embeddings[:, :rows] = torch.randn(1, rows, recipe.config.text_dim)
    places = tuple(match.span() for match in re.finditer(r"\w+", words))
    stream.read_prompt(Prompt(words, embeddings, tuple(words.split()), places))
    return stream


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
