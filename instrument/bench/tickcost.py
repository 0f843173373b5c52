"""What one tick costs: so many parameters, so many modulators of every kind, every one with a target that moves.

The measure behind the promise that control takes nothing from the picture: at most half a millisecond a denoising step.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

from instrument.bench.stats import below
from instrument.modulation.clock import Clock
from instrument.modulation.modspec import ModulatorSpec, named, parameters_of
from instrument.modulation.modulators import Rack
from instrument.modulation.waves import WAVES
from instrument.parameters.params import GLIDE, ParamSet
from pipelines.spec import ControlSpec

STEP = 0.05  # seconds from tick to tick, as the model's denoising steps come
_GAIN = ControlSpec(0, 8, 1, warp="cubed")
_KINDS: list[dict[str, Any]] = [
    *({"lfo": shape} for shape in WAVES),
    {"envelope": "adsr", "by": "beat"},
    {"lfo": "table", "table": [0, 1, -1, 0.5]},
    {"hold": "lfo1", "period": "1/2 beat"},
    {"follow": "lfo2"},
]


class TickCost(NamedTuple):
    """Milliseconds of one tick: the middle one, and the one that 95 % stay below. `parameters` counts all there were,
    the modulators' own included."""

    parameters: int
    modulators: int
    median_ms: float
    p95_ms: float


def measure(parameters: int = 300, modulators: int = 64, ticks: int = 500) -> TickCost:
    """Time `ticks` ticks of a ParamSet with so many parameters and modulators, a knob turned before each of them."""
    params, clock = ParamSet(lambda text: None), Clock()
    params.add(GLIDE, ControlSpec(0, 1000, 50), glide=0)
    ids = [params.add(f"bend{number}.gain", _GAIN).id for number in range(parameters)]
    lines = ({**_KINDS[at % len(_KINDS)], "to": id, "depth": 0.3} for at, id in enumerate(ids[:modulators]))
    specs = [ModulatorSpec.model_validate(line) for line in lines]
    for id, spec in parameters_of(specs).items():
        params.add(id, spec)
    rack = Rack(params, clock)
    rack.load(named(specs))
    params.modulate(rack)
    times = []
    for tick in range(ticks):
        params.set(ids[tick % len(ids)], tick % 8)
        before = time.perf_counter()
        params.tick(tick * STEP)
        times.append(1000 * (time.perf_counter() - before))
    return TickCost(len(params), len(specs), statistics.median(times), below(0.95, times))
