"""Movies that fail, and how it is told: encoders that are not there, full disks, files that are taken away; and what
becomes of an earlier take."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from instrument.outputs import OutputError, movie, parse
from tests.test_file import decode, ramp


def test_what_cannot_be_encoded_here_says_so_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(movie.RECIPES, ".mkv", movie.Recipe("no_such_codec", "yuv420p"))
    output = parse(f"file:{tmp_path}/clip.mkv")
    with pytest.raises(OutputError, match=r"it cannot be encoded here .* the wheel of the package 'av'"):
        output.open(64, 48, 24)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_that_is_tried_again_and_again_leaves_no_litter(tmp_path, monkeypatch):
    """Nothing fits, not even a header: each attempt fails with its first packet."""

    def full(self, packets):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(movie.Encoder, "_mux", full)
    output = parse(f"file:{tmp_path}/clip.mkv")
    for _ in range(4):
        output.open(64, 48, 24)
        with pytest.raises(OutputError, match="free space"):
            output.send(ramp(1, 64, 48))
        with pytest.raises(OutputError, match="free space"):
            output.close()
    assert list(tmp_path.iterdir()) == []


class FullContainer:
    """A container of PyAV's that takes nothing, and counts how often it was asked to."""

    def __init__(self, path):
        self._real = av.open(str(path), "w")
        self.add_stream, self.close = self._real.add_stream, self._real.close
        self.asked = 0

    def mux(self, packets):
        self.asked += len(packets)
        raise OSError(28, "No space left on device")


def test_what_could_not_be_written_is_never_tried_again(tmp_path):
    container = FullContainer(tmp_path / "clip.mkv")
    encoder = movie.Encoder(container, movie.RECIPES[".mkv?lossless"], (64, 48), 24)
    for number in range(3):
        with pytest.raises(OSError, match="No space left"):
            encoder.write(ramp(number, 64, 48), None)
    encoder.close()
    assert container.asked == 1


# In a program of its own, as FFmpeg would crash it.
ON_A_FULL_DISK = """
import sys
import numpy as np
from instrument.outputs import OutputError, parse
from tests.filling import full_disk

pictures = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
output = parse(sys.argv[1])
with full_disk(int(sys.argv[2])):
    for _ in range(2):  # as its runner does
        output.open(64, 48, 24)
        for act in (lambda: [output.send(picture) for picture in pictures], output.close):
            try:
                act()
            except OutputError as error:
                print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="fills the disk by a limit that Windows does not have")
@pytest.mark.parametrize("room", [0, 1000])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.mkv?lossless", "loop.gif", "loop.webp"])
def test_a_full_disk_ends_no_program_and_costs_no_earlier_take(tmp_path, name, room):
    path, mark = tmp_path / name.partition("?")[0], "&" if "?" in name else "?"
    path.write_bytes(b"an earlier take")
    command = [sys.executable, "-c", ON_A_FULL_DISK, f"file:{tmp_path}/{name}{mark}overwrite", str(room)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("free space") >= 2  # each time it was tried
    assert path.read_bytes() == b"an earlier take"
    assert all(file.stat().st_size for file in tmp_path.iterdir())
    assert room or os.listdir(tmp_path) == [path.name]


def readable(path) -> bool:
    try:
        return bool(decode(path)[0])
    except av.FFmpegError:
        return False


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.mkv?lossless", "loop.gif"])
def test_an_earlier_take_gives_way_to_one_that_can_be_read(tmp_path, name):
    path, mark = tmp_path / name.partition("?")[0], "&" if "?" in name else "?"
    path.write_bytes(b"an earlier take")
    output = parse(f"file:{tmp_path}/{name}{mark}overwrite")
    output.open(64, 48, 10)
    there = []
    for picture in np.random.default_rng(0).integers(0, 256, (90, 48, 64, 3), np.uint8):
        output.send(picture)
        there.append("earlier" if path.read_bytes() == b"an earlier take" else "new" if readable(path) else "none")
    assert there[0] == "earlier" and "none" not in there
    if os.name != "nt" and path.suffix != ".gif":  # Windows moves no open file; a gif has one key frame
        assert there[-1] == "new" and there == sorted(there)
    output.close()
    assert len(decode(path)[0]) == 90 and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("failure", [av.error.ExternalError, av.error.HTTPForbiddenError, av.error.ExitError])
def test_whatever_ffmpeg_calls_its_failure_it_is_the_outputs(tmp_path, monkeypatch, failure):
    def fails(*_, **__):
        raise failure(1, "worn out")

    spec = f"file:{tmp_path}/clip.mkv?overwrite"
    output, other = parse(spec), parse(spec)
    with monkeypatch.context() as broken:
        broken.setattr(av, "open", fails)
        with pytest.raises(OutputError, match="worn out"):
            output.open(64, 48, 24)
    with monkeypatch.context() as broken:
        broken.setattr(movie.Encoder, "_mux", fails)
        other.open(64, 48, 24)  # the name is free again
        for act in (lambda: other.send(ramp(1, 64, 48)), other.close):
            with pytest.raises(OutputError, match="worn out"):
                act()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_not_there_is_told_as_one(tmp_path, monkeypatch):
    def missing(*_):
        raise av.error.EncoderNotFoundError(1, "Encoder not found")

    monkeypatch.setattr(movie.Encoder, "_set_up", missing)
    with pytest.raises(OutputError, match=r"it cannot be encoded here .* the wheel of the package 'av'"):
        parse(f"file:{tmp_path}/clip.mkv").open(64, 48, 24)
    assert list(tmp_path.iterdir()) == []


def recorded(output, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        output.send(ramp(number, 64, 48))


@pytest.mark.skipif(os.name == "nt", reason="Windows takes no open file away")
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_movie_that_is_deleted_while_it_is_written_is_told_and_another_begun(tmp_path, name):
    output = parse(f"file:{tmp_path}/{name}")
    output.open(64, 48, 10)
    recorded(output, 80)  # encoders hold many before the first is on the disk
    output.path.unlink()
    with pytest.raises(OutputError, match="deleted or moved away while it was written"):
        recorded(output, 12, 80)
    with pytest.raises(OutputError, match="deleted or moved away"):
        output.close()
    assert list(tmp_path.iterdir()) == []
    output.open(64, 48, 10)  # as its runner does
    recorded(output, 12)
    output.close()
    assert len(decode(output.path)[0]) == 12


@pytest.mark.skipif(os.name == "nt", reason="Windows moves no open file away")
def test_a_movie_that_is_moved_away_keeps_what_it_has_and_another_is_begun(tmp_path):
    output = parse(f"file:{tmp_path}/clip.mp4")
    output.open(64, 48, 10)
    recorded(output, 80)
    output.path.rename(tmp_path / "kept.mp4")
    (tmp_path / "clip.mp4").write_text("somebody else's")
    with pytest.raises(OutputError):
        recorded(output, 12, 80)
    with pytest.raises(OutputError, match="deleted or moved away"):
        output.close()
    pictures, _ = decode(tmp_path / "kept.mp4")
    assert len(pictures) >= 80 and np.abs(pictures[3].astype(int) - ramp(3, 64, 48)).mean() < 4
    assert (tmp_path / "clip.mp4").read_text() == "somebody else's"
