"""How a chunk is made: in how many denoising steps, and what it sees of the past.

Declares the parameters and carries them to the stream; they act from the next chunk on, and nothing is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping

from instrument.parameters.params import ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, Value
from pipelines.stream import Stream

STEPS = "engine.steps"
DISABLE, PAST, MODE = "cache.disable", "cache.past", "cache.mode"
MODES = ("keep", "hold", "restart")


def declare(params: ParamSet) -> None:
    """The parameters of the past."""
    params.add(DISABLE, SwitchSpec(False, "every chunk alone, without a past"), group="cache")
    past = ControlSpec(0, 1, 1, doc="how much weight past frames have in attention, beside the oldest held")
    params.add(PAST, past, group="cache")
    mode = "the past goes on as the model has it, stands still, or is forgotten whenever its window is full"
    params.add(MODE, ChoiceSpec(MODES, MODES[0], mode), group="cache")


def steps_spec(own: int) -> ControlSpec:
    """Of `engine.steps`, for a model of so many steps."""
    return ControlSpec(1, 2 * own, own, step=1, doc=f"denoising steps of a chunk; the model's own number is {own}")


def apply(values: Mapping[str, Value], stream: Stream) -> None:
    """The latest values to the stream."""
    stream.steps_now = int(values[STEPS])
    stream.alone = bool(values[DISABLE])
    stream.past_weight = stream.recipe.past_weight * float(values[PAST])
    stream.past_mode = str(values[MODE])
