"""Whether a second system fits into memory beside the one that plays: an estimate, and what is free.

The rule: its weights as large as their files, its cache and the matrices of moved maps exactly, a quarter on top; what
a pass and the decoding beside it take at their largest, as measured; and a reserve. It is meant to err on the careful
side: too little memory costs a pause with a held picture, too bold a guess the show.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch

from instrument.state.patch import Patch
from pipelines.attention import MOST
from pipelines.bends.lever import discover
from pipelines.bends.transforms import LARGEST, Transforms, room
from pipelines.files import located
from pipelines.house.model import WEIGHTS
from pipelines.recipes import Recipe
from pipelines.taehv import SPACE_SCALE

SHARE = 1.25
RESERVE = 256 * 2**20  # bytes
CGROUP = Path("/sys/fs/cgroup")


# Numbers for each pixel of a chunk's pictures that decoding holds at once, by where a recipe's parts come from.
DECODING = {"own": 80, "taehv": 200, "wan": 600}
MAP = 10  # bytes for each weight of an attention map, as it is made


def needed(
    recipe: Recipe,
    like: torch.Tensor,
    same_weights: bool,
    patches: Iterable[Patch] = (),
    models: Path | None = None,
) -> int:
    """Bytes that a system of this recipe takes beside one that plays, with these patches ready to play; `like` gives
    device and dtype, and `same_weights` says that only the picture's size differs. Raises LoadError where files are
    missing."""
    element = like.element_size()
    weights = 0 if same_weights else _weights(recipe, models)
    kept = weights + cache_bytes(recipe, element) + bank_bytes(patches, recipe, element)
    return int(SHARE * kept) + pass_bytes(recipe, element, like.device.type == "cuda") + RESERVE


def _weights(recipe: Recipe, models: Path | None) -> int:
    if recipe.parts == "own":
        return WEIGHTS.stat().st_size
    return sum(_size(path) for path in located(recipe, models).values())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cache_bytes(recipe: Recipe, element: int) -> int:
    """Keys and values of the whole window, with elements of so many bytes."""
    tokens = recipe.window * _places(recipe)
    return 2 * recipe.config.num_layers * tokens * recipe.config.dim * element


def bank_bytes(patches: Iterable[Patch], recipe: Recipe, element: int) -> int:
    """Of what these patches bend with, the part that grows with the square of the picture: the matrices that move
    attention maps. A picture too large for them is refused, whatever memory there is, and counts none."""
    moving = {id for id, lever in discover().items() if isinstance(lever.fold, Transforms)}
    counts = [Counter(bend.lever for bend in patch.bends if bend.lever in moving) for patch in patches]
    layers, places = recipe.config.num_layers, _places(recipe)
    if places > LARGEST:
        return 0
    return sum(room(layers, places, count, element) for each in counts for count in each.values())


def pass_bytes(recipe: Recipe, element: int, recorded: bool = False) -> int:
    """The most that a pass and decoding beside it hold at once: an attention map as far as it is in memory at once, the
    numbers between two layers, pictures on their way. Decoding that is `recorded` keeps its memory, and what a stream
    begins with is decoded in other."""
    config, tokens = recipe.config, recipe.chunk * _places(recipe)
    weights = min(config.num_heads * tokens * recipe.window * _places(recipe), MOST)
    between = 2 * tokens * (config.ffn_dim + 4 * config.dim) * element
    pixels = recipe.frames * recipe.height * recipe.width
    return MAP * weights + between + (2 if recorded else 1) * DECODING[recipe.parts] * pixels * element


def _places(recipe: Recipe) -> int:
    """Patches of a latent frame."""
    return (recipe.height // SPACE_SCALE // 2) * (recipe.width // SPACE_SCALE // 2)


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
