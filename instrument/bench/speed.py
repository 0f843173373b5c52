"""`bender bench`: what a chunk costs, unbent and bent, as ratios measured turn by turn in one run."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from instrument.bench.knobs import turn_all
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch
from pipelines.quicken import make_stream
from pipelines.systems import System


@dataclass
class Lane:
    """One way of playing, with the engine it plays in and the seconds its chunks took."""

    name: str
    engine: Engine
    chunks: list[float] = field(default_factory=list)
    frames: int = 0

    def turn(self) -> None:
        """One chunk, decoded while the next lane is denoising, as in play."""
        start = time.perf_counter()
        self.engine.play_chunk()
        self.chunks.append(time.perf_counter() - start)

    def forget(self) -> None:
        self.chunks.clear()


def bench(system: System, patch: Patch, chunks: int, threads: int) -> list[str]:
    """Play unbent, bent at neutral and bent off neutral in turn; the report's lines."""
    plain = patch.model_copy(update={"bends": [], "values": {}})
    lanes = [_lane("unbent", system, plain, threads), _lane("neutral", system, patch, threads)]
    lanes.append(_lane("bent", system, patch, threads))
    turn_all(lanes[-1].engine)
    for _ in range(system.recipe.window + 2):  # fill the cache, so that every counted chunk costs the same
        for lane in lanes:
            lane.turn()
    for lane in lanes:
        lane.forget()
    for _ in range(chunks):
        for lane in lanes:
            lane.turn()
    return _report(lanes, system, patch, chunks, threads)


def _lane(name: str, system: System, patch: Patch, threads: int) -> Lane:
    stream = make_stream(system, patch.seed)
    engine = Engine(stream, system.encoder, ParamSet(), lambda frame, stamp: None, threads=threads)
    engine.load(patch)
    return Lane(name, engine)


def _report(lanes: list[Lane], system: System, patch: Patch, chunks: int, threads: int) -> list[str]:
    recipe, stream = system.recipe, lanes[0].engine.stream
    frames = recipe.frames
    lines = [
        f"{recipe.name} {recipe.width}x{recipe.height}, {stream.steps} steps, {stream.device.type} "
        f"{str(stream.dtype).removeprefix('torch.')}, {threads} + 1 threads, patch {patch.name}, "
        f"{len(patch.bends)} bends, {chunks} chunks each",
        f"{'':10}{'fps':>8}{'chunk ms':>10}{'step ms':>9}{'/ unbent':>10}",
    ]
    for lane in lanes:
        chunk = statistics.median(lane.chunks)
        step = lane.engine.timing.step_ms
        ratio = statistics.median(a / b for a, b in zip(lane.chunks, lanes[0].chunks, strict=True))
        lines.append(f"{lane.name:10}{frames / chunk:8.1f}{1000 * chunk:10.1f}{step:9.1f}{ratio:10.3f}")
    return lines
