"""A forward recorded as a CUDA graph: one launch instead of thousands.

What it reads besides its inputs (weights, cache, bends) is read from the same addresses at every replay, so whatever is
written there in between is heard. Shapes and cache placement are those of the recording.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

WARM_UPS = 2  # compilers and libraries make their choices in the first passes, which cannot be recorded
_recording = threading.Lock()  # two threads at once would meet on one queue


@cache
def _queue(device: torch.device, use: Literal["warm-ups", "recordings", "recordings beside"]) -> torch.cuda.Stream:
    """Recordings that were made on one queue share what libraries multiply in, and must be played one after the other.
    There are no more queues than that takes: each costs tens of MB for good."""
    return torch.cuda.Stream(device)


class Captured:
    """`forward(*inputs) -> out`, recorded; call it like the original. The result is overwritten by the next call."""

    def __init__(
        self,
        forward: Callable[..., Tensor],
        *inputs: Tensor,
        pool: tuple[int, int] | None = None,
        beside: bool = False,
    ) -> None:
        """Record on inputs like these, which must be on a CUDA device. Recordings that share a `pool`
        (torch.cuda.graph_pool_handle) overwrite each other's results when they are called. `beside`: played while one
        that is not `beside` plays, too."""
        self._inputs = tuple(given.clone() for given in inputs)
        now = torch.cuda.current_stream(inputs[0].device)
        aside, queue = (_queue(now.device, use) for use in ("warm-ups", f"recordings{' beside' if beside else ''}"))
        aside.wait_stream(now)
        with torch.cuda.stream(aside), torch.inference_mode():
            for _ in range(WARM_UPS):
                forward(*self._inputs)
        now.wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with (
            _recording,
            torch.inference_mode(),
            torch.cuda.graph(self._graph, pool, queue, capture_error_mode="thread_local"),
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
