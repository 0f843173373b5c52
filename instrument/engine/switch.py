"""Another model or picture size while the show plays.

It is loaded and played in for two chunks by a thread beside the show, then the engine changes to it between two chunks.
Where memory does not allow two systems (memory.py has the rule) the one that plays is let go first, the picture is held
meanwhile, and it is loaded again if the other fails. Knows systems and patches; outputs keep their size by themselves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import torch

from instrument.engine import memory
from instrument.engine.loading import MODEL, SIZE, declared, prepare
from instrument.engine.stage import Act, Stage, texts_of, with_songs
from instrument.engine.status import Pace
from instrument.parameters.answers import NOBODY, Asked, Tell
from instrument.parameters.params import ParamSet
from instrument.parameters.wished import Wishing
from instrument.state.patch import VOICE_TEXTS, Patch, PatchError
from instrument.typed import size_of
from pipelines.quicken import make_stream
from pipelines.recipes import Recipe, recipe, sized
from pipelines.spec import Value
from pipelines.stream import Stream
from pipelines.systems import System
from pipelines.transfer import wait_for

log = logging.getLogger(__name__)

ORIGIN = "switch"
AGAIN = 5.0  # seconds between two attempts to load anything at all


@dataclass(frozen=True)
class Crossing:
    """Goes along with the first frame of another system: how many seconds to fade into it."""

    seconds: float


@dataclass(frozen=True)
class Wish:
    """What to play. `patch` None: the one that plays, with the values that the hands have set."""

    recipe: Recipe
    patch: Patch | None = None
    asked: Asked = NOBODY


@dataclass(frozen=True)
class Job:
    """What is to be made of a wish: the patch, its first prompts, and the set list's patches."""

    recipe: Recipe
    patch: Patch
    texts: tuple[str, ...]
    songs: tuple[Patch, ...]


class SwitchError(RuntimeError):
    """There is no system to play; the text says why, and what may help."""


@dataclass(frozen=True)
class Ready:
    """A system that can play at once, and what its chunks cost."""

    system: System
    act: Act
    pace: Pace
    problems: tuple[str, ...] = ()  # of the set list on it


