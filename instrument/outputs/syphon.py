"""A Syphon server: the picture as a texture for other programs on the same Mac (Resolume, VDMX, TouchDesigner, OBS).

The work is done by syphon-python (MIT), an optional extra for macOS only: pip install "attentionbender[syphon]". It
runs in a process of its own (`syphoner.py`): macOS tells only a program's main thread of programs that look for
servers. Written against its published interface and tested against a recorded double; see the checklist in
docs/outputs.md.
"""

from __future__ import annotations

import sys
import time
from typing import ClassVar

import numpy as np

from .base import Output, OutputError
from .child import Child, ChildError


class SyphonOutput(Output):
    """`syphon` is the server "AttentionBender" (macOS only), `syphon:Left` one named Left; `flip` turns it over."""

    options: ClassVar = {"flip": bool}

    def __init__(self, target: str = "", flip: bool = False) -> None:
        self.name = f"syphon:{target}" if target else "syphon"
        self._job = {"name": target or "AttentionBender", "flip": flip}
        self._child: Child | None = None

    def open(self, width: int, height: int, fps: float) -> None:
        if sys.platform != "darwin":
            raise OutputError(self.name, "Syphon exists on macOS only", "take spout on Windows, ndi or camera on Linux")
        self._child = Child("instrument.outputs.syphoner", {**self._job, "size": [width, height]})
        try:
            self._child.wait_ready()
        except ChildError as error:
            self.close()
            raise OutputError(
                self.name, f"no Syphon server ({error})", 'pip install "attentionbender[syphon]"'
            ) from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        try:
            self._child.send(frame, time.monotonic() if at is None else at)
        except ChildError as error:
            raise OutputError(self.name, f"the server is gone ({error})", "it opens again by itself") from error

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
