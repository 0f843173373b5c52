"""What stands between the pictures and the outputs: black, or the last picture held. Acts on every frame sent, so at
once, not a chunk later; the engine plays on behind it. Knows frames and two parameters."""

from __future__ import annotations

import numpy as np

from instrument.parameters.params import ParamSet
from pipelines.spec import SwitchSpec

BLACKOUT, FREEZE = "out.blackout", "out.freeze"


def declare(params: ParamSet) -> None:
    """The two switches."""
    params.add(BLACKOUT, SwitchSpec(False, "the outputs show black"), "out", kept=False)
    params.add(FREEZE, SwitchSpec(False, "the outputs hold the picture; the engine plays on"), "out", kept=False)


class Curtain:
    """Give it every frame that goes out; it gives back the one to show. Called from one thread."""

    def __init__(self, params: ParamSet) -> None:
        self._params = params
        self._held: np.ndarray | None = None
        self._black: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] in and out; blackout goes before freeze."""
        if self._held is None or not self._params.heard(FREEZE):
            self._held = frame
        if self._params.heard(BLACKOUT):
            if self._black is None or self._black.shape != frame.shape:
                self._black = np.zeros_like(frame)
            return self._black
        return self._held
