"""An engine on a tiny model that can change to two others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from pipelines.quicken import make_stream
from pipelines.recipes import RECIPES, Recipe
from pipelines.systems import System
from tests.engine import PATCH as PLAYED
from tests.engine import Encoder
from tests.tiny import CONFIG, RECIPE, taehv, wan

PATCH = f"model: tiny{PLAYED}"

OTHER = replace(RECIPE, name="other", config=replace(CONFIG, num_layers=5), width=64, height=48)


def system(row: Recipe) -> System:
    return System(row, wan(config=row.config), taehv(), Encoder())


class Live:
    """An engine on the tiny model that can open two others, played by hand."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, text: str = PATCH, fitted: Callable[[System], System] = lambda made: made
    ) -> None:
        """`fitted`: what becomes of every system before it plays."""
        monkeypatch.setitem(RECIPES, "tiny", RECIPE)
        monkeypatch.setitem(RECIPES, "other", OTHER)
        self.opened: list[str] = []
        self.told: list[str] = []
        self.frames: list[tuple[np.ndarray, object]] = []
        self.fault: Exception | None = None
        self.encoder: type[Encoder] = Encoder  # of the others
        self.lost = False  # whether what played cannot be loaded again either
        self.params = ParamSet(notices=self.told.append)
        self.fitted = fitted
        made = fitted(system(RECIPE))
        stream = make_stream(made, seed=3)
        self.engine = Engine(stream, made.encoder, self.params, lambda frame, stamp: self.frames.append((frame, stamp)))
        self.engine.tell = self.told.append
        self.engine.switch.play(made, self.open)
        self.engine.switch.free = lambda device: 2**40
        self.engine.load(loads(text, name="first"))
        self.chunks(2)

    def open(self, row: Recipe) -> System:
        self.opened.append(row.name)
        if self.fault is not None and (row.name != "tiny" or self.lost):
            raise self.fault
        return self.fitted(replace(system(row), encoder=self.encoder()))

    def chunks(self, count: int) -> list[tuple[int, int]]:
        """Play; the sizes of the frames."""
        before = len(self.frames)
        for _ in range(count):
            self.engine.play_chunk()
        self.engine.finish()
        return [(frame.shape[1], frame.shape[0]) for frame, _ in self.frames[before:]]

    def until_told(self, text: str) -> None:
        end = time.monotonic() + 60
        while not any(text in line for line in self.told) and time.monotonic() < end:
            self.chunks(1)
            time.sleep(0.01)
        assert any(text in line for line in self.told), self.told
