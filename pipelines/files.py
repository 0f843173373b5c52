"""Where the files of a model that does not ship are looked for, which are missing, and what gets them.

Two places: a folder of models (`owner/name/path` in it, or `name/path`), and the cache that the hub's own tools keep.
Nothing is ever fetched from here; see fetch.py.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pipelines.checkpoint import LoadError
from pipelines.recipes import RECIPES, Recipe

MODELS = Path("models")  # where nothing else is said
_BASE = "Wan-AI/Wan2.1-T2V-1.3B"  # text encoder and autoencoder are the same for every size
_DIFFUSERS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


_BY_HAND = ("madebyollin/taehv",)  # repositories that are on no hub


_CONTENT = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", "spiece.model", "tokenizer.json")


class Need(NamedTuple):
    """One part of a model and the files that hold it, the usual one first; any will do. A path that ends in a slash
    is a folder."""

    part: str
    files: tuple[str, ...]

    @property
    def fetched(self) -> str:
        """The one to fetch from the hub."""
        return next(file for file in self.files if self.on_hub(file))

    @staticmethod
    def on_hub(file: str) -> bool:
        """False for files that are put in their place by hand."""
        return not file.startswith(_BY_HAND)


_TEXT = (
    Need("text", (f"{_BASE}/models_t5_umt5-xxl-enc-bf16.pth", f"{_DIFFUSERS}/text_encoder/")),
    Need("tokenizer", (f"{_BASE}/google/umt5-xxl/", f"{_DIFFUSERS}/tokenizer/")),
)
_DECODERS = {
    "wan": Need("vae", (f"{_BASE}/Wan2.1_VAE.pth", f"{_DIFFUSERS}/vae/")),
    "taehv": Need(
        "vae",
        (
            "madebyollin/taehv/taew2_1.pth",
            "madebyollin/taehv/safetensors/taew2_1.safetensors",
            "Kijai/WanVideo_comfy/taew2_1.safetensors",
        ),
    ),
}


def with_decoder(recipe: Recipe, decoder: str) -> Recipe:
    """The same recipe with another decoder: Wan's own or the small one. Raises LoadError where there is no choice."""
    if recipe.parts == "own":
        raise LoadError(f"--decoder {decoder}: model '{recipe.name}' has only its own; leave the option away")
    if decoder not in _DECODERS:
        raise LoadError(f"--decoder {decoder}: there is no such decoder; choose one of {', '.join(_DECODERS)}")
    return replace(recipe, parts=decoder)


def needs(recipe: Recipe) -> tuple[Need, ...]:
    """The parts of a model that lie in files of others; none where everything ships."""
    if recipe.parts == "own":
        return ()
    lora = (Need("lora", (recipe.lora,)),) if recipe.lora else ()
    return (Need("transformer", (recipe.weights,)), *lora, *_TEXT, _DECODERS[recipe.parts])


def places(models: Path | None = None) -> tuple[Path, Path]:
    """The folder of models and the hub's cache."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return models or MODELS, Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def locate(file: str, models: Path | None = None) -> Path | None:
    """Where `owner/name/path` lies on this machine, whole."""
    fits = _whole if file.endswith("/") else Path.is_file
    return next((place for place in _candidates(file, models) if fits(place)), None)


def lacking(file: str, models: Path | None = None) -> list[str]:
    """Of a folder that is here but not whole, what it lacks."""
    if not file.endswith("/"):
        return []
    return next((gaps(place) for place in _candidates(file, models) if place.is_dir()), [])


def gaps(folder: Path) -> list[str]:
    """What a folder of a model lacks: shards that its index lists, or anything that it is there for."""
    if not any(file.is_file() and file.name.endswith(_CONTENT) for file in folder.iterdir()):
        return ["its content"]
    missing = []
    for index in sorted(folder.glob("*.index.json")):
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            listed = {index.name}
        missing += [name for name in sorted(listed) if name == index.name or not (folder / name).is_file()]
    return missing


def _whole(folder: Path) -> bool:
    return folder.is_dir() and not gaps(folder)


def _candidates(file: str, models: Path | None) -> list[Path]:
    owner, name, path = file.split("/", 2)
    folder, hub = places(models)
    return [folder / owner / name / path, folder / name / path, *_snapshots(hub / f"models--{owner}--{name}", path)]


def located(recipe: Recipe, models: Path | None = None, given: Collection[str] = ()) -> dict[str, Path]:
    """Part -> the file or folder that holds it. LoadError in one line, with every part that is missing, but for those
    `given` some other way."""
    found, missing = survey(recipe, models)
    missing = [need for need in missing if need.part not in given]
    if missing:
        raise LoadError(_lack(recipe, missing, models))
    return found


def survey(recipe: Recipe, models: Path | None = None) -> tuple[dict[str, Path], list[Need]]:
    """What is here of a recipe's files, and what is missing."""
    found: dict[str, Path] = {}
    missing: list[Need] = []
    for need in needs(recipe):
        place = next((place for place in (locate(file, models) for file in need.files) if place), None)
        if place is None:
            missing.append(need)
        else:
            found[need.part] = place
    return found, missing


