"""Several outputs as one: each behind its own thread, so that none holds up another. Knows no kind of output."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Sequence

import numpy as np

from .base import Output, OutputError
from .runner import OutputRunner, OutputStats
from .testcard import CARD


class OutputGroup:
    """Start, feed and close outputs together; add and remove single ones while the rest plays on.

    `send` has the form a Pacer calls, and never waits for any of the others.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.runners: tuple[OutputRunner, ...] = ()
        for output in outputs:
            self.runners = (*self.runners, self._runner(output))
        self._change = threading.Lock()  # one at a time adds, removes or closes; `send` reads the tuple as it is
        self._shape: tuple[int, int, float] | None = None  # width, height, fps while started

    def _runner(self, output: Output) -> OutputRunner:
        """Named as no other that is here: a second `ndi` is `ndi (2)`."""
        taken, number, name = {runner.name for runner in self.runners}, 2, output.name
        while name in taken:
            name, number = f"{output.name} ({number})", number + 1
        return OutputRunner(output, name=name)

    def start(self, width: int, height: int, fps: float) -> None:
        """Open all. Raises the OutputError of the first that refuses, after closing those already open."""
        with self._change:
            started: list[OutputRunner] = []
            try:
                for runner in self.runners:
                    runner.start(width, height, fps)
                    started.append(runner)
            except OutputError:
                for runner in started:
                    runner.close()
                raise
            self._shape = (width, height, fps)

    def add(self, output: Output) -> str:
        """Open one more and feed it from now on; the name it has here. Waits for it to open; raises its OutputError,
        then nothing changed."""
        with self._change:
            runner = self._runner(output)
            if self._shape is None:
                raise OutputError(output.name, "the outputs are not playing", "add it once the show has started")
            runner.start(*self._shape)
            self.runners = (*self.runners, runner)
            return runner.name

    def remove(self, name: str, timeout: float = 10.0) -> bool:
        """Finish and let go of the output of that name.

        False if it did not end within `timeout` seconds and was left behind. Raises OutputError where there is none.
        """
        with self._change:
            found = next((runner for runner in self.runners if runner.name == name), None)
            if found is None:
                raise OutputError(name, "there is no such output", self._hint(name))
            self.runners = tuple(runner for runner in self.runners if runner is not found)
        return found.close(timeout)

    def _hint(self, name: str) -> str:
        names = [runner.name for runner in self.runners]
        if close := difflib.get_close_matches(name, names, n=1):
            return f"did you mean '{close[0]}'?"
        return f"there are: {', '.join(names)}" if names else "there are none"

    def send(self, frame: np.ndarray, stamp: object = None) -> None:
        """frame: uint8 [H, W, 3] to every output; the test card only to those that want it."""
        for runner in self.runners:
            if stamp is not CARD or runner.output.wants_card:
                runner.send(frame)

    def close(self, timeout: float = 10.0) -> None:
        with self._change:
            self._shape = None
            for runner in self.runners:
                runner.close(timeout)

    def stats(self) -> list[OutputStats]:
        return [runner.stats() for runner in self.runners]
