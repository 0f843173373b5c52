"""Bends that come and go while the show plays: add, duplicate, remove, and hearing some alone.

A wish is checked as it is made, so that whoever made it is told what is wrong. It is worked out beside the loop, a bank
with it, and swapped between two chunks. Only what is wished for changes: every other bend keeps its values, its noise
and its place, and the rest of the patch is not touched. A change is one step of undo. Knows parameters, patches and the
stream's banks; no network and no time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from instrument.engine import memory
from instrument.engine.console import Console
from instrument.engine.loading import ADD, DUPLICATE, REMOVE, bends_of, declare_bends, no_lever
from instrument.engine.naming import name_like, name_problem, taken_names
from instrument.engine.wishes import Edit, Making, Wishes
from instrument.parameters.answers import Tell
from instrument.parameters.params import ParamSet, shorten, suggest
from instrument.state.patch import BendSpec, Patch, PatchError
from instrument.state.patchdesk import PatchDesk
from instrument.state.rewording import with_bend, without_bend
from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.passes import StreamBank
from pipelines.spec import Value
from pipelines.stream import Stream

log = logging.getLogger(__name__)

MOST_BENDS = 128
WAITING = 32  # wishes that may wait for their turn
ORIGIN = "bending"


class BendingError(ValueError):
    """A wish that cannot be carried out; the text says why and what would do."""


@dataclass(frozen=True)
class _Ready:
    edit: Edit[BendSpec]
    patch: Patch  # the one that plays, changed
    bends: tuple[Bend, ...]
    bank: StreamBank
    of: tuple[Patch, StreamBank]  # what it was made from


class Bending:
    """One show's. `tell` takes one line for the player. Wishes come from any thread; the rest is called
    by the engine's, but for the work in a thread of its own."""

    def __init__(self, params: ParamSet, desk: PatchDesk, console: Console, tell: Callable[[str], None]) -> None:
        self._params, self._desk, self._console = params, desk, console
        self._tell = Tell(tell, params.answers)
        self._worker: ThreadPoolExecutor | None = None
        self._job: Future[_Ready] | None = None  # works out the first wish
        makers = {ADD: self._adding, DUPLICATE: self._duplicating, REMOVE: self._removing}
        reads = {id: lambda text, make=make: partial(make, text.split()) for id, make in makers.items()}
        full = WAITING, f"{WAITING} wishes wait already"
        self._wishes: Wishes[BendSpec] = Wishes(params, ORIGIN, reads, self._expected, full)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown()

    # --- what is wished for: in whichever thread, under the parameters' lock ---

    def _expected(self) -> Patch:
        """What will play once all that waits is carried out, so that a wish may speak of one made just before."""
        patch = self._desk.playing
        for wish in self._wishes.waiting:
            try:
                patch = _changed(wish.edit(patch), patch)
            except ValueError:  # told when its turn comes
                continue
        return patch

    def tick(self) -> None:
        """The texts are taken up."""
        self._wishes.take_up()

    def _adding(self, words: list[str], patch: Patch) -> Edit[BendSpec]:
        levers = discover()
        lever, name = words[0], " ".join(words[1:])
        if lever not in levers:
            raise BendingError(no_lever(lever, levers))
        spec = BendSpec(name=self._free_name(name, lever.replace(".", "_"), patch), lever=lever)
        return Edit(spec.name, spec, len(patch.bends), True, {})

    def _duplicating(self, words: list[str], patch: Patch) -> Edit[BendSpec]:
        place = self._place(words[0], patch)
        spec = patch.bends[place]
        name = self._free_name(" ".join(words[1:]), spec.name, patch)
        values = {f"{name}{id.removeprefix(spec.name)}": value for id, value in self._values_of(spec.name).items()}
        values[f"{name}.on"] = False
        return Edit(name, spec.model_copy(update={"name": name, "values": {}}), place + 1, True, values)

    def _removing(self, words: list[str], patch: Patch) -> Edit[BendSpec]:
        place = self._place(" ".join(words), patch)
        spec = patch.bends[place]
        return Edit(spec.name, spec, place, False, self._values_of(spec.name), patch)

    def _place(self, name: str, patch: Patch) -> int:
        names = [bend.name for bend in patch.bends]
        if name not in names:
            raise BendingError(f"no bend '{shorten(name)}'; {suggest(name, names)}")
        return names.index(name)

    def _free_name(self, wanted: str, like: str, patch: Patch) -> str:
        """The name wanted, or one like another that is not taken."""
        names = {bend.name for bend in patch.bends}
        leaving = {bend.name for bend in self._desk.playing.bends} - names
        taken = taken_names(self._params, patch) - leaving
        if len(patch.bends) >= MOST_BENDS:
            raise BendingError(f"there are {MOST_BENDS} bends already; remove one first")
        if wanted and (problem := name_problem(wanted, "bend", taken)):
            raise BendingError(problem)
        return wanted or name_like(like, taken)

    def _values_of(self, name: str) -> dict[str, Value]:
        with self._params.together():
            return {p.id: p.base for p in self._params if p.id.startswith(f"{name}.")}

    # --- between chunks ---

    def carry_out(self, stream: Stream, ids: list[str]) -> tuple[Patch, tuple[Bend, ...], StreamBank] | None:
        """Swap what is ready, and begin with the next wish. `ids`: the parameters that came of the patch, kept up to
        date. What plays now, if anything was swapped."""
        swapped = None
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            try:
                ready = job.result()
            except (BendingError, PatchError, ValueError) as problem:
                self._drop(str(problem))
            except Exception as problem:  # out of memory, say: nothing has changed
                memory.give_back()
                log.exception("the bends could not be changed")
                self._drop(f"the bends stay as they are ({type(problem).__name__}: {shorten(str(problem))})")
            else:
                if (self._desk.playing, stream.bank) == ready.of:  # else another patch came in between: once more
                    self._swap(ready, stream, ids)
                    swapped = ready.patch, ready.bends, ready.bank
        if self._job is None and self._wishes.waiting:
            self._begin(stream)
        return swapped

    def _drop(self, why: str) -> None:
        with self._params.together():
            wish = self._wishes.waiting.popleft()
        self._tell(why, wish.origin)

    def _begin(self, stream: Stream) -> None:
        self._worker = self._worker or ThreadPoolExecutor(1, "bending")
        self._job = self._worker.submit(self._prepare, self._wishes.waiting[0].edit, stream, self._desk.playing)

    def _prepare(self, wish: Making[BendSpec], stream: Stream, patch: Patch) -> _Ready:
        """In the worker's thread: the changed patch and its bank. Raises BendingError, PatchError, ValueError."""
        edit, old = wish(patch), stream.bank
        changed = _changed(edit, patch)
        bends = bends_of(changed, stream.model.config)
        return _Ready(edit, changed, bends, stream.make_bank(bends, like=old), (patch, old))

    def _swap(self, ready: _Ready, stream: Stream, ids: list[str]) -> None:
        edit, name = ready.edit, ready.edit.name
        with self._params.together(), self._console.history.paused():
            self._console.rack.name_targets()  # places are about to change
            gone = [] if edit.comes else [id for id in ids if id.startswith(f"{name}.")]
            for id in gone:
                self._params.remove(id)
            ids[:] = [id for id in ids if id not in gone]
            came = declare_bends(self._params, ready.bends, stream.steps, stream.model.config.num_layers)
            ids += came
            self._console.joined(came)
            for id, value in edit.values.items() if edit.comes else ():
                if id in self._params:
                    self._params.set(id, value, ORIGIN)
            self._desk.edited(ready.patch)
            wish = self._wishes.waiting.popleft()
        stream.play(ready.bank)
        if wish.steps_back:
            self._console.history.step(partial(self._redo, edit.back()), partial(self._redo, edit))
        self._tell(self._said(edit))

    def _said(self, edit: Edit[BendSpec]) -> str:
        """What has happened, and to whom it matters."""
        name = edit.name
        moving = ", ".join(self._console.rack.aimed_at(f"{name}."))
        if edit.comes:
            return f"added bend {name}" + (f", which {moving} moves" if moving else "")
        return f"removed bend {name}" + (f"; {moving} moved it, and will again when it is back" if moving else "")

    def _redo(self, edit: Edit[BendSpec]) -> None:
        """Undo and redo: the same change, or its reverse, with the values that the bend had."""

        def again(patch: Patch) -> Edit[BendSpec]:
            names = [bend.name for bend in patch.bends]
            if edit.comes and edit.name in names:
                raise BendingError(f"the name '{edit.name}' is taken again; nothing is brought back")
            if edit.comes:
                return replace(edit, place=min(edit.place, len(names)))
            return self._removing([edit.name], patch)

        self._wishes.again(again)


def _changed(edit: Edit[BendSpec], patch: Patch) -> Patch:
    """The patch with the bend more or less."""
    return edit.made(patch, lambda of: with_bend(of, edit.spec, edit.place), lambda of: without_bend(of, edit.place))


def soloed(values: dict[str, Value], bends: tuple[Bend, ...]) -> dict[str, Value]:
    """The values as the bank should hear them: where any bend is solo, those that are not are off."""
    solo = [bool(values.get(f"{bend.name}.solo")) for bend in bends]
    if any(solo):
        values.update({f"{bend.name}.on": False for bend, alone in zip(bends, solo, strict=True) if not alone})
    return values
