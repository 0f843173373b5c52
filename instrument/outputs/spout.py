"""A Spout sender: the picture as a texture for other programs on the same Windows computer (Resolume, TouchDesigner,
OBS with its Spout plugin).

The work is done by SpoutGL (BSD), an optional extra for Windows only: pip install "attentionbender[spout]". Written
against its published interface and tested against a recorded double; see the checklist in docs/outputs.md.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import ClassVar

import numpy as np

from .base import Output, OutputError, opaque

GL_RGBA = 0x1908


class SpoutOutput(Output):
    """`spout` is the sender "AttentionBender" (Windows only), `spout:Left` one named Left; `flip` turns it over."""

    options: ClassVar = {"flip": bool}

    def __init__(self, target: str = "", flip: bool = False) -> None:
        self.name = f"spout:{target}" if target else "spout"
        self._title, self._flip = target or "AttentionBender", flip
        self._sender = None
        self._pixels: np.ndarray | None = None  # uint8 [H, W, 4]

    def open(self, width: int, height: int, fps: float) -> None:
        sender = self._module().SpoutSender()
        if not sender.createOpenGL():  # a hidden window's context, which belongs to this thread
            raise OutputError(self.name, "no OpenGL context", "update the graphics driver; Spout needs a GPU")
        sender.setSenderName(self._title)
        self._sender, self._pixels = sender, np.empty((height, width, 4), np.uint8)

    def _module(self) -> ModuleType:
        if sys.platform != "win32":
            raise OutputError(self.name, "Spout exists on Windows only", "take syphon on macOS, ndi or camera on Linux")
        try:
            return importlib.import_module("SpoutGL")
        except ImportError as error:
            raise OutputError(
                self.name, f"SpoutGL is missing ({error})", 'pip install "attentionbender[spout]"'
            ) from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        height, width = frame.shape[:2]
        if not self._sender.sendImage(opaque(frame, self._pixels), width, height, GL_RGBA, self._flip, 0):
            raise OutputError(self.name, "the texture was not taken", "check that OpenGL and DirectX use the same GPU")
        self._sender.setFrameSync(self._title)  # for receivers that wait for each frame

    def close(self) -> None:
        if self._sender is not None:
            sender, self._sender = self._sender, None
            sender.releaseSender()
            sender.closeOpenGL()
