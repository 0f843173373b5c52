"""Several outputs as one: each behind its own thread, so that none holds up another. Knows no kind of output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import Output, OutputError
from .runner import OutputRunner, OutputStats
from .testcard import CARD


class OutputGroup:
    """Start, feed and close outputs together. `send` has the form a Pacer calls."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.runners = [OutputRunner(output) for output in outputs]

    def start(self, width: int, height: int, fps: float) -> None:
        """Open all. Raises the OutputError of the first that refuses, after closing those already open."""
        started: list[OutputRunner] = []
        try:
            for runner in self.runners:
                runner.start(width, height, fps)
                started.append(runner)
        except OutputError:
            for runner in started:
                runner.close()
            raise

    def send(self, frame: np.ndarray, stamp: object = None) -> None:
        """frame: uint8 [H, W, 3] to every output; the test card only to those that want it."""
        for runner in self.runners:
            if stamp is not CARD or runner.output.wants_card:
                runner.send(frame)

    def close(self, timeout: float = 10.0) -> None:
        for runner in self.runners:
            runner.close(timeout)

    def stats(self) -> list[OutputStats]:
        return [runner.stats() for runner in self.runners]
