"""Layers in forms that a CPU computes faster: fewer bits to multiply, cheaper ways to the same function.

What goes in and comes out stays in single precision. Which forms pay is measured on the machine at hand, and a form
that computes something else there is never taken.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.taehv import TAEHV, Streaming
from pipelines.wan import RMSNorm, Wan

HALF = torch.bfloat16
PAYS = 0.8  # of another form's time, that a form with fewer bits must stay below
TRUE = 0.05  # share of the true result that a form may be off
_ROUNDS = 12
_PATIENCE = 2.0  # seconds after which no further round of timing is begun
_TOKENS = 1024  # timed at most: more make every form slower alike


class HalfLinear(nn.Module):
    """What `nn.Linear` computes, multiplied in half precision; x [..., in] keeps its dtype."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(HALF), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.to(HALF), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(HALF), self.weight, self.bias).to(x.dtype)


class EightBitLinear(nn.Module):
    """What `nn.Linear` computes, multiplied in eight bits: weights rounded per output, x [..., in] (float32) as a
    whole, on a scale that fits what is in it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-12).double() / 127
        with warnings.catch_warnings():  # torch announces a successor that it does not have yet
            warnings.filterwarnings("ignore", message=".*quantize", category=UserWarning)
            rounded = torch.quantize_per_channel(weight, scale, torch.zeros_like(scale).long(), 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self._packed)


class QuickGELU(nn.Module):
    """GELU in its tanh form, written with a sigmoid: 0.5 (1 + tanh(y)) = sigmoid(2 y), and CPUs have a faster
    sigmoid."""

    LINEAR = 2 * (2 / torch.pi) ** 0.5
    CUBIC = LINEAR * 0.044715  # the constant of Hendrycks and Gimpel 2016

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.addcmul(self.LINEAR * x, x * x, x, value=self.CUBIC).sigmoid_()


class QuickRMSNorm(nn.Module):
    """What `RMSNorm` computes, through a norm that CPUs have a kernel for."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        return x * mean.add_(self.eps).rsqrt_() * self.weight


class Recast(nn.Module):
    """What follows is computed in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class Chosen(NamedTuple):
    """Forms that pay on this machine: of linear layers, None for the layers as they are, said in `words`; and whether
    half precision does, for what is no layer."""

    layers: Callable[[nn.Linear], nn.Module] | None
    words: str
    half: bool


FORMS: dict[str, Callable[[nn.Linear], nn.Module]] = {"eight bits": EightBitLinear, "bfloat16": HalfLinear}
"""The fewest bits first."""


def lighten(model: Wan, chosen: Chosen) -> None:
    """Give the blocks of a network lighter layers, in place."""
    for block in model.blocks:
        block.self_attn.pack(chosen.layers)
        block.ffn[1] = QuickGELU()
        for part in (block.self_attn, block.cross_attn, block.ffn):
            for name, layer in list(part.named_children()):
                if type(layer) is nn.Linear:
                    setattr(part, name, chosen.layers(layer))
                elif type(layer) is RMSNorm:
                    setattr(part, name, QuickRMSNorm(layer))


def halve_decoder(decoder: TAEHV) -> None:
    """Let a small decoder work in half precision, in place, but for the layer that makes the colours: half precision
    has fewer steps than a screen."""
    *layers, last = decoder.decoder
    decoder.decoder = Streaming(Recast(HALF), *(layer.to(HALF) for layer in layers), Recast(torch.float32), last)


def lighter_layers(dim: int, ffn_dim: int, tokens: int) -> Chosen:
    """What this CPU computes a feed-forward layer's sizes fastest with; each form must pay against every other with
    more bits, and be true. Takes seconds at most: on a busy machine it may miss a form that pays, but takes none
    that is false."""
    plain, x = nn.Linear(dim, ffn_dim).requires_grad_(False), torch.randn(min(tokens, _TOKENS), dim)
    made = {words: _made(form, plain, x) for words, form in FORMS.items()}
    layers = {words: layer for words, layer in made.items() if layer is not None}
    took = _times({**layers, "": plain}, x)
    half = took.get("bfloat16", took[""]) < PAYS * took[""]
    order = [*layers, ""]
    for index, words in enumerate(order[:-1]):
        if all(took[words] < PAYS * took[other] for other in order[index + 1 :]):
            return Chosen(FORMS[words], words, half)
    return Chosen(None, "", half)


def _made(form: Callable[[nn.Linear], nn.Module], plain: nn.Linear, x: Tensor) -> nn.Module | None:
    """The layer in this form; None where this build of torch lacks it, or where it is not true: of what a model gives
    it, or of numbers that are all as large as can be, since older CPUs add eight bits in sixteen, which overflow."""
    loud = nn.Linear(plain.in_features, plain.out_features).requires_grad_(False)
    loud.weight.fill_(1.0)
    try:
        layer = form(plain)
        true = _is_true(form(loud), loud, torch.ones(4, plain.in_features)) and _is_true(layer, plain, x[:4])
    except (AttributeError, RuntimeError, NotImplementedError):
        return None
    return layer if true else None


def _is_true(layer: nn.Module, plain: nn.Linear, x: Tensor) -> bool:
    """Whether a layer computes what the plain one does of x [n, in]; NaN is not true."""
    truth = plain(x)
    return bool((layer(x) - truth).norm() < TRUE * truth.norm())


def _times(layers: dict[str, nn.Module], x: Tensor) -> dict[str, float]:
    """Seconds, in turn, so that another program slows down all; the fastest of each counts."""
    took = dict.fromkeys(layers, float("inf"))
    began = time.perf_counter()
    with torch.inference_mode():
        for number in range(_ROUNDS):
            if number > 1 and time.perf_counter() - began > _PATIENCE:  # the first time says nothing
                break
            for words, layer in layers.items():
                start = time.perf_counter()
                for _ in range(4):
                    layer(x)
                took[words] = min(took[words], time.perf_counter() - start)
    return took
