"""`bender bench`: what a chunk costs, unbent and bent, as ratios measured turn by turn in one run."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from instrument.engine import bends_of
from instrument.patch import Patch
from pipelines.spec import ControlSpec
from pipelines.stream import Stream
from pipelines.systems import System

KNOB_TRAVEL = 0.6  # where every knob of the bent runs stands: off neutral, and safely so


@dataclass
class Lane:
    """One way of playing, and its times in seconds."""

    name: str
    stream: Stream
    denoise: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    frames: int = 0

    def turn(self) -> None:
        start = time.perf_counter()
        for _ in self.stream.denoise():
            pass
        middle = time.perf_counter()
        self.frames = len(list(self.stream.commit()))
        self.denoise.append(middle - start)
        self.commit.append(time.perf_counter() - middle)

    @property
    def chunk(self) -> float:
        return statistics.median(a + b for a, b in zip(self.denoise, self.commit, strict=True))


def bench(system: System, patch: Patch, chunks: int) -> list[str]:
    """Play unbent, bent at neutral and bent off neutral in turn; the report's lines."""
    lanes = [Lane("unbent", _stream(system, patch, bent=False))]
    lanes += [Lane("neutral", _stream(system, patch)), Lane("bent", _turned(_stream(system, patch)))]
    for _ in range(system.recipe.window + 2):  # fill the cache, so that every counted chunk costs the same
        for lane in lanes:
            lane.turn()
    for lane in lanes:
        lane.denoise.clear()
        lane.commit.clear()
    for _ in range(chunks):
        for lane in lanes:
            lane.turn()
    return _report(lanes, system, patch, chunks)


def _stream(system: System, patch: Patch, bent: bool = True) -> Stream:
    stream = Stream(system.model, system.decoder, system.recipe, bends_of(patch) if bent else (), patch.seed)
    stream.read_prompt(system.encoder.encode(patch.prompt))
    return stream


def _turned(stream: Stream) -> Stream:
    amounts = {f"{bend.name}.{name}": spec for bend in stream.bank.bends for name, spec in bend.lever.amounts.items()}
    stream.bank.write({id: spec.map(KNOB_TRAVEL) for id, spec in amounts.items() if isinstance(spec, ControlSpec)})
    return stream


def _report(lanes: list[Lane], system: System, patch: Patch, chunks: int) -> list[str]:
    recipe, stream = system.recipe, lanes[0].stream
    lines = [
        f"{recipe.name} {recipe.width}x{recipe.height}, {stream.steps} steps, {stream.device.type} "
        f"{str(stream.dtype).removeprefix('torch.')}, patch {patch.name}, {len(patch.bends)} bends, {chunks} chunks each",
        f"{'':10}{'fps':>8}{'chunk ms':>10}{'denoise':>9}{'commit':>8}{'/ unbent':>10}",
    ]
    for lane in lanes:
        lines.append(
            f"{lane.name:10}{lane.frames / lane.chunk:8.1f}{1000 * lane.chunk:10.1f}"
            f"{1000 * statistics.median(lane.denoise):9.1f}{1000 * statistics.median(lane.commit):8.1f}"
            f"{_ratio(lane, lanes[0]):10.3f}"
        )
    return lines


def _ratio(lane: Lane, base: Lane) -> float:
    """The median of chunk-by-chunk ratios, so that a machine's changing speed falls out."""
    pairs = zip(lane.denoise, lane.commit, base.denoise, base.commit, strict=True)
    return statistics.median((a + b) / (c + d) for a, b, c, d in pairs)
