"""When a chunk comes apart, or a lever throws: play on at once without bends, find out which bend it was, and mute it.

The chunk itself never becomes the past (pipelines/guard.py). From the next one on all bends are mute, so that there is
a picture again whatever the knobs say; meanwhile a second, private stream in a thread of its own plays the same values
with fewer and fewer bends. The one that is found stays mute until somebody touches it; the others come back. What the
hand has set is never overwritten: muting only changes what the bank hears.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from instrument.engine import chunks
from instrument.parameters.params import ParamSet
from pipelines.bends.bank import Bend
from pipelines.bends.hooks import thrown_by_lever
from pipelines.spec import Value
from pipelines.stream import Stream
from pipelines.text import Spoken

log = logging.getLogger(__name__)

TRIED = 3  # chunks at most that a private stream plays with each choice of bends


@dataclass(frozen=True)
class Scene:
    """What was played when a chunk came apart: enough to play it again elsewhere."""

    stream: Stream
    values: Mapping[str, Value]
    prompt: Spoken
    seed: int
    chunks: int  # to play until it came apart, from an empty cache
    thrown: str = ""  # what a lever threw, if that is why it did


class Guard:
    """Owned by the engine and called in its thread; `beside` runs the search, `tell` takes a line for the player."""

    def __init__(self, params: ParamSet, tell: Callable[[str], None], beside: Executor) -> None:
        self._params, self._tell, self._beside = params, tell, beside
        self._muted: dict[str, int] = {}  # bend -> the version of the parameters from which a touch brings it back
        self._suspects: tuple[str, ...] = ()  # all that were active, mute until one is found
        self._since = 0
        self._thrown = ""
        self._search: Future[list[str] | None] | None = None
        self._given_up = threading.Event()  # that search's

    @property
    def muted(self) -> list[str]:
        """Bends that do not sound now because of what they did."""
        return [*self._muted, *(name for name in self._suspects if name not in self._muted)]

    @property
    def notices(self) -> list[str]:
        """What the player should know as long as it lasts."""
        if self._suspects:
            return ["a chunk came apart: bends are mute until it is known which did it"]
        return [f"{name} is mute: it made a chunk come apart; touch it to hear it again" for name in self._muted]

    def forget(self) -> None:
        """Another patch, or panic: nothing is mute, nothing is searched for."""
        self._muted.clear()
        self._suspects = ()
        if self._search is not None:
            self._given_up.set()
            self._search.cancel()  # where it is not yet begun
            self._search = None

    def over(self, values: dict[str, Value]) -> dict[str, Value]:
        """The values that the bank should hear."""
        if not (self._muted or self._suspects):
            return values
        return {**values, **{f"{name}.on": False for name in self.muted}}

    def tick(self) -> None:
        """Bring back what was touched, and hear what the search has found."""
        if self._search is not None and self._search.done():
            search, self._search = self._search, None
            self._judge(search)
        if self._muted:
            for name in [name for name in self._muted if f"{name}.on" not in self._params]:
                del self._muted[name]  # it was taken away
            touched = {id.partition(".")[0]: self._params[id].version for id in self._params.changed(self._since)[1]}
            for name, version in touched.items():
                if version > self._muted.get(name, sys.maxsize):
                    del self._muted[name]

    def refused(self, scene: Scene) -> None:
        """A chunk was refused while this was played."""
        if self._search is not None:
            return  # all are mute already, and yet: what is found will be told
        active = [bend.name for bend in scene.stream.bank.bends if is_active(bend, scene.values)]
        if not active:
            if not scene.thrown:
                self._tell(f"a chunk was {scene.stream.fault} with no bend active: the cache was reset")
            return
        self._thrown = scene.thrown and f" ({scene.thrown})"
        self._since = self._params.changed(sys.maxsize)[0]
        self._suspects = tuple(active)
        self._given_up = threading.Event()
        self._search = self._beside.submit(culprits, scene, active, self._given_up)

    def threw(self, error: Exception, scene: Scene) -> None:
        """This was thrown while that was played; nothing happens unless it came out of a lever."""
        if thrown := thrown_by_lever(error):
            self.refused(replace(scene, thrown=f"{thrown.lever}: {thrown.text}"))

    def _judge(self, search: Future[list[str] | None]) -> None:
        """What the search has found."""
        suspects, self._suspects = self._suspects, ()
        try:
            found = search.result()
        except Exception as problem:  # out of memory, say: the show goes on without an answer
            log.warning("which bend made a chunk come apart could not be found out: %s", problem)
            found = list(suspects)
        if found is None:
            self._tell(f"a chunk came apart with {', '.join(suspects)}, and not again: all play on")
            return
        if not found:
            self._tell("a chunk came apart, and does so without any bend: the model or its prompt is at fault")
            return
        self._muted.update({name: self._since for name in found})
        together = " together" if len(found) > 1 else ""
        self._tell(f"{', '.join(found)} made a chunk come apart{together}{self._thrown}: mute until touched")


def is_active(bend: Bend, values: Mapping[str, Value]) -> bool:
    """Whether a bend does anything at these values: it is on, and one of its amounts is off neutral."""
    if not values.get(f"{bend.name}.on", True):
        return False
    amounts = bend.lever.amounts.items()
    return any(values.get(f"{bend.name}.{name}", spec.default) != spec.default for name, spec in amounts)


class GivenUp(Exception):
    """Nobody waits for what a search finds any more."""


def culprits(scene: Scene, names: Sequence[str], given_up: threading.Event) -> list[str] | None:
    """The smallest set of these bends with which the scene comes apart: [] if it does without any, None if it does
    not come apart again. Plays in the calling thread, on a stream of its own; raises GivenUp before the next choice of
    bends once that is set."""
    stream = private(scene)

    def fails(chosen: Sequence[str]) -> bool:
        if given_up.is_set():
            raise GivenUp
        return comes_apart(stream, scene, chosen)

    if not fails(names):
        return None
    return [] if fails(()) else smallest(list(names), fails)


def smallest(names: list[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """Of names that fail together the fewest that still do: by halves as long as one half alone fails, then by leaving
    out one after the other."""
    half = len(names) // 2
    while half:
        failing = next((part for part in (names[:half], names[half:]) if fails(part)), None)
        if failing is None:
            break
        names = failing
        half = len(names) // 2
    for name in list(names):
        rest = [other for other in names if other != name]
        if rest and fails(rest):
            names = rest
    return names


def private(scene: Scene) -> Stream:
    """A second stream of the same model, with a past, a bank and a decoder's memory of its own."""
    live = scene.stream
    room = live.recipe.sink + max(live.recipe.context, TRIED * live.recipe.chunk) + live.recipe.chunk
    recipe = replace(live.recipe, window=min(live.recipe.window, room))
    parts, memory = (live.model, live.decoder, recipe, live.bank.bends), live.cache.k.dtype
    stream = Stream(*parts, scene.seed, live.batch, record=False, memory=memory)
    stream.read_prompt(scene.prompt)
    if chunks.STEPS in scene.values:
        chunks.apply(scene.values, stream)
    return stream


def comes_apart(stream: Stream, scene: Scene, chosen: Sequence[str]) -> bool:
    """Whether a chunk is refused within a few when only the chosen bends are on, or a lever throws."""
    mute = {f"{bend.name}.on": False for bend in stream.bank.bends if bend.name not in chosen}
    stream.reset(scene.seed)
    stream.bank.write({**scene.values, **mute})
    try:
        return any(_refused(stream) for _ in range(min(max(scene.chunks, 1), TRIED)))
    except Exception as error:
        if thrown_by_lever(error) is None:
            raise
        return True


def _refused(stream: Stream) -> bool:
    """Play one chunk; whether it came apart."""
    for _ in stream.denoise():
        pass
    return stream.commit() is None
