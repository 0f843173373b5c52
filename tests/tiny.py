"""A tiny Wan, as the reference tensors use it, and small helpers shared by the tests of `pipelines`."""

from __future__ import annotations

from dataclasses import replace

import torch

from pipelines.recipes import HOUSE, Recipe
from pipelines.stream import Stream
from pipelines.taehv import TAEHV, TAEHVConfig
from pipelines.text import Prompt
from pipelines.wan import Wan, WanConfig

CONFIG = WanConfig(dim=128, ffn_dim=256, num_heads=4, num_layers=3, text_dim=48, text_len=16, freq_dim=64)
TAE = TAEHVConfig(widths=(16, 8, 8, 8), encoder_width=8, shuffle=2, trim=0)
RECIPE: Recipe = replace(HOUSE, name="tiny", config=CONFIG, width=96, height=64, chunk=1, window=4)


def wan(seed: int = 0, config: WanConfig = CONFIG) -> Wan:
    torch.manual_seed(seed)
    return Wan(config).eval().requires_grad_(False)


def taehv(seed: int = 0) -> TAEHV:
    torch.manual_seed(seed)
    return TAEHV(TAE).eval().requires_grad_(False)


def prompt(text: str = "a purple tulip swaying over a dark sea", seed: int = 1) -> Prompt:
    """A prompt of one token a word, with random embeddings."""
    words = text.split()
    ends, at = [], 0
    for word in words:
        at = text.index(word, at)
        ends.append((at, at + len(word)))
        at += len(word)
    embeddings = torch.zeros(1, CONFIG.text_len, CONFIG.text_dim)
    generator = torch.Generator().manual_seed(seed)
    embeddings[:, : len(words)] = torch.randn(1, len(words), CONFIG.text_dim, generator=generator)
    return Prompt(text, embeddings, tuple(words), tuple(ends))


class Encoder:
    """Every text by `prompt`, at once."""

    quick = True

    def encode(self, text: str) -> Prompt:
        return prompt(text)


def stream(
    bends=(),
    recipe: Recipe = RECIPE,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    decoder: TAEHV | None = None,
) -> Stream:
    parts = wan(config=recipe.config).to(dtype), (decoder or taehv()).to(dtype)
    playing = Stream(*parts, recipe, tuple(bends), seed)
    playing.read_prompt(prompt())
    return playing


def play(stream: Stream, chunks: int):
    """The frames of so many chunks, [T, H, W, 3]."""
    import numpy as np

    frames = []
    for _ in range(chunks):
        for _ in stream.denoise():
            pass
        frames.extend(stream.decode(stream.commit()))
    return np.stack(frames)
