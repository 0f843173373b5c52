"""`bender bench soak`: a whole show of a toy-size model, played wildly for as long as asked, by a player who makes no
pause: knobs over OSC (far out of range, and no numbers at all), words, prompts, patches, sizes, snapshots, panic, and
outputs that come, go, fail, hang and are killed.

It proves what must hold after any number of chunks: every last knob position is what the model hears, memory does not
grow, threads and open files stay as many as they were, nothing is thrown that nobody catches. Those are looked at in
quiet moments, in which everything that was added is gone again.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pythonosc.udp_client import SimpleUDPClient

from instrument.bench.quiet import SETTLED, Quiet, give_back, grown, in_use, slope
from instrument.bench.toy import TOY, toy_system
from instrument.mapping.rig import Rig
from instrument.outputs import Output, OutputError, OutputRunner, parse
from instrument.parameters.params import Parameter
from instrument.show import Doors, Show
from instrument.state.patch import Patch, loads
from pipelines.bends.lever import discover
from pipelines.refusal import Refusal
from pipelines.spec import ControlSpec

WILD = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 1e-30, "loud", [], True, 2**31 - 1)
WORDS = ("a", "red", "blue", "star", "moon", "tulip", "spinning", "over", "under", "city", "lights", "zebra", "\u2603")
SIZES = ("64x48", "96x64", "48x48")
FIRST = "first"  # the output that stays
MODULATED = "b0.layers.feather"  # what it hears is not where the hand has put it
QUIET_EVERY = 300  # chunks
PATIENCE = 60.0  # seconds that anything may take on a machine that does other things too


class SoakFailed(Refusal, RuntimeError):
    """Something did not hold; the text says what."""


class Faulty(Output):
    """An output that fails, or stands still, now and then."""

    name = "faulty"

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.failed = 0

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        fate = self._chance.random()
        if fate < 0.02:
            self.failed += 1
            raise RuntimeError("the wire was pulled")
        if fate < 0.04:
            time.sleep(0.3)


class Errors(logging.Handler):
    """What was logged as a failure, and what threads did not catch."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else ""
        self.seen.append(f"{record.getMessage()} {fault!r}")

    def uncaught(self, args: threading.ExceptHookArgs) -> None:
        self.seen.append(f"thread {args.thread.name if args.thread else '?'}: {args.exc_value!r}")


def bench_soak(chunks: int | None, minutes: float, seed: int) -> Iterator[str]:
    """The report's lines, as they come. Ends after so many chunks, or minutes where None. Raises SoakFailed."""
    errors, hook = Errors(), threading.excepthook
    logging.getLogger().addHandler(errors)
    threading.excepthook = errors.uncaught
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield from _played(Player(Path(folder), seed, errors), chunks, 60 * minutes)
    finally:
        threading.excepthook = hook
        logging.getLogger().removeHandler(errors)


def _played(player: Player, chunks: int | None, seconds: float) -> Iterator[str]:
    began, told = time.monotonic(), 0.0
    quiet: list[Quiet] = []
    try:
        while player.chunks < chunks if chunks else time.monotonic() - began < seconds:
            player.play_on(QUIET_EVERY)
            quiet.append(player.rest())
            if time.monotonic() - told > 30:
                told = time.monotonic()
                yield f"{told - began:6.0f} s  {player.line()}  {quiet[-1]}"
    finally:
        player.close()
    yield from report(player, quiet, time.monotonic() - began)
    problems = [*player.problems, *player.errors.seen, *grown(quiet)]
    if problems:
        raise SoakFailed("soak: " + "; ".join(problems[:8]))
    yield "held: every last knob position, memory, threads, open files, and no exception"


def report(player: Player, quiet: list[Quiet], seconds: float) -> Iterator[str]:
    """What was done and what was measured."""
    yield f"{player.chunks} chunks in {seconds:.0f} s; {player.line()}"
    yield "  ".join(f"{name} {count}" for name, count in sorted(player.done.items()))
    settled = quiet[int(SETTLED * len(quiet)) :]
    if len(settled) > 2:
        first, last = settled[0], settled[-1]
        yield f"memory in use: {slope(settled):+.3f} MB per 1000 chunks, from {first.used:.1f} to {last.used:.1f} MB"
        whole = slope(settled, "rss")
        yield f"of the process: {whole:+.3f} MB per 1000 chunks, from {first.rss:.0f} to {last.rss:.0f} MB"
    for name in ("threads", "files"):
        seen = [getattr(each, name) for each in settled or quiet]
        yield f"{name}: {seen[0]} at first, {seen[-1]} at last, {min(seen)} to {max(seen)}"


