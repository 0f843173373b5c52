"""`python -m instrument.bench.looks`: what looking inside costs a chunk, as ratios measured turn by turn in one run.

Every counted chunk carries as many looks as pages can ever have it carry, so the ratio is the most that looking costs;
a page asks ten times a second at most, whatever the number of pages. Wall clock, and time of the model's own thread,
which another program on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from instrument.surface.looks import AT_ONCE, BANDS_OF_MANY, Key, Wish
from pipelines.bends.probes import Look, MapLook, NeuronLook
from pipelines.recipes import recipe
from pipelines.stream import Stream
from pipelines.systems import open_system, pick_dtype

VIEWS = {
    "one map": Wish(map=(5, 1, None)),
    "mean of all maps": Wish(map=(None, None, None)),
    "neurons of all layers": Wish(neurons=(None, None)),
    "the whole view": Wish(map=(None, None, None), neurons=(None, None)),
}


def looks_of(wish: Wish, stream: Stream, tokens: int) -> list[Look]:
    """What is asked for together when a page shows this."""
    facts = {"layers": stream.model.config.num_layers, "steps": stream.steps}
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


def bench(stream: Stream, tokens: int, rounds: int) -> list[str]:
    """The report's lines. The stream must have a prompt of so many tokens."""
    lanes = {"nobody looks": [], **{name: looks_of(wish, stream, tokens) for name, wish in VIEWS.items()}}
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


def main() -> None:
    parser = argparse.ArgumentParser(description="What looking inside costs a chunk.")
    parser.add_argument("--chunks", type=int, default=40, help="of each kind (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cpu")
    system = open_system(recipe("house"), device, pick_dtype(device), None, None)
    stream = Stream(system.model, system.decoder, system.recipe)
    prompt = system.encoder.encode("a red star spinning above city lights")
    stream.read_prompt(prompt)
    print("\n".join(bench(stream, len(prompt.tokens), options.chunks)))


if __name__ == "__main__":
    main()
