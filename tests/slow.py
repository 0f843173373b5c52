"""The causal rules written out the long way, to compare the streams with: whole buffers, pointers and moves in them,
one explicit softmax, and loops that keep every latent. Shares no code with the caches, turns and streams under test;
of the transformer it uses the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.wan import Wan


def _sigmas(shift: float) -> list[float]:
    return [shift * s / (1 + (shift - 1) * s) for s in (1 - i / 1000 for i in range(1000))]


def warped(steps: tuple[int, ...], shift: float) -> list[float]:
    grid = [1000 * s for s in _sigmas(shift)] + [0.0]
    return [grid[1000 - step] for step in steps]


def sigma_at(t: float, shift: float) -> float:
    return min(_sigmas(shift), key=lambda s: abs(1000 * s - t))


def turned(x: Tensor, positions: list[int], height: int, width: int) -> Tensor:
    """x [B, F*h*w, n, d] with each pair of channels turned by its angle, in double precision."""
    turn = _turns(x.shape[-1], tuple(positions), height, width)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn[None, :, None]).flatten(-2).float()


@lru_cache
def _turns(d: int, positions: tuple[int, ...], height: int, width: int) -> Tensor:
    side = 2 * (d // 6)
    angles = []
    for frame in positions:
        for row in range(height):
            for column in range(width):
                axes = ((frame, d - 2 * side), (row, side), (column, side))
                angles.append([at * 10000 ** (-2 * i / size) for at, size in axes for i in range(size // 2)])
    return torch.polar(torch.ones(len(angles), d // 2, dtype=torch.float64), torch.tensor(angles, dtype=torch.float64))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    logits = torch.einsum("bqnd,bknd->bnqk", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return torch.einsum("bnqk,bknd->bqnd", logits.softmax(-1), v)


class SlowModel:
    """One network with a buffer of keys and values per layer, capacity `window` frames."""

    def __init__(self, model: Wan, window: int, sink: int = 0, relative: bool = False, clip_sink: bool = True) -> None:
        self.model, self.window, self.sink = model, window, sink
        self.relative, self.clip_sink = relative, clip_sink
        self.heads = model.config.num_heads
        self.local_end = self.global_end = 0  # in frames
        self.k: list[Tensor | None] = [None] * len(model.blocks)
        self.v: list[Tensor | None] = [None] * len(model.blocks)
        self.mask: Tensor | None = None  # for the rebuilding pass

    def empty(self) -> None:
        self.local_end = self.global_end = 0

    def __call__(self, x: Tensor, t: float, embeddings: Tensor, start: int) -> Tensor:
        """x [B, F, C, H, W] at time t as frames [start, start + F) -> flow."""
        m, (batch, frames) = self.model, x.shape[:2]
        half = m.config.freq_dim // 2
        angles = t * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
        e = m.time_embedding(torch.cat([angles.cos(), angles.sin()]).float())
        e6 = m.time_projection(e).view(6, -1)
        text = m.text_embedding(F.pad(embeddings, (0, 0, 0, m.config.text_len - embeddings.shape[1])))
        text = text.expand(batch, -1, -1)
        y = torch.stack([m.patch_embedding(x[:, i, :, None])[:, :, 0] for i in range(frames)], 1)  # [B, F, D, h, w]
        self.h, self.w = y.shape[-2:]
        y = y.permute(0, 1, 3, 4, 2).flatten(1, 3)
        plan = self._plan(start, frames)
        for i, block in enumerate(m.blocks):
            shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation[0] + e6
            y = y + self._self(i, F.layer_norm(y, y.shape[-1:], eps=1e-6) * (1 + scale1) + shift1, plan) * gate1
            y = y + self._cross(block, block.norm3(y), text)
            z = F.layer_norm(y, y.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
            y = y + block.ffn[2](F.gelu(block.ffn[0](z), approximate="tanh")) * gate2
        self.local_end, self.global_end = plan["end"], max(self.global_end, start + frames)
        shift, scale = m.head.modulation[0] + e
        y = m.head.head(F.layer_norm(y, y.shape[-1:], eps=1e-6) * (1 + scale) + shift)
        y = y.view(batch, frames, self.h, self.w, 2, 2, -1).permute(0, 1, 6, 2, 4, 3, 5)
        return y.reshape(batch, frames, -1, 2 * self.h, 2 * self.w)

    def _plan(self, start: int, frames: int) -> dict:
        """The write and evict rule, in frames."""
        end, again = start + frames, start + frames <= self.global_end and start > 0
        evicted = 0
        if end > self.global_end and frames + self.local_end > self.window:
            evicted = frames + self.local_end - self.window
        local = self.local_end + max(0, end - self.global_end) - evicted
        first = local - frames
        turn = range(first, local) if self.relative else range(start, end)
        skip = max(0, self.sink - first) if again and self.clip_sink else 0
        return {"evicted": evicted, "end": local, "first": first, "turn": list(turn), "skip": skip}

    def _self(self, i: int, y: Tensor, plan: dict) -> Tensor:
        a, s = self.model.blocks[i].self_attn, self.h * self.w
        q, k, v = (part(y) for part in (a.q, a.k, a.v))
        q, k = (self._normed(x, norm) for x, norm in ((q, a.norm_q), (k, a.norm_k)))
        v = v.unflatten(-1, (self.heads, -1))
        q = turned(q, plan["turn"], self.h, self.w)
        k = k if self.relative else turned(k, plan["turn"], self.h, self.w)
        if self.k[i] is None or self.k[i].shape[0] != k.shape[0]:
            size = (k.shape[0], self.window * s, *k.shape[2:])
            self.k[i], self.v[i] = torch.zeros(size), torch.zeros(size)
        for new, buffer in ((k, self.k[i]), (v, self.v[i])):
            if plan["evicted"]:
                kept = buffer[:, (self.sink + plan["evicted"]) * s : self.local_end * s].clone()
                buffer[:, self.sink * s : self.sink * s + kept.shape[1]] = kept
            first = plan["first"] + plan["skip"]
            buffer[:, first * s : plan["end"] * s] = new[:, plan["skip"] * s :]
        keys, values = self.k[i][:, : plan["end"] * s], self.v[i][:, : plan["end"] * s]
        if self.relative:
            keys = turned(keys, list(range(plan["end"])), self.h, self.w)
        return a.o(softmax_attention(q, keys, values, self.mask).flatten(-2))

    def _cross(self, block, y: Tensor, text: Tensor) -> Tensor:
        a = block.cross_attn
        q, k = self._normed(a.q(y), a.norm_q), self._normed(a.k(text), a.norm_k)
        return a.o(softmax_attention(q, k, a.v(text).unflatten(-1, (self.heads, -1))).flatten(-2))

    def _normed(self, x: Tensor, norm) -> Tensor:
        rms = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return (rms * norm.weight).unflatten(-1, (self.heads, -1))


Noise = Callable[[], Tensor]


def slow_chunk(model: SlowModel, steps: list[float], shift: float, noise: Noise, at: tuple[Tensor, int]) -> Tensor:
    """One chunk's clean latents; `noise()` gives [B, F, C, H, W], `at` is the text and the first frame."""
    x = noise()
    for i, t in enumerate(steps):
        clean = x - sigma_at(t, shift) * model(x, t, *at)
        if i + 1 < len(steps):
            sigma = sigma_at(steps[i + 1], shift)
            x = (1 - sigma) * clean + sigma * noise()
    return clean
