"""LoRA (Hu et al. 2021): low-rank changes of linear layers, merged into the weights they change when these are read.

Reads PEFT's names (`base_model.model.blocks.0.self_attn.q.lora_A.weight`), with or without an adapter's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pipelines.checkpoint import LoadError, Stored
from pipelines.load import NOT_IT, original_names, some

_KEY = re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.[^.]+)?\.weight")


class Change(NamedTuple):
    """B A * scale [out, in], still in its two factors: `down` [rank, in] and `up` [out, rank]."""

    down: Stored
    up: Stored
    scale: float

    def merged(self, weight: Tensor) -> Tensor:
        """The weight with the change, in float32 on the weight's device."""
        down, up = (side.read().to(weight.device, torch.float32) for side in (self.down, self.up))
        return torch.addmm(weight.float(), up, down, alpha=self.scale)


def read_lora(stored: Mapping[str, Stored], source: str, alpha: float | None = None) -> dict[str, Change]:
    """Name of a weight -> its change. `alpha` is the LoRA's, None where it equals the rank (a scale of one).

    Raises LoadError for keys that are none of a LoRA's and for halves without their other half.
    """
    sides: dict[str, dict[str, Stored]] = {}
    strange = []
    for name, tensor in stored.items():
        match = _KEY.fullmatch(name)
        if match is None:
            strange.append(name)
        else:
            sides.setdefault(f"{match['layer']}.weight", {})[match["side"]] = tensor
    if strange:
        raise LoadError(f"{source} is no LoRA: it has {some(sorted(strange))}; {NOT_IT}")
    if half := sorted(name for name, pair in sides.items() if len(pair) < 2):
        raise LoadError(f"{source}: {some(half)} lacks one of lora_A and lora_B; fetch it again")
    changes = {}
    for name, pair in original_names(sides).items():
        down, up = pair["A"], pair["B"]
        rank = down.shape[0]
        if up.shape[1] != rank:
            raise LoadError(f"{source}: the halves of {name} have ranks {rank} and {up.shape[1]}; fetch it again")
        changes[name] = Change(down, up, 1.0 if alpha is None else alpha / rank)
    return changes


def merge(stored: Mapping[str, Stored], changes: Mapping[str, Change], source: str) -> dict[str, Stored]:
    """The same tensors, those that the LoRA changes merged when they are read. Raises LoadError where it changes what
    is not there, or something of another shape."""
    if unknown := sorted(changes.keys() - stored.keys()):
        raise LoadError(f"{source} changes {some(unknown)}, which the model does not have; it belongs to another model")
    merged = dict(stored)
    for name, change in changes.items():
        shape, own = (change.up.shape[0], change.down.shape[1]), stored[name].shape
        if shape != own:
            raise LoadError(f"{source}: the change of {name} is {shape}, the weight {own}; it belongs to another model")
        merged[name] = Stored(own, lambda change=change, read=stored[name].read: change.merged(read()))
    return merged
