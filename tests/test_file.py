"""Recordings, read back with the same decoder that other programs use."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import av
import numpy as np
import pytest

from instrument.outputs import OutputError, OutputGroup, OutputRunner, parse
from instrument.outputs.adapt import Adapted
from tests.filling import full_disk


def ramp(n, width=128, height=72):
    """A frame whose red says its number and whose green runs from left to right."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = n
    frame[..., 1] = np.linspace(0, 255, width)[None]
    frame[..., 2] = 128
    return frame


def decode(path):
    """(frames, seconds) of a movie."""
    with av.open(str(path)) as movie:
        pictures = list(movie.decode(video=0))
    return [picture.to_ndarray(format="rgb24") for picture in pictures], [picture.time for picture in pictures]


def record(spec, frames, fps=24, times=None):
    output = parse(spec)
    output.open(frames[0].shape[1], frames[0].shape[0], fps)
    path = (output.inner if isinstance(output, Adapted) else output).path
    for n, frame in enumerate(frames):
        output.send(frame, None if times is None else times[n])
    output.close()
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_offline_keeps_every_frame_with_its_colour_and_time(tmp_path, name):
    frames = [ramp(n * 8) for n in range(30)]
    got, times = decode(record(f"file:{tmp_path}/{name}", frames))
    assert len(got) == 30
    assert times == pytest.approx([n / 24 for n in range(30)], abs=0.002)
    for sent, back in zip(frames, got, strict=True):
        assert np.abs(sent.astype(int) - back).mean() < 4


def test_lossless_is_bit_for_bit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 71, 127, 3), np.uint8)
    got, _ = decode(record(f"file:{tmp_path}/clip.mkv?lossless", list(noise)))
    assert (np.stack(got) == noise).all()


def test_the_movie_says_which_colours_it_means(tmp_path):
    path = record(f"file:{tmp_path}/clip.mp4", [ramp(200)] * 3)
    with av.open(str(path)) as movie:
        context = movie.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_live_frames_keep_their_own_times(tmp_path):
    times = [100.0, 100.1, 100.15, 100.4, 101.0]
    got, seen = decode(record(f"file:{tmp_path}/clip.mp4", [ramp(n * 50) for n in range(5)], times=times))
    assert len(got) == 5
    assert seen == pytest.approx([t - 100 for t in times], abs=0.002)


def test_a_set_rate_makes_a_constant_one(tmp_path):
    times = [100 + n / 13 for n in range(27)]
    _, seen = decode(record(f"file:{tmp_path}/clip.mkv?fps=30", [ramp(n) for n in range(27)], times=times))
    assert np.diff(seen) == pytest.approx(1 / 30, abs=0.0011)
    assert len(seen) == pytest.approx(61, abs=2)


def test_two_frames_at_one_time_are_both_kept(tmp_path):
    got, _ = decode(record(f"file:{tmp_path}/clip.mp4", [ramp(0), ramp(90), ramp(180)], times=[5.0, 5.0, 4.9]))
    assert len(got) == 3


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "loop.webp"])
def test_odd_sizes_lose_a_row_and_a_column(tmp_path, name):
    path = record(f"file:{tmp_path}/{name}", [ramp(n, 127, 71) for n in range(4)])
    assert path.stat().st_size > 100
    if path.suffix != ".webp":  # this FFmpeg does not decode moving webp
        assert decode(path)[0][0].shape == (70, 126, 3)


def test_size_and_fit_apply(tmp_path):
    got, _ = decode(record(f"file:{tmp_path}/clip.mkv?size=64x64&fit=letterbox&lossless", [ramp(250)] * 2))
    assert got[0].shape == (64, 64, 3)
    assert got[0][:10].max() == 0 and got[0][32].max() > 200


def test_gif_moves_and_loops(tmp_path):
    path = record(f"file:{tmp_path}/loop.gif", [ramp(n * 25) for n in range(10)], fps=20)
    got, times = decode(path)
    assert len(got) == 10
    assert np.diff(times) == pytest.approx(0.05)
    assert b"NETSCAPE2.0" in path.read_bytes()
    assert np.abs(got[5].astype(int) - ramp(125)).mean() < 8


def test_webp_holds_all_frames(tmp_path):
    data = record(f"file:{tmp_path}/loop.webp", [ramp(n * 25) for n in range(6)]).read_bytes()
    assert data[8:12] == b"WEBP" and data.count(b"ANMF") == 6


def test_numbered_pictures_are_exact_and_go_on_counting(tmp_path):
    spec = f"file:{tmp_path}/frames/f-###.png"
    record(spec, [ramp(1), ramp(2)])
    record(spec, [ramp(3)])
    assert sorted(os.listdir(tmp_path / "frames")) == ["f-000.png", "f-001.png", "f-002.png"]
    assert (decode(tmp_path / "frames" / "f-002.png")[0][0] == ramp(3)).all()
    record(spec + "?overwrite", [ramp(7)])
    assert (decode(tmp_path / "frames" / "f-000.png")[0][0] == ramp(7)).all()


