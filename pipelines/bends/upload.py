"""Folded numbers to the device, without waiting for what it is doing there."""

from __future__ import annotations

import torch
from torch import Tensor

_RING = 4  # passes that the host may be ahead of the device


class Upload:
    """Writes host tensors into one device tensor, whose address stays.

    On a GPU the host goes on at once: a plain copy would wait until the pass that is under way has ended. The numbers
    lie in pinned memory until the device has taken them.
    """

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self._turn = 0
        self._waiting: list[tuple[Tensor, torch.cuda.Event]] = []

    def __call__(self, values: Tensor) -> None:
        """`values` broadcast to the target's shape; its own tensor may be overwritten as soon as this returns."""
        if self.target.device.type != "cuda":
            self.target.copy_(values)
            return
        if len(self._waiting) < _RING:
            pinned = torch.empty(self.target.shape, dtype=self.target.dtype, pin_memory=True)
            self._waiting.append((pinned, torch.cuda.Event()))
        pinned, taken = self._waiting[self._turn % _RING]
        self._turn += 1
        taken.synchronize()
        pinned.copy_(values)
        self.target.copy_(pinned, non_blocking=True)
        taken.record()
