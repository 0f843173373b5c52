"""From a recipe to what plays it: transformer, decoder and text encoder, loaded and on the device."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.files import located
from pipelines.house import model as house
from pipelines.load import make, open_transformer
from pipelines.lora import merge, read_lora
from pipelines.pieces import PiecesError, PieceTokenizer, open_pieces
from pipelines.recipes import KREA, SELF_FORCING, Recipe
from pipelines.stream import Codec
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.text import Prompt, TextEncoder
from pipelines.umt5 import UMT5Text, prompt_cache
from pipelines.vae import load_vae
from pipelines.wan import Wan, WanConfig

log = logging.getLogger(__name__)

ROOMY = 40 * 2**30  # bytes of a graphics card that holds the text encoder beside everything else


@dataclass(frozen=True)
class System:
    """Everything a Stream needs, and the encoder that makes its prompts."""

    recipe: Recipe
    model: Wan
    decoder: Codec
    encoder: TextEncoder
    recorded: bool = False  # passes are recorded as CUDA graphs
    memory: torch.dtype | None = None  # of the cache of keys and values; None: the model's own


def open_system(
    recipe: Recipe,
    device: torch.device,
    dtype: torch.dtype,
    weights: Path | None = None,
    models: Path | None = None,
) -> System:
    """Load a recipe's weights, from `weights` or from where they ship or are looked for (`models`, see files.py).

    Raises LoadError naming what is wrong, in one line.
    """
    if recipe.parts == "own":
        model, decoder, encoder = house.load(weights or house.WEIGHTS, device, dtype)
        return System(recipe, model, decoder, encoder)
    return _open_wan(recipe, torch.empty(0, device=device, dtype=dtype), weights, models)


def _open_wan(recipe: Recipe, like: Tensor, weights: Path | None, models: Path | None) -> System:
    """A system made of Wan's parts, each in a file of its own; `weights` is another transformer."""
    paths = located(recipe, models, () if weights is None else ("transformer",))
    paths["transformer"] = weights or paths["transformer"]
    tokenizer = _tokenizer(paths["tokenizer"], recipe)
    stored = open_transformer(paths["transformer"], recipe.config)
    if "lora" in paths:
        source = str(paths["lora"])
        stored = merge(stored, read_lora(open_checkpoint(paths["lora"]), source), source)
    model = make(lambda: Wan(recipe.config), stored, str(paths["transformer"]), like)
    decoder = (load_vae if recipe.parts == "wan" else _load_taehv)(paths["vae"], like)
    if "not for commercial use" in recipe.licence:
        log.warning("model '%s': %s", recipe.name, recipe.licence)
    return System(recipe, model, decoder, UMT5Text(paths["text"], tokenizer, _place(like.device), prompt_cache()))


def _tokenizer(folder: Path, recipe: Recipe) -> PieceTokenizer:
    try:
        return open_pieces(folder, recipe.config.text_len)
    except PiecesError as problem:
        raise LoadError(str(problem)) from problem


def _load_taehv(path: Path, like: Tensor) -> TAEHV:
    taehv = make(TAEHV, open_checkpoint(path), str(path), like)
    return taehv.to(memory_format=torch.channels_last)  # which tensors taken from a file are not


def _place(device: torch.device) -> Tensor:
    """Where the text encoder runs, in half precision: 11 GiB that a small graphics card needs for the model itself."""
    roomy = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= ROOMY
    return torch.empty(0, device=device if roomy else "cpu", dtype=torch.bfloat16)


SHAPES = {  # of real-time systems, for their speed
    "1.3b": replace(
        SELF_FORCING,
        name="1.3b (random weights)",
        doc="the shape of Wan2.1 1.3B as Self-Forcing and LongLive play it",
        width=576,
        height=320,
        weights="",
        licence="",
    ),
    "14b": replace(
        KREA,
        name="14b (random weights)",
        doc="the shape of Wan2.1 14B as Krea Realtime plays it",
        width=576,
        height=320,
        weights="",
        licence="",
    ),
}


class RandomText:
    """A text encoder for measuring speed: every word a random row."""

    def __init__(self, config: WanConfig) -> None:
        self._size = (1, config.text_len, config.text_dim)

    @property
    def quick(self) -> bool:
        """There is nothing to compute."""
        return True

    def encode(self, text: str) -> Prompt:
        places = tuple(match.span() for match in re.finditer(r"\w+", text))[: self._size[1]]
        embeddings = torch.zeros(self._size)
        embeddings[:, : len(places)] = torch.randn(1, len(places), self._size[2])
        return Prompt(text, embeddings, tuple(text[a:b] for a, b in places), places)


def random_system(recipe: Recipe, device: torch.device, dtype: torch.dtype, seed: int = 0) -> System:
    """A system of this recipe with random weights, made on the device: for measuring speed, which does not depend on
    them. Its decoder is the small one."""
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Wan(recipe.config).eval().requires_grad_(False)
            decoder = TAEHV(TAEHVConfig()).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(torch.float32)
    return System(recipe, model, decoder, RandomText(recipe.config))


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
