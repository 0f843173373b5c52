"""What stands between the pictures and the outputs: black, the last picture held, or a fade from it to another
system's. Acts on every frame sent, so at once, not a chunk later; the engine plays on behind it. Knows frames and two
parameters."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from instrument.engine.pacer import mix
from instrument.outputs.fit import Fitter
from instrument.parameters.params import ParamSet
from pipelines.spec import SwitchSpec

BLACKOUT, FREEZE = "out.blackout", "out.freeze"


def declare(params: ParamSet) -> None:
    """The two switches."""
    params.add(BLACKOUT, SwitchSpec(False, "the outputs show black"), "out", kept=False)
    params.add(FREEZE, SwitchSpec(False, "the outputs hold the picture; the engine plays on"), "out", kept=False)


class Curtain:
    """Give it every frame that goes out; it gives back the one to show. Called from one thread."""

    def __init__(self, params: ParamSet, clock: Callable[[], float] = time.monotonic) -> None:
        self._params, self._clock = params, clock
        self._held: np.ndarray | None = None
        self._black: np.ndarray | None = None
        self._old: np.ndarray | None = None  # what is faded from
        self._crossing: object = None
        self._begun = self._seconds = 0.0

    def cross(self, crossing: object, seconds: float) -> None:
        """From the frame now coming on, fade from the last one shown; the same `crossing` again changes nothing."""
        if crossing is not self._crossing:
            self._crossing, self._begun, self._seconds = crossing, self._clock(), seconds
            self._old = self._held if seconds > 0 else None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] in and out; blackout goes before freeze."""
        if self._held is None or not self._params.heard(FREEZE):
            self._held = self._faded(frame)
        if self._params.heard(BLACKOUT):
            if self._black is None or self._black.shape != frame.shape:
                self._black = np.zeros_like(frame)
            return self._black
        return self._held

    def _faded(self, frame: np.ndarray) -> np.ndarray:
        if self._old is None:
            return frame
        share = (self._clock() - self._begun) / self._seconds
        if share >= 1:
            self._old = None
            return frame
        if self._old.shape != frame.shape:
            self._old = Fitter(frame.shape[1], frame.shape[0])(self._old)
        return mix(self._old, frame, share)
