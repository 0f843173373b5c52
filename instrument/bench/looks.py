"""`bender bench looks`: what looking inside costs a chunk, as ratios measured turn by turn in one run.

Every counted chunk carries as many looks as pages can ever have it carry, so the ratio is the most that looking costs;
a page asks ten times a second at most, whatever the number of pages. Wall clock, and time of the model's own thread,
which another program on the machine disturbs less.
"""

from __future__ import annotations

import statistics
import time

from instrument.state.patch import Patch
from instrument.surface.looks import AT_ONCE, BANDS_OF_MANY, Key, Wish
from pipelines.bends.probes import Look, MapLook, NeuronLook
from pipelines.quicken import make_stream
from pipelines.stream import Stream
from pipelines.systems import System


def views(layers: int) -> dict[str, Wish]:
    """What a page can show of a network with so many layers."""
    return {
        "one map": Wish(map=(layers // 2, 0, None)),
        "mean of all maps": Wish(map=(None, None, None)),
        "neurons of all layers": Wish(neurons=(None, None)),
        "the whole view": Wish(map=(None, None, None), neurons=(None, None)),
    }


def looks_of(wish: Wish, stream: Stream, tokens: int) -> list[Look]:
    """What is asked for together when a page shows this."""
    config = stream.model.config
    facts = {"layers": config.num_layers, "steps": stream.steps, "heads": config.num_heads, "tokens": range(tokens)}
    keys = [*wish.neuron_keys(facts), *wish.map_keys(facts)][:AT_ONCE]
    return [_look(key, tokens) for key in keys]


def _look(key: Key, tokens: int) -> Look:
    if key.what == "neurons":
        return NeuronLook(key.layer, key.step, key.detail or BANDS_OF_MANY)
    return MapLook(key.layer, key.step, tuple(range(tokens)), key.detail)


def chunk(stream: Stream, looks: list[Look]) -> tuple[float, float]:
    """Wall and thread seconds of one chunk that is looked into."""
    for look in looks:
        stream.probes.ask(look)
    wall, own = time.perf_counter(), time.thread_time()
    for _ in stream.denoise():
        pass
    stream.commit()
    took = time.perf_counter() - wall, time.thread_time() - own
    if missed := sum(stream.probes.take(look) is None for look in looks):
        raise RuntimeError(f"{missed} of {len(looks)} looks saw nothing; nothing was measured")
    return took


def bench_looks(system: System, patch: Patch, rounds: int) -> list[str]:
    """The report's lines, of the patch's prompt unbent."""
    stream = make_stream(system, patch.seed)
    prompt = system.encoder.encode(patch.prompt)
    stream.read_prompt(prompt)
    tokens = len(prompt.tokens)
    wishes = views(stream.model.config.num_layers)
    lanes = {"nobody looks": [], **{name: looks_of(wish, stream, tokens) for name, wish in wishes.items()}}
    for _ in range(stream.recipe.window + 2):  # every counted chunk has a full cache
        chunk(stream, [])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in lanes}
    for _ in range(rounds):
        for name, looks in lanes.items():
            taken[name].append(chunk(stream, looks))
    lines = [
        f"{stream.recipe.name}, {rounds} chunks each",
        f"{'':24}{'looks':>6}{'ms':>9}{'/ nobody':>10}{'own time':>10}",
    ]
    for name, times in taken.items():
        pairs = zip(times, taken["nobody looks"], strict=True)
        wall, own = (
            statistics.median(ratio) for ratio in zip(*((a / c, b / d) for (a, b), (c, d) in pairs), strict=True)
        )
        middle = 1000 * statistics.median(seconds for seconds, _ in times)
        lines.append(f"{name:24}{len(lanes[name]):6}{middle:9.1f}{wall:10.3f}{own:10.3f}")
    return lines
