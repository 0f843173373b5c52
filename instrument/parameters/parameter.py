"""One parameter: its spec, what the hand set, and its description for surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from instrument.parameters.values import LONGEST_TEXT, travel_of
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, TriggerSpec, Value

_TYPES = {ControlSpec: "number", SwitchSpec: "switch", ChoiceSpec: "choice", TextSpec: "text", TriggerSpec: "trigger"}


@dataclass(eq=False, slots=True)
class Parameter:
    """One value. Read freely from any thread; only its ParamSet writes to it.

    `base` is what the hand set, in plain units (for a trigger: how often it fired); `origin` says who set it last and
    `version` when, on the ParamSet's counter. `glide`: ms it takes to follow a jump; None as the whole instrument, 0
    at once. `kept`: part of what patches, snapshots and undo hold. `wish`: acted on whenever it is set, to the value
    that it has, too; `wished` says when that was, as `version` says when the value changed.
    """

    id: str
    spec: Spec
    base: Value
    group: str = ""
    doc: str = ""
    origin: str = ""
    version: int = 0
    glide: float | None = None
    kept: bool = True
    wish: bool = False
    wished: int = 0

    @property
    def travel(self) -> float:
        """Where a knob showing `base` stands, 0..1; 0 for text and triggers."""
        return travel_of(self.spec, self.base)

    def describe(self) -> dict[str, Any]:
        """JSON-ready; every key is always there, None where it means nothing for the type."""
        number = self.spec if isinstance(self.spec, ControlSpec) else None
        trigger = isinstance(self.spec, TriggerSpec)
        return {
            "id": self.id,
            "type": _TYPES[type(self.spec)],
            "lo": number.lo if number else None,
            "hi": number.hi if number else None,
            "step": number.step if number else None,
            "default": None if trigger else self.spec.default,
            "value": self.base,
            "warp": number.warp if number else None,
            "unit": number.unit if number else None,
            "options": list(self.spec.options) if isinstance(self.spec, ChoiceSpec) else None,
            "longest": LONGEST_TEXT if isinstance(self.spec, TextSpec) else None,
            "listed": isinstance(self.spec, TextSpec) and self.spec.listed,
            "doc": self.doc or self.spec.doc,
            "group": self.group,
        }


class Change(NamedTuple):
    """One stored value, as a recorder is told of it. Changes made in one `together` share a `block`; 0: made alone."""

    id: str
    before: Value
    after: Value
    origin: str
    block: int
    at: float  # time.monotonic


class Fired(NamedTuple):
    """One event of a trigger: which, when on `time.monotonic`, and who fired it."""

    id: str
    at: float
    origin: str
