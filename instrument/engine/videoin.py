"""Video in: moving pictures as latents that chunks are denoised from.

Pictures are read and encoded in a thread of their own, a chunk ahead; the engine takes what is there and never waits.
A source that is missing, broken or unplugged is told of, and tried again every two seconds; chunks begin from noise
meanwhile. Declares `video.strength`; knows the stream's codec and size, and nothing of what it plays.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from instrument.engine.clips import Size, VideoError, is_live, pictures
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec
from pipelines.stream import Stream
from pipelines.transfer import Beside, mark, to_device

STRENGTH = "video.strength"
LEAST = 0.001  # of strength: the noise levels of a chunk must not be none
AGAIN = 2.0  # seconds until a source that failed is tried again
_STALE = 1.0  # seconds after which what a camera saw is no longer news
_PATIENCE = 30.0  # seconds that rendering waits for a chunk's pictures


def declare(params: ParamSet) -> None:
    """The parameter of video in."""
    strength = "how far chunks go away from the video in; 1: they begin from noise, as without one"
    params.add(STRENGTH, ControlSpec(0, 1, 0.7, doc=strength), group="video")


class _Run:
    """What is played from one change of source or stream to the next."""

    def __init__(self, source: str, stream: Stream) -> None:
        recipe = stream.recipe
        self.source, self.stream, self.live = source, stream, is_live(source)
        self.size = Size(recipe.width, recipe.height, recipe.fps)
        self.seen: deque[np.ndarray] = deque(maxlen=recipe.frames)  # not yet encoded
        self._memory: list[Tensor | None] | None = None
        self._beside = Beside(stream.device)

    def encode(self) -> Tensor:
        """The pictures seen, as the next of the encoder's stream -> latents [1, C, F, h, w]. At its beginning the first
        one goes before them as a still, which some autoencoders code by itself."""
        device, dtype, codec = self.stream.device, self.stream.dtype, self.stream.decoder
        with torch.inference_mode(), self._beside.work(None):
            pixels = to_device(torch.from_numpy(np.stack(self.seen)), device).permute(0, 3, 1, 2)[None]
            pixels = pixels.to(dtype) / 255
            self.seen.clear()
            if self._memory is None:
                self._memory = codec.fresh_encoder()
                codec.encode(pixels[:, :1], self._memory)
            latents = codec.encode(pixels, self._memory).transpose(1, 2).clone()
            made = mark(device)
        if made is not None:
            made.synchronize()  # this thread has time
            latents.record_stream(torch.cuda.default_stream(device))  # where the engine uses it
        return latents


class VideoIn:
    """One source at a time, or none. `tell` takes a line for the player and must not wait."""

    def __init__(self, stream: Stream, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.again = AGAIN
        self._begin("", stream)

    # --- the engine's side ---

    @property
    def source(self) -> str:
        """The file, camera or address; empty if there is none."""
        return self._now.source

    def play(self, source: str) -> None:
        """A file, `camera:0` or an address; "" for none. The same again goes on as it is."""
        if source != self._now.source:
            self._begin(source, self._now.stream)
        if source and self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="video in", daemon=True)
            self._thread.start()
            ready.wait()

    def use(self, stream: Stream) -> None:
        """Another stream, with its own size and codec."""
        self._begin(self._now.source, stream)

    def take(self, strength: float, wait: bool = False) -> tuple[Tensor | None, float]:
        """What the next chunk is denoised from, [B, C, F, h, w], and how strongly; None and 1 for noise alone.

        Where the next pictures are not there yet it is the last ones again; `wait` waits for them.
        """
        stream = self._now.stream
        if strength >= 1.0 or not self._now.source:
            return None, 1.0
        with self._lock:
            if wait:
                self._lock.wait_for(lambda: self._fresh is not None or self.notice or self._stopping, _PATIENCE)
            fresh, self._fresh, self._wanted = self._fresh, None, True
            self._lock.notify_all()
            if fresh is not None:
                old = self._now.live and time.monotonic() - fresh[1] > _STALE
                self._last = None if old else fresh[0]
            latents = self._last
        if latents is None:
            return None, 1.0
        latents = latents[:, :, -stream.next_frames :].expand(stream.batch, -1, -1, -1, -1)
        return latents, max(strength, LEAST)

    def close(self) -> None:
        """Let the source go."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(AGAIN)

    def _begin(self, source: str, stream: Stream) -> None:
        with self._lock:
            self._now = _Run(source, stream)
            self._wanted = True  # the next chunk's latents
            self._fresh: tuple[Tensor, float] | None = None  # those, and when they were made
            self._last: Tensor | None = None
            self.notice = self._told = ""
            self._lock.notify_all()

    # --- the thread ---

    def _run(self, ready: threading.Event) -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        ready.set()
        while not self._stopping:
            run = self._now
            try:
                if run.source and not self._show(run):
                    raise VideoError(f"{run.source} holds no pictures")
            except Exception as problem:  # whatever a file or a driver may do; the show goes on from noise
                self._fail(run, problem)
            with self._lock:
                if self._now is run and (self.notice or not run.source) and not self._stopping:
                    self._lock.wait(self.again)

    def _fail(self, run: _Run, problem: Exception) -> None:
        text = str(problem) if isinstance(problem, VideoError) else f"{type(problem).__name__}: {problem}"
        with self._lock:
            if self._now is not run:
                return
            told, self._told, self.notice = self._told, text, f"no video in: {text}"
            self._fresh = self._last = None
            self._lock.notify_all()
        if told != text:
            self._tell(f"no video in: {text}")

    def _show(self, run: _Run) -> bool:
        """The source once from its beginning to its end; whether it had a picture. What does not fill a chunk at the
        end of a clip is the beginning of the next round."""
        had_any = False
        with closing(pictures(run.source, run.size)) as coming:
            for picture in coming:
                run.seen.append(picture)
                had_any = True
                if len(run.seen) == run.seen.maxlen and (self._wanted if run.live else self._wait(run)):
                    self._publish(run, run.encode())
                if self._now is not run or self._stopping:
                    return True
        return had_any

    def _wait(self, run: _Run) -> bool:
        """Until the engine wants more; whether it does."""
        with self._lock:
            self._lock.wait_for(lambda: self._wanted or self._now is not run or self._stopping)
            return self._now is run and not self._stopping

    def _publish(self, run: _Run, latents: Tensor) -> None:
        with self._lock:
            if self._now is run:
                self._fresh, self._wanted, self.notice = (latents, time.monotonic()), False, ""
                self._lock.notify_all()
