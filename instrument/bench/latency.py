"""`bender bench latency`: knob to frame, and how evenly frames leave, of a whole show.

A hand of its own turns a knob at random moments; what the show itself measures, from the turn to the first frame
computed with it that has left the pacer, is what the status line shows. Beside it: the target, and the worst a turn can
have to wait, from the times of this machine's own steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from instrument.mapping.rig import Rig
from instrument.outputs import parse
from instrument.parameters.params import ParamSet
from instrument.show import Doors, Show
from instrument.state.patch import Patch
from pipelines.spec import ControlSpec
from pipelines.systems import System

SETTLE = 6.0  # seconds until the pacer has found its beat
SLOWEST = 2.5  # the longest pause between two turns, in chunks


def bench_latency(system: System, patch: Patch, seconds: float, threads: int) -> Iterator[str]:
    """The report's lines, after playing for so long."""
    show = Show(system, patch, [parse("dummy")], None, threads)
    show.start(Doors("127.0.0.1", None, None, (), False), Rig(show.params, show.notices.tell, "no such port"))
    try:
        time.sleep(SETTLE)
        show.latency.forget()
        turns = turned(show, seconds)
        yield from report(show, turns)
    finally:
        show.close()


def turned(show: Show, seconds: float) -> int:
    """Turn a knob at random moments; how often."""
    chance, params, id = random.Random(0), show.params, knob(show.params)
    end, turns = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        chunk = max(show.engine.timing.chunk_ms / 1000, 0.01)
        time.sleep(chance.uniform(0.5, SLOWEST) * chunk)
        params.set_normalised(id, chance.uniform(0.3, 0.7), "bench")
        turns += 1
    return turns


def knob(params: ParamSet) -> str:
    """The main amount of the first bend, or any number."""
    if "bend.1.amount" in params:
        return "bend.1.amount"
    return next(each.id for each in params if each.kept and isinstance(each.spec, ControlSpec))


def report(show: Show, turns: int) -> Iterator[str]:
    status, pacing, pace = show.status(), show.pacer.stats(), show.pace
    recipe, stream = show.system.recipe, show.engine.stream
    frames, period = recipe.frames, 1000 / max(pacing.fps_out, 1e-9)
    chunk, step = status["chunk_ms"], status["step_ms"]
    yield (
        f"{recipe.name} {recipe.width}x{recipe.height}, {stream.steps} steps, {stream.device.type}, "
        f"{show.threads} + 1 threads, {turns} turns, {len(show.latency)} seen"
    )
    yield f"chunk {chunk:.0f} ms, step {step:.0f} ms, decode {1000 * pace.decode:.0f} ms, frame {period:.0f} ms"
    p95 = status["latency_p95_ms"] or 0.0
    target = chunk + 1000 * pace.decode + period
    ratio = p95 / target
    yield f"latency p50 {status['latency_ms']} ms, p95 {p95:.0f} ms; target {target:.0f} ms, p95 / target {ratio:.2f}"
    foretold = pace.expected_ms(stream.steps, frames), pace.worst_ms(stream.steps, frames)
    yield f"foretold from the warm-up: {foretold[0]:.0f} ms on average, {foretold[1]:.0f} ms at worst"
    yield (
        f"sent {pacing.fps_out:.2f} fps, made {pacing.fps_in:.2f}; jitter p95 {pacing.jitter_ms:.2f} ms, "
        f"{100 * pacing.jitter_ms / period:.1f} % of a frame; added by the pacer {pacing.latency_ms:.0f} ms (median); "
        f"held {pacing.held}, dropped {pacing.dropped}"
    )
