"""Several outputs as one: each behind its own thread, so that none holds up another. Knows no kind of output."""

from __future__ import annotations

import difflib
import threading
import time
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
        self._change = threading.Lock()  # of the runners; `send` reads the tuple as it is
        self._opening: set[str] = set()  # names of those that are being added
        self.runners: tuple[OutputRunner, ...] = ()
        for output in outputs:
            self.runners = (*self.runners, self._runner(output))
        self._shape: tuple[int, int, float] | None = None  # width, height, fps while started

    def _runner(self, output: Output) -> OutputRunner:
        """Named as no other that is here: a second `ndi` is `ndi (2)`."""
        taken, number, name = {*self._opening, *(runner.name for runner in self.runners)}, 2, output.name
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
            runner, shape = self._runner(output), self._shape
            if shape is None:
                raise _not_playing(output)
            self._opening.add(runner.name)
        try:
            runner.start(*shape)  # which may take long: the others can go meanwhile
        finally:
            with self._change:
                self._opening.discard(runner.name)
        with self._change:
            if self._shape is not None:
                self.runners = (*self.runners, runner)
                return runner.name
        runner.close()
        raise _not_playing(output)

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
        """Finish all, each in its own thread; what has not ended after so many seconds is left behind."""
        with self._change:
            self._shape = None
            end = time.monotonic() + timeout
            for runner in self.runners:
                runner.finish()
            for runner in self.runners:
                runner.close(max(0.0, end - time.monotonic()))

    def stats(self) -> list[OutputStats]:
        return [runner.stats() for runner in self.runners]


def _not_playing(output: Output) -> OutputError:
    return OutputError(output.name, "the outputs are not playing", "add it once the show has started")
