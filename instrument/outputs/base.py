"""What an output is.

An output takes frames (uint8 [H, W, 3], RGB, C-contiguous) and carries them out of the program. This file knows nothing
of any particular output, of threads or of pacing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from pipelines.refusal import Refusal


class OutputError(Refusal, RuntimeError):
    """An output cannot do its work. The text names the output, what is wrong, and the remedy."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"output {name}: {problem}; {remedy}")
        self.name = name


class Output:
    """One way out for frames. A subclass is one file and one row in `outputs.KINDS`.

    All methods are called from one thread, in the order open, send..., close; after a failure the same object may be
    closed and opened again. `options` declares what may follow the `?` in a spec: name -> function from text to value;
    those values reach the constructor as keyword arguments.
    """

    name: str = "output"
    options: ClassVar[dict[str, Callable[[str], Any]]] = {}
    writing: str = ""  # the file it writes now, if it writes one
    wants_card: bool = True  # whether the test card shown before the first picture goes out here too

    def open(self, width: int, height: int, fps: float) -> None:
        """Get ready for frames of this size at about this rate. Raises OutputError."""

    def send(self, frame: np.ndarray, at: float | None = None) -> None:
        """Take one frame, to be shown at `at` seconds on a steady clock; None: frames are 1/fps apart.

        Raises OutputError. The array must not be kept or written to after this returns, unless copied.
        """

    def close(self) -> None:
        """Finish and let go of everything. Harmless when not open."""


def even(frame: np.ndarray) -> np.ndarray:
    """The frame less its last row or column where those are odd in number, as 4:2:0 pictures need."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.ascontiguousarray(frame[: height - height % 2, : width - width % 2])


def opaque(frame: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The frame with a fourth byte of 255 to each pixel, written to `pixels` (uint8 [H, W, 4]), which is returned."""
    pixels[..., :3] = frame
    pixels[..., 3] = 255
    return pixels
