"""FlashAttention 4 (Dao and others; package `flash-attn-4`, BSD, with NVIDIA's own compiler under it), where it is
installed: on an H100 it takes a fifth less time than what torch brings.

It is one operation to compilers, which must not look into it. The package is opened when it is first asked for: that
takes seconds, and its kernels are compiled for the card then.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor


def installed() -> bool:
    """Whether the package is there; not whether it works on this card."""
    try:
        return find_spec("flash_attn.cute") is not None
    except ImportError:  # no package of that name, or an older one that was built for another torch
        return False


@cache
def _function() -> Callable[..., Any]:
    # Its compiler tells of its own inside where it compiles a kernel.
    warnings.filterwarnings("ignore", message="Argument aux_data", category=UserWarning)
    return importlib.import_module("flash_attn.cute").flash_attn_func


@torch.library.custom_op(
    "attentionbender::flash", mutates_args=(), schema="(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)"
)
def flash(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d)) v of q [B, Lq, heads, d], k and v [B, Lk, heads, d], and the logarithm of what each row
    was divided by, float32 [B, heads, Lq]. Raises what the package raises where it cannot."""
    out, lse = _function()(q, k, v, return_lse=True)[:2]
    return out, lse


@flash.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    batch, queries, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty((batch, heads, queries), dtype=torch.float32)
