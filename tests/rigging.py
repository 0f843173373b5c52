"""Shared by the tests of the rig: parameters to move, mapping files as an editor saves them, a control turned far.

A rig goes by the real clock: to tell doubles, and whether a control rests."""

from __future__ import annotations

import os
from pathlib import Path

from instrument.mapping.rig import Rig
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec, SwitchSpec, TriggerSpec
from tests.touches import cc


def some_params() -> ParamSet:
    params = ParamSet()
    params.add("gain", ControlSpec(0, 1, 0.5))
    params.add("mix", ControlSpec(0, 1, 0.5))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    return params


def save(path: Path, text: str) -> None:
    """As an editor does; the time stamp moves even on a file system with coarse ones."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1, before + 1))


def shipped(params: ParamSet) -> None:
    """What mappings that ship move: the amounts of a patch's first bends."""
    for number in (1, 2, 3):
        params.add(f"bend.{number}.amount", ControlSpec(0, 1, 0))


def far(rig: Rig, key: int, origin: str = "midi:desk") -> None:
    for value in (0, 64, 127):  # pickup wants it to pass
        rig.handle(cc(key, value), origin)
