"""`bender bench bends`: what bending costs: a chunk bent over a chunk unbent, turn by turn in one run.

One stream plays all lanes, each with a bank of its own, so that they share model, cache and clock. A lane's knobs stand
off neutral and one of them moves before every step, as in play.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.lever import Lever, discover
from pipelines.bends.scope import Scope
from pipelines.capture import Captured
from pipelines.spec import ControlSpec, Value
from pipelines.stream import Stream

TRAVEL = 0.6  # where the knobs stand: off neutral, and safely so
MOTION = 0.5  # of the noises
BOUNDS = {"gains": 1.02, "geometry": 1.05, "all": 1.10, "100 bends": 1.01}
TEN = (  # levers of the ten bends and of the hundred: as many of each kind in a row
    *["cross.map.transform"] * 4,
    *["ffn.hidden.noise"] * 4,
    "cross.map.gain",
    "ffn.hidden.threshold",
)


@dataclass
class Lane:
    """One way of playing and the seconds its chunks took."""

    name: str
    bank: Bank
    values: dict[str, Value]
    chunks: list[float] = field(default_factory=list)
    recorded: Captured | None = None

    def turn(self, stream: Stream) -> None:
        """One chunk, from noise to the cache; the decoder has no part in what bends cost."""
        stream.play(self.bank)
        start = time.perf_counter()
        if self.recorded is None:
            for _ in stream.denoise():
                self.move()
            stream.commit()
        else:
            for step in (*range(stream.steps), CACHE_PASS):
                self.move()
                self.bank.fold(step)
                self.recorded.again()
        if stream.device.type == "cuda":
            torch.cuda.synchronize(stream.device)
        self.chunks.append(time.perf_counter() - start)

    def move(self) -> None:
        """The first knob moves a little, as under a hand."""
        knob = next((id for id, value in self.values.items() if isinstance(value, float)), None)
        if knob:
            self.values[knob] *= -1.0 if self.values[knob] < 0 else 0.999
        self.bank.write(self.values)


def bench_bends(stream: Stream, rounds: int, each: bool, compiled: bool = False) -> list[str]:
    """The report's lines. `each` also times every lever alone. `compiled`: blocks are compiled, and on a GPU every
    lane's pass is recorded as one launch. The stream must have a prompt."""
    lanes = _lanes(stream, each, compiled)
    for _ in range(stream.recipe.window // stream.recipe.chunk + 2):  # until every counted chunk costs the same
        lanes[0].turn(stream)
    if compiled:
        _compile(stream, lanes)
    for lane in lanes:
        lane.turn(stream)
        lane.turn(stream)
        lane.chunks.clear()
    for _ in range(rounds):
        for lane in lanes:
            lane.turn(stream)
    return _report(stream, lanes, rounds)


def _compile(stream: Stream, lanes: Sequence[Lane]) -> None:
    torch._dynamo.config.recompile_limit = 4 * len(lanes)  # a graph for each lane's levers
    for block in stream.model.blocks:
        block.compile(dynamic=False)
    if stream.device.type != "cuda":
        return
    frames, (height, width) = stream.recipe.chunk, stream.latent_size
    x = torch.randn(1, stream.model.config.in_dim, frames, height, width, device=stream.device, dtype=stream.dtype)
    t = torch.full((1, frames), 700.0, device=stream.device)
    for lane in lanes:
        lane.move()
        lane.bank.fold(0)
        lane.recorded = Captured(stream.forward_again(lane.bank), x, t)


def _lanes(stream: Stream, each: bool, fixed: bool) -> list[Lane]:
    levers = discover()
    gains = [lever for lever in levers.values() if lever.main == "gain"]
    named = {
        "unbent": [],
        "neutral": [_bend(i, lever) for i, lever in enumerate(levers.values())],
        "gains": [_bend(i, lever) for i, lever in enumerate(gains)],
        "geometry": [_bend(0, levers["cross.map.transform"])],
        "all": [_bend(i, lever) for i, lever in enumerate(levers.values())],
        "renormalised": [_bend(i, lever, True) for i, lever in enumerate(levers.values()) if lever.renormalised],
        "4 sets, 4 voices": [
            _bend(i, levers[id], words=f"{i % 4}")
            for i, id in enumerate(["cross.map.transform"] * 4 + ["ffn.out.noise"] * 4)
        ],
        "10 bends": [_bend(i, levers[id]) for i, id in enumerate(TEN)],
        "100 bends": [_bend(i, levers[id]) for i, id in enumerate(TEN * 10)],
    }
    if each:
        named |= {id: [_bend(0, lever)] for id, lever in levers.items()}
    lanes = []
    for name, bends in named.items():
        bank = stream.make_bank(tuple(bends), fixed)
        lanes.append(Lane(name, bank, {} if name == "neutral" else dict(_turned(bank))))
    return lanes


def _bend(number: int, lever: Lever, renormalize: bool = False, words: str = "0-1") -> Bend:
    return Bend(f"b{number}", lever, Scope(tokens=words), renormalize=renormalize)


def _turned(bank: Bank) -> Iterable[tuple[str, Value]]:
    """Every knob off neutral; many gains of one lever by so much less, that their product stays what one's is."""
    for bend in bank.bends:
        uses = sum(other.lever.id == bend.lever.id for other in bank.bends)
        for name, spec in bend.lever.amounts.items():
            if isinstance(spec, ControlSpec):
                n = MOTION if name == "motion" else spec.unmap(spec.default) + (TRAVEL - 0.5) / uses
                # A token set and a seed of its own where the bend names one.
                seed = float(bend.scope.tokens) if bend.scope.tokens.isdecimal() else spec.default
                yield f"{bend.name}.{name}", seed if name == "seed" else spec.map(n)


def _report(stream: Stream, lanes: Sequence[Lane], rounds: int) -> list[str]:
    recipe, device = stream.recipe, stream.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    dtype = str(stream.dtype).removeprefix("torch.")
    unbent, ten = lanes[0], next(lane for lane in lanes if lane.name == "10 bends")
    plain = _bytes(stream)
    lines = [
        f"{recipe.name} {recipe.width}x{recipe.height}, {stream.steps} steps, {place}, {dtype}, {rounds} rounds",
        f"{'':22}{'chunk ms':>10}{'/ unbent':>10}{'bound':>8}{'memory':>9}",
    ]
    for lane in lanes:
        base = ten if lane.name == "100 bends" else unbent
        ratio = statistics.median(a / b for a, b in zip(lane.chunks, base.chunks, strict=True))
        bound = f"{BOUNDS[lane.name]:.2f}" if lane.name in BOUNDS else ""
        more = 100 * lane.bank.nbytes / plain
        note = "  (/ 10 bends)" if lane.name == "100 bends" else ""
        milliseconds = 1000 * statistics.median(lane.chunks)
        lines.append(f"{lane.name:22}{milliseconds:10.1f}{ratio:10.3f}{bound:>8}{more:8.1f}%{note}")
    return lines


def _bytes(stream: Stream) -> int:
    """What plays unbent keeps in memory: weights of transformer and decoder, cache."""
    kept = [*stream.model.parameters(), *stream.decoder.parameters(), stream.cache.k, stream.cache.v]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)
