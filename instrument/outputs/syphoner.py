"""The process that has one Syphon server; `syphon.py` starts it and feeds it.

It is told name, flip and size, says "ready" once the server is there, and publishes the newest frame whenever it can.
It is a program of its own (see `child.py`), and knows nothing of the show.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle
from typing import Any, BinaryIO

import numpy as np

from .base import opaque
from .child import Newest

NAP = 0.002  # seconds between looks for a new frame


def play(job: dict[str, Any], source: BinaryIO) -> None:
    """Publish frames until there are no more. Raises ImportError, or RuntimeError where there is no Metal device."""
    import objc
    import syphon
    from Cocoa import NSDate, NSDefaultRunLoopMode, NSRunLoop
    from syphon.utils.numpy import copy_image_to_mtl_texture
    from syphon.utils.raw import create_mtl_texture

    width, height = job["size"]
    server = syphon.SyphonMetalServer(job["name"])
    # two in turn: the GPU may still read the last one
    textures = cycle([create_mtl_texture(server.device, width, height) for _ in range(2)])
    pixels = np.empty((height, width, 4), np.uint8)
    newest = Newest(source, (width, height))
    print("ready", flush=True)
    while not newest.over:
        with objc.autorelease_pool():  # a loop without one keeps every command buffer for ever
            frame = newest.take()
            if frame is not None:
                texture = next(textures)
                copy_image_to_mtl_texture(opaque(frame, pixels), texture)
                server.publish_frame_texture(texture, is_flipped=job["flip"])
            soon = NSDate.dateWithTimeIntervalSinceNow_(NAP)
            NSRunLoop.currentRunLoop().runMode_beforeDate_(NSDefaultRunLoopMode, soon)  # answers those who look for us
            time.sleep(NAP)  # the run loop comes back at once while nobody does
    server.stop()


def main() -> int:
    source = sys.stdin.buffer
    try:
        play(json.loads(source.readline()), source)
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
