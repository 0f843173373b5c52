"""Stream: an endless picture, chunk by chunk.

`denoise` yields before every denoising step, so that whoever holds the knobs can write the bank; `commit` makes the
chunk part of the past, where the recipe says so by the clean pass that writes the cache; `decode` yields the chunk's
pixel frames, in another thread if the caller likes. The stream knows no clock, no parameter ids, no outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.bends.bank import CACHE_PASS, Bank, Bend
from pipelines.bends.fold import BankShape
from pipelines.bends.probes import Probes
from pipelines.cache import KVCache
from pipelines.codec import Chunk, Codec, Pictures
from pipelines.guard import Fault, fault_of
from pipelines.passes import Passes, Place, StreamBank
from pipelines.past import Past
from pipelines.recipes import Recipe
from pipelines.remembered import Kept, KeptLog
from pipelines.replay import Forward, Record
from pipelines.sampler import Sampler
from pipelines.schedule import GRID, Schedule, counted_as
from pipelines.speech import Speech
from pipelines.taehv import SPACE_SCALE
from pipelines.text import Prompt, Spoken
from pipelines.transfer import Ahead, mark
from pipelines.tune import compiling, settled
from pipelines.wan import TextMemory, Wan


class Stream:
    """One model playing one bank of bends.

    `steps_now` is how many denoising steps a chunk takes: as the recipe has it, or any other number from 1. `alone`
    takes the past away from every chunk while it is True, `past_weight` (0..1) turns down what chunks see of it.
    `past_mode` is what becomes of the past: "keep" it as the recipe says; "hold" it still, so that chunks see it and
    are forgotten themselves; "restart" with none whenever the window is full. All act from the next chunk on.
    """

    def __init__(
        self,
        model: Wan,
        decoder: Codec,
        recipe: Recipe,
        bends: tuple[Bend, ...] = (),
        seed: int | Sequence[int] = 0,
        batch: int = 1,
        record: Record | bool | None = False,
        memory: torch.dtype | None = None,
    ) -> None:
        """The picture has the recipe's size; ValueError when it does not split into patches. `batch` streams of
        different noise are played at once, and shown side by side; see `reset` for their seeds. `record` None: passes
        are recorded as CUDA graphs; see Replays for others; False: each is played as it is. `memory`: of the cache, if
        not the model's dtype."""
        self.model, self.decoder, self.recipe = model, decoder, recipe
        like = model.patch_embedding.weight
        self.device, self.dtype = like.device, like.dtype
        if recipe.height % SPACE_SCALE or recipe.width % SPACE_SCALE:
            raise ValueError(f"size {recipe.width}x{recipe.height}: both must be multiples of 16")
        self.latent_size = (recipe.height // SPACE_SCALE, recipe.width // SPACE_SCALE)
        self.schedule: Schedule = recipe.schedule
        self.batch, self.alone, self.past_weight = batch, False, recipe.past_weight
        self.past_mode: Literal["keep", "hold", "restart"] = "keep"
        self.steps_now = len(recipe.steps)
        self.recorded = record is not False
        self._passes = Passes(model, recipe, self.latent_size, batch, record, memory)
        self._ahead = Ahead(self.device)
        self.grid = self._passes.grid
        self.cache: KVCache = self._passes.cache
        self._past = Past(recipe)
        self._log = KeptLog(self.cache, recipe.keep_first)
        self._pictures = Pictures(decoder, self.device)
        self.bank = self.make_bank(bends)
        self.probes = Probes()
        self._sampler = Sampler(recipe, self.latent_size, batch, like)
        self._speech = Speech(self._passes, recipe.prompt_chunks, self.device)
        self._latents: Tensor | None = None
        self._unwritten: tuple[Tensor, Place] | None = None  # the chunk that `remember` writes
        self._made = 0  # its latent frames, if they enter the past
        self.fault: Fault = ""  # why the last chunk was refused
        self.notice = ""
        self.reset(seed)

    def make_bank(self, bends: tuple[Bend, ...], fixed: bool | None = None, like: Bank | None = None) -> StreamBank:
        """A bank of these bends for this model; give it to `play` between chunks. `fixed`: for a compiled or recorded
        forward; None: as this stream needs it. `like`: the bank that plays, where the levers that are bent as before
        are to go on."""
        config, fixed = self.model.config, self.recorded if fixed is None else fixed
        shape = BankShape(
            config.num_layers,
            config.num_heads,
            config.dim,
            config.ffn_dim,
            config.text_len,
            tuple(self.grid),
            self.device,
            self.dtype,
            self.recipe.window,
            fixed,
        )
        return StreamBank(bends, shape, len(self.schedule.timesteps), like)

    @property
    def steps(self) -> int:
        """Of the recipe: what scopes and looks count in."""
        return len(self.schedule.timesteps)

    def reset(self, seed: int | Sequence[int] | None = None) -> None:
        """Forget the past: empty cache, empty decoder, noise from the seed again (kept running when None).

        Of several streams each has a seed of its own, given or counted up from the first one's, and plays what it
        would play alone. ValueError where there is not one for each.
        """
        self.forget()
        self._begins = True
        if seed is not None:
            seeds = range(seed, seed + self.batch) if isinstance(seed, int) else seed
            self._sampler.seed(seeds)
            self.bank.reset()

    def forget(self) -> None:
        """Empty the cache only: the picture goes on from the decoder's memory, the model starts anew."""
        self.cache.reset()
        self._past.forget()
        self._log.forget()
        self._position = 0

    def let_go(self) -> None:
        """Free everything large, the network's and the decoder's weights too; nothing can be played any more. Sizes,
        bank and what is kept can still be asked for, by whoever has not heard of it yet."""
        self.model.blocks = nn.ModuleList()  # wherever they lie: streamed blocks have more memory than weights
        for part in (self.model, self.decoder):
            part.to("meta")
        for holder in (self._passes, self._pictures):
            holder.let_go()
        self._speech.forget()
        self._past.forget()
        self._latents = self._unwritten = None

    def read_prompt(self, prompt: Prompt | Spoken, passing: bool = False) -> None:
        """Play this prompt from the next pass on, or where the recipe says so by and by from the next chunk on.

        `passing`: one of many on the way to another. It is said at once whatever the recipe, and a cache that is
        written again for a new prompt waits for the one that comes without it.
        """
        self._speech.read(prompt, passing)
        self.bank.read_prompt(self._speech.words)

    def play(self, bank: StreamBank) -> None:
        """Swap the bank, between chunks."""
        self.bank = bank
        if self._speech.words is not None:
            bank.read_prompt(self._speech.words)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The latent frames that the cache holds, oldest first, as of the last chunk. Any thread may ask."""
        return self._log.kept

    @property
    def next_frames(self) -> int:
        """Latent frames of the next chunk."""
        return self.recipe.first_chunk if self._position == 0 else self.recipe.chunk

    @property
    def coming(self) -> int:
        """Frames that the next chunk, or the one under way, will give."""
        return self._pictures.count(self.next_frames, self._begins)

    def start(self, latents: Tensor) -> list[Chunk]:
        """Go on from these clean latents [B, C, F, h, w], a picture's or a clip's, as if they had been played: their
        chunks, ready to decode. Call it after a reset.

        Raises ValueError when the frames do not split into the recipe's chunks.
        """
        if self._speech.text is None:
            raise RuntimeError("the stream has no prompt; call read_prompt first")
        self.reset()
        frames, at, chunks = latents.shape[2], 0, []
        while at < frames:
            size = self.next_frames
            if at + size > frames:
                whole = f"{self.recipe.first_chunk} and then multiples of {self.recipe.chunk}"
                raise ValueError(f"{frames} latent frames cannot begin a stream; give {whole}")
            chunk = latents[:, :, at : at + size].to(self.device, self.dtype)
            with torch.inference_mode():
                if self.recipe.cache != "rebuild":
                    self._make_room()
                    self._clean_pass(chunk, self._passes.place(self._position, size), self._speech.text)
                chunks.append(self._enter(chunk, mark(self.device)))
                self._log.add(size)
            at += size
        self._speech.was_heard()
        return chunks

    def denoise(self, source: Tensor | None = None, strength: float = 1.0) -> Iterator[int]:
        """Denoise the next chunk; yields each step's index before it runs.

        From noise, or from clean latents [B, C, F, h, w] of a video (see `next_frames`) noised to `strength`, 0..1.
        Raises ValueError where these do not fit.
        """
        if self._speech.text is None:
            raise RuntimeError("the stream has no prompt; call read_prompt first")
        with torch.inference_mode():
            self._begin()
        place = self._passes.place(self._position, self.next_frames)
        bias = self._passes.past_bias(place, self.past_weight)
        x, schedule = self._sampler.begin(place.frames, self.steps_now, source, strength)
        count, following = len(schedule.timesteps), (*schedule.sigmas[1:], None)
        levels = zip(schedule.timesteps, schedule.sigmas, following, strict=True)
        for step, (timestep, sigma, next_sigma) in enumerate(levels):
            self._ahead.wait()
            yield step
            with torch.inference_mode():
                flow = self._forward(x, timestep, place, counted_as(step, count, self.steps), bias)
                x = self._sampler.onward(x, flow, sigma, next_sigma)
        self._speech.was_heard()
        self._latents = x

    def commit(self) -> Chunk | None:
        """Make the clean chunk part of the past and return it, ready to decode: `finish`, then `remember`."""
        chunk = self.finish()
        return chunk if chunk is not None and self.remember() else None

    def finish(self) -> Chunk | None:
        """The chunk just denoised, ready to decode while `remember` runs, which must follow.

        One that is not finite or saturated (see guard.py) never enters the past: the result is None, what was kept is
        forgotten, `fault` and `notice` say so, and `remember` must not be called. While the past is held still, no
        chunk enters it.
        """
        latents, self._latents = self._latents, None
        if latents is None:
            raise RuntimeError("there is no chunk to commit; run denoise to its end first")
        with torch.inference_mode():
            fault, ready = fault_of(latents, self.recipe.latent_limit), mark(self.device)
            self._made = 0 if self.past_mode == "hold" else latents.shape[2]
            writes = self.recipe.cache != "rebuild" and self._made
            self._unwritten = (latents, self._passes.place(self._position, latents.shape[2])) if writes else None
            if ready is not None:  # the device works on its own: it shall not stand still until its answer is read
                self._write()
            if self._refuse(fault()):
                self._unwritten = None
                return None
            return self._enter(latents, ready)

    def remember(self) -> bool:
        """Write the finished chunk into the cache, where the recipe says so. False where that is refused, as above; a
        device that works on its own is not asked: what is not finite there spoils the next chunk, which is refused."""
        with torch.inference_mode():
            flow = self._write()
            if flow is not None and self._refuse("" if bool(torch.isfinite(flow).all()) else "not finite"):
                return False
        if self._made:
            self._log.add(self._made)
        return True

    def _write(self) -> Tensor | None:
        """The finished chunk's clean pass, and its flow; None where there is none to come, or it has been."""
        unwritten, self._unwritten = self._unwritten, None
        if unwritten is None:
            return None
        latents, place = unwritten
        return self._clean_pass(latents, place, self._speech.text)

    def _refuse(self, fault: Fault) -> bool:
        self.fault = fault
        self.notice = f"a chunk was {fault}: dropped, cache reset" if fault else ""
        if fault:
            self.forget()
        return bool(fault)

    def decode(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """The chunk's frames, uint8 [H, W, 3]. Chunks come in order; any one thread may do it while the next chunk is
        being denoised."""
        yield from self._pictures.frames(chunk)

    def forward_again(self, bank: Bank) -> Callable[[Tensor, Tensor], Tensor]:
        """The network's pass (x, t) -> flow under a bank, at the place of the last chunk: to be timed or recorded."""
        place = self._passes.place(self._position - self.recipe.chunk, self.recipe.chunk)
        return self._passes.at(place, self._speech.text, bank, plain=True)

    @property
    def has_prompt(self) -> bool:
        """Whether a prompt was read, without which nothing is played."""
        return self._speech.text is not None

    def rehearse(self, bank: StreamBank) -> None:
        """Play the passes of a full cache under this bank, so that compilers and recordings are ready for it. The
        stream forgets its past; it must have a prompt."""
        frames, window = self.recipe.chunk, self.recipe.window
        start = {"roll": window, "restart": window - frames, "rebuild": self.recipe.context}[self.recipe.cache]
        self.forget()
        self.cache.end = start  # what lies there is finite, and nobody sees the result
        place = self._passes.place(start, frames)
        x, t = self._sampler.noise(frames), self._passes.times(GRID, frames)
        bias = self._passes.past_bias(place, 0.5)  # of any weight that a hand may give the past
        with torch.inference_mode(), compiling():
            for mask in (None, bias):
                for _ in range(2):  # a kind of pass is recorded when it comes again
                    bank.fold(0)
                    self._passes.at(place, self._speech.text, bank, mask)(x, t)
            self._pictures.record(x)
        self.reset()

    # --- the cache, as the recipe's rule has it ---

    def _begin(self) -> None:
        """What happens before a chunk: the prompt moves on, and the cache is brought up to date."""
        self._speech.onward()
        if self.alone:
            self.forget()
        self._make_room()
        whole = self.cache.end == self._position  # not so after a chunk that was let go
        if self._speech.rewrite_due and whole:
            self._speech.stale = False
            if self._position and self.recipe.recache != "no":
                place = self._passes.rewrite(self.recipe.recache == "behind sink")
                self._clean_pass(self._past.last(place.frames), place, self._speech.text, again=True)

    def _make_room(self) -> None:
        """Begin the cache again where the recipe's rule, or a hand, is not to let frames fall out of it."""
        rule = self.recipe.cache
        full = self._position + self.next_frames > self.recipe.window
        if self.past_mode == "restart" and (full or (rule == "rebuild" and self._past.count >= self.recipe.window)):
            self.forget()
        elif rule == "rebuild" or (rule == "restart" and full):
            self.cache.reset()
            self._position = 0
            context = self._past.context(self._pictures.encode)
            if context is not None:
                place = self._passes.place(0, context.shape[2])
                # A cache that is made anew for every chunk follows the prompt one chunk behind.
                text = self._speech.spoken if rule == "rebuild" else self._speech.text
                self._clean_pass(context, place, text, again=True)
                self._position = place.frames

    def _clean_pass(self, latents: Tensor, place: Place, text: TextMemory, again: bool = False) -> Tensor:
        """Write the keys and values of clean latents into the cache; the flow, of no use but to see if all went well.

        Frames of a cache begun again see those of their own chunk and of earlier ones; frames rewritten for a new
        prompt all see each other.
        """
        begun = place.start == 0 and place.frames > self.recipe.chunk and self.recipe.cache != "roll"
        mask = self._passes.begun_mask(place.frames) if begun else None
        bank = self.bank.of(place.frames)
        bank.fold(CACHE_PASS)
        if again:
            self._log.note_again(place.frames, bank.working())
        else:
            self._log.note(bank.working())
        t = self._passes.times(self.recipe.context_timestep, place.frames)
        return self._run(CACHE_PASS, bank, place, text, mask)(latents, t)

    def _enter(self, latents: Tensor, ready: torch.cuda.Event | None) -> Chunk:
        """The chunk, which the device has made once it is `ready`, becomes the newest of the past, unless that is held
        still."""
        chunk, self._begins = Chunk(latents, self._begins, ready=ready), False
        if self._past.wants_pixels:
            chunk = chunk._replace(pixels=self._pictures.of(chunk), ready=mark(self.device))
        if self.past_mode != "hold":
            self._position += latents.shape[2]
            self._past.add(latents)
            if chunk.pixels is not None:
                self._past.see(chunk.pixels)
        return chunk

    # --- parts of a pass ---

    def _forward(self, x: Tensor, timestep: float, place: Place, step: int, bias: Tensor | None) -> Tensor:
        bank = self.bank.of(place.frames)
        bank.fold(step)
        self._log.note(bank.working())
        t = self._passes.times(timestep, place.frames)
        return self._run(step, bank, place, self._speech.text, bias)(x, t)

    def _run(self, step: int | None, bank: Bank, place: Place, text: TextMemory, mask: Tensor | None) -> Forward:
        """The pass, under the eyes of the probes if it has the size they expect: then it is not a recorded one."""
        watched = bank is self.bank and self.probes.arm(step, bank.layers)
        forward = self._passes.at(place, text, bank, mask, plain=watched)

        def run(x: Tensor, t: Tensor) -> Tensor:
            try:
                with settled() if self.recorded else nullcontext():
                    return forward(x, t)
            finally:
                self._ahead.queued()
                self.probes.disarm()

        return run
