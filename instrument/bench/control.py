"""`bender bench control`: what control costs: messages a second, packet to parameter, and what a storm does to frames.

A row a function, each on a parameter set of its own and a real socket; add another to ROWS. The storm comes from a
process of its own, as another program's would.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from instrument.bench.stats import below
from instrument.bench.tickcost import measure
from instrument.engine.engine import Engine
from instrument.osc.codec import encode
from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch
from pipelines.quicken import make_stream
from pipelines.spec import ControlSpec
from pipelines.systems import System

RATE = 20_000  # messages a second
KNOBS, MOVED = 300, 64  # parameters there are, and those that a storm moves
PATIENCE = 0.5  # seconds without a packet after which no more come
FEWEST = 10  # pairs of chunks
START, SETTLE = 0.5, 0.02  # seconds until a storm's Python is up, and until it has begun or ended
PROBES = 200  # a second


@dataclass(frozen=True)
class Bench:
    """What a row may use: the system and patch for those that play frames, and how long each may take."""

    system: System
    patch: Patch
    seconds: float
    threads: int


def bench_control(bench: Bench) -> Iterator[str]:
    """The report's lines, as they are measured."""
    name = bench.system.recipe.name
    yield f"{KNOBS} parameters, {MOVED} of them moved, {RATE} messages/s, {bench.seconds:g} s a row, {name}"
    for name, row in ROWS.items():
        yield f"{name:26}{row(bench)}"


def sustained(bench: Bench) -> str:
    """A storm at the rate asked for: how much of it came, and whether every last value did."""
    params = knobs()
    with listening(params) as server:
        sent, seconds = stormed(server.port, RATE, bench.seconds)
        arrived(server, sent)
        right = sum(params[id].base == 1.0 for id in moved())
    return (
        f"{server.received / seconds:9.0f} /s   {sent - server.received} of {sent} lost, {right} of {MOVED} last values"
    )


def most(bench: Bench) -> str:
    """As many as a sender can send: how many are played."""
    with listening(knobs()) as server:
        sent, seconds = stormed(server.port, 1e6, min(bench.seconds, 5.0) / 10)
        begun = time.perf_counter() - seconds
        took = arrived(server, sent) - begun
    return f"{server.received / took:9.0f} /s   of {sent / seconds:.0f} /s sent without a pause"


def calm_latency(bench: Bench) -> str:
    """Packet to parameter, with nothing else going on."""
    return _latency(bench.seconds, 0)


def stormy_latency(bench: Bench) -> str:
    """Packet to parameter, in a storm."""
    return _latency(bench.seconds, RATE)


def frames(bench: Bench) -> str:
    """Chunk times in a storm as a multiple of calm ones, turn by turn, so that whatever else the machine does weighs on
    all. What the sender itself takes from a machine that it shares with the show is told apart: it sends as much to
    somebody who does not listen."""
    system, patch = bench.system, bench.patch
    params = ParamSet()
    stream = make_stream(system, patch.seed)
    engine = Engine(stream, system.encoder, params, lambda frame, stamp: None, threads=bench.threads)
    engine.load(patch)
    for id in ids():
        params.add(id, ControlSpec(0, 1, 0))
    for _ in range(system.recipe.window + 2):
        engine.play_chunk()
    rounds: list[Round] = []
    with ExitStack() as open_:
        server, elsewhere = (open_.enter_context(one) for one in (listening(params), deaf()))
        here, there = (open_.enter_context(storming(port, RATE, 1e5)) for port in (server.port, elsewhere))
        here(), there()  # both rest
        end = time.monotonic() + bench.seconds
        while time.monotonic() < end or len(rounds) < FEWEST:
            rounds.append(_round(engine, server, here, there))
    heard, sent = ([one.heard / one.calm for one in rounds], [one.unheard / one.calm for one in rounds])
    low, middle, high = statistics.quantiles(heard, n=4)
    return (
        f"{middle:9.3f} x    of a calm chunk, median of {len(rounds)} (quartiles {low:.3f} to {high:.3f}), "
        f"{statistics.median(one.taken for one in rounds):.0f} /s taken; "
        f"{statistics.median(sent):.3f} x where the same storm goes elsewhere on this machine"
    )


class Round(NamedTuple):
    """Seconds of a chunk that hears a storm, beside one that goes elsewhere, and in a calm; messages taken a second."""

    heard: float
    unheard: float
    calm: float
    taken: float


