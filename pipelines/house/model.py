"""The house model as a whole: its sizes, and the one weights file that holds it.

The file is a safetensors file in half precision with the prefixes `dit.`, `vae.` and `text.`; its metadata holds the
configurations, the vocabulary and what is known of the training, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.checkpoint import LoadError
from pipelines.house.text import HouseText, TextConfig
from pipelines.load import fill
from pipelines.recipes import HOUSE as RECIPE
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.wan import Wan, WanConfig
from pipelines.whole import beside

WEIGHTS = Path(__file__).parent / "weights" / RECIPE.weights
HOUSE = RECIPE.config
AE = TAEHVConfig(widths=(128, 64, 32, 16), encoder_width=40, latent_dim=16, shuffle=2, trim=0)
MARKS = (",",)
_FORMAT = "1"


@dataclass(frozen=True)
class HouseConfig:
    """Everything needed to build the three modules, and the picture they were trained at."""

    dit: WanConfig
    vae: TAEHVConfig
    text: TextConfig
    height: int = RECIPE.height
    width: int = RECIPE.width
    window: int = RECIPE.window  # latent frames that attention sees, the newest included


class House(NamedTuple):
    """The house model's three networks."""

    dit: Wan
    vae: TAEHV
    text: HouseText


class BadWeights(LoadError):
    """A weights file that cannot be read as a house model; the message says why."""


def full_config(vocabulary: tuple[str, ...]) -> HouseConfig:
    """The model that ships."""
    return HouseConfig(HOUSE, AE, _text_config(HOUSE, vocabulary))


def toy_config(vocabulary: tuple[str, ...]) -> HouseConfig:
    """The same shape of model, small enough to train a few steps of in a test."""
    dit = WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, text_dim=16, text_len=24, freq_dim=32)
    vae = TAEHVConfig(widths=(16, 16, 8, 8), encoder_width=8, latent_dim=16, shuffle=2, trim=0)
    return HouseConfig(dit, vae, _text_config(dit, vocabulary), height=32, width=64)


def _text_config(dit: WanConfig, vocabulary: tuple[str, ...]) -> TextConfig:
    return TextConfig((*MARKS, *vocabulary), dit.text_len, dit.text_dim, hidden=dit.text_dim)


def build(config: HouseConfig) -> House:
    """Fresh, untrained modules on the CPU."""
    return House(Wan(config.dit), TAEHV(config.vae), HouseText(config.text))


def export(
    path: Path, config: HouseConfig, states: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]
) -> Path:
    """Write state dicts, keyed dit, vae and text (any of them may be absent while training), in half precision."""
    tensors = {
        f"{part}.{name}": value.detach().to("cpu", torch.float16).contiguous()
        for part, state in states.items()
        for name, value in state.items()
    }
    metadata = {"format": _FORMAT, "config": json.dumps(asdict(config)), "facts": json.dumps(dict(facts))}
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial:
        save_file(tensors, partial, metadata=metadata)
    return path


def describe(path: Path = WEIGHTS) -> tuple[HouseConfig, dict[str, Any]]:
    """The configuration and training facts of a weights file; LoadError when it has none."""
    if not Path(path).is_file():
        remedy = "restore the file that ships, or train: python -m pipelines.house.train"
        raise LoadError(f"no house weights at {path}; {remedy}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as problem:
        raise BadWeights(f"{path} cannot be read ({problem}); restore the file that ships") from problem
    if metadata.get("format") != _FORMAT:
        raise BadWeights(f"{path} is not a house weights file of format {_FORMAT}")
    return _config(json.loads(metadata["config"])), json.loads(metadata["facts"])


def read_states(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in a weights file, keyed by part, on the CPU in the stored precision."""
    states: dict[str, dict[str, Tensor]] = {}
    with safe_open(str(path), framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            part, name = key.split(".", 1)
            states.setdefault(part, {})[name] = file.get_tensor(key)
    return states


def load(path: Path | str = WEIGHTS, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> House:
    """The three modules of a weights file, in evaluation mode and without gradients.

    Raises LoadError naming the path, or what is missing and unexpected.
    """
    path = Path(path)
    config, _ = describe(path)
    states = read_states(path)
    house = build(config)
    for part, module in house._asdict().items():
        fill(module, states.get(part, {}), f"{path}, part '{part}'")
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
    if unknown := sorted(set(states) - set(House._fields)):
        raise BadWeights(f"{path} has unexpected parts: {', '.join(unknown)}")
    return house


def _config(raw: dict[str, Any]) -> HouseConfig:
    parts = {"dit": WanConfig, "vae": TAEHVConfig, "text": TextConfig}
    made = {name: kind(**_tuples(raw[name])) for name, kind in parts.items()}
    plain = {f.name: raw[f.name] for f in fields(HouseConfig) if f.name not in parts}
    return HouseConfig(**made, **plain)


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