class Switch:
    """Owned by the engine and called in its thread, all but `make`. Without `open_system` it refuses every wish."""

    def __init__(self, params: ParamSet, tell: Callable[[str], None], beside: Executor) -> None:
        self.system: System | None = None
        self.open_system: Callable[[Recipe], System] | None = None  # in any thread; raises what a person can put right
        self.free: Callable[[torch.device], int] = memory.free
        self.needed: Callable[[Recipe, torch.Tensor, bool, Iterable[Patch]], int] = memory.needed
        self.notice = ""
        self._params, self._tell, self._beside = params, Tell(tell, params.answers), beside
        self._wishing = Wishing(params, (MODEL, SIZE), ORIGIN)
        self._wanted: Wish | None = None
        self._loading: tuple[Wish, Future[Ready | None]] | None = None
        self._lost: tuple[Job, dict[str, Value] | None] | None = None  # what is to be loaded, as nothing plays
        self._next_try, self._why = 0.0, ""

    def play(self, system: System, open_system: Callable[[Recipe], System] | None) -> None:
        """This one plays now, and others are opened so."""
        self.system, self.open_system = system, open_system
        self._show()

    @property
    def empty(self) -> bool:
        """Whether nothing plays: the one system was let go and could not be loaded again, yet."""
        return self._lost is not None

    def played(self) -> tuple[str, str]:
        """The model and the size that play, as patches name them; empty where nothing was said of them."""
        row = self.system.recipe if self.system is not None else None
        return (row.name, f"{row.width}x{row.height}") if row is not None else ("", "")

    def _show(self) -> None:
        """What plays, where surfaces see it."""
        row = self.system.recipe
        self._wishing.show(MODEL, row.name)
        self._wishing.show(SIZE, f"{row.width}x{row.height}")

    @property
    def loading(self) -> bool:
        """Whether another system is being made ready."""
        return self._loading is not None and not self._loading[1].done()

    # --- wishes ---

    def suits(self, patch: Patch, playing: Patch | None) -> bool:
        """Whether a patch plays on this system. A model chosen over the patch's own (`--model`) holds for patches of
        the same model too. None does while nothing plays."""
        if self._lost is not None:
            return False
        if self.system is None:
            return playing is None or patch.model == playing.model
        return _suits(patch, playing or patch, self.system.recipe)

    def rehearse(self, patch: Patch) -> None:
        """Try a patch for another model without it. Raises PatchError."""
        try:
            row = recipe(patch.model)
        except LookupError as problem:
            raise patch.error(str(problem), "model") from None
        declared(patch, row.config, len(row.steps))

    def wish_for(self, patch: Patch, asked: Asked = NOBODY) -> bool:
        """Play a patch that needs another system. False, and told, where there can be no other."""
        if self.open_system is None:
            self._tell(f"{patch.name} is for another model or size; start with it", asked.origin)
            return False
        if self._lost is not None and _suits(patch, self._lost[0].patch, self._lost[0].recipe):
            self._want(Wish(self._lost[0].recipe, patch, asked))
            return True
        return self._wish(patch.model, patch.pixels, patch, asked)

    def overtaken(self, patch: Patch) -> None:
        """Another patch plays now: one that was still to come is not wished for any more."""
        if (coming := self._coming) is not None and coming.patch is not None:
            self._want(Wish(self.system.recipe, asked=Asked(patch.name)))

    @property
    def _coming(self) -> Wish | None:
        """The last wish, as long as it has not come true."""
        return self._wanted or (self._loading[0] if self._loading else None)

    def tick(self) -> None:
        """Follow `engine.model` and `engine.size`."""
        for wished in self._wishing.take():
            self._follow(wished.id, str(wished.value), wished.asked)

    def _follow(self, id: str, text: str, asked: Asked) -> None:
        if self.open_system is None:
            self._tell(f"{id} cannot change here; it can in `bender play`", asked.origin)
        elif not text:
            self._show()
        elif id == MODEL:
            self._wish(text, None, None, asked)
        else:
            size = size_of(text)
            if size is None:
                self._refuse(f"{id} cannot be '{text}'; write for example 384x224", asked.origin)
            else:
                self._wish("", size, None, asked)

    def _wish(self, model: str, size: tuple[int, int] | None, patch: Patch | None, asked: Asked) -> bool:
        """The last wish counts. False, and told, for what cannot be."""
        now = self.system.recipe
        try:
            row = recipe(model) if model and model != now.name else now
            row = sized(row, *size) if size else row
        except (LookupError, ValueError) as problem:
            self._refuse(str(problem), asked.origin)
            return False
        self._want(Wish(row, patch, asked))
        return True

    def _want(self, wish: Wish) -> None:
        """The last wish counts; who made the one before is answered, if that is still to come."""
        if self._coming is not None:
            self._params.answers.overtaken(self._coming.asked, wish.asked)
        self._wanted = wish

    def _refuse(self, problem: str, origin: str) -> None:
        self.notice = ""
        self._tell(problem, origin)
        self._show()

    # --- between two chunks ---

    def take(self, stage: Stage, finish: Callable[[], object]) -> Ready | None:
        """The system that has just come on, once. Everything that takes time is done beside, but for a pause, before
        which `finish` waits for frames under way. Raises SwitchError as long as nothing can be played."""
        if self._lost is not None:
            return self._back(stage)
        if self._loading is not None:
            wish, future = self._loading
            if not future.done():
                return None
            self._loading = None
            return self._arrived(stage, wish, future, finish)
        wish, self._wanted = self._wanted, None
        if wish is not None and (wish.patch is not None or wish.recipe != self.system.recipe):
            self.notice = f"loading {_name(wish.recipe)}; {_name(self.system.recipe)} plays on"
            self._loading = wish, self._beside.submit(self._try, self._job(wish, stage), stage.stream)
        return None

    def _arrived(
        self, stage: Stage, wish: Wish, future: Future[Ready | None], finish: Callable[[], object]
    ) -> Ready | None:
        notice, self.notice = self.notice, ""
        if self._wanted is not None:  # something else has been asked for meanwhile
            return None
        try:
            ready = future.result()
            if ready is not None and wish.patch is None and ready.act.prepared.patch is not stage.patch:
                self.notice = notice  # bends came or went meanwhile
                self._loading = wish, self._beside.submit(_again, ready, stage.patch)
                return None
            if ready is not None:
                stage.take_over(ready.act, None if wish.patch else stage.values())
                return self._plays(ready)
        except Exception as problem:  # missing files, out of memory, a patch that does not fit: the old one plays on
            log.info("switch failed", exc_info=problem)
            self._refuse(
                f"{_name(wish.recipe)} cannot be played ({said(problem)}); what plays goes on", wish.asked.origin
            )
            self._beside.submit(memory.give_back)  # what was loaded of it is still held by the failure itself
            if wish.patch is not None:
                stage.refused()
            return None
        finish()
        return self._pause(stage, wish)

    def _plays(self, ready: Ready) -> Ready:
        """It has come on."""
        self.system = ready.system
        self._show()
        for text in (f"now playing {_name(ready.system.recipe)}", *ready.problems):
            self._tell(text)
        if ready.act.stream.device.type != "cpu":  # compiled blocks hold themselves, and a card's memory is dear
            self._beside.submit(memory.give_back)
        return ready

    # --- without memory for two ---

    def _pause(self, stage: Stage, wish: Wish) -> Ready:
        """Let go of what plays, all but its shell, which surfaces still ask for its sizes; then load. If that fails,
        load what played. Raises SwitchError if that fails too."""
        job, values = self._job(wish, stage), stage.values()
        self._lost = self._job(Wish(self.system.recipe), stage), values
        self._tell(f"no memory for two systems: the picture is held until {_name(wish.recipe)} is loaded")
        stage.let_go()
        stage.stream.let_go()
        stage.encoder.let_go()
        memory.give_back()
        try:
            return self._put_on(stage, job, None if wish.patch else values)
        except Exception as problem:
            again = _name(self.system.recipe)
            failed = f"{_name(wish.recipe)} cannot be played ({said(problem)})"
            self._tell(f"{failed}; {again} is loaded again", wish.asked.origin)
        return self._back(stage)

    def _put_on(self, stage: Stage, job: Job, values: dict[str, Value] | None) -> Ready:
        ready = self.make(job)
        stage.take_over(ready.act, values)
        self._lost = None
        return self._plays(ready)

    def _back(self, stage: Stage) -> Ready:
        """Load what played before, or what is wished for by now. Raises SwitchError as long as that fails."""
        self.tick()
        wish, self._wanted = self._wanted, None
        if wish is not None:
            self._lost = self._job(wish, stage), None if wish.patch else stage.values()
        elif time.monotonic() < self._next_try:
            raise SwitchError(self._why)
        job, values = self._lost
        memory.give_back()  # what the last attempt has left behind
        try:
            return self._put_on(stage, job, values)
        except Exception as problem:
            remedy = f"it is tried again every {AGAIN:g} s; free memory, or choose a smaller model or size"
            self._why = f"nothing plays: {_name(job.recipe)} cannot be loaded ({said(problem)}); {remedy}"
            if wish is not None and wish.asked.origin:
                self._params.answers.put(wish.asked.origin, self._why)
        self._next_try = time.monotonic() + AGAIN
        raise SwitchError(self._why)

    # --- beside the show ---

    def _job(self, wish: Wish, stage: Stage) -> Job:
        """All that is to be made for a wish: its patch with the prompts that it has, or those that are set; and the set
        list, as far as it will play there."""
        patch, params = wish.patch or stage.patch, self._params
        set_now = [str(params[id].base) for id in VOICE_TEXTS]
        texts = texts_of(patch) if wish.patch else tuple(dict.fromkeys([set_now[0], *filter(None, set_now[1:])]))
        songs = tuple(song for song in stage.songs if _suits(song, patch, wish.recipe))
        return Job(wish.recipe, patch, texts, songs)

    def _try(self, job: Job, live: Stream) -> Ready | None:
        """The system asked for; None where there is no memory for it beside the one that plays."""
        same = self._shares(job.recipe)
        like = torch.empty(0, dtype=live.dtype)
        needed = self.needed(job.recipe, like, same, (job.patch, *job.songs))
        if needed > self.free(live.device):
            memory.give_back()  # what systems before have left behind
            if needed > self.free(live.device):
                return None
        return self.make(job, self.system if same else None)

    def _shares(self, row: Recipe) -> bool:
        """Whether the weights that play will do: only the size differs."""
        now = self.system.recipe
        return replace(row, width=now.width, height=now.height) == now

    def make(self, job: Job, shared: System | None = None) -> Ready:
        """Load it, or take another's parts, make everything ready and play two chunks that nobody sees."""
        system = replace(shared, recipe=job.recipe) if shared else self.open_system(job.recipe)
        stream = make_stream(system, job.patch.seed)
        prepared = prepare(job.patch, stream)
        stream.play(prepared.bank)
        prompts = {text: system.encoder.encode(text) for text in job.texts}
        stream.read_prompt(prompts[job.texts[0]])
        act, problems = with_songs(Act(stream, system.encoder, prepared, prompts), job.songs)
        return Ready(system, act, warm_up(stream, job.recipe.fps), tuple(problems))


