"""The one loop: tick, denoise, decode, send.

The engine owns the stream and is the only one to touch it. It reads parameters before every denoising step, runs
commands (triggers) between chunks, panic at any step, and hands frames on; it knows no port, file or page. Torch is for
this folder, and for what loads or measures models: parameters, patches, mappings, ports and the page do without.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import torch

from instrument.engine import chunks, curtain, memory
from instrument.engine.absent import Absent
from instrument.engine.bending import Bending, soloed
from instrument.engine.console import Console
from instrument.engine.guard import Guard, Scene
from instrument.engine.loading import FADE, FORGET, PANIC, RESEED, SEED, declare
from instrument.engine.modulating import Modulating
from instrument.engine.prompts import PromptDesk
from instrument.engine.returning import Returning
from instrument.engine.stage import Stage
from instrument.engine.switch import Crossing, Ready, Switch
from instrument.engine.tempo import PictureTime, Tempo, Timing
from instrument.engine.threads import one_thread, prepare_thread
from instrument.engine.videoin import STRENGTH, VideoIn
from instrument.parameters.parameter import Fired
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch, PatchError
from instrument.state.patchdesk import PatchDesk
from pipelines.codec import Chunk
from pipelines.spec import Value
from pipelines.stream import Stream
from pipelines.text import Prompt, Spoken, TextEncoder

log = logging.getLogger(__name__)

BREATH = 0.2  # seconds after a fault until the next chunk is tried


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
        decodes, and one works beside the show when there is something to find out or to load."""
        self.params, self._show = params, show
        self._commands = {PANIC: self._panic, FORGET: lambda: self.stream.forget(), RESEED: self._reseed}
        self._said: Spoken | None = None
        self._seed: int | None = None
        self._stamp: object = None
        self._threads = threads
        self._decoder, self.beside = one_thread("decode"), one_thread("beside")
        self._decoding: Future[int] | None = None
        self._stopping = threading.Event()
        self.heard: dict[str, Value] = {}  # what the bank was told last
        self.chunks = 0  # tried so far, refused ones too
        self._shown = (0, 0.0)  # frames so far, and how many the chunk under way has come to
        self.tempo = Tempo(max_fps)
        self.fault = ""
        self.tell: Callable[[str], None] = log.warning  # one line for the player; must not wait
        self.clock: Callable[[], float] = time.monotonic  # what modulators and morphs are timed by
        self.on_switch: Callable[[Ready], None] = lambda ready: None  # told when another system has come on
        torch.set_num_threads(threads)
        declare(params)
        curtain.declare(params)
        self.console = Console(params, self._say)
        self.desk = PatchDesk(params, self.console.on_time, self._say)
        self.desk.snapshots = lambda: self.console.snapshots
        self.prompts = PromptDesk(params, encoder, self.console.on_time, self._say)
        self.prompts.use(encoder, stream.device)
        self.video = VideoIn(stream, self._say)
        self._video: str | None = None  # whatever the patches say
        self._patient = False
        self.stage = Stage(stream, encoder, params, self.console, self.desk, self.prompts)
        self.returning = Returning(self.stage, self.console.history)
        self.absent = Absent(params)
        self.bending = Bending(params, self.desk, self.console, self._say)
        self.modulating = Modulating(params, self.desk, self.console, self.stage, self._say)
        self.guard = Guard(params, self._say, self.beside)
        self.switch = Switch(params, self._say, self.beside)
        self.desk.system = self.switch.played

    @property
    def stream(self) -> Stream:
        """The one that plays."""
        return self.stage.stream

    @property
    def timing(self) -> Timing:
        return self.tempo.timing

    # --- what is played ---

    def load(self, patch: Patch) -> None:
        """Make the patch's bends and parameters the ones that play. Raises PatchError; then nothing has changed.

        Call it before `run`, or in the engine's own thread.
        """
        self.stage.load(patch)
        self._came_on(patch)

    def _came_on(self, patch: Patch) -> None:
        """It plays from now on."""
        self.switch.overtaken(patch)
        self.guard.forget()
        self._look()

    def watch(self, source: str) -> None:
        """Take pictures in from there, see VideoIn, whatever the patches say."""
        self._video = source
        self._look()

    def _look(self) -> None:
        self.video.play(self.stage.patch.video_source if self._video is None else self._video)
        torch.set_num_threads(self._threads)  # the last one set wins, see `one_thread`

    def sound_check(self, patches: list[Patch]) -> None:
        """Prepare every patch of the set list, its bank and its prompts, so that changing to it takes no time. One for
        another model is tried without it.

        Raises PatchError for the first that does not fit its model. Call it before `run`.
        """
        for patch in patches:
            if self.switch.suits(patch, self.stage.patch):
                self.stage.rehearse(patch)
            else:
                self.switch.rehearse(patch)
        self.desk.set_list(patches)

    def keep_picture_time(self, rate: float) -> None:
        """Time modulators and morphs by the pictures made, `rate` of them a second, instead of by the wall clock: for
        rendering, where a chunk takes as long as it takes."""

        self.clock = PictureTime(lambda: sum(self._shown), rate)
        self.prompts.wait_for_all()
        self._patient = True

    @property
    def notices(self) -> list[str]:
        """What the player should know now: faults, words not understood, scopes that hold nothing."""
        parts = (self.fault, self.stream.notice, self.switch.notice, self.video.notice)
        own = [text for text in parts if text]
        bends = [*self.guard.notices, *self.prompts.notices, *self.stream.bank.report()]
        return [*own, *bends, *self.console.problems]

    def _say(self, text: str) -> None:
        self.tell(text)

    @property
    def prompt(self) -> Prompt | None:
        """The prompt that is heard most; None before the first."""
        return self.prompts.loudest

    @property
    def held(self) -> dict[str, list[str]]:
        """Per bend scoped to tokens, the pieces of the prompt it holds: ["all"], or each, by its index if no text."""
        every, bank = self.stream.model.config.text_len, self.stream.bank
        return {
            bend: ["all"] if len(at) == every else self.prompts.names(bank.scope_of(bend), at)
            for bend, at in bank.held_tokens().items()
        }

    # --- the loop ---

    def run(self) -> None:
        """Play until `stop`. A fault is logged and shown in the status, the past is forgotten, and play goes on."""
        self.tempo.begin()
        self.console.clock.begin(self.clock())
        prepare_thread(self._threads)
        while not self._stopping.is_set():
            try:
                self.play_chunk()
                self.fault = ""
            except Exception as error:  # on stage the show goes on; the fault is named on every surface
                self._survive(error)
        self._decoder.shutdown(cancel_futures=True)
        self.guard.forget()
        self.beside.shutdown(wait=False, cancel_futures=True)  # a model may take minutes to load
        for part in (self.console, self.bending, self.desk, self.prompts, self.video):
            part.close()

    def stop(self) -> None:
        self._stopping.set()

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded beside the show."""
        return self.switch.loading

    def _survive(self, error: Exception) -> None:
        """A chunk failed: say so once, begin anew, with the patch that played before if this one has played nothing."""
        fault = f"{type(error).__name__}: {error}"
        if fault != self.fault:
            log.exception("a chunk failed")
        self.fault = fault
        try:
            if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
                memory.give_back()
            failed = self.stage.fall_back()
            if failed is not None:
                self.guard.forget()
                self._look()
                self._say(f"{failed.name} cannot be played ({fault}); what played before goes on")
            else:
                self.guard.threw(error, self._scene(self.stream.cache.end // self.stream.recipe.chunk))
            self.stream.reset()
        except Exception:  # as above: another try is all there is
            log.exception("the engine could not begin anew")
        self._stopping.wait(BREATH)

    def play_chunk(self) -> None:
        """One chunk: commands, then every step with the latest values, then its frames (shown from another thread,
        while the cache is written and the next chunk is under way; `finish` waits for them)."""
        start = time.monotonic()
        self._obey()
        if not self._denoise():
            start = time.monotonic()
            self._denoise(breakable=False)  # whoever keeps on pressing panic shall have a picture yet
        denoised = time.monotonic()
        age = self.stream.cache.end // self.stream.recipe.chunk
        coming, chunk = self.stream.coming, self.stream.finish()
        self.chunks += 1
        self._shown = self._shown[0] + (0 if chunk is None else coming), 0.0
        frames = 0
        if chunk is not None:
            stamp, self._stamp = self._stamp, None
            frames = self.finish()
            self._decoding = self._decoder.submit(self._decode, self.stream, chunk, stamp)
        if chunk is None or not self.stream.remember():
            log.warning("%s", self.stream.notice)
            self.guard.refused(self._scene(age))
            return
        self.stage.prove()
        self.tempo.keep(frames, self._stopping)
        self.tempo.measure((denoised - start) / self.stream.steps_now, frames)

    def finish(self) -> int:
        """Wait until the last chunk's frames are shown; how many there were. Raises what decoding raised."""
        decoding, self._decoding = self._decoding, None
        return decoding.result() if decoding else 0

    def _denoise(self, breakable: bool = True) -> bool:
        """Every step with the latest values. False where panic ended it: then begin again."""
        source = self.video.take(float(self.params.heard(STRENGTH)), self._patient)
        for step in self.stream.denoise(*source):
            self._shown = self._shown[0], step / self.stream.steps_now * self.stream.coming
            if self._listen(breakable):
                return False
        return True

    def _decode(self, stream: Stream, chunk: Chunk, stamp: object) -> int:
        count = 0
        for count, frame in enumerate(stream.decode(chunk), 1):
            self._show(frame, stamp if count == 1 else None)
        return count

    def _scene(self, age: int) -> Scene:
        return Scene(self.stream, dict(self.heard), self._said, int(self.params[SEED].base), age)

    def _obey(self) -> None:
        """Commands, another patch or system, and the seed: what would tear a chunk apart waits until here."""
        for event in self.params.drain_timed():
            self._hear(event)
            if event.id in self._commands:
                self._commands[event.id]()
        self.absent.look(self.stream.bank.report())
        self.desk.tick()  # what was asked for before another patch says what plays
        self._go_back()
        self._change_patch()
        self._change_system()
        self._change_bends()
        seed = int(self.params[SEED].base)
        if seed != self._seed:
            self._seed = seed
            self.stream.reset(seed)
        self._listen()

    def _hear(self, event: Fired) -> None:
        """A trigger of the console, the prompts or the desk."""
        id, at, origin = event
        at = at if self.clock is time.monotonic else self.clock()
        if not (self.console.obey(id, at, origin) or self.prompts.obey(id, origin)):
            self.desk.obey(id, origin)

    def _change_patch(self) -> None:
        patch = self.desk.take()
        if patch is None:
            return
        if not self.switch.suits(patch, self.stage.patch):
            if not self.switch.wish_for(patch, self.desk.asked):
                self.desk.refused()
            return
        before = self.stage.played()
        try:
            self.load(patch)
            self.returning.left(before)
            self._say(f"now playing {patch.name}")
        except PatchError as problem:  # nothing has changed
            self.desk.refused(str(problem))
        except Exception as problem:  # out of memory, say: nothing has changed either
            memory.give_back()
            log.exception("patch %s could not be loaded", patch.name)
            fault = f"{type(problem).__name__}: {problem}"
            self.desk.refused(f"{patch.name} cannot be played ({fault}); what plays goes on")

    def _go_back(self) -> None:
        """To the patch before, where its change was undone."""
        if self.switch.empty:
            return  # until something plays again
        try:
            patch = self.returning.carry_out()
        except Exception as problem:  # out of memory, say: nothing has changed
            memory.give_back()
            log.exception("the patch before could not be put on again")
            self._say(f"the patch before cannot be played ({type(problem).__name__}: {problem}); what plays goes on")
            return
        if patch is not None:
            self._came_on(patch)
            self._say(f"now playing {patch.name}, as it was left")

    def _change_bends(self) -> None:
        """A bend more or less, once its bank is ready."""
        edited = self.bending.carry_out(self.stream, self.stage.ids)
        if edited is not None:
            self.stage.edited(*edited)

    def _change_system(self) -> None:
        """Another model or size, once it is ready; or here and now, where there is no memory for two."""
        ready = self.switch.take(self.stage, self.finish)
        if ready is None:
            return
        self.finish()
        self.guard.forget()
        self.video.use(self.stream)
        self._look()
        self._seed = None  # read afresh
        self._stamp = Crossing(float(self.params.heard(FADE)))
        self.on_switch(ready)

    def _listen(self, breakable: bool = False) -> bool:
        """What is due, then the latest values into bank and stream; the prompt where it changed. True where panic was
        pressed, so that the chunk under way is worth nothing any more; unless it is `breakable`, panic waits for its
        end."""
        now, panicked = self.clock(), False
        waiting = self._commands.keys() - {PANIC} if breakable else self._commands
        for event in self.params.drain_timed(but=waiting):
            self._hear(event)
            if event.id == PANIC:
                self._panic()
                panicked = True
        self.console.tick(now)
        self.desk.tick()
        self.bending.tick()
        self.modulating.tick()
        self.prompts.follow()
        self.switch.tick()
        self.guard.tick()
        changed_at = self.params.take_change()
        if self._stamp is None:
            self._stamp = changed_at
        values = self.params.tick(now)
        saying = self.prompts.tick(values, now)
        if saying is not None:
            self.stream.read_prompt(*saying)
            self._said = saying.spoken
        chunks.apply(values, self.stream)
        self.heard = self.guard.over(soloed(values, self.stream.bank.bends))
        self.stream.bank.write(self.heard)
        return panicked

    def _panic(self) -> None:
        with self.params.together():
            pressed = self.params[PANIC].version
            for bend in self.stream.bank.bends:
                for amount, spec in bend.lever.amounts.items():
                    id = f"{bend.name}.{amount}"
                    if self.params[id].version < pressed:  # a knob turned since then has the last word
                        self.params.set(id, spec.default, "panic")
            self.console.calm(pressed)
        self.guard.forget()
        self.stream.reset()

    def _reseed(self) -> None:
        self._seed = None  # read afresh, even if unchanged
