"""A plain window that fills a screen: for a projector or a monitor of this computer.

The window belongs to a process of its own (`window.py`): some systems let only a program's main thread have windows. It
is drawn with pygame-ce (LGPL, over SDL2, zlib licence), an optional extra: pip install "attentionbender[screen]".
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .base import Output, OutputError
from .child import Child, ChildError
from .fit import Fit, as_fit


class ScreenOutput(Output):
    """`screen` fills the first screen, `screen:1` the second; `windowed` is a window of the picture's size instead.

    `fit` says how the picture fills it. There is no key that closes the window: it goes when the output does.
    """

    options: ClassVar[dict[str, Callable[[str], Any]]] = {"windowed": bool, "fit": as_fit}

    def __init__(self, target: str = "", windowed: bool = False, fit: Fit = "letterbox") -> None:
        self.name = f"screen:{target}" if target else "screen"
        if target and not target.isdecimal():
            raise OutputError(self.name, f"'{target}' is no screen", "give its number: screen:0 is the first")
        self._job = {"display": int(target or 0), "windowed": windowed, "fit": fit}
        self._child: Child | None = None

    def open(self, width: int, height: int, fps: float) -> None:
        if importlib.util.find_spec("pygame") is None:
            raise OutputError(self.name, "pygame is missing", 'pip install "attentionbender[screen]"')
        self._child = Child("instrument.outputs.window", {**self._job, "size": [width, height]})
        try:
            self._child.wait_ready()
        except ChildError as error:
            self.close()
            remedy = "start this where a desktop is shown, and give the number of a screen that is connected"
            raise OutputError(self.name, f"no window ({error})", remedy) from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        try:
            self._child.send(frame, time.monotonic() if at is None else at)
        except ChildError as error:
            raise OutputError(self.name, f"the window is gone ({error})", "it opens again by itself") from error

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