def test_a_still_is_the_last_frame(tmp_path):
    path = record(f"file:{tmp_path}/still.png", [ramp(1), ramp(2)])
    assert (decode(path)[0][0] == ramp(2)).all()
    assert decode(record(f"file:{tmp_path}/still.jpg", [ramp(9)]))[0][0].shape == (72, 128, 3)


def test_an_earlier_take_is_never_overwritten_unasked(tmp_path):
    spec = f"file:{tmp_path}/clip.mp4"
    names = [record(spec, [ramp(n)] * 2).name for n in range(3)]
    assert names == ["clip.mp4", "clip-2.mp4", "clip-3.mp4"]
    assert record(spec + "?overwrite", [ramp(1)]).name == "clip.mp4"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "loop.gif", "loop.webp", "still.png"])
def test_an_earlier_take_that_is_to_be_overwritten_stays_until_there_is_another(tmp_path, name):
    path = record(f"file:{tmp_path}/{name}", [ramp(200)] * 3)
    before = path.read_bytes()
    output = parse(f"file:{tmp_path}/{name}?overwrite")
    output.open(128, 72, 24)
    assert path.read_bytes() == before
    output.close()  # no picture came
    assert path.read_bytes() == before and os.listdir(tmp_path) == [name]
    record(f"file:{tmp_path}/{name}?overwrite", [ramp(20)] * 3)
    assert path.read_bytes() != before and os.listdir(tmp_path) == [name]


def test_what_a_crash_has_left_beside_is_no_one_elses_to_overwrite(tmp_path):
    record(f"file:{tmp_path}/clip.mkv", [ramp(200)])
    (tmp_path / "clip.partial.mkv").write_bytes(b"a take")
    record(f"file:{tmp_path}/clip.mkv?overwrite", [ramp(20)])
    assert (tmp_path / "clip.partial.mkv").read_bytes() == b"a take" and len(os.listdir(tmp_path)) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["clip.mkv", "still.png"])
def test_a_link_is_followed_and_stays(tmp_path, name):
    (tmp_path / "large").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "large" / name)
    for _ in range(2):
        record(f"file:{tmp_path}/{name}?overwrite", [ramp(200)])
    assert (tmp_path / name).is_symlink() and os.listdir(tmp_path / "large") == [name]


def test_opened_again_it_spares_its_own_first_part(tmp_path):
    output = parse(f"file:{tmp_path}/clip.mp4?overwrite")
    for _ in range(2):
        output.open(128, 72, 24)
        output.send(ramp(1))
        output.close()
    assert sorted(os.listdir(tmp_path)) == ["clip-2.mp4", "clip.mp4"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match=r"there is no folder '.*none'; make it first"):
        parse(f"file:{tmp_path}/none/clip.mp4").open(64, 32, 24)
    with pytest.raises(OutputError, match="there is no folder"):
        parse(f"file:{tmp_path}/none/deeper/##.png").open(64, 32, 24)


def test_a_place_that_cannot_be_written(tmp_path):
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs a folder that nobody can write to")
    with pytest.raises(OutputError, match="check the folder's permissions"):
        parse("file:/proc/self/clip.mp4").open(64, 32, 24)


@pytest.mark.parametrize("name", ["still.png", "still.png?overwrite", "##.png"])
def test_a_full_disk_is_an_output_error_and_costs_nothing_that_was_there(tmp_path, name):
    if name.endswith("overwrite"):
        (tmp_path / "still.png").write_bytes(b"before")
    before = os.listdir(tmp_path)
    output = parse(f"file:{tmp_path}/{name}")
    output.open(64, 32, 24)
    with full_disk(), pytest.raises(OutputError, match="free space"):
        output.send(ramp(1))
        output.close()
    assert os.listdir(tmp_path) == before and all((tmp_path / name).read_bytes() == b"before" for name in before)


@pytest.mark.parametrize("kept", ["", "before"])
def test_a_full_disk_costs_no_movie_that_was_there(tmp_path, kept):
    if kept:
        (tmp_path / "clip.mkv").write_text(kept)
    output = parse(f"file:{tmp_path}/clip.mkv?overwrite&lossless")
    output.open(128, 72, 24)
    with full_disk(), pytest.raises(OutputError, match="free space"):
        output.send(ramp(1))
        output.close()
    with suppress(OutputError):
        output.close()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == ([("clip.mkv", kept)] if kept else [])


def test_closing_without_a_frame_is_quiet(tmp_path):
    for name in ("clip.mp4", "clip.mkv", "loop.gif", "still.png", "####.png"):
        output = parse(f"file:{tmp_path}/{name}")
        output.close()
        output.open(64, 32, 24)
        output.close()
        output.close()


