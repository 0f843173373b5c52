"""The commands of `bender` that measure: benches, studies, the gallery."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from instrument.bench.bends import bench_bends
from instrument.bench.control import Bench, bench_control
from instrument.bench.gpu import bench_gpu
from instrument.bench.latency import bench_latency
from instrument.bench.looks import bench_looks
from instrument.bench.page import Load, bench_page, find_browser
from instrument.bench.soak import bench_soak
from instrument.bench.speed import bench as run_bench
from instrument.engine.threads import model_threads
from instrument.gallery import page
from instrument.setup import UsageError, cannot_write, open_bench, open_model, open_patch, open_stream
from instrument.state.patch import Patch
from pipelines.house.model import WEIGHTS
from pipelines.systems import pick_device

DEFAULT_CHUNKS = 40  # of each kind that a bench counts


def bench(options: argparse.Namespace) -> None:
    """One of BENCHES, a line of its report at a time."""
    for line in BENCHES[options.what](options):
        print(line, flush=True)


def _chunk(options: argparse.Namespace) -> Iterable[str]:
    patch = open_patch(options)
    return run_bench(open_model(options, patch), patch, _chunks(options), model_threads(options.threads))


def _bends(options: argparse.Namespace) -> Iterable[str]:
    torch.set_num_threads(model_threads(options.threads))
    return bench_bends(open_stream(options), _chunks(options), options.each, options.compile)


def _control(options: argparse.Namespace) -> Iterable[str]:
    patch = open_patch(options)
    return bench_control(Bench(open_model(options, patch), patch, options.seconds, model_threads(options.threads)))


def _gpu(options: argparse.Namespace) -> Iterable[str]:
    patch = open_patch(options)
    if pick_device(options.device).type != "cuda":
        raise UsageError("bench gpu needs a CUDA device; `bender bench` and `bender bench bends` run anywhere")
    return bench_gpu(open_bench(options, patch), patch, _chunks(options))


def _latency(options: argparse.Namespace) -> Iterable[str]:
    patch = open_patch(options)
    return bench_latency(open_model(options, patch), patch, options.seconds, model_threads(options.threads))


def _looks(options: argparse.Namespace) -> Iterable[str]:
    torch.set_num_threads(model_threads(options.threads))
    patch = open_patch(options)
    return bench_looks(open_model(options, patch), patch, _chunks(options))


def _page(options: argparse.Namespace) -> Iterable[str]:
    find_browser()  # before a model is loaded in vain
    load = Load(options.seconds)
    if options.size:
        load = replace(load, width=options.size[0], height=options.size[1])
    if not options.generate:
        return bench_page(load)
    patch = open_patch(options)
    return bench_page(load, (open_model(options, patch), patch, model_threads(options.threads)))


def _soak(options: argparse.Namespace) -> Iterable[str]:
    return bench_soak(options.chunks, options.minutes, options.seed or 0)


def _chunks(options: argparse.Namespace) -> int:
    return options.chunks or DEFAULT_CHUNKS


BENCHES: dict[str, Callable[[argparse.Namespace], Iterable[str]]] = {
    "chunk": _chunk,
    "bends": _bends,
    "control": _control,
    "gpu": _gpu,
    "latency": _latency,
    "looks": _looks,
    "page": _page,
    "soak": _soak,
}


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
            for line in studies.chart(name, options.out) if options.charts else studies.run(name, order, _aside):
                print(line, flush=True)
    except (OSError, ValueError) as problem:
        raise UsageError(f"study: {problem}") from None


def _aside(text: str) -> None:
    """A line for who waits, and not for what is done with the output."""
    print(text, file=sys.stderr, flush=True)


def gallery(options: argparse.Namespace) -> None:
    """The gallery's sheets and its page."""
    torch.set_num_threads(model_threads(options.threads))
    try:
        for line in page(open_model(options, Patch(), live=False), options.out):
            print(line, flush=True)
    except OSError as problem:
        raise cannot_write("--out", options.out, problem) from None