def _again(ready: Ready, patch: Patch) -> Ready:
    """The same system with the patch as it has become while it was loaded."""
    stream = ready.act.stream
    prepared = prepare(patch, stream)
    stream.play(prepared.bank)
    if stream.recorded:
        stream.rehearse(prepared.bank)
    return replace(ready, act=replace(ready.act, prepared=prepared))


def warm_up(stream: Stream, fps: float) -> Pace:
    """Two chunks that nobody sees: what is slow the first time is over before the show, and the second tells the pace.
    The stream has read a prompt, and begins anew after this; `fps` is the rate frames will be sent at."""
    if stream.recorded:
        stream.rehearse(stream.bank)
    for _ in range(2):
        start = time.monotonic()
        for _ in stream.denoise():
            pass
        wait_for(stream.device)
        denoised = time.monotonic()
        chunk = stream.finish()
        finished = time.monotonic()
        if chunk is not None:
            stream.remember()
        wait_for(stream.device)
        written = time.monotonic()
        for _ in stream.decode(chunk) if chunk else ():
            pass
    decode = time.monotonic() - written
    stream.reset()
    return Pace(written - start, (denoised - start) / stream.steps, written - finished, decode, 1.0 / fps)


def _suits(patch: Patch, playing: Patch, row: Recipe) -> bool:
    """Whether a patch plays on a system as it is: its own model and size, or a model chosen over its own, which holds
    for all patches of the same model as the one that plays."""
    return patch.model in (playing.model, row.name) and patch.pixels in (None, (row.width, row.height))


def said(problem: Exception) -> str:
    """A failure in one line, short enough for a status."""
    words = " ".join(str(problem).split())
    return words if isinstance(problem, (PatchError, LookupError)) else f"{type(problem).__name__}: {words[:200]}"


def _name(row: Recipe) -> str:
    return f"{row.name} {row.width}x{row.height}"
