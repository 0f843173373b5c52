"""The causal Wan diffusion transformer: one network for every system here, from the house model to 14B.

Parameter names are those of the original Wan2.1 checkpoints. Every block gets its own slice of the memory, the text
and the bends; no block knows its index, the prompt's words, the step or the time. Without a memory the forward is the
plain bidirectional model (or, under a mask, the one that training uses).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pipelines.bends.hooks import NEUTRAL, LayerBends
from pipelines.cache import LayerMemory, remember
from pipelines.rope import Turn, rotate


@dataclass(frozen=True)
class WanConfig:
    """Sizes of one transformer; the defaults are what every Wan2.1 text-to-video model shares."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_dim: int = 16
    out_dim: int = 16
    text_dim: int = 4096
    text_len: int = 512
    freq_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} does not split into {self.num_heads} heads of even size")
        if self.patch_size[0] != 1:
            raise ValueError(f"patch_size {self.patch_size}: a patch must not span latent frames")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


class Grid(NamedTuple):
    """Tokens of a pass: latent frames x rows x columns of patches."""

    frames: int
    height: int
    width: int


class TextMemory(NamedTuple):
    """A prompt as the blocks read it: per layer, keys and values [B, text_len, heads, d]. Made once per prompt."""

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]


class RMSNorm(nn.Module):
    """weight * x / rms(x) over the last axis, all heads together (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Projections(nn.Module):
    """What both attentions are made of."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)


class SelfAttention(Projections):
    def __init__(self, config: WanConfig) -> None:
        super().__init__(config)
        self._packed: tuple[nn.Module] | None = None  # in a tuple, so that its weights are no names of their own
        self.packable = True  # False where the weights lie in memory that is not theirs alone

    def pack(self, make: Callable[[nn.Linear], nn.Module] = lambda whole: whole) -> None:
        """Compute queries, keys and values as one product from now on: the three weights become views of one, which
        `make` may replace by another layer. What moves or converts the module later takes that back."""
        layers = (self.q, self.k, self.v)
        if not self.packable or any(type(layer) is not nn.Linear for layer in layers):  # quantised, say
            return
        whole = nn.Linear(self.q.in_features, 3 * self.q.out_features, device="meta")
        whole.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), False)
        whole.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]), False)
        for layer, weight, bias in zip(layers, whole.weight.chunk(3), whole.bias.chunk(3), strict=True):
            layer.weight, layer.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
        self._packed = (make(whole),)

    def unpack(self) -> None:
        """Take that back."""
        self._packed = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SelfAttention:
        self.unpack()
        return super()._apply(fn, recurse)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x [B, L, dim]."""
        if self._packed is None:
            return self.q(x), self.k(x), self.v(x)
        return self._packed[0](x).chunk(3, dim=-1)

    def forward(self, x: Tensor, bends: LayerBends, pass_: Pass, memory: LayerMemory | None) -> Tensor:
        q, k, v = self.project(x)
        q = rotate(self.norm_q(q).unflatten(-1, (self.heads, -1)), pass_.turn)  # [B, L, heads, d]
        k = self.norm_k(k).unflatten(-1, (self.heads, -1))
        v = v.unflatten(-1, (self.heads, -1))
        if memory is None:
            k = rotate(k, pass_.turn)
        elif memory.turn is None:
            k, v = remember(memory, rotate(k, pass_.turn), v)
        else:
            k, v = remember(memory, k, v)
            k = rotate(k, memory.turn)
        z = bends.attention("self", q, k, v, pass_.grid, pass_.mask)  # [B, L, heads, d]
        return bends.at("self.out", self.o(z.flatten(-2)))


class CrossAttention(Projections):
    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, text_len, heads, d] of projected text [B, text_len, dim]."""
        k = self.norm_k(self.k(text)).unflatten(-1, (self.heads, -1))
        return k, self.v(text).unflatten(-1, (self.heads, -1))

    def forward(self, x: Tensor, bends: LayerBends, grid: Grid, text: tuple[Tensor, Tensor]) -> Tensor:
        q = self.norm_q(self.q(x)).unflatten(-1, (self.heads, -1))
        z = bends.attention("cross", q, *text, grid, None)
        return bends.at("cross.out", self.o(z.flatten(-2)))


