"""Where the files of a model that does not ship are looked for, which are missing, and what gets them.

Two places: a folder of models (`owner/name/path` in it, or `name/path`), and the cache that the hub's own tools keep.
Nothing is ever fetched from here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from pipelines.checkpoint import LoadError
from pipelines.recipes import Recipe

MODELS = Path("models")  # where nothing else is said
_BASE = "Wan-AI/Wan2.1-T2V-1.3B"  # text encoder and autoencoder are the same for every size
_DIFFUSERS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


class Need(NamedTuple):
    """One part of a model and the files that hold it, the usual one first; any will do. A path that ends in a slash
    is a folder."""

    part: str
    files: tuple[str, ...]


_TEXT = (
    Need("text", (f"{_BASE}/models_t5_umt5-xxl-enc-bf16.pth", f"{_DIFFUSERS}/text_encoder/")),
    Need("tokenizer", (f"{_BASE}/google/umt5-xxl/", f"{_DIFFUSERS}/tokenizer/")),
)
_DECODERS = {
    "wan": Need("vae", (f"{_BASE}/Wan2.1_VAE.pth", f"{_DIFFUSERS}/vae/")),
    "taehv": Need("vae", ("madebyollin/taehv/taew2_1.pth", "madebyollin/taehv/safetensors/taew2_1.safetensors")),
}
_NOT_ON_THE_HUB = "madebyollin/taehv"


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
    """Where `owner/name/path` lies on this machine."""
    owner, name, path = file.split("/", 2)
    folder, hub = places(models)
    found = [folder / owner / name / path, folder / name / path, *_snapshots(hub / f"models--{owner}--{name}", path)]
    fits = Path.is_dir if path.endswith("/") else Path.is_file
    return next((place for place in found if fits(place)), None)


def located(recipe: Recipe, models: Path | None = None, given: Collection[str] = ()) -> dict[str, Path]:
    """Part -> the file or folder that holds it. LoadError in one line, with every part that is missing, but for those
    `given` some other way."""
    found, missing = survey(recipe, models)
    missing = [need for need in missing if need.part not in given]
    if missing:
        raise LoadError(_lack(recipe, [need.files[0] for need in missing], models))
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
    lines += [f"{need.part:12} MISSING {' or '.join(need.files)}" for need in missing]
    return lines + commands((need.files[0] for need in missing), models)


def commands(files: Iterable[str], models: Path | None = None) -> list[str]:
    """What gets these files, one line a repository: into the hub's cache, or by hand into the folder of models."""
    by_repo: dict[str, list[str]] = {}
    for file in files:
        owner, name, path = file.split("/", 2)
        by_repo.setdefault(f"{owner}/{name}", []).append(path)
    return [_command(repo, paths, models or MODELS) for repo, paths in by_repo.items()]


def _command(repo: str, paths: list[str], folder: Path) -> str:
    if repo == _NOT_ON_THE_HUB:
        return f"put {', '.join(paths)} of github.com/{repo} into {folder / repo}"
    whole = [path for path in paths if not path.endswith("/")]
    folders = [f"--include {shlex.quote(path + '*')}" for path in paths if path.endswith("/")]
    # A download takes either names or patterns.
    names = [f"--include {shlex.quote(path)}" for path in whole] if folders else whole
    return " ".join(["hf download", repo, *names, *folders])


def _lack(recipe: Recipe, files: list[str], models: Path | None) -> str:
    folder, hub = places(models)
    return (
        f"model '{recipe.name}' is not installed: missing {', '.join(files)}; looked in {folder} (--models-dir) and "
        f"{hub}; get them with: {'; '.join(commands(files, models))}"
    )


def _snapshots(cached: Path, path: str) -> list[Path]:
    """The path in every snapshot of a repository, the one that `main` points at first."""
    main = cached / "refs" / "main"
    wanted = main.read_text().strip() if main.is_file() else ""
    folders = sorted((cached / "snapshots").glob("*"), key=lambda folder: (folder.name != wanted, folder.name))
    return [folder / path for folder in folders]
