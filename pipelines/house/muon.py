"""Muon: momentum whose matrix is made orthogonal before it is followed, for the matrices inside a network.

After Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the step scaled as by Liu et al. 2025
(arXiv 2502.16982) so that a learning rate means about what it means to AdamW. Matrices of one shape are worked on
together: a small transformer has a hundred of them, and one by one they would cost more than the forward.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_LIKE_ADAM = 0.2  # the usual root mean square of an AdamW step, in learning rates


class Muon(torch.optim.Optimizer):
    """For parameters [rows, columns]; ValueError at any other. Everything else belongs to another optimiser."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon turns matrices, got a parameter of shape {tuple(p.shape)}; leave it out")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step down the gradients there are."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.shape].append(p)
            for alike in shapes.values():
                self._turn(alike, group)

    def _turn(self, params: list[nn.Parameter], group: dict) -> None:
        for p in params:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        beta, rows, columns = group["momentum"], *params[0].shape
        grads, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(momenta, grads, 1 - beta)
        ahead = torch._foreach_lerp(grads, momenta, beta)  # Nesterov
        change = orthogonal(torch.stack(ahead)) * (_LIKE_ADAM * max(rows, columns) ** 0.5)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, list(change.to(params[0].dtype).unbind()), alpha=-group["lr"])


def orthogonal(matrices: Tensor) -> Tensor:
    """[N, rows, columns] -> about U V^T of each one's singular value decomposition, by Newton-Schulz rounds.

    Singular values end between 0.7 and 1.2, which is near enough. bfloat16 where the device is fast at it.
    """
    a, b, c = _QUINTIC
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
