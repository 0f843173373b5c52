"""Linear layers in eight-bit floating point (e4m3, Micikevicius et al. 2022), for graphics cards that multiply it.

The linear layers of the blocks only: norms, embeddings, modulation and head keep their precision, and so do the cache
and everything that bends. Weights have one scale for each of their output channels. Activations are scaled as they
come, one scale for each token, by tensors that never leave the device, so that a compiled or recorded forward needs no
more than an unquantised one. Where a card multiplies only under one scale for everything, both sides have a single one.

Knows no checkpoint and no recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.checkpoint import LoadError
from pipelines.wan import Wan

Scaling = Literal["row", "tensor"]
FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max  # 448
SMALLEST_SCALE = 1e-12  # of rows of zeros
MULTIPLE = 16  # of both sizes of a weight, which the cards' matrix units ask for


class Float8Linear(nn.Module):
    """What `nn.Linear` computes, its weight [out, in] and its input rounded to eight bits.

    `scale` is float32, [1, out] or [1, 1]. Do not cast the module: its two dtypes are its meaning.
    """

    def __init__(self, linear: nn.Linear, scaling: Scaling = "row", device: torch.device | None = None) -> None:
        """From a layer, which is left alone, on `device` or where that one is."""
        super().__init__()
        self.scaling: Scaling = scaling
        weight, scale = to_fp8(linear.weight.detach().to(device), scaling)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", scale.T.contiguous())
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out], in x's dtype."""
        rows, scale = to_fp8(x.flatten(0, -2), self.scaling)
        multiply = _multiplied if x.device.type == "cuda" else emulated
        return multiply(rows, scale, self, x.dtype).unflatten(0, x.shape[:-1])


def to_fp8(rows: Tensor, scaling: Scaling = "row") -> tuple[Tensor, Tensor]:
    """Rows [n, size] rounded to eight bits, and the float32 scale, [n, 1] or [1, 1], that takes these back.

    The largest number of each row (or of all) becomes the largest that eight bits hold.
    """
    largest = rows.abs().amax(-1, keepdim=True)
    if scaling == "tensor":
        largest = largest.amax(0, keepdim=True)
    scale = (largest.float() / LARGEST).clamp(min=SMALLEST_SCALE)
    return (rows.float() / scale).to(FP8), scale


def _multiplied(rows: Tensor, scale: Tensor, layer: Float8Linear, dtype: torch.dtype) -> Tensor:
    """On the card's matrix units."""
    bias = None if dtype == torch.float32 else layer.bias  # which these add to half precision only
    out = torch._scaled_mm(rows, layer.weight.t(), scale, layer.scale, bias=bias, out_dtype=dtype, use_fast_accum=True)
    return out if layer.bias is bias else out + layer.bias


def emulated(rows: Tensor, scale: Tensor, layer: Float8Linear, dtype: torch.dtype) -> Tensor:
    """The same numbers multiplied in float32, on any device: slower than without quantisation, for comparison."""
    weight = layer.weight.float() * layer.scale.T
    bias = None if layer.bias is None else layer.bias.float()
    return F.linear(rows.float() * scale, weight, bias).to(dtype)


def quantise(model: Wan, kind: str, device: torch.device | None = None, home: torch.device | None = None) -> Wan:
    """The same model, its blocks' linear layers replaced. Call it before anything is compiled.

    It is done on `device`, where the model is then, one layer at a time, so that the device never holds the whole of
    it unquantised. With a `home` the blocks lie there afterwards. Raises LoadError for a kind that does not exist and
    for devices that cannot do it.
    """
    device = device or model.patch_embedding.weight.device
    if kind not in KINDS:
        raise LoadError(f"--quantize {kind}: there is no such kind; choose one of {', '.join(KINDS)}")
    convert(model, KINDS[kind](device), device, home)
    return model if home is not None else model.to(device)


def convert(
    model: Wan, scaling: Scaling = "row", device: torch.device | None = None, home: torch.device | None = None
) -> list[str]:
    """Replace the blocks' linear layers, whatever the device can do; the names of those replaced."""
    replaced = []
    for block in model.blocks:
        block.self_attn.unpack()
    for name, module in list(model.blocks.named_modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear) and not any(size % MULTIPLE for size in layer.weight.shape):
                made = Float8Linear(layer, scaling, device)
                setattr(module, child, made if home is None else made.to(home))
                replaced.append(f"blocks.{name}.{child}")
    return replaced


def _fp8(device: torch.device) -> Scaling:
    """The scaling that works there, found out by trying: finest first."""
    for scaling in ("row", "tensor"):
        if works(device, scaling):
            return scaling
    raise LoadError(
        f"--quantize fp8: {_named(device)} does not multiply eight-bit numbers; it takes an NVIDIA card of the Ada, "
        "Hopper or Blackwell generation (RTX 40, H100 or newer) and a torch built for CUDA; play without --quantize"
    )


def _fp8_tensor(device: torch.device) -> Scaling:
    if not works(device, "tensor"):
        _fp8(device)  # says why
    return "tensor"


def works(device: torch.device, scaling: Scaling) -> bool:
    """Whether a small product comes out right on the device's own matrix units."""
    if device.type != "cuda":
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 64, generator=generator).to(device, torch.bfloat16) for n in (48, 32))
    layer = nn.Linear(64, 32, device=device, dtype=torch.bfloat16).requires_grad_(False)
    layer.weight.copy_(weight)
    made = Float8Linear(layer, scaling)
    rows, scale = to_fp8(x, scaling)
    try:
        got = _multiplied(rows, scale, made, x.dtype)
        return torch.allclose(got.float(), emulated(rows, scale, made, torch.float32), atol=0.1, rtol=0.02)
    except (RuntimeError, TypeError, ValueError):  # what torch's kernels raise where they have none for this card
        return False


def _named(device: torch.device) -> str:
    if device.type != "cuda":
        return f"device '{device}'"
    return f"{torch.cuda.get_device_name(device)} with torch {torch.__version__}"


KINDS: dict[str, Callable[[torch.device], Scaling]] = {"fp8": _fp8, "fp8-tensor": _fp8_tensor}
