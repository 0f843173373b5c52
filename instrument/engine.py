"""The one loop: tick, denoise, decode, send.

The engine owns the stream and is the only one to touch it. It reads parameters before every denoising step, runs
commands (triggers) between chunks, and hands frames on; it knows no port, file or page. It is the one place of the
live side that imports torch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from instrument.params import ParamSet, suggest
from instrument.patch import MOST_SEED, BendSpec, Patch, set_values
from pipelines.bends.bank import Bend, parameters_of
from pipelines.bends.lever import Lever, discover
from pipelines.bends.scope import ALL, Scope, ScopeError, Span, ranges
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec
from pipelines.stream import Chunk, Stream
from pipelines.text import TextEncoder
from pipelines.wan import WanConfig

log = logging.getLogger(__name__)

PROMPT, SEED = "prompt.text", "engine.seed"
PANIC, FORGET, RESEED = "panic", "cache.reset", "engine.reseed"
RESERVED = ("bend", "bender", "cache", "engine", "master", "out", "panic", "prompt", "status")  # not for bends


@dataclass(frozen=True, slots=True)
class Timing:
    """Smoothed times of the loop, milliseconds, and the frames a second that it makes."""

    step_ms: float = 0.0
    chunk_ms: float = 0.0
    fps: float = 0.0
    chunks: int = 0


class Engine:
    """Plays one stream under one set of parameters."""

    def __init__(
        self,
        stream: Stream,
        encoder: TextEncoder,
        params: ParamSet,
        show: Callable[[np.ndarray, object], None],
        max_fps: float | None = None,
        threads: int = 1,
    ) -> None:
        """`show(frame, stamp)` takes every frame; `stamp` is when the oldest change first seen in it was made, or
        None. `max_fps` keeps a fast machine at the model's own tempo. `threads`: of the CPU, for the model; one more
        decodes."""
        self.stream, self.params = stream, params
        self._encoder, self._show, self._max_fps = encoder, show, max_fps
        self._commands = {PANIC: self._panic, FORGET: stream.forget, RESEED: self._reseed}
        self._bend_ids: list[str] = []
        self._prompt: str | None = None
        self._seed: int | None = None
        self._stamp: float | None = None
        self._due = 0.0
        self._ended: float | None = None
        self._threads = threads
        self._decoder = _one_thread()
        self._decoding: Future[int] | None = None
        self._stopping = threading.Event()
        self._prompt_notices: tuple[str, ...] = ()
        self.timing = Timing()
        self.fault = ""
        torch.set_num_threads(threads)
        declare(params)

    # --- what is played ---

    def load(self, patch: Patch) -> None:
        """Make the patch's bends and parameters the ones that play. Raises PatchError; then nothing has changed.

        Call it before `run`, or in the engine's own thread.
        """
        bends = bends_of(patch, self.stream.model.config)
        bank = self.stream.make_bank(bends)
        sizes = self.stream.steps, self.stream.model.config.num_layers
        _rehearse(patch, bends, *sizes)
        with self.params.together():
            for id in self._bend_ids:
                self.params.remove(id)
            self._bend_ids = declare_bends(self.params, bends, *sizes)
            self.params.set(PROMPT, patch.prompt, "patch")
            self.params.set(SEED, patch.seed, "patch")
            set_values(patch, self.params)
        self.stream.play(bank)

    @property
    def notices(self) -> list[str]:
        """What the player should know now: faults, words not understood, scopes that hold nothing."""
        own = [text for text in (self.fault, self.stream.notice) if text]
        return [*own, *self._prompt_notices, *self.stream.bank.report()]

    # --- the loop ---

    def run(self) -> None:
        """Play until `stop`. A fault is logged and shown in the status, the past is forgotten, and play goes on."""
        self._due = time.monotonic()
        torch.set_num_threads(self._threads)
        while not self._stopping.is_set():
            try:
                self.play_chunk()
                self.fault = ""
            except Exception as error:  # on stage the show goes on; the fault is named on every surface
                fault = f"{type(error).__name__}: {error}"
                if fault != self.fault:
                    log.exception("a chunk failed")
                self.fault = fault
                self.stream.reset()
                self._stopping.wait(0.2)
        self._decoder.shutdown()

    def stop(self) -> None:
        self._stopping.set()

    def play_chunk(self) -> None:
        """One chunk: commands, then every step with the latest values, then its frames (shown from another thread,
        while the next chunk is under way; `finish` waits for them)."""
        start = time.monotonic()
        self._obey()
        for _ in self.stream.denoise():
            self._listen()
        denoised = time.monotonic()
        chunk = self.stream.commit()
        if chunk is None:
            log.warning("%s", self.stream.notice)
            return
        stamp, self._stamp = self._stamp, None
        frames = self.finish()
        self._decoding = self._decoder.submit(self._decode, chunk, stamp)
        self._keep_tempo(frames)
        self._measure(denoised - start, frames)

    def finish(self) -> int:
        """Wait until the last chunk's frames are shown; how many there were. Raises what decoding raised."""
        decoding, self._decoding = self._decoding, None
        return decoding.result() if decoding else 0

    def _decode(self, chunk: Chunk, stamp: float | None) -> int:
        count = 0
        for count, frame in enumerate(self.stream.decode(chunk), 1):
            self._show(frame, stamp if count == 1 else None)
        return count

    def _obey(self) -> None:
        """Commands, and the seed: what would tear a chunk apart waits until here."""
        for id in self.params.drain():
            self._commands[id]()
        seed = int(self.params[SEED].base)
        if seed != self._seed:
            self._seed = seed
            self.stream.reset(seed)
        self._listen()

    def _listen(self) -> None:
        """The latest values into the bank; the prompt where it changed."""
        changed_at = self.params.take_change()
        if self._stamp is None:
            self._stamp = changed_at
        values = self.params.tick(time.monotonic())
        if values[PROMPT] != self._prompt:
            prompt = self._encoder.encode(str(values[PROMPT]))
            self.stream.read_prompt(prompt)
            self._prompt, self._prompt_notices = str(values[PROMPT]), prompt.notices
        self.stream.bank.write(values)

    def _panic(self) -> None:
        with self.params.together():
            pressed = self.params[PANIC].version
            for bend in self.stream.bank.bends:
                for amount, spec in bend.lever.amounts.items():
                    id = f"{bend.name}.{amount}"
                    if self.params[id].version < pressed:  # a knob turned since then has the last word
                        self.params.set(id, spec.default, "panic")
        self.stream.reset()

    def _reseed(self) -> None:
        self._seed = None  # read afresh, even if unchanged

    def _keep_tempo(self, frames: int) -> None:
        """Wait where the machine is faster than the picture should be."""
        now = time.monotonic()
        if self._max_fps is None:
            return
        self._due = max(self._due + frames / self._max_fps, now - 1.0 / self._max_fps)
        self._stopping.wait(max(0.0, self._due - now))

    def _measure(self, denoise: float, frames: int) -> None:
        """Smooth the times of the last chunk; a chunk lasts from the end of the one before, waits included."""
        now, before = time.monotonic(), self._ended
        self._ended = now
        if not frames or before is None:  # nothing was shown before the first chunk
            return
        old, whole = self.timing, now - before
        share = 0.2 if old.chunks else 1.0

        def toward(before: float, after: float) -> float:
            return before + share * (after - before)

        self.timing = Timing(
            toward(old.step_ms, 1000 * denoise / self.stream.steps),
            toward(old.chunk_ms, 1000 * whole),
            toward(old.fps, frames / whole),
            old.chunks + 1,
        )


