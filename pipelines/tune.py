"""What makes a GPU fast, found by measuring on the machine at hand: the kernel of attention; and blocks compiled once,
before the show.

Nothing here changes what is computed, beyond rounding. Compiling takes tens of seconds the first time; what comes of it
is kept on disk by the compiler.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.attention import Size, Way, attend_by, use
from pipelines.capture import Captured
from pipelines.flash import installed
from pipelines.wan import Wan

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
PARTS = (2, 3, 5)  # of the keys; few, because each is compiled to be measured
# How far attention may be from the formula in single precision, relative: more is wrong and not rounded. Half precision
# comes within 0.004.
_FAR = 0.02
_FEW = 64  # queries whose numbers are looked at
_ROUNDS = 10
_chosen: dict[tuple[object, ...], tuple[Way, str]] = {}  # by what it was measured for
STRUCTURES = 64  # compiled forms of a block: one for each set of levers, and for each kind of pass


class Timed(NamedTuple):
    """Milliseconds of self-attention, one way on this machine. `own`: which of torch's own kernels it is, if it is."""

    name: str
    way: Way
    ms: float
    own: str = ""


def attention_times(size: Size, model: Wan, recorded: bool) -> list[Timed]:
    """Of self-attention of this size: every way that this device has and that comes out right, the fastest first.
    Other ways than torch's own kernels are among them where passes are to be compiled and `recorded`, see
    `attention.use`."""
    trial = _Trial(size, model.patch_embedding.weight)
    times = [timed for name in KERNELS if (timed := trial.of(name, Way(), name))]
    if recorded and installed() and (timed := trial.of("flash 4", Way("flash 4"))):
        times.append(timed)
    for name in [timed.name for timed in times]:
        for parts in PARTS if recorded and name in ("cudnn", "flash 4") else ():
            if size.keys % parts == 0 and (timed := trial.of(f"{name} in {parts} parts", Way(name, parts))):
                times.append(timed)
    return sorted(times, key=lambda timed: timed.ms)


class _Trial:
    """Random queries, keys and values of one size, and what should come of some of them."""

    def __init__(self, size: Size, like: Tensor) -> None:
        generator = torch.Generator(like.device).manual_seed(0)
        sizes = [(1, size.heads, count, size.head_dim) for count in (size.queries, size.keys, size.keys)]
        made = [torch.randn(each, device=like.device, dtype=like.dtype, generator=generator) for each in sizes]
        q, k, v = (each.transpose(1, 2) for each in made)  # laid out as the cache is
        self._qkv, self._every = (q.contiguous(), k, v), max(1, size.queries // _FEW)
        self._right = _exactly(self._qkv[0][:, :: self._every], k, v)

    def of(self, name: str, way: Way, own: str = "") -> Timed | None:
        """The time it takes; None where it cannot be done here, or comes out wrong."""

        def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_by(way, q, k, v)

        call = fused(run) if way.parts > 1 else run  # parts are put together in one kernel
        try:
            with torch.inference_mode(), sdpa_kernel(KERNELS[own]) if own else nullcontext():
                got = call(*self._qkv)[:, :: self._every].float()
                if not (got - self._right).norm() <= _FAR * self._right.norm():
                    log.warning("attention by %s comes out wrong on this machine; it is not used", name)
                    return None
                return Timed(name, way, _milliseconds(Captured(call, *self._qkv)), own)
        except Exception as problem:  # this device or these sizes have no such kernel: libraries raise what they like
            log.debug("attention by %s: %s: %s", name, type(problem).__name__, problem)
            return None


def _exactly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in single precision, by the formula: for a few queries."""
    q, k, v = (x.float().transpose(1, 2) for x in (q, k, v))
    return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(1, 2)


def _milliseconds(recording: Captured) -> float:
    """As it is played: what calling the kernels takes is not counted."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    recording.again()
    begun.record()
    for _ in range(_ROUNDS):
        recording.again()
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / _ROUNDS


def choose_attention(queries: int, keys: int, model: Wan, recorded: bool = True) -> str:
    """Compute self-attention over so many tokens the fastest way here, and any other by the fastest of torch's own
    kernels, in the whole process; what was chosen. "math" where torch has no other. `recorded` as above. What has been
    measured once is not measured again."""
    config, like = model.config, model.patch_embedding.weight
    size = Size(queries, keys, config.num_heads, config.head_dim)
    asked = (size, like.device, like.dtype, recorded)
    if asked not in _chosen:
        _chosen[asked] = _choose(size, model, recorded)
    way, name = _chosen[asked]
    use(size, way)
    return name


def _choose(size: Size, model: Wan, recorded: bool) -> tuple[Way, str]:
    with compiling():  # also while a show plays
        times = attention_times(size, model, recorded)
    own = next((timed.own for timed in times if timed.own), "math")
    torch.backends.cuda.enable_cudnn_sdp(own == "cudnn")
    torch.backends.cuda.enable_flash_sdp(own == "flash")
    log.info(
        "attention: %s", ", ".join(f"{timed.name} {timed.ms:.2f} ms" for timed in times) or "no kernel but torch's own"
    )
    return (times[0].way, times[0].name) if times else (Way(), "math")


def compile_blocks(model: Wan, cache: Path | None = None) -> None:
    """Compile the transformer's blocks; it happens in their first pass under each bank. `cache`: a folder that keeps
    what the compiler made for the next start."""
    if cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    _expect_structures()
    for block in model.blocks:
        # Kernels that are fused round between their parts as single ones do: neutral bends change no bit.
        block.compile(dynamic=False, options={"emulate_precision_casts": True})


def fused(function: Callable[P, T]) -> Callable[P, T]:
    """The function compiled for the shapes that it is called with, to fewer and larger kernels."""
    _expect_structures()
    return torch.compile(function, dynamic=False)


def _expect_structures() -> None:
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, STRUCTURES)


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
