"""Modulators that come and go while the show plays: add, duplicate, remove.

A wish is checked as it is made, so that whoever made it is told what is wrong, and carried out before the next
denoising step. Every other modulator goes on from where it stands. A change is one step of undo. Knows parameters and
patches; no network, no time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from instrument.engine.console import Console
from instrument.engine.loading import MOD_ADD, MOD_DUPLICATE, MOD_REMOVE, declare_modulator
from instrument.engine.naming import name_like, name_problem, taken_names
from instrument.engine.stage import Stage
from instrument.engine.wishes import Edit, Making, Wishes
from instrument.modulation.modspec import ModulatorSpec, free_name, named, own_parameters, read_line, reworded
from instrument.modulation.modulators import problems_of
from instrument.parameters.answers import Tell
from instrument.parameters.params import ParamSet, shorten, suggest
from instrument.state.patch import Patch
from instrument.state.patchdesk import PatchDesk
from instrument.state.rewording import with_modulator, without_modulator
from pipelines.spec import Value

MOST_MODULATORS = 64
WAITING = 16  # wishes that may meet in one step
ORIGIN = "modulating"


class ModulatingError(ValueError):
    """A wish that cannot be carried out; the text says why and what would do."""


class Modulating:
    """One show's. `tell` takes one line for the player. `tick` is called by the engine; wishes come from any thread."""

    def __init__(
        self, params: ParamSet, desk: PatchDesk, console: Console, stage: Stage, tell: Callable[[str], None]
    ) -> None:
        self._params, self._desk, self._console, self._stage = params, desk, console, stage
        self._tell = Tell(tell, params.answers)
        reads = {MOD_ADD: self._add, MOD_DUPLICATE: self._duplicate, MOD_REMOVE: self._remove}
        full = WAITING, f"{WAITING} wishes are waiting already"
        self._wishes: Wishes[ModulatorSpec] = Wishes(params, ORIGIN, reads, lambda: desk.playing, full)

    # --- what is wished for: in whichever thread, under the parameters' lock ---

    def _add(self, text: str) -> Making[ModulatorSpec]:
        return partial(self._adding, read_line(text))

    def _duplicate(self, text: str) -> Making[ModulatorSpec]:
        name, *rest = text.split()
        return partial(self._duplicating, name, " ".join(rest))

    def _remove(self, text: str) -> Making[ModulatorSpec]:
        return partial(self._removing, text)

    def _adding(self, spec: ModulatorSpec, patch: Patch) -> Edit[ModulatorSpec]:
        taken = self._room(patch)
        name = spec.name or free_name(spec.kind, taken)
        if problem := name_problem(name, "modulator", taken):
            raise ModulatingError(problem)
        own = own_parameters(name, spec)
        others = reworded(spec, lambda id: None if id in own else id)  # it may speak of itself
        for field, problem in problems_of(others, self._params, [*named(patch.modulators), name]):
            raise ModulatingError(f"{field}: {problem}")
        return Edit(name, spec, len(patch.modulators), True, {})

    def _duplicating(self, name: str, wanted: str, patch: Patch) -> Edit[ModulatorSpec]:
        place, spec = self._find(name, patch)
        taken = self._room(patch)
        if wanted and (problem := name_problem(wanted, "modulator", taken)):
            raise ModulatingError(problem)
        new = wanted or name_like(name, taken)
        values = {f"{new}{id.removeprefix(name)}": value for id, value in self._values_of(name).items()}
        return Edit(new, spec, place + 1, True, {**values, f"{new}.on": False})

    def _removing(self, name: str, patch: Patch) -> Edit[ModulatorSpec]:
        place, spec = self._find(name, patch)
        return Edit(name, spec, place, False, self._values_of(name), patch)

    def _find(self, name: str, patch: Patch) -> tuple[int, ModulatorSpec]:
        there = named(patch.modulators)
        if name not in there:
            raise ModulatingError(f"no modulator '{shorten(name)}'; {suggest(name, list(there))}")
        return list(there).index(name), there[name]

    def _room(self, patch: Patch) -> set[str]:
        """The names that are taken, where one more modulator may come."""
        if len(patch.modulators) >= MOST_MODULATORS:
            raise ModulatingError(f"there are {MOST_MODULATORS} modulators already; remove one first")
        return taken_names(self._params, patch)

    def _values_of(self, name: str) -> dict[str, Value]:
        with self._params.together():
            return {p.id: p.base for p in self._params if p.kept and p.id.startswith(f"{name}.")}

    # --- before a step, in the engine's thread ---

    def tick(self) -> None:
        """Carry out what was wished for."""
        while self._wishes.waiting:
            wish = self._wishes.waiting.popleft()
            try:
                edit = wish.edit(self._desk.playing)
            except ValueError as problem:  # what it speaks of has gone, or come, since
                self._tell(str(problem), wish.origin)
                continue
            self._carry_out(edit, wish.steps_back)
        with self._params.together():
            if not self._wishes.waiting:
                self._wishes.take_up()

    def _carry_out(self, edit: Edit[ModulatorSpec], steps_back: bool) -> None:
        patch = self._changed(edit)
        with self._params.together(), self._console.history.paused():
            if edit.comes:
                came = declare_modulator(self._params, edit.name, edit.spec)
                self._stage.ids += came
                self._console.joined(came)
                for id, value in edit.values.items():
                    if id in self._params:
                        self._params.set(id, value, ORIGIN)
            else:
                gone = [id for id in self._stage.ids if id.startswith(f"{edit.name}.")]
                self._stage.ids[:] = [id for id in self._stage.ids if id not in gone]
                for id in gone:
                    self._params.remove(id)
            self._console.rack.change(named(patch.modulators))
            self._desk.edited(patch)
            self._stage.edited(patch)
        if steps_back:
            self._console.history.step(partial(self._again, edit.back()), partial(self._again, edit))
        self._tell(f"{'added' if edit.comes else 'removed'} modulator {edit.name}")

    def _changed(self, edit: Edit[ModulatorSpec]) -> Patch:
        return edit.made(
            self._desk.playing,
            lambda of: with_modulator(of, edit.name, edit.spec, edit.place),
            lambda of: without_modulator(of, edit.name),
        )

    def _again(self, edit: Edit[ModulatorSpec]) -> None:
        """Undo and redo: the same change, or its reverse, with the values that the modulator had."""

        def again(patch: Patch) -> Edit[ModulatorSpec]:
            if not edit.comes:
                return self._removing(edit.name, patch)
            if problem := name_problem(edit.name, "modulator", self._room(patch)):
                raise ModulatingError(f"nothing is brought back: {problem}")
            return replace(edit, place=min(edit.place, len(patch.modulators)))

        self._wishes.again(again)