def _one_thread() -> ThreadPoolExecutor:
    """A thread whose tensor work stays in it. It starts here and now: torch keeps some thread counts for the whole
    process, and the last one set, the model's, must win."""
    pool = ThreadPoolExecutor(1, "decode", torch.set_num_threads, (1,))
    pool.submit(int).result()
    return pool


def declare(params: ParamSet) -> None:
    """The parameters that every show has, whatever its patch."""
    params.add(PROMPT, TextSpec(doc="what the model is asked to show"), group="prompt")
    params.add(SEED, ControlSpec(0, MOST_SEED, 0, step=1, doc="the noise everything starts from"), group="engine")
    params.add(RESEED, TriggerSpec("start again from the seed"), group="engine")
    params.add(FORGET, TriggerSpec("forget the past; the next chunk starts anew"), group="engine")
    params.add(PANIC, TriggerSpec("all bends neutral, cache empty, fresh noise"), group="engine")


def declare_bends(params: ParamSet, bends: tuple[Bend, ...], steps: int, layers: int) -> list[str]:
    """Add the bends' parameters, and names by position (`bend.1.amount`, `bend.1.layers.center`, ...) for mappings that
    fit any patch."""
    ids = [
        params.add(id, spec, group=id.split(".", 1)[0]).id for id, spec in parameters_of(bends, steps, layers).items()
    ]
    for number, bend in enumerate(bends, 1):
        params.alias(f"bend.{number}.amount", f"{bend.name}.{bend.lever.main}")
        for id in ids:
            name, _, field = id.partition(".")
            if name == bend.name:
                params.alias(f"bend.{number}.{field}", id)
    return ids


