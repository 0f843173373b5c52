"""Movies that fail, and how it is told: encoders that are not there, full disks, files that are taken away."""

import os

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