def _round(engine: Engine, server: OscServer, here: Callable[[], None], there: Callable[[], None]) -> Round:
    here()
    before, begun = server.received, time.perf_counter()
    heard = _seconds(engine)
    taken = (server.received - before) / (time.perf_counter() - begun)
    here(), there()
    unheard = _seconds(engine)
    there()
    return Round(heard, unheard, _seconds(engine), taken)


def tick(bench: Bench) -> str:
    """What all values cost before every denoising step."""
    cost = measure()
    what = f"{cost.parameters} parameters, {cost.modulators} modulators"
    return f"{cost.median_ms:9.2f} ms   {cost.p95_ms:.2f} ms at the 95th percentile; {what}"


ROWS: dict[str, Callable[[Bench], str]] = {
    "messages, sustained": sustained,
    "messages, at most": most,
    "packet to parameter": calm_latency,
    "packet to parameter, storm": stormy_latency,
    "chunk time, storm": frames,
    "tick": tick,
}


# --- what the rows are made of ---


def ids() -> list[str]:
    return [f"knob{number}.gain" for number in range(KNOBS)]


def moved() -> list[str]:
    return ids()[:MOVED]


def knobs(made: type[ParamSet] = ParamSet) -> Any:
    """A set of parameters to play."""
    params = made(lambda text: None)
    for id in ids():
        params.add(id, ControlSpec(0, 1, 0))
    return params


@contextmanager
def listening(params: ParamSet) -> Iterator[OscServer]:
    server = OscServer(params, port=0, notices=lambda text: None)
    server.start()
    try:
        yield server
    finally:
        server.close()


def _command(port: int, rate: float, seconds: float) -> list[str]:
    addresses = ["/" + id.replace(".", "/") for id in moved()]
    return [sys.executable, "-m", "instrument.bench.storm", str(port), str(rate), str(seconds), *addresses]


def stormed(port: int, rate: float, seconds: float) -> tuple[int, float]:
    """A whole storm: (messages sent, seconds it took)."""
    command = _command(port, rate, seconds)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    count, taken = done.stdout.split()
    return int(count), float(taken)


@contextmanager
def deaf() -> Iterator[int]:
    """A port on which nobody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made.getsockname()[1]


@contextmanager
def storming(port: int, rate: float, seconds: float) -> Iterator[Callable[[], None]]:
    """A storm that has begun, ended at the end of the block; call what is yielded to let it rest, or go on."""
    process = subprocess.Popen(_command(port, rate, seconds), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def switch() -> None:
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(SETTLE)

    time.sleep(START)
    try:
        yield switch
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def arrived(server: OscServer, sent: int) -> float:
    """Wait until all has come, or nothing more comes; when the last came, on `time.perf_counter`."""
    seen, last = -1, time.perf_counter()
    while server.received < sent and time.perf_counter() < last + PATIENCE:
        if server.received != seen:
            seen, last = server.received, time.perf_counter()
        time.sleep(0.005)
    return time.perf_counter() if server.received >= sent else last


class Stamped(ParamSet):
    """Notes when a value of the probe's parameter was set."""

    def __init__(self, notices: Callable[[str], None]) -> None:
        super().__init__(notices)
        self.times: dict[int, float] = {}

    def set(self, id: str, value: Any, origin: str = "") -> None:
        super().set(id, value, origin)
        if id == "probe":
            self.times[int(value)] = time.perf_counter()


def _latency(seconds: float, rate: float) -> str:
    params = knobs(Stamped)
    params.add("probe", ControlSpec(0, 2**24, 0, step=1))
    count = max(10, round(seconds * PROBES))
    sent: dict[int, float] = {}
    with listening(params) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", server.port))
        with storming(server.port, rate, 600.0) if rate else _nothing():
            for number in range(1, count + 1):
                packet = encode("/probe", number)
                sent[number] = time.perf_counter()
                probe.send(packet)
                time.sleep(1 / PROBES)
            time.sleep(0.1)
    late = [1000 * (params.times[number] - at) for number, at in sent.items() if number in params.times]
    at = [below(share, late) for share in (0.5, 0.99)]
    return f"{at[0]:9.3f} ms   median, {at[1]:.3f} ms p99, {len(sent) - len(late)} of {len(sent)} overtaken by the next"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _seconds(engine: Engine) -> float:
    """Seconds of one chunk, decoded."""
    begun = time.perf_counter()
    engine.play_chunk()
    engine.finish()
    return time.perf_counter() - begun
