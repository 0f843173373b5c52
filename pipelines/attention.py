"""Scaled dot-product attention: one function, so that kernels can be chosen behind it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.flash import flash

MOST = 2**25  # weights of a map that are in memory at once; the house model up to 700x400 has fewer


class Way(NamedTuple):
    """How attention of one size is computed: by torch's choice of kernel, by cuDNN's or by FlashAttention 4, over so
    many equal parts of the keys at once. Parts let a card's last processors work that would have stood still."""

    kernel: Literal["torch", "cudnn", "flash 4"] = "torch"
    parts: int = 1


class Size(NamedTuple):
    """Of one product of attention."""

    queries: int
    keys: int
    heads: int
    head_dim: int


# By the numbers of a Size, plain ones as compilers know them: of this machine, in the whole process, as torch's own
# choice of kernels is.
_ways: dict[tuple[int, ...], Way] = {}


def use(size: Size, way: Way) -> None:
    """Compute attention of this size that way from now on, in what is compiled, where there is no bias and a batch of
    one.

    What is not compiled goes torch's way: to call FlashAttention 4 takes Python longer than the card needs for it, and
    only a recording saves that (1.3B on an H100: 30 ms a pass as it is, 63 with FlashAttention 4 called in it).
    """
    _ways[tuple(size)] = way


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v.

    q [B, Lq, heads, d], k and v [B, Lk, heads, d], bias broadcastable to [B, heads, Lq, Lk] (float, added to the
    logits, or bool, True = may attend). Returns [B, Lq, heads, d].
    """
    if k.dtype != q.dtype:
        return _attend_half(q, k, v, bias)
    if bias is None and q.shape[0] == 1 and torch.compiler.is_compiling():
        way = _ways.get((q.shape[1], k.shape[1], k.shape[2], k.shape[3]))
        if way is not None:
            return attend_by(way, q, k, v)
    z = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=bias)
    return z.transpose(1, 2)


def attend_by(way: Way, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same for a batch of one, without a bias. Raises what the kernel raises where it cannot, and ValueError where
    the keys do not split into so many parts."""
    if k.shape[1] % way.parts:
        raise ValueError(f"{k.shape[1]} keys do not split into {way.parts} equal parts")
    if way.kernel == "torch":
        return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    # Each part has a place in the batch, which costs nothing: queries repeat, keys and values lie there already.
    q = q.expand(way.parts, -1, -1, -1)
    k, v = (x[0].unflatten(0, (way.parts, -1)) for x in (k, v))
    z, log_sums = (_cudnn if way.kernel == "cudnn" else flash)(q, k, v)
    return z if way.parts == 1 else merged(z, log_sums)


def _cudnn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, False, False)
    return out[0].transpose(1, 2), out[1].flatten(2)


def merged(z: Tensor, log_sums: Tensor) -> Tensor:
    """Attention over all keys [1, Lq, heads, d] from that over each part of them, [parts, Lq, heads, d], and the
    logarithms of the sums that each part's rows were divided by, [parts, heads, Lq]."""
    parts = z.shape[0]
    logs = [log_sums[part].float().T[..., None] for part in range(parts)]  # [Lq, heads, 1] each
    peak = logs[0]
    for log in logs[1:]:
        peak = torch.maximum(peak, log)
    weights = [torch.exp(log - peak) for log in logs]
    total = sum(weights[1:], weights[0])
    whole = z[0].float() * (weights[0] / total)
    for part in range(1, parts):
        whole = whole + z[part].float() * (weights[part] / total)
    return whole.to(z.dtype)[None]


def _attend_half(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same where keys are kept in half precision: both products in it, the softmax between them in single.

    CPUs with matrix units for half precision are faster this way than with any kernel that torch has for them. The map
    is made in parts where the whole of it would be large.
    """
    rows = max(1, MOST // (q.shape[0] * q.shape[2] * k.shape[1]))
    if rows >= q.shape[1]:
        return _attend_rows(q, k, v, bias)
    one = bias is None or bias.shape[-2] == 1  # for every row
    starts = range(0, q.shape[1], rows)
    parts = [_attend_rows(q[:, at : at + rows], k, v, bias if one else bias[..., at : at + rows, :]) for at in starts]
    return torch.cat(parts, dim=1)


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    weights = _weights(q, k, bias)
    return (weights.to(k.dtype) @ v.to(k.dtype).transpose(1, 2)).transpose(1, 2).to(q.dtype)


def attention_map(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) itself, [B, heads, Lq, Lk], for q and k [B, L, heads, d] and a bias as above."""
    return _weights(q, k, bias).to(q.dtype)


def _weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """The map in the precision of the keys, or of the queries where there is a bias."""
    scaled = (q * q.shape[-1] ** -0.5).to(k.dtype)
    logits = scaled.transpose(1, 2) @ k.permute(0, 2, 3, 1)
    if bias is None:
        return logits.softmax(dim=-1)  # computed in single precision, whatever it reads and writes
    logits = logits.to(q.dtype)
    logits = logits.masked_fill(~bias, float("-inf")) if bias.dtype == torch.bool else logits + bias
    return logits.softmax(dim=-1)


def chunk_causal_mask(frames: int, tokens_per_frame: int, chunk: int, window: int | None = None) -> Tensor:
    """Bool [L, L], True = may attend: whole chunks see themselves and earlier chunks.

    `window` limits the view to that many latent frames, the query's own chunk included, as a rolling cache does.
    """
    frame = torch.arange(frames).repeat_interleave(tokens_per_frame)
    chunks = frame // chunk
    mask = chunks[:, None] >= chunks[None, :]
    if window is not None:
        end = (chunks + 1) * chunk  # first latent frame after the query's chunk
        mask &= frame[None, :] >= (end - window)[:, None]
    return mask
