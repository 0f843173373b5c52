"""From a recipe to what plays it: transformer, decoder and text encoder, loaded and on the device."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.codec import Codec
from pipelines.files import located
from pipelines.house import model as house
from pipelines.kept import kept_at
from pipelines.load import make, open_transformer
from pipelines.lora import merge, read_lora
from pipelines.offload import StreamedBlocks, offload
from pipelines.pieces import PiecesError, PieceTokenizer, open_pieces
from pipelines.quantise import quantise
from pipelines.recipes import KREA, SELF_FORCING, Recipe
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.text import Prompt, TextEncoder
from pipelines.umt5 import UMT5Text
from pipelines.vae import load_vae, random_vae
from pipelines.wan import Wan, WanConfig

log = logging.getLogger(__name__)

ROOMY = 40 * 2**30  # bytes of a graphics card that holds the text encoder beside everything else
BFLOAT16 = (8, 0)  # NVIDIA's first cards (Ampere) that compute in it
KEEPING = 24 * 2**30  # bytes of main memory beside which the text encoder may stay in it
TextPlace = Literal["auto", "device", "cpu", "drop"]


@dataclass(frozen=True)
class Fit:
    """How a system is made to fit the machine it plays on.

    `stay`: blocks that live on the card while the others come as they are needed; None where all do. `text`: the text
    encoder on the device, on the CPU, or there and dropped after each new prompt; "auto" by what there is room for.
    """

    quantize: str = ""  # a kind of quantise.KINDS, or none
    stay: int | None = None
    text: TextPlace = "auto"

    @property
    def changes_weights(self) -> bool:
        return bool(self.quantize) or self.stay is not None


AS_IT_IS = Fit()


@dataclass(frozen=True)
class System:
    """Everything a Stream needs, and the encoder that makes its prompts. `notes`: how it was fitted, for the player."""

    recipe: Recipe
    model: Wan
    decoder: Codec
    encoder: TextEncoder
    recorded: bool = False  # passes are recorded as CUDA graphs
    memory: torch.dtype | None = None  # of the cache of keys and values; None: the model's own
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def recordable(self) -> bool:
        """Whether passes can be recorded as CUDA graphs: not where blocks come as they are needed."""
        return not isinstance(self.model.blocks, StreamedBlocks)


def open_system(
    recipe: Recipe,
    device: torch.device,
    dtype: torch.dtype,
    weights: Path | None = None,
    models: Path | None = None,
    fit: Fit = AS_IT_IS,
) -> System:
    """Load a recipe's weights, from `weights` or from where they ship or are looked for (`models`, see files.py).

    Raises LoadError naming what is wrong, in one line.
    """
    if recipe.parts == "own":
        model, decoder, encoder = house.load(weights or house.WEIGHTS, device, dtype)
        return System(recipe, _fitted(model, fit, device), decoder, encoder, notes=_notes(model, fit))
    return _open_wan(recipe, torch.empty(0, device=device, dtype=dtype), weights, models, fit)


def _fitted(model: Wan, fit: Fit, device: torch.device) -> Wan:
    """The model on the device, its weights changed as asked."""
    if fit.quantize:
        home = None if fit.stay is None else torch.device("cpu")
        model = quantise(model, fit.quantize, device, home)
    return model if fit.stay is None else offload(model, device, fit.stay)


def _notes(model: Wan, fit: Fit) -> dict[str, str]:
    notes = {"weights": f"{fit.quantize} in the blocks' linear layers"} if fit.quantize else {}
    if isinstance(model.blocks, StreamedBlocks):
        away, size = len(model.blocks) - model.blocks.stay, model.blocks.held / 2**30
        notes["blocks"] = f"{away} of {len(model.blocks)} in main memory ({size:.1f} GiB), streamed to the card"
    return notes


def _open_wan(recipe: Recipe, like: Tensor, weights: Path | None, models: Path | None, fit: Fit) -> System:
    """A system made of Wan's parts, each in a file of its own; `weights` is another transformer."""
    paths = located(recipe, models, () if weights is None else ("transformer",))
    paths["transformer"] = weights or paths["transformer"]
    tokenizer = _tokenizer(paths["tokenizer"], recipe)
    stored = open_transformer(paths["transformer"], recipe.config)
    if "lora" in paths:
        source = str(paths["lora"])
        stored = merge(stored, read_lora(open_checkpoint(paths["lora"]), source), source)
    # What is changed on its way to a small card is never whole on it.
    first = torch.empty(0, dtype=like.dtype) if fit.changes_weights else like
    model = make(lambda: Wan(recipe.config), stored, str(paths["transformer"]), first)
    model = _fitted(model, fit, like.device)
    decoder = (load_vae if recipe.parts == "wan" else _load_taehv)(paths["vae"], like)
    if recipe.restricted:
        log.warning("model '%s': %s", recipe.name, recipe.licence)
    place, keep = text_place(like.device, fit.text)
    encoder = UMT5Text(paths["text"], tokenizer, torch.empty(0, device=place, dtype=torch.bfloat16), kept_at(), keep)
    notes = {"decoder": "Wan's own" if recipe.parts == "wan" else "the small one (TAEHV)"}
    notes["text encoder"] = f"on {place.type}, {'kept' if keep else 'dropped after each new prompt'}"
    return System(recipe, model, decoder, encoder, notes={**_notes(model, fit), **notes})


