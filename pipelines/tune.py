"""What makes a GPU fast, found by measuring on the machine at hand: the kernel of attention; and blocks compiled once,
before the show.

Nothing here changes what is computed, beyond rounding. Compiling takes tens of seconds the first time; what comes of it
is kept on disk by the compiler.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.attention import attend
from pipelines.wan import Wan

log = logging.getLogger(__name__)

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
_ROUNDS = 10
STRUCTURES = 64  # compiled forms of a block: one for each set of levers, and for each kind of pass


def attention_times(queries: int, keys: int, model: Wan) -> dict[str, float]:
    """Milliseconds of self-attention over so many tokens with each kernel that this device has."""
    config, like = model.config, model.patch_embedding.weight
    q, k = (
        torch.randn(1, count, config.num_heads, config.head_dim, device=like.device, dtype=like.dtype)
        for count in (queries, keys)
    )
    times = {}
    for name, kernel in KERNELS.items():
        try:
            with sdpa_kernel(kernel), torch.inference_mode():
                attend(q, k, k)
                begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begun.record()
                for _ in range(_ROUNDS):
                    attend(q, k, k)
                ended.record()
        except RuntimeError:  # this device or these sizes have no such kernel
            continue
        ended.synchronize()
        times[name] = begun.elapsed_time(ended) / _ROUNDS
    return times


def choose_attention(queries: int, keys: int, model: Wan) -> str:
    """Let attention use the fastest kernel here, in the whole process; its name. "math" where there is no other."""
    times = attention_times(queries, keys, model)
    best = min(times, key=times.__getitem__, default="math")
    torch.backends.cuda.enable_cudnn_sdp(best == "cudnn")
    torch.backends.cuda.enable_flash_sdp(best == "flash")
    log.info("attention: %s (%s)", best, ", ".join(f"{name} {time:.2f} ms" for name, time in times.items()))
    return best


def compile_blocks(model: Wan, cache: Path | None = None) -> None:
    """Compile the transformer's blocks; it happens in their first pass under each bank. `cache`: a folder that keeps
    what the compiler made for the next start."""
    if cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, STRUCTURES)
    for block in model.blocks:
        # Kernels that are fused round between their parts as single ones do: neutral bends change no bit.
        block.compile(dynamic=False, options={"emulate_precision_casts": True})


class _Compiler:
    """The compiler's stance, which the whole process shares, kept by counting who wants what: contexts of several
    threads end in any order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes = {"settled": 0, "compiling": 0}

    @contextmanager
    def wish(self, kind: str) -> Iterator[None]:
        self._count(kind, 1)
        try:
            yield
        finally:
            self._count(kind, -1)

    def _count(self, kind: str, by: int) -> None:
        with self._lock:
            before = self._stance()
            self._wishes[kind] += by
            if self._stance() != before:
                torch.compiler.set_stance(self._stance())

    def _stance(self) -> str:
        return "eager_on_recompile" if self._wishes["settled"] and not self._wishes["compiling"] else "default"


_COMPILER = _Compiler()


def settled() -> AbstractContextManager[None]:
    """A context in which nothing is compiled any more: what has no compiled form runs without one. A show must not
    stand still for a compiler. Where another thread is `compiling` meanwhile, that comes first."""
    return _COMPILER.wish("settled")


def compiling() -> AbstractContextManager[None]:
    """A context in which what has no compiled form yet gets one, also while a show is settled in another thread."""
    return _COMPILER.wish("compiling")
