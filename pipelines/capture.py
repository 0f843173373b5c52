"""A forward recorded as a CUDA graph: one launch instead of thousands.

What it reads besides its inputs (weights, cache, bends) is read from the same addresses at every replay, so whatever is
written there in between is heard. Shapes and cache placement are those of the recording.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 2  # compilers and libraries make their choices in the first passes, which cannot be recorded


class Captured:
    """`forward(*inputs) -> out`, recorded; call it like the original. The result is overwritten by the next call."""

    def __init__(self, forward: Callable[..., Tensor], *inputs: Tensor, pool: tuple[int, int] | None = None) -> None:
        """Record on inputs like these, which must be on a CUDA device. Recordings that share a `pool`
        (torch.cuda.graph_pool_handle) overwrite each other's results when they are called."""
        self._inputs = tuple(given.clone() for given in inputs)
        now = torch.cuda.current_stream(inputs[0].device)
        beside = torch.cuda.Stream(inputs[0].device)
        beside.wait_stream(now)
        with torch.cuda.stream(beside), torch.inference_mode():
            for _ in range(WARM_UPS):
                forward(*self._inputs)
        now.wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with (
            torch.inference_mode(),
            torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"),
        ):  # others decode and encode meanwhile
            self._out = forward(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        return self.again()

    def again(self) -> Tensor:
        """The same inputs once more."""
        self._graph.replay()
        return self._out
