"""Whether a second system fits into memory beside the one that plays: an estimate, and what is free.

The rule: its weights as large as their files, its cache exactly, a quarter on top for what a pass needs, and a reserve.
It is meant to err on the careful side: too little memory costs a pause with a held picture, too bold a guess the show.
"""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import torch

from pipelines.files import located
from pipelines.house.model import WEIGHTS
from pipelines.recipes import Recipe
from pipelines.taehv import SPACE_SCALE

SHARE = 1.25
RESERVE = 256 * 2**20  # bytes
CGROUP = Path("/sys/fs/cgroup")


def needed(recipe: Recipe, like: torch.Tensor, same_weights: bool, models: Path | None = None) -> int:
    """Bytes that a system of this recipe takes beside one that plays; `like` gives dtype, and `same_weights` says that
    only the picture's size differs. Raises LoadError where files are missing."""
    weights = 0 if same_weights else _weights(recipe, models)
    return int(SHARE * (weights + cache_bytes(recipe, like.element_size()))) + RESERVE


def _weights(recipe: Recipe, models: Path | None) -> int:
    if recipe.parts == "own":
        return WEIGHTS.stat().st_size
    return sum(_size(path) for path in located(recipe, models).values())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cache_bytes(recipe: Recipe, element: int) -> int:
    """Keys and values of the whole window, with elements of so many bytes."""
    height, width = recipe.height // SPACE_SCALE, recipe.width // SPACE_SCALE
    tokens = recipe.window * (height // 2) * (width // 2)
    return 2 * recipe.config.num_layers * tokens * recipe.config.dim * element


def free(device: torch.device) -> int:
    """Bytes that can be had on the device now; of main memory no more than a container's bound leaves."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    try:
        bound = int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return available
    return max(0, min(available, bound))


def text(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def give_back() -> None:
    """Return to the system what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
