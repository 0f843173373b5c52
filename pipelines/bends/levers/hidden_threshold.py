"""hidden.threshold: only the loud neurons of the feed-forward layers get through."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.bends.fold import Maximum
from pipelines.bends.lever import lever
from pipelines.spec import ControlSpec

THRESHOLD = ControlSpec(0.0, 4.0, 0.0, warp="squared", unit="rms", doc="relative to the hidden vector's own rms")


@lever(
    "hidden.threshold",
    at={"ffn": "ffn.hidden"},
    fold=Maximum("threshold"),
    amounts={"threshold": THRESHOLD},
    columns={"ffn": "neurons"},
)
def hidden_threshold(hidden: Tensor, threshold: Tensor) -> Tensor:
    """Silence neurons in scope whose activation is smaller than the threshold times the rms of the token's hidden
    vector."""
    size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)  # [B, L, 1]
    limit = (size / hidden.shape[-1] ** 0.5).to(hidden.dtype) * threshold[0]  # [B, L, ffn_dim]
    return hidden * (hidden.abs() >= limit)