class FeedForward(nn.Sequential):
    """Linear, GELU (tanh), Linear: a Sequential, so that its keys are the original's `ffn.0` and `ffn.2`."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__(
            nn.Linear(config.dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, config.dim),
        )

    def forward(self, x: Tensor, bends: LayerBends) -> Tensor:
        hidden = self.widen(bends.at("ffn.in", x))
        return bends.at("ffn.out", self[2](bends.at("ffn.hidden", hidden)))

    def widen(self, x: Tensor) -> Tensor:
        """The hidden vectors [B, L, ffn_dim] of x [B, L, dim]."""
        first = self[0]
        if x.device.type != "cuda" or type(first) is not nn.Linear or _trains():  # quantised, say
            return self[1](first(x))
        # NVIDIA's library applies the GELU (tanh) while it multiplies: the widest tensor of all is written once, and
        # neither read nor rounded in between.
        hidden = torch._addmm_activation(first.bias, x.flatten(0, -2), first.weight.t(), use_gelu=True)
        return hidden.unflatten(0, x.shape[:-1])


def _trains() -> bool:
    """Whether a network is being trained, or plays as one is: then all is computed by parts that have a derivative."""
    return torch.is_grad_enabled() or torch.is_autocast_enabled("cuda")


class Block(nn.Module):
    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config)
        self.norm3 = nn.LayerNorm(config.dim, config.eps)
        self.cross_attn = CrossAttention(config)
        self.norm2 = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.ffn = FeedForward(config)
        self.modulation = nn.Parameter(torch.randn(1, 6, config.dim) / config.dim**0.5)

    def forward(
        self,
        x: Tensor,  # [B, L, dim]
        time: Tensor,  # [B, F, 6, dim]
        text: tuple[Tensor, Tensor],
        memory: LayerMemory | None,
        bends: LayerBends,
        pass_: Pass,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation[:, None] + time).unbind(2)  # each [B, F, dim]
        y = modulate(self.norm1(x), shift1, scale1)
        x = add_gated(x, self.self_attn(y, bends, pass_, memory), gate1)
        x = x + self.cross_attn(self.norm3(x), bends, pass_.grid, text)
        y = modulate(self.norm2(x), shift2, scale2)
        return add_gated(x, self.ffn(y, bends), gate2)


class Head(nn.Module):
    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.head = nn.Linear(config.dim, config.out_dim * math.prod(config.patch_size))
        self.modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.modulation[:, None] + time[:, :, None]).unbind(2)
        return self.head(modulate(self.norm(x), shift, scale))


class Pass(NamedTuple):
    """What all blocks of one forward share."""

    grid: Grid
    turn: Turn
    mask: Tensor | None


class Wan(nn.Module):
    """The transformer: noisy latents, timesteps and text in, flow (noise minus clean) out."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv3d(config.in_dim, config.dim, config.patch_size, stride=config.patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, config.dim), nn.GELU(approximate="tanh"), nn.Linear(config.dim, config.dim)
        )
        self.time_embedding = nn.Sequential(
            nn.Linear(config.freq_dim, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(config.dim, 6 * config.dim))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.num_layers)])
        self.head = Head(config)

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """The patch grid of latents [frames, height, width]; ValueError where the patch does not divide them."""
        _, patch_h, patch_w = self.config.patch_size
        if height % patch_h or width % patch_w:
            raise ValueError(f"latents of {height}x{width} do not split into patches of {patch_h}x{patch_w}")
        return Grid(frames, height // patch_h, width // patch_w)

    def read_text(self, embeddings: Tensor) -> TextMemory:
        """Prompt embeddings [B, n <= text_len, text_dim] -> what the blocks attend to.

        Missing rows are zeros *before* the projection, which makes them non-zero: Wan attends to its padding.
        """
        missing = self.config.text_len - embeddings.shape[1]
        if missing < 0:
            raise ValueError(f"{embeddings.shape[1]} text rows, but this model reads at most {self.config.text_len}")
        text = self.text_embedding(F.pad(embeddings, (0, 0, 0, missing)))
        pairs = [block.cross_attn.read(text) for block in self.blocks]
        return TextMemory(*(tuple(side) for side in zip(*pairs, strict=True)))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        text: TextMemory,
        turn: Turn,
        memory: tuple[LayerMemory, ...] | None = None,
        mask: Tensor | None = None,
        bends: tuple[LayerBends, ...] | None = None,
    ) -> Tensor:
        """x [B, in_dim, F, H, W], t [B, F] in 0..1000 -> flow, the shape of x."""
        pass_ = Pass(self.grid(*x.shape[2:]), turn, mask)
        time = self.time_embedding(sinusoid(t, self.config.freq_dim).to(self.time_embedding[0].weight.dtype))
        time6 = self.time_projection(time).unflatten(-1, (6, -1))  # [B, F, 6, dim]
        x = self.patch_embedding(x).flatten(2).transpose(1, 2).contiguous()  # [B, L, dim], as every block hands it on
        for i, block in enumerate(self.blocks):
            x = block(
                x,
                time6,
                (text.k[i], text.v[i]),
                None if memory is None else memory[i],
                NEUTRAL if bends is None else bends[i],
                pass_,
            )
        return unpatchify(self.head(x, time), pass_.grid, self.config)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x [B, F*S, dim] * (1 + scale) + shift, with one shift and scale [B, F, dim] per latent frame."""
    frames = x.unflatten(1, (shift.shape[1], -1))
    return torch.addcmul(shift[:, :, None], frames, 1 + scale[:, :, None]).flatten(1, 2)


def add_gated(x: Tensor, change: Tensor, gate: Tensor) -> Tensor:
    """x + change * gate; x and change [B, F*S, dim], gate [B, F, dim] per latent frame."""
    frames = (gate.shape[1], -1)
    return torch.addcmul(x.unflatten(1, frames), change.unflatten(1, frames), gate[:, :, None]).flatten(1, 2)


def sinusoid(t: Tensor, size: int) -> Tensor:
    """[..., size]: cosines then sines of t * 10000^(-i / (size/2)), computed in float64 where the device has it."""
    exact = torch.float32 if t.device.type == "mps" else torch.float64
    half = torch.arange(size // 2, device=t.device, dtype=exact)
    angles = t[..., None].to(exact) * torch.exp(-math.log(10000.0) * half / (size // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def unpatchify(x: Tensor, grid: Grid, config: WanConfig) -> Tensor:
    """[B, L, patch * out_dim], channel fastest -> [B, out_dim, F, H, W]."""
    _, patch_h, patch_w = config.patch_size
    return rearrange(
        x,
        "b (f h w) (p q c) -> b c f (h p) (w q)",
        f=grid.frames,
        h=grid.height,
        w=grid.width,
        p=patch_h,
        q=patch_w,
    )
