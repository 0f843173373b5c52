"""A source on the local network that NDI receivers pick by name: OBS, Resolume, TouchDesigner, monitors.

The work is done by cyndilib (MIT), an optional extra: pip install "attentionbender[ndi]". Its wheel brings NDI's own
runtime, which is proprietary and under the licence of the NDI SDK; nothing of it is part of this project, and it is
imported only when the output opens. NDI is a registered trademark of Vizrt NDI AB. This file knows nothing of pacing:
frames go out as they come.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np

from .base import Output, OutputError, even, opaque

LOOK_EVERY = 0.25  # seconds between looks at how many receivers there are
CONFIG = "ndi-config.v1.json"


class NdiOutput(Output):
    """`ndi` is the source "AttentionBender"; `ndi:Left screen?groups=stage` one with a name and groups of its own.

    `groups` are separated by commas; without, the source is in the group of NDI's own settings, else the public one.
    `note` is a text that every receiver is told when it connects, beside the product's name, in NDI's metadata.
    """

    options: ClassVar = {"groups": str, "note": str}

    def __init__(self, target: str = "", groups: str = "", note: str = "") -> None:
        self.name = f"ndi:{target}" if target else "ndi"
        self.source = target or "AttentionBender"
        self.receivers = 0  # how many are connected, as last seen
        self._groups, self._note = groups, note
        self._sender = None
        self._pixels: np.ndarray | None = None  # uint8 [H, W, 4]
        self._looked = 0.0

    def open(self, width: int, height: int, fps: float) -> None:
        ndi, structs = self._modules()
        width, height = width - width % 2, height - height % 2
        picture = ndi.VideoSendFrame()
        picture.set_resolution(width, height)
        picture.set_frame_rate(Fraction(fps).limit_denominator(1001))
        picture.set_fourcc(structs.FourCC.RGBX)
        sender = ndi.Sender(self.source, clock_video=False, clock_audio=False)  # the pacer has the clock
        sender.set_video_frame(picture)
        try:
            with _runtime.sending_in(self._groups):
                sender.open()
        except _OtherGroups as error:
            remedy = "give all NDI outputs the same groups, and restart to change them"
            raise OutputError(self.name, str(error), remedy) from error
        except Exception as error:  # the wrapper raises bare Exceptions
            problem = f"the NDI source could not be made ({' '.join(str(error).split()) or type(error).__name__})"
            raise OutputError(
                self.name, problem, "close another program that uses the name, or give another"
            ) from error
        self._sender, self.receivers, self._looked = sender, 0, float("-inf")
        self._pixels = np.empty((height, width, 4), np.uint8)

    def _modules(self) -> tuple[ModuleType, ModuleType]:
        try:
            return importlib.import_module("cyndilib"), importlib.import_module("cyndilib.wrapper.ndi_structs")
        except (ImportError, OSError) as error:  # OSError: the wheel is here, its runtime does not load
            problem = f"cyndilib is missing ({error})"
            raise OutputError(self.name, problem, 'pip install "attentionbender[ndi]"') from error

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        self._greet(at)
        self._sender.write_video(opaque(even(frame), self._pixels).reshape(-1))

    def _greet(self, at: float | None) -> None:
        """Tell new receivers what this is."""
        if at is not None and at - self._looked < LOOK_EVERY:
            return
        self._looked = float("-inf") if at is None else at
        before, self.receivers = self.receivers, self._sender.get_num_connections(0)
        if self.receivers > before:
            self._sender.send_metadata(
                "ndi_product",
                {"long_name": "AttentionBender", "short_name": "Bender", "model_name": _escaped(self._note)},
            )

    def close(self) -> None:
        if self._sender is not None:
            sender, self._sender = self._sender, None
            self.receivers = 0
            sender.close()


class _OtherGroups(Exception):
    """NDI runs with other groups than the ones asked for."""


class _Runtime:
    """NDI's runtime, one per process. It reads its settings once, when the first sender opens, and groups are among
    them: the wrapper cannot give a sender groups of its own (up to 0.1.3 it crashes when asked to)."""

    def __init__(self) -> None:
        self._groups: str | None = None

    @contextmanager
    def sending_in(self, groups: str) -> Iterator[None]:
        """Around the opening of a sender. Raises _OtherGroups when the runtime has others already."""
        if self._groups is not None and groups != self._groups:
            running = f"groups '{self._groups}'" if self._groups else "no groups of its own"
            raise _OtherGroups(f"NDI runs with {running} already, not with '{groups}'")
        if self._groups is None and groups:
            with _settings_with(groups):
                yield
        else:
            yield
        self._groups = groups


_runtime = _Runtime()


@contextmanager
def _settings_with(groups: str) -> Iterator[None]:
    """NDI's settings as they are, but for the groups to send in."""
    before = os.environ.get("NDI_CONFIG_DIR")
    settings = _settings(Path(before) if before else _home())
    settings.setdefault("ndi", {}).setdefault("groups", {})["send"] = groups
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, CONFIG).write_text(json.dumps(settings), encoding="utf-8")
        os.environ["NDI_CONFIG_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["NDI_CONFIG_DIR"]
            else:
                os.environ["NDI_CONFIG_DIR"] = before


def _home() -> Path:
    """Where NDI's own programs keep its settings."""
    return Path(os.environ["PROGRAMDATA"], "NDI") if "PROGRAMDATA" in os.environ else Path.home() / ".ndi"


def _settings(folder: Path) -> dict:
    """NDI's settings in a folder; empty where there are none or they cannot be read."""
    try:
        read = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _escaped(text: str) -> str:
    """The text as an XML attribute; the wrapper puts it in as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
