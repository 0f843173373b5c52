"""Tensors between host and device without waiting for the pass that is under way: through pinned memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; itself if it is there. From the host to a GPU this returns at once; a plain copy would
    wait for what the GPU is doing."""
    if device.type == "cuda" and host.device.type == "cpu":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def asked(answer: Tensor) -> Callable[[], Tensor]:
    """A device's answer on its way to the host; calling for it waits for that alone, not for what was queued since."""
    if answer.device.type != "cuda":
        return lambda: answer
    host = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
    host.copy_(answer, non_blocking=True)
    come = mark(answer.device)

    def call() -> Tensor:
        come.synchronize()
        return host

    return call


def wait_for(device: torch.device) -> None:
    """Return once the device has done what this thread has queued: for whoever reads a clock. (Nobody may wait for the
    whole device: what another thread records meanwhile would fail.)"""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


@cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """One queue for whatever plays there and is made ready: libraries keep tens of MB for every queue that they have
    ever worked on. It goes ahead of the model's work: a chunk's few kernels would else wait between those of the whole
    next one."""
    return torch.cuda.Stream(device, priority=-1)


class Beside:
    """A queue of work beside the model's own, for whoever works in another thread: decoding one chunk while the next is
    denoised. On devices without such queues everything happens in turn."""

    def __init__(self, device: torch.device) -> None:
        self._stream = _beside(device) if device.type == "cuda" else None

    def work(self, after: torch.cuda.Event | None, *used: Tensor) -> AbstractContextManager:
        """A context whose tensor work is queued beside, `after` this event of the model's queue; it uses these tensors
        of the model's."""
        if self._stream is None:
            return nullcontext()
        if after is not None:
            self._stream.wait_event(after)
        for tensor in used:
            tensor.record_stream(self._stream)  # the model's memory must not be taken again before
        return torch.cuda.stream(self._stream)

    def to_host(self, tensor: Tensor) -> np.ndarray:
        """The tensor as an array, waiting only for this queue."""
        if self._stream is None:
            return tensor.cpu().numpy()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return host.numpy()


class Ahead:
    """Keeps whoever queues passes at most one ahead of the device, so that what a pass reads is read shortly before it
    runs: a knob turned while a chunk is under way must still be heard in it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._passes: deque[torch.cuda.Event] = deque(maxlen=2)

    def queued(self) -> None:
        """A pass was queued."""
        event = mark(self._device)
        if event is not None:
            self._passes.append(event)

    def wait(self) -> None:
        """Return once all passes but the last one queued have ended."""
        if len(self._passes) == 2:
            self._passes.popleft().synchronize()


def mark(device: torch.device) -> torch.cuda.Event | None:
    """An event after everything queued so far by this thread."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))
    return event
