"""A toy-size system with random weights, for measuring the loop and what surrounds it rather than a model: its chunks
take milliseconds, and its latents come apart sooner than a real model's, so that the guard has work to do."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import torch

from pipelines.recipes import HOUSE, Recipe
from pipelines.systems import System
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.text import Prompt
from pipelines.wan import Wan, WanConfig

CONFIG = WanConfig(dim=64, ffn_dim=128, num_heads=2, num_layers=3, text_dim=32, text_len=16, freq_dim=32)
TOY: Recipe = replace(
    HOUSE, name="toy", config=CONFIG, width=64, height=48, window=4, fps=240.0, latent_limit=1.5, licence="none"
)


class Words:
    """Prompts of one token a word, each with an embedding of its own."""

    quick = True

    def encode(self, text: str) -> Prompt:
        found = list(re.finditer(r"\S+", text))[: CONFIG.text_len]
        embeddings = torch.zeros(1, CONFIG.text_len, CONFIG.text_dim)
        for place, word in enumerate(found):
            generator = torch.Generator().manual_seed(zlib.crc32(word.group().encode()))
            embeddings[0, place] = torch.randn(CONFIG.text_dim, generator=generator)
        return Prompt(text, embeddings, tuple(word.group() for word in found), tuple(word.span() for word in found))

    def let_go(self) -> None:
        """There is nothing to free."""


def toy_system(recipe: Recipe = TOY) -> System:
    """Always the same weights."""
    torch.manual_seed(0)
    model = Wan(recipe.config).eval().requires_grad_(False)
    config = TAEHVConfig(widths=(16, 8, 8, 8), encoder_width=8, shuffle=2, trim=0)
    return System(recipe, model, TAEHV(config).eval().requires_grad_(False), Words())