def report(recipe: Recipe, models: Path | None = None) -> list[str]:
    """A model's parts, a line each: where each is, or which file is missing; then what gets those."""
    found, missing = survey(recipe, models)
    lines = [f"{part:12} {path}" for part, path in found.items()]
    for need in missing:
        lines.append(f"{need.part:12} MISSING {' or '.join(need.files)}")
        partly = {file: lack for file in need.files if (lack := lacking(file, models))}
        lines += [f"{'':12} {file} is here but lacks {', '.join(lack)}" for file, lack in partly.items()]
    if missing:
        lines.append(_fetch(recipe, models))
    return lines + [f"or: {line}" for line in commands(need.fetched for need in missing)] + by_hand(missing, models)


def commands(files: Iterable[str]) -> list[str]:
    """The hub's own commands that get these files, one line a repository, into its cache."""
    by_repo: dict[str, list[str]] = {}
    for file in files:
        owner, name, path = file.split("/", 2)
        by_repo.setdefault(f"{owner}/{name}", []).append(path)
    return [_command(repo, paths) for repo, paths in by_repo.items()]


def by_hand(missing: Iterable[Need], models: Path | None = None) -> list[str]:
    """What can also be put in its place by hand, a line each."""
    lines = []
    for file in (file for need in missing for file in need.files if file.startswith(_BY_HAND)):
        owner, name, path = file.split("/", 2)
        folder = (models or MODELS) / owner / name / Path(path).parent
        lines.append(f"or: put {path} of github.com/{owner}/{name} into {folder}")
    return lines


def _command(repo: str, paths: list[str]) -> str:
    whole = [path for path in paths if not path.endswith("/")]
    folders = [f"--include {shlex.quote(path + '*')}" for path in paths if path.endswith("/")]
    # A download takes either names or patterns.
    names = [f"--include {shlex.quote(path)}" for path in whole] if folders else whole
    return " ".join(["hf download", repo, *names, *folders])


def _fetch(recipe: Recipe, models: Path | None) -> str:
    words = ["bender fetch", recipe.name]
    words += ["--decoder", recipe.parts] if _other_decoder(recipe) else []
    return " ".join([*words, *([f"--models-dir {shlex.quote(str(models))}"] if models else [])])


def _other_decoder(recipe: Recipe) -> bool:
    return recipe.name in RECIPES and recipe.parts != RECIPES[recipe.name].parts


def _lack(recipe: Recipe, missing: list[Need], models: Path | None) -> str:
    folder, hub = places(models)
    return (
        f"model '{recipe.name}' is not installed: missing {', '.join(need.fetched for need in missing)}; looked in "
        f"{folder} (--models-dir) and {hub}; get them with: {_fetch(recipe, models)}"
    )


def _snapshots(cached: Path, path: str) -> list[Path]:
    """The path in every snapshot of a repository, the one that `main` points at first."""
    main = cached / "refs" / "main"
    wanted = main.read_text().strip() if main.is_file() else ""
    folders = sorted((cached / "snapshots").glob("*"), key=lambda folder: (folder.name != wanted, folder.name))
    return [folder / path for folder in folders]
