"""Scaled dot-product attention: one function, so that kernels can be chosen behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 2**25  # weights of a map that are in memory at once; the house model up to 700x400 has fewer


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v.

    q [B, Lq, heads, d], k and v [B, Lk, heads, d], bias broadcastable to [B, heads, Lq, Lk] (float, added to the
    logits, or bool, True = may attend). Returns [B, Lq, heads, d].
    """
    if k.dtype != q.dtype:
        return _attend_half(q, k, v, bias)
    z = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=bias)
    return z.transpose(1, 2)


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
