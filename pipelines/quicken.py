"""A system made as fast as the machine at hand lets it be, by measuring there, before it plays.

On CUDA: the fastest kernel of attention, queries, keys and values in one product, blocks and decoder compiled, both
recorded; nothing is either where blocks come as they are needed. On a CPU: its layers multiplied in fewer bits and its
cache kept in half precision (`lighter.py`), where that is faster there; bends stay in single precision. The numbers
stay what they were but for rounding; neutral bends still change no bit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pipelines.bends.bank import Bend
from pipelines.lighter import HALF, halve_decoder, lighten, lighter_layers
from pipelines.stream import Stream
from pipelines.systems import System
from pipelines.taehv import TAEHV
from pipelines.tune import choose_attention, compile_blocks


def quickened(system: System, cache: Path | None = None) -> System:
    """The same system, its model changed in place. `cache`: a folder for what a compiler makes. On a CPU a network that
    is not in single precision stays as it is."""
    like, recipe = system.model.patch_embedding.weight, system.recipe
    tokens = recipe.chunk * (recipe.height // 16) * (recipe.width // 16)
    if like.device.type == "cuda":
        return _on_card(system, tokens, cache)
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return system
    layers = lighter_layers(system.model.config.dim, system.model.config.ffn_dim, tokens)
    if not layers.layers:
        return system
    lighten(system.model, layers)
    if layers.half and isinstance(system.decoder, TAEHV):
        halve_decoder(system.decoder)
    words = f"linear layers in {layers.words}" + (", cache and decoder in bfloat16" if layers.half else "")
    notes = {**system.notes, "precision": f"{words}: faster here (--plain: not)"}
    return replace(system, memory=HALF if layers.half else None, notes=notes)


def _on_card(system: System, tokens: int, cache: Path | None) -> System:
    recipe, model = system.recipe, system.model
    for block in model.blocks:
        block.self_attn.pack()
    chosen = choose_attention(tokens, tokens // recipe.chunk * recipe.window, model, system.recordable)
    if system.recordable:
        # Without a recording compiled blocks are mostly slower than plain ones (1.3B with --offload on an H100: 62 and
        # 51 ms a pass, with 22 bends 89 and 77; in eight bits 59 and 67, 128 and 111), and would be compiled anew while
        # knobs are turned.
        compile_blocks(model, cache)
    notes = {**system.notes, "attention": f"{chosen}: the fastest here (--plain: torch's choice)"}
    return replace(system, recorded=system.recordable, notes=notes)


def make_stream(system: System, seed: int = 0, batch: int = 1, bends: tuple[Bend, ...] = ()) -> Stream:
    """A stream that plays the system as it was made to."""
    record = None if system.recorded else False
    return Stream(system.model, system.decoder, system.recipe, bends, seed, batch, record, system.memory)