def _tokenizer(folder: Path, recipe: Recipe) -> PieceTokenizer:
    try:
        return open_pieces(folder, recipe.config.text_len)
    except PiecesError as problem:
        raise LoadError(str(problem)) from problem


def _load_taehv(path: Path, like: Tensor) -> TAEHV:
    taehv = make(TAEHV, open_checkpoint(path), str(path), like)
    return taehv.to(memory_format=torch.channels_last)  # which tensors taken from a file are not


def text_place(device: torch.device, text: TextPlace) -> tuple[torch.device, bool]:
    """Where the text encoder runs, in half precision (11 GiB, which a small card needs for the model itself), and
    whether it is kept there between prompts."""
    cpu = torch.device("cpu")
    if text == "device":
        return device, True
    if text in ("cpu", "drop"):
        return cpu, text == "cpu"
    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= ROOMY:
        return device, True
    return cpu, _main_memory() >= KEEPING


def _main_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such call on Windows, no such name elsewhere
        return 0


SHAPES = {  # of real-time systems, for their speed
    "1.3b": replace(
        SELF_FORCING,
        name="1.3b (random weights)",
        parts="taehv",
        doc="the shape of Wan2.1 1.3B as Self-Forcing and LongLive play it",
        width=576,
        height=320,
        weights="",
        licence="",
    ),
    "14b": replace(
        KREA,
        name="14b (random weights)",
        parts="taehv",
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

    def let_go(self) -> None:
        """There is nothing to free."""


def random_system(
    recipe: Recipe, device: torch.device, dtype: torch.dtype, seed: int = 0, fit: Fit = AS_IT_IS
) -> System:
    """A system of this recipe with random weights, made on the device: for measuring speed, which does not depend on
    them. Its decoder is the recipe's: Wan's own (LoadError without diffusers) or the small one."""
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Wan(recipe.config).eval().requires_grad_(False)
            decoder = random_vae() if recipe.parts == "wan" else TAEHV(TAEHVConfig())
    finally:
        torch.set_default_dtype(torch.float32)
    decoder.eval().requires_grad_(False)
    return System(recipe, _fitted(model, fit, device), decoder, RandomText(recipe.config), notes=_notes(model, fit))


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
    """What the models were made in, bfloat16, on cards that compute in it; float16 on older ones; float32 on CPUs and
    Apple's GPUs, where it is the safest and seldom slower."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= BFLOAT16 else torch.float16
