"""The commands of `bender` that measure: benches, studies, the gallery."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import torch

from instrument.bench.bends import bench_bends
from instrument.bench.control import Bench, bench_control
from instrument.bench.gpu import bench_gpu
from instrument.bench.latency import bench_latency
from instrument.bench.soak import bench_soak
from instrument.bench.speed import bench as run_bench
from instrument.engine.threads import model_threads
from instrument.gallery import page
from instrument.setup import UsageError, open_bench, open_model, open_patch, open_stream
from instrument.state.patch import Patch
from pipelines.house.model import WEIGHTS
from pipelines.systems import pick_device

DEFAULT_CHUNKS = 40  # of each kind that a bench counts


def bench(options: argparse.Namespace) -> None:
    """Times of a chunk, unbent and bent, as ratios measured in turn; what bends cost; what control costs."""
    for line in _bench(options):
        print(line, flush=True)


def _bench(options: argparse.Namespace) -> Iterable[str]:
    threads = model_threads(options.threads)
    if options.what == "soak":
        return bench_soak(options.chunks, options.minutes, options.seed or 0)
    options.chunks = options.chunks or DEFAULT_CHUNKS
    if options.what == "bends":
        torch.set_num_threads(threads)
        return bench_bends(open_stream(options), options.chunks, options.each, options.compile)
    patch = open_patch(options)
    if options.what == "gpu":
        if pick_device(options.device).type != "cuda":
            raise UsageError("bench gpu needs a CUDA device; `bender bench` and `bender bench bends` run anywhere")
        return bench_gpu(open_bench(options, patch), patch, options.chunks)
    system = open_model(options, patch)
    if options.what == "control":
        return bench_control(Bench(system, patch, options.seconds, threads))
    if options.what == "latency":
        return bench_latency(system, patch, options.seconds, threads)
    return run_bench(system, patch, options.chunks, threads)


def study(options: argparse.Namespace) -> None:
    """One study of the house model, or all: tables, verdicts, pictures, charts."""
    from pipelines.house.study import run as studies

    torch.set_num_threads(model_threads(options.threads))
    try:
        device = pick_device(options.device)
    except (ValueError, RuntimeError) as problem:  # the latter of torch, for a word that is no device
        raise UsageError(str(problem)) from None
    try:
        for name in studies.STUDIES if options.what == "all" else (options.what,):
            order = studies.Order(options.n, options.seed, device, options.out, options.weights or WEIGHTS)
            for line in studies.chart(name, options.out) if options.charts else studies.run(name, order):
                print(line, flush=True)
    except (OSError, ValueError) as problem:
        raise UsageError(f"study: {problem}") from None


def gallery(options: argparse.Namespace) -> None:
    """The gallery's sheets and its page."""
    torch.set_num_threads(model_threads(options.threads))
    try:
        for line in page(open_model(options, Patch()), options.out):
            print(line, flush=True)
    except OSError as problem:
        raise UsageError(f"--out {options.out}: cannot be written ({problem.strerror})") from None
