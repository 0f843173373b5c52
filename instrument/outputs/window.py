"""The process that has the window of one screen; `screen.py` starts it and feeds it.

It is told display, windowed, fit and size, says "ready" once the window is there, and shows the newest frame whenever
it can. It is a program of its own (see `child.py`), and knows nothing of the show.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

from .child import Newest
from .fit import Fitter

NAP_MS = 2  # between looks for a new frame; what the window's delay comes to


def play(job: dict[str, Any], source: BinaryIO) -> None:
    """Show frames until there are no more. Raises pygame.error where there is no such screen."""
    import pygame

    pygame.display.init()
    screens = pygame.display.get_num_displays()
    if job["display"] >= screens:
        raise pygame.error(f"there are {screens} screens, counted from 0")
    size, flags = (job["size"], 0) if job["windowed"] else ((0, 0), pygame.FULLSCREEN)
    surface = pygame.display.set_mode(size, flags, display=job["display"])
    pygame.display.set_caption("AttentionBender")
    pygame.mouse.set_visible(job["windowed"])
    fit = Fitter(*surface.get_size(), job["fit"])
    newest = Newest(source, job["size"])
    print("ready", flush=True)
    while not newest.over:
        pygame.event.get()  # the system asks whether the window lives; nothing it says is obeyed
        frame = newest.take()
        if frame is None:
            pygame.time.wait(NAP_MS)
            continue
        pygame.surfarray.blit_array(surface, fit(frame).swapaxes(0, 1))
        pygame.display.flip()
    pygame.quit()


def main() -> int:
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"  # standard output is for one word only
    source = sys.stdin.buffer
    try:
        play(json.loads(source.readline()), source)
    except (ImportError, RuntimeError, ValueError, OSError) as error:  # pygame.error is a RuntimeError
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