class Player:
    """A show and the one who plays it. `problems` is what did not hold."""

    def __init__(self, folder: Path, seed: int, errors: Errors) -> None:
        self.errors, self.problems = errors, []
        self.done: dict[str, int] = {}
        self._chance = random.Random(seed)
        self._process = psutil.Process()
        songs = [random_patch(self._chance, number) for number in range(6)]
        first = parse("dummy?keep=10")
        first.name = FIRST  # which nobody else takes or takes away
        self.show = Show(toy_system(), songs[0], [first], None, 1, toy_system)
        self.show.engine.sound_check(songs)
        self.show.engine.desk.folder = folder
        self._songs = len(songs)
        self.show.start(Doors("127.0.0.1", 0, 0, (), False, "local", folder), Rig(self.show.params))
        self._osc = SimpleUDPClient("127.0.0.1", int(self.show.facts()["osc"].rpartition(":")[2]))
        self._acts: list[tuple[float, Callable[[], None]]] = [
            (30, self._knobs), (8, self._triggers), (5, self._prompt), (4, self._song), (3, self._add),
            (3, self._remove), (2, self._kill), (1, self._size), (1, self._nonsense), (2, self._words),
        ]  # fmt: skip

    @property
    def chunks(self) -> int:
        return self.show.engine.timing.chunks

    def line(self) -> str:
        status = self.show.status()
        return f"{self.chunks} chunks, {status['fps']} fps, {len(status['outputs'])} outputs, muted {status['muted']}"

    def play_on(self, chunks: int) -> None:
        """Something every moment, for so many chunks."""
        end = self.chunks + chunks
        weights = [weight for weight, _ in self._acts]
        while self.chunks < end:
            act = self._chance.choices(self._acts, weights)[0][1]
            act()
            self.done[act.__name__.strip("_")] = self.done.get(act.__name__.strip("_"), 0) + 1
            self.wait_chunks(self._chance.randrange(3))

    def wait_chunks(self, count: int) -> None:
        """Until the engine has tried so many more."""
        played = self.show.engine.chunks
        self.wait(lambda: self.show.engine.chunks >= played + count, f"{count} chunks")

    def wait(self, true: Callable[[], Any], what: str) -> bool:
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                self.problems.append(f"waited {PATIENCE:g} s in vain for {what}: {self.line()}")
                raise SoakFailed(self.problems[-1])
            time.sleep(0.002)
        return True

    # --- what a player does ---

    def _knobs(self) -> None:
        """Sweep some knobs, wild values among them; then every last position must be what the model hears."""
        params = self.show.params
        with params.together():
            free = [p for p in params if p.kept and isinstance(p.spec, ControlSpec) and p.id != MODULATED]
        chosen = self._chance.sample(free, min(len(free), 1 + self._chance.randrange(4)))
        last: dict[str, float] = {}
        for _ in range(self._chance.randrange(1, 8)):
            for parameter in chosen:
                self._osc.send_message(address(parameter), self._value(parameter.spec))
        for parameter in chosen:
            last[parameter.id] = self._chance.uniform(parameter.spec.lo, parameter.spec.hi)
            self._osc.send_message(address(parameter), last[parameter.id])
        self._check(last)

    def _check(self, last: dict[str, float]) -> None:
        """Whether the engine hears all of these, within float32 and a whole number's step."""

        def heard() -> bool:
            now = self.show.engine.heard
            return all(id in now and abs(now[id] - want) <= near(self.show.params[id]) for id, want in last.items())

        self.done["positions"] = self.done.get("positions", 0) + len(last)
        self.wait(heard, f"the last positions {last}")

    def _value(self, spec: ControlSpec) -> Any:
        if self._chance.random() < 0.25:
            return self._chance.choice(WILD)
        return self._chance.uniform(spec.lo - 1, spec.hi + 1)

    def _triggers(self) -> None:
        names = ("panic", "cache/reset", "engine/reseed", "undo", "redo", "clock/tap", "clock/downbeat")
        pads = tuple(f"snapshot/{pad}/{act}" for pad in (1, 2, 3) for act in ("recall", "store"))
        self._osc.send_message(f"/{self._chance.choice((*names, *pads))}", 1)
        self.wait_chunks(2)

    def _prompt(self) -> None:
        text = " ".join(self._chance.choices(WORDS, k=self._chance.randrange(0, 12)))
        self._osc.send_message("/prompt/text", text)

    def _words(self) -> None:
        ids = [id for id in self.show.params.ids() if id.endswith((".tokens", ".heads", ".neurons"))]
        if ids:
            text = self._chance.choice((*WORDS, "all", "0-3", "99-1000", ",,,", "prompt", "1, 2"))
            self._osc.send_message("/" + self._chance.choice(ids).replace(".", "/"), text)

    def _song(self) -> None:
        place = self._chance.randrange(1, self._songs + 3)
        self._osc.send_message("/patch/goto", place)
        if place <= self._songs:
            self.wait(lambda: self.show.engine.stage.patch.name == f"song{place - 1}", f"song {place}")
        self.wait_chunks(2)

    def _size(self) -> None:
        size = self._chance.choice((*SIZES, "7x7", "big"))
        self._osc.send_message("/engine/size", size)
        if size in SIZES:
            self.wait(lambda: self.show.system.recipe.width == int(size.partition("x")[0]), f"size {size}")
        self.wait_chunks(2)

    def _nonsense(self) -> None:
        self._osc.send_message("/patch/load", "nowhere")
        self._osc.send_message("/out/add", self._chance.choice(("file:/etc/passwd", "nothing", "stream:udp://x:1")))
        self._osc.send_message("/engine/model", "no such")

    def _add(self) -> None:
        """One more: by OSC, or one that is faulty, or a stream whose process can be killed."""
        if len(self.show.outputs.runners) > 6:
            return
        fate = self._chance.random()
        if fate < 0.6:
            file = f"file:take{self._chance.randrange(3)}.mkv"
            spec = self._chance.choice(("dummy?fps=20", file, "dummy?size=32x32"))
            self._osc.send_message("/out/add", spec)
            return
        made = Faulty(self._chance.randrange(1000)) if fate < 0.9 else parse("stream:udp://127.0.0.1:9")
        self.show.outputs.add(made)

    def _remove(self) -> None:
        names = [runner.name for runner in self._others]
        if names:
            self._osc.send_message("/out/remove", self._chance.choice(names))

    @property
    def _others(self) -> list[OutputRunner]:
        """The outputs that were added."""
        runners = self.show.outputs.runners
        if FIRST not in [runner.name for runner in runners]:
            raise SoakFailed(f"the first output is gone; there are {[runner.name for runner in runners]}")
        return [runner for runner in runners if runner.name != FIRST]

    def _kill(self) -> None:
        """The process behind an output dies."""
        for child in self._process.children():
            if "streamer" in " ".join(_command(child)):
                child.kill()
                self.done["killed"] = self.done.get("killed", 0) + 1

    # --- quiet ---

    def rest(self) -> Quiet:
        """Everything as at first: the first song at its size, the first output alone. What is there then."""
        self._osc.send_message("/patch/goto", 1)
        self._osc.send_message("/engine/size", SIZES[0])
        self.wait(lambda: self.show.engine.stage.patch.name == "song0", "the first song")
        self.wait(lambda: self.show.system.recipe.width == int(SIZES[0].partition("x")[0]), "the first size")
        wish = self.show.params["out.add"]
        self.wait(lambda: not wish.base and not self.show.params["out.remove"].base, "the outputs' desk")
        for runner in self._others:
            try:
                finished = self.show.outputs.remove(runner.name, PATIENCE)
            except OutputError:  # a wish on its way was faster
                continue
            if not finished:
                self.problems.append(f"output {runner.name} did not finish")
        self._osc.send_message("/panic", 1)
        self.wait_chunks(4)
        self.wait(lambda: not self.show.engine.guard.muted, "the guard")
        give_back()
        process = self._process
        rss = process.memory_info().rss / 2**20
        files = process.num_handles() if sys.platform == "win32" else process.num_fds()
        return Quiet(self.chunks, rss, in_use(rss), process.num_threads(), files)

    def close(self) -> None:
        self.show.close()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # gone meanwhile
        return []


