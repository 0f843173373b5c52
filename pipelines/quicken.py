"""A system made as fast as the machine at hand lets it be, by measuring there, before it plays.

On CUDA: the fastest kernel of attention, queries, keys and values in one product, blocks compiled, passes recorded. On
a CPU that multiplies half precision faster than single: linear layers and the cache of keys and values in half
precision, everything else, bends included, in single. The numbers stay what they were but for rounding; neutral bends
still change no bit.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.bends.bank import Bend
from pipelines.stream import Stream
from pipelines.systems import System
from pipelines.tune import choose_attention, compile_blocks
from pipelines.wan import Wan

HALF = torch.bfloat16
PAYS = 0.8  # of the time in single precision that half precision must stay below
_ROUNDS = 12


class HalfLinear(nn.Module):
    """What `nn.Linear` computes, multiplied in half precision; x [..., in] keeps its dtype."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(HALF), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.to(HALF), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(HALF), self.weight, self.bias).to(x.dtype)


def quickened(system: System, cache: Path | None = None) -> System:
    """The same system, its model changed in place. `cache`: a folder for what a compiler makes. On a CPU a network that
    is not in single precision stays as it is."""
    like, recipe = system.model.patch_embedding.weight, system.recipe
    tokens = recipe.chunk * (recipe.height // 16) * (recipe.width // 16)
    if like.device.type == "cuda":
        for block in system.model.blocks:
            block.self_attn.pack()
        choose_attention(tokens, tokens // recipe.chunk * recipe.window, system.model)
        compile_blocks(system.model, cache)
        return replace(system, recorded=system.recordable)
    if like.device.type == "cpu" and like.dtype == torch.float32 and half_pays(system.model, tokens):
        halve(system.model)
        notes = {
            **system.notes,
            "precision": "linear layers and cache in bfloat16, faster here (--plain: not)",
        }
        return replace(system, memory=HALF, notes=notes)
    return system


def make_stream(system: System, seed: int = 0, batch: int = 1, bends: tuple[Bend, ...] = ()) -> Stream:
    """A stream that plays the system as it was made to."""
    record = None if system.recorded else False
    return Stream(system.model, system.decoder, system.recipe, bends, seed, batch, record, system.memory)


def halve(model: Wan) -> None:
    """Let the blocks multiply in half precision."""
    for block in model.blocks:
        block.self_attn.pack(HalfLinear)
        for part in (block.self_attn, block.cross_attn, block.ffn):
            for name, layer in list(part.named_children()):
                if type(layer) is nn.Linear:
                    setattr(part, name, HalfLinear(layer))


def half_pays(model: Wan, tokens: int) -> bool:
    """Whether this CPU multiplies a feed-forward layer's sizes faster in half precision."""
    single = nn.Linear(model.config.dim, model.config.ffn_dim).requires_grad_(False)
    half, x = HalfLinear(single), torch.randn(tokens, model.config.dim)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(_ROUNDS):  # in turn, so that another program slows down both; the fastest of each counts
            for layer, took in zip((half, single), times, strict=True):
                start = time.perf_counter()
                for _ in range(4):
                    layer(x)
                took.append(time.perf_counter() - start)
    return min(times[0]) < PAYS * min(times[1])