def _rehearse(patch: Patch, bends: tuple[Bend, ...], steps: int, layers: int) -> None:
    """Every value of the patch, tried on parameters of its own, so that a broken patch changes nothing that plays."""
    trial = ParamSet(notices=lambda text: None)
    declare(trial)
    declare_bends(trial, bends, steps, layers)
    set_values(patch, trial)


def bends_of(patch: Patch, config: WanConfig) -> tuple[Bend, ...]:
    """The patch's bends with their levers. PatchError for a lever that does not exist, a name that is taken, or a
    scope that the lever or the network does not have."""
    levers = discover()
    bends = []
    for index, spec in enumerate(patch.bends):
        lever = levers.get(spec.lever)
        if lever is None:
            advice = suggest(spec.lever, list(levers))
            raise patch.error(f"no lever '{spec.lever}'; {advice}", "bends", index, "lever")
        if spec.name in RESERVED:
            problem = f"no bend can be named '{spec.name}': the instrument itself uses it; choose another name"
            raise patch.error(problem, "bends", index, "name")
        for field, problem in _scope_problems(spec, lever, config):
            raise patch.error(problem, "bends", index, "scope", field)
        bends.append(Bend(spec.name, lever, _scope(spec), spec.persist))
    return tuple(bends)


def _scope_problems(spec: BendSpec, lever: Lever, config: WanConfig) -> Iterator[tuple[str, str]]:
    """What is wrong with a bend's scope: the field, and the remedy. A scope without effect is a mistake worth telling,
    not a silent nothing."""
    scope = spec.scope
    wrong = {
        "tokens": scope.tokens != ALL and lever.columns != "tokens",
        "neurons": scope.neurons is not None and lever.columns != "neurons",
        "band": scope.band is not None and lever.columns != "neurons",
        "heads": scope.heads is not None and not lever.heads,
    }
    for field in (field for field, is_wrong in wrong.items() if is_wrong):
        yield field, f"lever '{lever.id}' cannot be scoped to {field}; take that line away"
    for field, count, what in (("neurons", config.ffn_dim, "neuron"), ("heads", config.num_heads, "head")):
        try:
            ranges(getattr(scope, field) or ALL, count, what)
        except ScopeError as problem:
            yield field, str(problem)
    if scope.layers and scope.layers[0] > config.num_layers - 1:
        yield "layers", f"layers {list(scope.layers)} lie beyond this model's 0-{config.num_layers - 1}"


def _scope(spec: BendSpec) -> Scope:
    scope = spec.scope
    tokens = scope.tokens if isinstance(scope.tokens, str) else ", ".join(scope.tokens)
    band = scope.band
    return Scope(
        steps=Span.of(*scope.steps, scope.feather) if scope.steps else None,
        layers=Span.of(*scope.layers, scope.feather) if scope.layers else None,
        tokens=tokens,
        neurons=scope.neurons or ALL,
        band=Span(band.center, band.width, band.feather) if band else Span(0.5, 1.0),
        heads=scope.heads or ALL,
    )
