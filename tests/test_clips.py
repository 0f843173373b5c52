"""Pictures from real small files: at the stream's size and rate, whatever theirs; and files that are none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from instrument.engine.clips import Size, VideoError, is_live, pictures

SIZE = Size(96, 64, 20)


def write_clip(file: Path, shades: list[int], rate: int = 20, size: tuple[int, int] = (96, 64)) -> Path:
    """A lossless clip of one grey a frame, its left quarter black."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt, stream.time_base = "bgr0", Fraction(1, rate)
        for number, shade in enumerate(shades):
            picture = np.full((size[1], size[0], 3), shade, np.uint8)
            picture[:, : size[0] // 4] = 0
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def shades_of(file: Path, size: Size = SIZE) -> list[int]:
    made = list(pictures(str(file), size))
    assert all(picture.shape == (size.height, size.width, 3) and picture.dtype == np.uint8 for picture in made)
    return [int(picture[size.height // 2, size.width // 2, 1]) for picture in made]


def test_a_clip_of_the_streams_rate_and_size_is_itself(tmp_path: Path) -> None:
    shades = list(range(10, 250, 10))
    file = write_clip(tmp_path / "a.mkv", shades)
    assert shades_of(file) == shades
    assert (next(pictures(str(file), SIZE))[:, :24] == 0).all()


@pytest.mark.parametrize(("rate", "count"), [(10, 12), (25, 25), (60, 60), (7, 14)])
def test_a_second_of_a_clip_is_a_second_of_the_stream(tmp_path: Path, rate: int, count: int) -> None:
    shades = [(7 * index) % 251 for index in range(count)]
    made = shades_of(write_clip(tmp_path / "a.mkv", shades, rate))
    assert abs(len(made) - 20 * count / rate) <= 1
    expected = [shades[min(int(index / 20 * rate + 1e-6), count - 1)] for index in range(len(made))]
    assert np.mean([one == other for one, other in zip(made, expected, strict=True)]) > 0.9  # but for rounding of times


@pytest.mark.parametrize("size", [(320, 64), (96, 480), (50, 33), (640, 360)])
def test_any_shape_covers_the_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    file = write_clip(tmp_path / "a.mkv", [200] * 3, size=size)
    made = list(pictures(str(file), SIZE))
    assert len(made) == 3 and made[0].shape == (64, 96, 3)
    assert made[0][:, -1].min() > 190  # no bars


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name, problem in (
        ("noise.mp4", "cannot be read as video"),
        ("empty.mp4", "cannot be read as video"),
        ("sound.wav", "holds no pictures"),
        ("nowhere.mp4", "there is no file"),
    ):
        with pytest.raises(VideoError, match=problem) as refused:
            list(pictures(str(tmp_path / name), SIZE))
        assert name in str(refused.value) and "\n" not in str(refused.value)
    for source in ("camera:61", "camera:", "udp://127.0.0.1:1?timeout=100000", "nonsense://x"):
        assert is_live(source)
        with pytest.raises(VideoError):
            list(pictures(source, SIZE))


def test_a_clip_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mkv", list(range(60)))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made = []
    try:
        for picture in pictures(str(cut), SIZE):
            made.append(int(picture[32, 48, 1]))
    except VideoError as problem:
        assert "cut.mkv" in str(problem)
    assert 10 < len(made) < 60 and made[:10] == list(range(10))
