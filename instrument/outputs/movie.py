"""Frames into a movie through PyAV. Knows codecs and containers; knows nothing of names, queues or options."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter

from pipelines import whole

from .base import even

TICKS = 90_000  # time stamps per second, enough for any rate to be exact to 0.01 ms
FAILURES = (OSError, av.FFmpegError)  # of a disk, a line or an encoder: only some of FFmpeg's are OSErrors, too
NO_CODEC = (ValueError, av.error.EncoderNotFoundError)  # what PyAV, or FFmpeg, was built without
BT709 = 1  # the code for BT.709 primaries, curve and matrix in H.264 and its relatives


@dataclass(frozen=True)
class Recipe:
    """How one kind of file is made. `quality` names the codec option that holds it and its values at 1 and at 100."""

    codec: str
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    quality: tuple[str, float, float] | None = None
    palette: bool = False

    def at_quality(self, quality: int) -> Recipe:
        """The same with its quality option set from 1..100; unchanged where the codec has none."""
        if self.quality is None:
            return self
        name, worst, best = self.quality
        value = round(worst + (best - worst) * (quality - 1) / 99)
        return replace(self, options={**self.options, name: str(value)})


# No B frames: in a fragmented file they would shift every frame's time.
_H264 = Recipe("libx264", "yuv420p", {"preset": "veryfast", "bf": "0"}, {}, ("crf", 40, 12))
RECIPES = {
    ".mp4": replace(_H264, container={"movflags": "hybrid_fragmented", "flush_packets": "1"}),
    ".mkv": replace(_H264, container={"flush_packets": "1"}),
    ".mkv?lossless": Recipe("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}, {"flush_packets": "1"}),
    # of the two ProRes encoders the one that is quick enough to record live
    ".mov": Recipe(
        "prores_ks", "yuv422p10le", {"profile": "hq"}, {"movflags": "hybrid_fragmented", "flush_packets": "1"}
    ),
    ".gif": Recipe("gif", "pal8", {}, {"loop": "0"}, palette=True),
    ".webp": Recipe("libwebp_anim", "yuv420p", {}, {"loop": "0"}, ("quality", 1, 100)),
}


class Gone(FileNotFoundError):
    """A movie was taken away while it was written."""


class Encoder:
    """Frames into an open container. `write` takes RGB frames of the size given; a size change raises ValueError."""

    def __init__(self, container: OutputContainer, recipe: Recipe, size: tuple[int, int], fps: float) -> None:
        """Closes the container and raises one of NO_CODEC or FAILURES where it cannot take such a stream."""
        self._container = container
        self._recipe, self._size, self._fps = recipe, size, fps
        self._even = recipe.pix_fmt.startswith("yuv4")
        width, height = (n - n % 2 for n in size) if self._even else size
        self._scaler = VideoReformatter()
        try:
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = container.add_stream(recipe.codec, rate, options=recipe.options)
            self._set_up(width, height)
            self._graph = _palette_graph(width, height) if recipe.palette else None
        except (*FAILURES, *NO_CODEC):
            container.close()
            raise
        self._start: float | None = None
        self._count = self._muxed = 0
        self._last = -1
        self._failure: Exception | None = None

    def _set_up(self, width: int, height: int) -> None:
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self._recipe.pix_fmt
        context.time_base = Fraction(1, TICKS)
        context.gop_size = max(1, round(self._fps))  # a key frame each second: what a crash can cost
        if self._even:
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = 1  # limited range, as players expect of video

    def write(self, frame: np.ndarray, at: float | None) -> None:
        """frame: uint8 [h, w, 3]; `at`: seconds on any steady clock, or None for one frame of 1/fps. Raises one of
        FAILURES where it cannot be written, and the same from then on."""
        if (frame.shape[1], frame.shape[0]) != self._size:
            raise ValueError(
                f"frame is {frame.shape[1]}x{frame.shape[0]}, this was opened for {self._size[0]}x{self._size[1]}"
            )
        picture = self._picture(even(frame) if self._even else frame)
        picture.pts = self._stamp(at)
        picture.time_base = Fraction(1, TICKS)
        picture.duration = round(TICKS / self._fps)
        for ready in self._through_palette(picture):
            self._mux(self._stream.encode(ready))

    def _mux(self, packets: list[av.Packet]) -> None:
        if self._failure is not None:  # FFmpeg's mp4 writer crashes when asked again for a header that failed
            raise self._failure
        try:
            self._container.mux(packets)
        except FAILURES as error:
            self._failure = error
            raise
        self._muxed += len(packets)

    def _picture(self, frame: np.ndarray) -> av.VideoFrame:
        picture = av.VideoFrame.from_ndarray(frame, "rgb24")
        if self._recipe.palette:
            return picture
        if not self._even:
            return self._scaler.reformat(picture, format=self._recipe.pix_fmt)
        picture = self._scaler.reformat(
            picture, format=self._recipe.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        picture.colorspace, picture.color_range = BT709, 1
        return picture

    def _stamp(self, at: float | None) -> int:
        if at is None:
            stamp = round(self._count * TICKS / self._fps)
        else:
            self._start = at if self._start is None else self._start
            stamp = round((at - self._start) * TICKS)
        self._count += 1
        self._last = max(stamp, self._last + 1)
        return self._last

    def _through_palette(self, picture: av.VideoFrame) -> list[av.VideoFrame]:
        if self._graph is None:
            return [picture]
        self._graph.push(picture)
        mapped = self._graph.pull()
        mapped.pts, mapped.time_base = picture.pts, picture.time_base
        return [mapped]

    def close(self) -> None:
        """Send what the codec still holds, unless sending has failed, and close the container; harmless where no frame
        came."""
        try:
            # Without a frame no header was written either: FFmpeg's mp4 writer crashes on a header without frames.
            if self._count and self._failure is None:
                self._mux(self._stream.encode(None))
        finally:
            self._container.close()


class MovieWriter(Encoder):
    """A movie file at `path`. An earlier take there stays until this one can be read, which is when the file has grown
    after its second key frame, or else when it is closed without an error; until then this one lies beside it, as
    clip.partial.mp4.

    A file into which nothing went is taken away again when it closes: who tries again and again on a full disk shall
    not leave one each time.
    """

    def __init__(self, path: Path, recipe: Recipe, size: tuple[int, int], fps: float) -> None:
        """Raises one of FAILURES when the file cannot be made, of NO_CODEC when it cannot be encoded here."""
        self.path = path
        self._place = whole.place_of(path)
        self._file = _beside(self._place) if self._place.is_file() else self._place
        self._file.open("wb").close()  # FFmpeg opens it only with the first frame; a refusal should come now
        self._itself: tuple[int, int] | None = None
        self._moves = self._file != self._place  # while it is written; else, if at all, when it closes
        self._keys, self._size_then = 0, 0
        self._look_every = max(1, round(fps))  # frames
        try:
            super().__init__(av.open(str(self._file), "w", options=recipe.container), recipe, size, fps)
        except (*FAILURES, *NO_CODEC):
            self._file.unlink(missing_ok=True)
            raise

    def write(self, frame: np.ndarray, at: float | None) -> None:
        """As `Encoder.write`; raises Gone, within a second, where the file was taken away meanwhile."""
        if not self._count % self._look_every:
            self._look()
        super().write(frame, at)

    def _look(self) -> None:
        if self._muxed and _identity(self._file) != self._itself:
            raise Gone(errno.ENOENT, "it was deleted or moved away while it was written")

    def _mux(self, packets: list[av.Packet]) -> None:
        first, keys = not self._muxed, sum(packet.is_keyframe for packet in packets)
        super()._mux(packets)
        if first and self._muxed:
            self._itself = _identity(self._file)
        if self._moves and self._readable(keys):
            self._moves = False
            with suppress(PermissionError):  # Windows moves no open file: then it is done at the end
                self._take_place()

    def _readable(self, keys: int) -> bool:
        """Whether pictures are surely in the file, `keys` key frames having just been muxed: writers hold back what is
        before a key frame, or the bytes of some frames, and a size that grows shows that these have gone."""
        size = self._file.stat().st_size
        if self._keys < 2:
            self._keys += keys
            self._size_then = size
            return False
        return size > self._size_then

    def _take_place(self) -> None:
        if self._file != self._place:
            self._file.replace(self._place)
            self._file = self._place

    def close(self) -> None:
        """As `Encoder.close`; raises FileNotFoundError where the file was taken away meanwhile."""
        try:
            super().close()
            self._look()
            if self._muxed and self._failure is None:
                self._take_place()
        finally:
            if not self._muxed or self._is_empty():
                self._file.unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        """Whether what was muxed went no further than FFmpeg's memory."""
        return self._file.is_file() and _identity(self._file) == self._itself and not self._file.stat().st_size


def _identity(file: Path) -> tuple[int, int] | None:
    """What a file keeps when its name passes to another; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _beside(path: Path) -> Path:
    """A free name, as what a crash has left is a take, too; with its ending, by which players know it."""
    beside, number = path.with_stem(f"{path.stem}.partial"), 2
    while beside.exists():
        beside, number = path.with_stem(f"{path.stem}.partial-{number}"), number + 1
    return beside


def _palette_graph(width: int, height: int) -> av.filter.Graph:
    """A filter that gives every frame its own best 256 colours."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, TICKS))
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
