"""How the CPU is shared: how many cores this process may use, and threads whose tensor work stays in them."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")


def cores(root: Path = CGROUP) -> int:
    """Cores this process may use: those it is pinned to, or fewer where a container's quota allows less."""
    pinned = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    allowed = len(os.sched_getaffinity(0)) if pinned else os.cpu_count() or 1
    quota = _quota(root)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def _quota(root: Path) -> float | None:
    """Cores that a container is granted, by the second or the first form of Linux's control groups; None: no bound."""
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no bound
        return None
    return share if share > 0 else None


def fitting_threads(wanted: int, there: int) -> tuple[int, str]:
    """At most as many threads as cores `there` are, and what to say of it: more wait for each other, chunk after
    chunk."""
    if wanted <= there:
        return wanted, ""
    return there, f"--threads {wanted}: there are {there} cores for this process; the model plays with {there}"


def model_threads(wanted: int | None) -> int:
    """CPU threads for the model: as asked, or all cores this process may use but the one that decodes."""
    return wanted or max(1, cores() - 1)


def prepare_thread(threads: int) -> None:
    """Settings of the calling thread: of how many threads its tensor work makes use, and that the very small numbers
    which bends can make count as zero, since CPUs are many times slower with them."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def one_thread(name: str) -> ThreadPoolExecutor:
    """A thread whose tensor work stays in it. It starts here and now: torch keeps some thread counts for the whole
    process, and the last one set, the model's, must win."""
    pool = ThreadPoolExecutor(1, name, prepare_thread, (1,))
    pool.submit(int).result()
    return pool
