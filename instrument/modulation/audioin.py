"""Where sound comes from: a sound card, through the optional package sounddevice, or a file that plays along.

Both are an Ear: asked at every tick, they answer at once. A file is heard at the tick's own time, so that a run with it
can be repeated and rendered; it loops. Knows nothing of modulators.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from instrument.modulation.audio import RATE, Analyser, Samples
from instrument.modulation.voices import Ear, Heard
from pipelines.refusal import Refusal

if TYPE_CHECKING:
    from sounddevice import InputStream

LONGEST = 30 * 60  # seconds of a file that are read
_BLOCK = 512  # samples the sound card hands over at a time
_MOST = 64  # blocks that may wait
_CATCH_UP = RATE // 2  # samples of a file analysed in one tick; after a longer stall the rest is skipped


class AudioError(Refusal, RuntimeError):
    """Sound cannot be had; the text says what to do."""


def open_ear(which: str) -> Ear:
    """An Ear: a file where there is one of that name, else a device by (part of) its name; `default` is the system's.

    Raises AudioError.
    """
    file = Path(which)
    return FileEar(file) if file.is_file() else DeviceEar(which)


class FileEar:
    """A sound file, from its beginning at the first tick, over and over."""

    def __init__(self, file: Path) -> None:
        """Reads it whole. Raises AudioError."""
        self.sound = read_sound(file)
        self._analyser = Analyser()
        self._began: float | None = None
        self._done = 0  # samples since the beginning

    def hear(self, now: float) -> Heard:
        if self._began is None:
            self._began = now
        due = int((now - self._began) * RATE)
        if due - self._done > _CATCH_UP:
            self._done = due - _CATCH_UP
        if due > self._done:
            self._analyser.feed(self.sound.take(np.arange(self._done, due), mode="wrap"))
            self._done = due
        return self._analyser.heard

    def close(self) -> None:
        """Nothing is open."""


def read_sound(file: Path) -> Samples:
    """A sound file of any kind, mixed to mono at RATE, float32 -1..1. Raises AudioError."""
    try:
        with av.open(str(file)) as container:
            if not container.streams.audio:
                raise AudioError(f"{file} holds no sound; give a sound file")
            resampler = av.AudioResampler(format="fltp", rate=RATE)
            parts: list[np.ndarray] = []
            for frame in container.decode(audio=0):
                parts += [made.to_ndarray().mean(axis=0) for made in resampler.resample(frame)]
                if frame.time is not None and frame.time > LONGEST:
                    raise AudioError(f"{file} is longer than {LONGEST // 60} minutes; cut it")
            parts += [made.to_ndarray().mean(axis=0) for made in resampler.resample(None)]
    except (av.FFmpegError, OSError) as problem:
        raise AudioError(f"{file} cannot be read as sound: {problem}") from None
    sound = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    if len(sound) == 0:
        raise AudioError(f"{file} holds no sound; give a sound file")
    return sound


class DeviceEar:
    """A sound card's input. Its blocks are analysed in a thread of their own, as they come."""

    def __init__(self, name: str) -> None:
        """Opens it. Raises AudioError."""
        self._analyser = Analyser()
        self._blocks: queue.Queue[Samples | None] = queue.Queue(_MOST)
        self.lost = 0
        self._stream = self._open(name)
        self._thread = threading.Thread(target=self._run, name="audio", daemon=True)
        self._thread.start()

    def _open(self, name: str) -> InputStream:
        """What hands over blocks from now on. Raises AudioError, with nothing open."""
        try:
            import sounddevice
        except (ImportError, OSError):  # the second: the package is there, the PortAudio library is not
            raise AudioError(
                'sound in needs PortAudio and sounddevice: pip install "attentionbender[audio]", and on Linux '
                "your system's libportaudio2"
            ) from None
        device, stream = None if name == "default" else name, None
        try:
            stream = sounddevice.InputStream(
                samplerate=RATE, blocksize=_BLOCK, device=device, dtype="float32", latency="low", callback=self._take
            )
            stream.start()
            return stream
        except (sounddevice.PortAudioError, ValueError) as problem:
            if stream is not None:
                stream.close()
            known = [row["name"] for row in sounddevice.query_devices() if row["max_input_channels"] > 0]
            there = ", ".join(known) or "none"
            raise AudioError(f"no sound from '{name}': {problem}; inputs here: {there}; or give a file") from None

    def _take(self, block: Samples, frames: int, time: object, status: object) -> None:
        try:
            self._blocks.put_nowait(block.mean(axis=1))
        except queue.Full:  # the thread was kept from running; what is newest matters
            self.lost += 1

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._analyser.feed(block)

    def hear(self, now: float) -> Heard:
        return self._analyser.heard

    def close(self) -> None:
        """Let the device go."""
        self._stream.stop()
        self._stream.close()
        while not self._blocks.empty():  # a thread that failed leaves it full
            with suppress(queue.Empty):
                self._blocks.get_nowait()
        self._blocks.put(None)
        self._thread.join()
