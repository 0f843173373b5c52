"""Mappings and learning as parameters, so that OSC, the page, a mapping and the command line reach them by the same
ids as everything else.

All of it happens in the MIDI thread, thirty times a second. Names come from anywhere and stay inside the mapping
folder, what ships, files beside the player's own, and what was named at the start. Knows a Rig; no ports and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from instrument.mapping.classify import LearnError
from instrument.parameters.answers import Asked, Tell
from instrument.parameters.params import ParamSet, UnknownParameter, shorten
from instrument.parameters.wished import Wishing
from instrument.yamlfile import FileError
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec

if TYPE_CHECKING:
    from instrument.mapping.rig import Rig

LOAD, RELOAD, PAGE = "mapping.load", "mapping.reload", "mapping.page"
LEARN, CAUGHT = "learn.to", "learn.caught"
FORGET, UNDO = "learn.forget", "learn.undo"
ORIGIN = "rig"
GROUP = "mapping"
_LONGEST = 400  # characters of what a hand is told


def declare(params: ParamSet) -> None:
    """The parameters of mappings and learning."""
    load = "the mappings that play, apart by commas: names of those that ship, or files beside your own, my.yaml"
    params.add(LOAD, TextSpec("", load, listed=True), GROUP, kept=False)
    params.add(RELOAD, TriggerSpec("reads the files of the mappings again"), GROUP)
    page = ControlSpec(1, 64, 1, step=1, doc="opens a page of every mapping that has it")
    params.add(PAGE, page, GROUP, glide=0, kept=False)
    learn = "binds the next MIDI control that is touched to the parameter of this id; empty: none"
    params.add(LEARN, TextSpec("", learn), GROUP, kept=False)
    forget = "takes what binds a control to the parameter of this id out of your own mapping"
    params.add(FORGET, TextSpec("", forget), GROUP, kept=False)
    params.add(UNDO, TriggerSpec("takes back what was learnt or forgotten last"), GROUP)
    params.add(CAUGHT, TextSpec("", "what was learnt last, or why nothing was"), GROUP, kept=False)


class RigDesk:
    """Follows its parameters, and shows in them what is the case."""

    def __init__(self, params: ParamSet, rig: Rig, tell: Tell) -> None:
        declare(params)
        self._params, self._rig, self._tell = params, rig, tell
        self._acts: dict[str, Callable[[Any, str], None]] = {
            LOAD: self._load,
            RELOAD: lambda count, origin: rig.reload(origin),
            PAGE: self._page,
            LEARN: self._learn,
            FORGET: self._forget,
            UNDO: lambda count, origin: rig.undo(),
        }
        self._wishing = Wishing(params, self._acts, ORIGIN)
        self._result: dict[str, Any] = {}
        self._learner = ""  # who asked to learn last

    def tick(self) -> None:
        """Do what was asked for since, then show how things stand."""
        for id, value, origin in self._wishing.take():
            self._guarded(self._acts[id], value, origin)
        self._show_result()
        self._wishing.show(LOAD, ", ".join(self._rig.names))
        self._wishing.show(PAGE, self._rig.page)
        self._wishing.show(LEARN, self._rig.learner.armed or "")
        self._wishing.show(FORGET, "")

    def _guarded(self, act: Callable[[Any, str], None], value: Any, origin: str) -> None:
        try:
            act(value, origin)
        except (FileError, LearnError, UnknownParameter, LookupError) as problem:
            self._tell(shorten(str(problem), _LONGEST), origin)
            if act in (self._learn, self._forget):
                self._params.set(CAUGHT, shorten(f"{value}: {problem}", _LONGEST), ORIGIN)

    def _show_result(self) -> None:
        result = self._rig.learner.result
        if result is not self._result:
            self._result = result
            if result:
                words = result.get("error") or _words(result)
                text = shorten(f"{result['target']}: {words}", _LONGEST)
                self._params.set(CAUGHT, text, ORIGIN)
                if "error" in result:
                    self._tell(text, self._learner)
                elif result.get("words"):  # it changed more than was asked for
                    self._tell.notice(text, self._learner)

    # --- what a hand asks for ---

    def _forget(self, target: str, origin: str) -> None:
        if not target:
            return
        try:
            self._rig.forget(target)
        finally:
            if "error" in self._rig.learner.result:
                self._result = self._rig.learner.result  # is told where it is caught

    def _load(self, names: str, origin: str) -> None:
        self._rig.swap([name for name in (part.strip() for part in names.split(",")) if name], origin)

    def _page(self, number: float, origin: str) -> None:
        self._rig.go(int(number))

    def _learn(self, target: str, origin: str) -> None:
        before = self._rig.learner.armed
        if target:
            self._rig.arm(target)
            if before:
                self._params.answers.overtaken(Asked(f"{LEARN} {before}", self._learner), Asked(f"{LEARN} {target}"))
            self._learner = origin
        else:
            self._rig.learner.disarm()


def _words(result: dict[str, Any]) -> str:
    """What was learnt, or forgotten, in a line."""
    words = f"; {result['words']}" if result.get("words") else ""
    return f"{result.get('caught') or result['forgot']}, in {result['file']}{words}"
