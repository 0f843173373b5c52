"""`bender bench gpu`: what makes a large system fast on a graphics card, step by step, as ratios measured in one run.

Each row adds one thing to the row before. A row plays whole chunks through the engine, decoding included, as a show
does, so its frames a second are what a show would send; besides, the parts are timed alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from instrument.bench.knobs import turn_all, turning
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch
from pipelines.quantise import Float8Linear, quantise, works
from pipelines.stream import Stream
from pipelines.systems import System
from pipelines.transfer import wait_for
from pipelines.tune import choose_attention, compile_blocks

COLUMNS = ("pass ms", "chunk ms", "decode ms", "in turn", "fps", "/ first", "GiB", "knob ms")
WIDTHS = (9, 10, 11, 9, 8, 9, 7, 9)
HEAD = " " * 34 + "".join(f"{name:>{width}}" for name, width in zip(COLUMNS, WIDTHS, strict=True))


@dataclass(frozen=True)
class Row:
    """Milliseconds, medians; frames a second with each chunk decoded before the next is begun (`in_turn`), and while
    the next is under way; GiB at the most; from a knob to the first frame that was made with it, without the pacer."""

    name: str
    pass_ms: float
    chunk_ms: float
    decode_ms: float
    in_turn: float
    fps: float
    gib: float
    knob_ms: float

    def line(self, first: Row) -> str:
        parts = (self.pass_ms, self.chunk_ms, self.decode_ms, self.in_turn)
        numbers = (*parts, self.fps, self.fps / first.fps, self.gib, self.knob_ms)
        digits = (2, 1, 1, 1, 1, 2, 1, 0)
        columns = zip(numbers, WIDTHS, digits, strict=True)
        return f"{self.name:34}" + "".join(f"{number:{width}.{after}f}" for number, width, after in columns)


def bench_gpu(system: System, bent: Patch, chunks: int) -> Iterator[str]:
    """The report's lines, as they come. `bent`: the patch of the last row, all its knobs off neutral."""
    device = system.model.patch_embedding.weight.device
    plain = bent.model_copy(update={"bends": [], "values": {}, "modulators": [], "snapshots": {}})
    recipe = system.recipe
    yield (
        f"{recipe.name} {recipe.width}x{recipe.height}, {recipe.frames} frames a chunk, {len(recipe.steps)} steps, "
        f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {chunks} chunks each"
        + "".join(f"; {which}: {system.notes[which]}" for which in ("weights", "blocks") if which in system.notes)
    )
    yield HEAD
    first: Row | None = None
    for name, patch, prepare, record in _rows(system, plain, bent):
        started = time.monotonic()
        prepare()
        row = measure(name, system, patch, chunks, record)
        first = first or row
        yield f"{row.line(first)}   {time.monotonic() - started:.0f} s in all"


def _rows(system: System, plain: Patch, bent: Patch) -> Iterator[tuple[str, Patch, Callable[[], object], bool]]:
    recipe, model = system.recipe, system.model
    device = model.patch_embedding.weight.device
    tokens = recipe.height * recipe.width // 256

    def pack() -> None:
        for block in model.blocks:
            block.self_attn.pack()

    def attention() -> None:
        choose_attention(recipe.chunk * tokens, recipe.window * tokens, model, system.recordable)

    yield "as it is", plain, lambda: None, False
    yield "+ attention chosen", plain, attention, False
    if system.recordable:
        if not isinstance(model.blocks[0].self_attn.q, Float8Linear):
            yield "+ q, k and v in one", plain, pack, False
        yield "+ passes and decoder recorded", plain, lambda: None, True
        yield "+ blocks compiled", plain, lambda: compile_blocks(model), True
    yield f"+ {len(bent.bends)} bends", bent, lambda: None, system.recordable
    if works(device, "row") and system.recordable and not isinstance(model.blocks[0].ffn[0], Float8Linear):

        def eight_bits() -> None:
            quantise(model, "fp8")
            torch._dynamo.reset()
            compile_blocks(model)

        yield "compiled, in fp8", plain, eight_bits, True
        yield f"+ {len(bent.bends)} bends", bent, lambda: None, True


def measure(name: str, system: System, patch: Patch, chunks: int, record: bool) -> Row:
    """One row: the parts alone, then play."""
    recipe, device = system.recipe, system.model.patch_embedding.weight.device
    torch.cuda.reset_peak_memory_stats(device)
    stream = Stream(system.model, system.decoder, recipe, seed=patch.seed, record=None if record else False)
    seen: list[float] = []

    def show(frame: object, stamp: float | None) -> None:
        if stamp is not None:
            seen.append(time.monotonic() - stamp)

    engine = Engine(stream, system.encoder, ParamSet(), show)
    engine.load(patch)
    turn_all(engine)
    stream.read_prompt(system.encoder.encode(patch.prompt))
    if stream.recorded:
        stream.rehearse(stream.bank)
    for _ in range(recipe.window // recipe.chunk + 2):  # until every chunk costs the same
        engine.play_chunk()
    engine.finish()
    parts = [_parts(stream) for _ in range(max(3, chunks // 4))]
    parts_ms = [1000 * statistics.median(each) for each in zip(*parts, strict=True)]
    in_turn = _play(engine, chunks, in_turn=True)
    seen.clear()
    fps = _play(engine, chunks)
    gib = torch.cuda.max_memory_allocated(device) / 2**30
    return Row(name, *parts_ms, in_turn, fps, gib, 1000 * statistics.median(seen) if seen else float("nan"))


def _parts(stream: Stream) -> tuple[float, float, float]:
    """Seconds of a denoising pass, of a chunk and of its decoding, each alone."""
    start = time.perf_counter()
    for _ in stream.denoise():
        pass
    wait_for(stream.device)
    denoised = time.perf_counter()
    chunk = stream.commit()
    wait_for(stream.device)
    committed = time.perf_counter()
    list(stream.decode(chunk))
    return (denoised - start) / stream.steps, committed - start, time.perf_counter() - committed


def _play(engine: Engine, chunks: int, in_turn: bool = False) -> float:
    """Frames a second of play, while a knob is turned from another thread; `in_turn`: nothing is decoded meanwhile."""
    frames = engine.stream.recipe.frames
    engine.params.take_change()
    with turning(engine):
        start = time.perf_counter()
        for _ in range(chunks):
            engine.play_chunk()
            if in_turn:
                engine.finish()
                wait_for(engine.stream.device)
        engine.finish()
        seconds = time.perf_counter() - start
    return chunks * frames / seconds