def test_another_size_midway_is_an_error(tmp_path):
    output = parse(f"file:{tmp_path}/clip.mkv")
    output.open(64, 32, 24)
    with pytest.raises(ValueError, match="128x72"):
        output.send(ramp(1))
    output.close()


def killed_while_recording(spec):
    """A program that records 200 frames at 20 a second and is killed without a word."""
    code = (
        "import numpy as np, time; from instrument.outputs import parse\n"
        f"out = parse('{spec}'); out.open(128, 72, 20)\n"
        "rng = np.random.default_rng(0); pictures = rng.integers(0, 256, (8, 72, 128, 3), np.uint8)\n"
        "for n in range(200): out.send(pictures[n % 8])\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == b"ready"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    return np.random.default_rng(0).integers(0, 256, (8, 72, 128, 3), np.uint8)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "again.mp4", "again.mkv", "again.mov"])
def test_a_killed_program_leaves_a_readable_recording(tmp_path, name):
    if name.startswith("again"):
        (tmp_path / name).write_bytes(b"an earlier take")
        name += "?overwrite"
    killed_while_recording(f"file:{tmp_path}/{name}")
    (file,) = os.listdir(tmp_path)
    frames, _ = decode(tmp_path / file)
    assert file == name.partition("?")[0]
    assert len(frames) >= 100  # the encoder's look-ahead and the last second may be lost


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_lossless_recording_is_bit_for_bit_as_far_as_it_goes(tmp_path):
    pictures = killed_while_recording(f"file:{tmp_path}/clip.mkv?lossless")
    frames, _ = decode(tmp_path / "clip.mkv")
    assert len(frames) >= 180
    assert all((frame == pictures[n % 8]).all() for n, frame in enumerate(frames))


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_sequence_has_whole_pictures_only(tmp_path):
    code = (
        "import numpy as np; from instrument.outputs import parse\n"
        f"out = parse('file:{tmp_path}/####.png'); out.open(512, 288, 20)\n"
        "noise = np.random.default_rng(0).integers(0, 256, (288, 512, 3), np.uint8)\n"
        "print('ready', flush=True)\n"
        "while True: out.send(noise)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == b"ready"
    end = time.monotonic() + 30
    while len(list(tmp_path.glob("*.png"))) < 10 and time.monotonic() < end:
        time.sleep(0.001)
    child.kill()
    child.communicate(timeout=10)
    noise = np.random.default_rng(0).integers(0, 256, (288, 512, 3), np.uint8)
    whole = sorted(path for path in tmp_path.glob("*.png") if not path.name.startswith("."))
    assert len(whole) >= 10
    assert all((decode(path)[0][0] == noise).all() for path in whole[-3:])


def test_a_disk_that_fills_while_recording_disturbs_nothing_else(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    (tmp_path / "clip.mkv").symlink_to("/dev/full")
    (tmp_path / "clip-2.mkv").symlink_to("/dev/full")
    group = OutputGroup([parse(f"file:{tmp_path}/clip.mkv?overwrite"), parse("dummy")])
    group.start(128, 72, 25)
    end = time.monotonic() + 10
    while not group.stats()[0].error and time.monotonic() < end:
        group.send(ramp(1))
        time.sleep(0.01)
    full, well = group.stats()
    assert "check the folder's permissions and the disk's free space" in full.error
    assert "No space left" in full.error
    assert well.sent >= 1 and not well.errors and not well.dropped
    group.close()


def test_through_the_runner_in_real_time(tmp_path):
    output = parse(f"file:{tmp_path}/clip.mp4")
    runner = OutputRunner(output)
    runner.start(128, 72, 25)
    for n in range(25):
        runner.send(ramp(n * 10))
        time.sleep(0.02)
    assert runner.close()
    frames, times = decode(output.path)
    assert len(frames) == runner.stats().sent >= 20
    assert 0.4 < times[-1] < 2.0


@pytest.mark.parametrize("name", ["clip.mp4?overwrite", "##.png", "still.png?overwrite"])
def test_two_outputs_never_write_one_file(tmp_path, name):
    first, second = parse(f"file:{tmp_path}/{name}"), parse(f"file:{tmp_path}/{name}")
    first.open(64, 48, 24)
    with pytest.raises(OutputError, match="another output is writing it; give this one another name"):
        second.open(64, 48, 24)
    second.close()
    first.send(ramp(1, 64, 48))
    first.close()
    second.open(64, 48, 24)
    second.close()


def test_a_take_that_is_being_written_is_not_overwritten(tmp_path):
    first, second = parse(f"file:{tmp_path}/clip.mp4"), parse(f"file:{tmp_path}/clip.mp4?overwrite")
    third = parse(f"file:{tmp_path}/clip.mp4")
    first.open(64, 48, 24)
    with pytest.raises(OutputError, match="another output is writing it"):
        second.open(64, 48, 24)
    third.open(64, 48, 24)
    assert third.path.name == "clip-2.mp4"
    first.close()
    third.close()
