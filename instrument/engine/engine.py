"""The one loop: tick, denoise, decode, send.

The engine owns the stream and is the only one to touch it. It reads parameters before every denoising step, runs
commands (triggers) between chunks, and hands frames on; it knows no port, file or page. It is the one place of the
live side that imports torch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from instrument.engine import curtain
from instrument.engine.bending import Bending, soloed
from instrument.engine.console import Console
from instrument.engine.loading import (
    FORGET,
    PANIC,
    PROMPT,
    RESEED,
    SEED,
    Prepared,
    bends_of,
    declare,
    declare_bends,
    declare_patch,
    prepare,
)
from instrument.parameters.params import ParamSet
from instrument.state.patch import MOST_SEED, Patch, PatchError, set_values
from instrument.state.patchdesk import PatchDesk
from pipelines.stream import Chunk, Stream
from pipelines.text import Prompt, TextEncoder

__all__ = ["MOST_SEED", "Engine", "Timing", "bends_of", "declare", "declare_bends"]

log = logging.getLogger(__name__)

PROMPTS = 32  # encoded ones remembered, so that a change of patch does not wait for the text encoder


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
        self._patch_ids: list[str] = []
        self._ready: dict[int, Prepared] = {}  # the set list, by identity
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
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
        self.tell: Callable[[str], None] = log.warning  # one line for the player; must not wait
        self.clock: Callable[[], float] = time.monotonic  # what modulators and morphs are timed by
        self._played = (0, 0)  # chunks, steps of the one under way
        torch.set_num_threads(threads)
        declare(params)
        curtain.declare(params)
        self.console = Console(params, self._say)
        self.desk = PatchDesk(params, self.console.on_time, self._say)
        self.desk.snapshots = lambda: self.console.snapshots
        self.bending = Bending(params, self.desk, self.console, self._say)

    # --- what is played ---

    def load(self, patch: Patch) -> None:
        """Make the patch's bends and parameters the ones that play. Raises PatchError; then nothing has changed.

        Call it before `run`, or in the engine's own thread.
        """
        ready = self._ready.get(id(patch)) or prepare(patch, self.stream)
        with self.params.together():
            for name in self._patch_ids:
                self.params.remove(name)
            sizes = self.stream.steps, self.stream.model.config.num_layers
            self._patch_ids = declare_patch(self.params, patch, ready.bends, *sizes)
            self.params.set(PROMPT, patch.prompt, "patch")
            self.params.set(SEED, patch.seed, "patch")
            set_values(patch, self.params)
            self.console.load(ready.modulators, ready.snapshots)
            self.desk.played(patch)
        self.stream.play(ready.bank)

    def sound_check(self, patches: list[Patch]) -> None:
        """Prepare every patch of the set list, its bank and its prompt, so that changing to it takes no time.

        Raises PatchError for the first that does not fit the model. Call it before `run`.
        """
        for patch in patches:
            self._ready[id(patch)] = prepare(patch, self.stream)
            self._encode(patch.prompt)
        self.desk.set_list(patches)

    def keep_picture_time(self, rate: float) -> None:
        """Time modulators and morphs by the pictures made, `rate` of them a second, instead of by the wall clock: for
        rendering, where a chunk takes as long as it takes."""
        frames = self.stream.recipe.chunk * 4

        def now() -> float:
            chunks, step = self._played
            return (chunks + step / self.stream.steps) * frames / rate

        self.clock = now

    @property
    def notices(self) -> list[str]:
        """What the player should know now: faults, words not understood, scopes that hold nothing."""
        own = [text for text in (self.fault, self.stream.notice) if text]
        return [*own, *self._prompt_notices, *self.stream.bank.report(), *self.console.problems]

    def _say(self, text: str) -> None:
        self.tell(text)

    @property
    def prompt(self) -> Prompt | None:
        """The prompt that plays; None before the first."""
        return self._prompts.get(self._prompt or "")

    @property
    def held(self) -> dict[str, list[str]]:
        """Per bend scoped to tokens, the pieces of the prompt it holds: ["all"], or each, by its index if no text."""
        prompt = self.prompt
        tokens = prompt.tokens if prompt else ()
        every = self.stream.model.config.text_len
        return {
            bend: ["all"] if len(at) == every else [tokens[i] if i < len(tokens) else str(i) for i in at]
            for bend, at in self.stream.bank.held_tokens().items()
        }

    # --- the loop ---

    def run(self) -> None:
        """Play until `stop`. A fault is logged and shown in the status, the past is forgotten, and play goes on."""
        self._due = time.monotonic()
        _prepare_thread(self._threads)
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
        self.console.close()
        self.bending.close()
        self.desk.close()

    def stop(self) -> None:
        self._stopping.set()

    def play_chunk(self) -> None:
        """One chunk: commands, then every step with the latest values, then its frames (shown from another thread,
        while the next chunk is under way; `finish` waits for them)."""
        start = time.monotonic()
        self._obey()
        for step in self.stream.denoise():
            self._played = self._played[0], step
            self._listen()
        denoised = time.monotonic()
        chunk = self.stream.commit()
        self._played = self._played[0] + 1, 0
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
        """Commands, another patch, and the seed: what would tear a chunk apart waits until here."""
        for name, at in self.params.drain_timed():
            self._hear(name, at)
            if name in self._commands:
                self._commands[name]()
        self.desk.tick()  # what was asked for before another patch says what plays
        self._change_patch()
        self.bending.carry_out(self.stream, self._patch_ids)
        seed = int(self.params[SEED].base)
        if seed != self._seed:
            self._seed = seed
            self.stream.reset(seed)
        self._listen()

    def _hear(self, name: str, at: float) -> None:
        """A trigger of the console or the desk."""
        if not self.console.obey(name, at if self.clock is time.monotonic else self.clock()):
            self.desk.obey(name)

    def _change_patch(self) -> None:
        patch = self.desk.take()
        if patch is None:
            return
        try:
            self.load(patch)
            self._say(f"now playing {patch.name}")
        except PatchError as problem:  # nothing has changed
            self._say(str(problem))

    def _listen(self) -> None:
        """What is due, then the latest values into the bank; the prompt where it changed."""
        now = self.clock()
        for name, at in self.params.drain_timed(but=self._commands):
            self._hear(name, at)
        self.console.tick(now)
        self.desk.tick()
        self.bending.tick()
        changed_at = self.params.take_change()
        if self._stamp is None:
            self._stamp = changed_at
        values = self.params.tick(now)
        if values[PROMPT] != self._prompt:
            prompt = self._encode(str(values[PROMPT]))
            self.stream.read_prompt(prompt)
            self._prompt, self._prompt_notices = str(values[PROMPT]), prompt.notices
        self.stream.bank.write(soloed(values, self.stream.bank.bends))

    def _encode(self, text: str) -> Prompt:
        prompt = self._prompts.pop(text, None) or self._encoder.encode(text)
        self._prompts[text] = prompt  # the newest last
        if len(self._prompts) > PROMPTS:
            self._prompts.popitem(last=False)
        return prompt

    def _panic(self) -> None:
        with self.params.together():
            pressed = self.params[PANIC].version
            for bend in self.stream.bank.bends:
                for amount, spec in bend.lever.amounts.items():
                    id = f"{bend.name}.{amount}"
                    if self.params[id].version < pressed:  # a knob turned since then has the last word
                        self.params.set(id, spec.default, "panic")
            self.console.calm(pressed)
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


def _prepare_thread(threads: int) -> None:
    """Settings of the calling thread: of how many threads its tensor work makes use, and that the very small numbers
    which bends can make count as zero, since CPUs are many times slower with them."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def _one_thread() -> ThreadPoolExecutor:
    """A thread whose tensor work stays in it. It starts here and now: torch keeps some thread counts for the whole
    process, and the last one set, the model's, must win."""
    pool = ThreadPoolExecutor(1, "decode", _prepare_thread, (1,))
    pool.submit(int).result()
    return pool
