"""hidden.threshold: only the loud neurons of the feed-forward layers get through."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.bends.fold import Maximum
from pipelines.bends.lever import lever
from pipelines.bends.levers.out_noise import rms
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
    # A sign is several times faster than a comparison, whose result would have to become a number again.
    beyond = torch.addcmul(hidden.abs(), rms(hidden), threshold[0], value=-1)  # [B, L, ffn_dim]
    return hidden * beyond.sign_().add_(1).clamp_(max=1)
