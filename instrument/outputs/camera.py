"""A virtual webcam, which video call, streaming and VJ programs can pick as a source.

The work is done by pyvirtualcam, which is licensed GPLv2, an optional extra: pip install "attentionbender[camera]". It
is imported only when a camera is opened, and everything else runs without it. This file knows nothing of pacing; frames
go to the camera as they come.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import ClassVar

import numpy as np

from .base import Output, OutputError, even

REMEDIES = {
    "linux": (
        "install the loopback device and load it: sudo apt install v4l2loopback-dkms && "
        "sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=AttentionBender"
    ),
    "darwin": "install OBS 30 or newer, then start and stop its virtual camera once to let the system approve it",
    "win32": "install OBS, whose installer brings the OBS Virtual Camera (for transparency: UnityCapture)",
}


INSTALL = 'pip install "attentionbender[camera]"'


class CameraOutput(Output):
    """`camera` takes the first virtual camera; `camera:/dev/video4` or `camera:OBS Virtual Camera` a certain one."""

    options: ClassVar = {"backend": str}

    def __init__(self, target: str = "", backend: str | None = None) -> None:
        self.name = f"camera:{target}" if target else "camera"
        self.device: str | None = None
        self._target, self._backend = target or None, backend
        self._camera = None

    def open(self, width: int, height: int, fps: float) -> None:
        module = self._module()
        width, height = width - width % 2, height - height % 2
        try:
            self._camera = module.Camera(width, height, fps, device=self._target, backend=self._backend)
        except (RuntimeError, OSError, KeyError) as error:  # no device, a device in use, no backend of that name
            problem = " ".join(str(error).split()) or type(error).__name__
            raise OutputError(self.name, f"no virtual camera ({problem})", remedy()) from error
        self.device = self._camera.device

    def _module(self) -> ModuleType:
        try:
            return importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise OutputError(self.name, f"pyvirtualcam is missing ({error})", INSTALL) from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        self._camera.send(even(frame))

    def close(self) -> None:
        if self._camera is not None:
            camera, self._camera = self._camera, None
            camera.close()


def remedy(system: str = sys.platform) -> str:
    """What a person on this system does to get a virtual camera."""
    return REMEDIES.get(system, REMEDIES["linux"])
