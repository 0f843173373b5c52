"""Blackout and freeze: at once, on every frame, and gone without a trace."""

import numpy as np

from instrument.engine import curtain
from instrument.engine.curtain import Curtain
from instrument.parameters.params import ParamSet


def frame(value: int, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*size, 3), value, dtype=np.uint8)


def test_frames_pass_are_held_or_are_black():
    params = ParamSet()
    curtain.declare(params)
    hung = Curtain(params)
    first = frame(10)
    assert hung(first) is first
    params.set("out.freeze", True)
    assert hung(frame(20)) is first and hung(frame(30)) is first
    params.set("out.blackout", True)
    black = hung(frame(40))
    assert black.shape == (4, 6, 3) and black.dtype == np.uint8 and not black.any()
    params.set("out.blackout", False)
    assert hung(frame(50)) is first
    params.set("out.freeze", False)
    assert hung(frame(60))[0, 0, 0] == 60
    params.set("out.blackout", True)
    assert hung(frame(1, (8, 8))).shape == (8, 8, 3)


def test_frozen_from_the_start_holds_the_first_frame():
    params = ParamSet()
    curtain.declare(params)
    params.set("out.freeze", True)
    hung = Curtain(params)
    assert hung(frame(1))[0, 0, 0] == 1 and hung(frame(2))[0, 0, 0] == 1