def address(parameter: Parameter) -> str:
    return "/" + parameter.id.replace(".", "/")


def near(parameter: Parameter) -> float:
    """How far a value may be from what was sent: OSC has single precision, and some parameters whole numbers."""
    spec = parameter.spec
    return max(spec.step or 0.0, 1e-4 * max(abs(spec.lo), abs(spec.hi)))


def random_patch(chance: random.Random, number: int) -> Patch:
    """Some levers with some scopes, a snapshot, a modulator."""
    levers = list(discover().values())
    lines = [f"model: {TOY.name}", f"prompt: {' '.join(chance.choices(WORDS, k=5))}", f"seed: {number}", "bends:"]
    for index, found in enumerate(chance.sample(levers, chance.randrange(1, 9))):
        scope = f"layers: [{chance.randrange(2)}, 2]"
        if found.columns == "tokens" and chance.random() < 0.5:
            scope += f", tokens: {chance.choice(WORDS[:10])}"
        lines.append(f"  - {{name: b{index}, lever: {found.id}, scope: {{{scope}}}}}")
    lines.append("modulators:\n  - {lfo: sine, period: 2 beats, to: " + MODULATED + ", depth: 0.2}")
    lines.append("snapshots:\n  one: {b0.on: false}\n  two: {b0.on: true}")
    return loads("\n".join(lines), name=f"song{number}")
