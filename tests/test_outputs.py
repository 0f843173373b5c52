"""Outputs by spec, their common size, fit and rate; the one that remembers, and the test card."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from instrument.outputs import KINDS, OutputError, OutputGroup, OutputRunner, dummy, parse
from instrument.outputs.adapt import Adapted
from instrument.outputs.base import even
from instrument.outputs.dummy import DummyOutput
from instrument.outputs.fit import Fitter
from instrument.outputs.testcard import CARD, draw_card
from tests.stamps import flat


def test_torch_is_not_needed():
    modules = "instrument.outputs, instrument.engine.pacer, instrument.surface.server"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_kind_parses():
    assert set(KINDS) >= {"camera", "dummy", "file"}
    assert parse("camera").name == "camera"
    assert parse("camera:/dev/video4").name == "camera:/dev/video4"
    assert parse("dummy").name == "dummy"
    assert parse("file:clip.mp4").name == "file:clip.mp4"


def test_common_options_wrap_the_output():
    output = parse("dummy?keep=1&size=128x96&fit=crop&fps=12.5")
    assert isinstance(output, Adapted)
    output.open(64, 32, 24)
    assert output.inner.opened == (128, 96, 12.5)
    output.send(flat(9, 9, 9))
    assert output.inner.frames[0][1].shape == (96, 128, 3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("camra", "did you mean 'camera'?"),
        ("clip.mp4", "did you mean 'file:clip.mp4'?"),
        ("hologram", "there are: camera, dummy, file, ndi, screen, spout, stream, syphon"),
        ("file:clip.mp4?sise=10x10", "did you mean 'size'?"),
        ("file:clip.mp4?size=huge", "512x288"),
        ("dummy?fit=squeeze", "letterbox, crop, stretch"),
        ("dummy?fps=fast", "0.1 to 240"),
        ("dummy?fps=nan", "0.1 to 240"),
        ("dummy?keep=many", "a whole number"),
        ("dummy?keep=-1", "give 0 to 100000"),
        ("dummy?keep=1000000000", "give 0 to 100000"),
        ("stream:srt://127.0.0.1:9?latency=-5", "give 0 to 10000 ms"),
        ("file", "file:clip.mp4"),
        ("file:", "file:clip.mp4"),
        ("file:clip.avi", "'.avi'; end the name in one of: .gif .jpeg .jpg .mkv .mov .mp4 .png .webp"),
        ("file:clip", "cannot tell the format of 'clip'"),
        ("file:clip.mp4?lossless", "name the file .mkv"),
        ("file:clip.mkv?lossless=maybe", "yes or no"),
    ],
)
def test_a_wrong_spec_says_what_would_be_right(spec, words):
    with pytest.raises(OutputError) as error:
        parse(spec)
    assert words in str(error.value)


def test_a_frame_of_another_size_is_fitted():
    output = DummyOutput(keep=60)
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    runner.send(flat(9, 9, 9, 512, 288))
    assert runner.close()
    assert output.frames[0][1].shape == (32, 64, 3)


def test_the_card_goes_only_where_it_is_wanted(tmp_path):
    group = OutputGroup([parse("dummy"), parse(f"file:{tmp_path}/##.png")])
    group.start(64, 32, 24)
    group.send(draw_card(64, 32), CARD)
    group.send(flat(1, 2, 3))
    group.close()
    assert [stats.sent for stats in group.stats()] == [2, 1]


def test_letterbox_keeps_the_whole_picture():
    out = Fitter(100, 100, "letterbox")(flat(200, 100, 50, 100, 50))
    assert out.shape == (100, 100, 3)
    assert (out[:24] == 0).all() and (out[76:] == 0).all()
    assert np.abs(out[30:70].astype(int) - (200, 100, 50)).max() <= 2


def test_crop_fills_with_the_middle():
    frame = flat(0, 0, 0, 100, 50)
    frame[:, 25:75] = 255
    out = Fitter(50, 50, "crop")(frame)
    assert out.shape == (50, 50, 3) and out.min() == 255


def test_stretch_uses_everything():
    frame = flat(0, 0, 0, 100, 50)
    frame[:, 50:] = 255
    out = Fitter(50, 100, "stretch")(frame)
    assert out.shape == (100, 50, 3)
    assert out[:, :23].max() <= 2 and out[:, 27:].min() >= 253


def test_a_fitting_frame_is_not_copied():
    frame = flat(1, 2, 3)
    assert Fitter(64, 32)(frame) is frame


@pytest.mark.parametrize(("source", "target", "expected"), [(10, 30, 30), (50, 20, 20), (24.5, 24, 24)])
def test_a_rate_repeats_or_skips_frames_to_keep_time(source, target, expected):
    inner = DummyOutput(keep=60)
    output = Adapted(inner, fps=target)
    output.open(64, 32, source)
    for n in range(round(source * 4)):
        output.send(flat(n, n, n), at=100 + n / source)
    assert inner.count == pytest.approx(4 * expected, abs=target / source + 1)
    gaps = np.diff([at for at, _ in inner.frames])
    assert gaps == pytest.approx(1 / target)


def test_a_rate_offline_keeps_every_frame():
    inner = DummyOutput(keep=60)
    output = Adapted(inner, fps=60)
    output.open(64, 32, 24)
    for n in range(10):
        output.send(flat(n, n, n))
    assert inner.count == 10 and inner.opened[2] == 60


def test_dummy_keeps_a_bounded_number_of_bytes(monkeypatch):
    monkeypatch.setattr(dummy, "MOST", 5 * flat(0, 0, 0).nbytes)
    output = parse("dummy?keep=600")
    for _ in range(9):
        output.send(flat(1, 1, 1))
    assert len(output.frames) == 5 and output.count == 9


def test_dummy_keeps_nothing_unasked():
    """Anybody may add many of these, each as large as can be."""
    output = parse("dummy")
    output.send(flat(1, 1, 1))
    assert not output.frames and output.count == 1


def test_dummy_keeps_a_bounded_number():
    output = parse("dummy?keep=3")
    output.open(64, 32, 24)
    for n in range(10):
        output.send(flat(n, n, n), at=float(n))
    assert [at for at, _ in output.frames] == [7.0, 8.0, 9.0]
    assert output.count == 10


def test_dummy_log_can_be_read_by_another_process(tmp_path):
    log = tmp_path / "log.jsonl"
    code = (
        "import numpy as np, sys; from instrument.outputs import parse\n"
        f"out = parse('dummy:{log}'); out.open(8, 4, 24)\n"
        "for n in (10, 20): out.send(np.full((4, 8, 3), (n, 0, 255), np.uint8))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline().strip() == b"ready"
        lines = [json.loads(line) for line in log.read_text().splitlines()]  # before it has closed anything
    finally:
        child.communicate(timeout=10)
    assert [line["mean"] for line in lines] == [[10, 0, 255], [20, 0, 255]]
    assert lines[0]["crc"] != lines[1]["crc"] and lines[0]["size"] == [8, 4]
    assert abs(lines[1]["t"] - time.monotonic()) < 60


def test_dummy_log_in_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="a folder that exists"):
        parse(f"dummy:{tmp_path}/none/log.jsonl").open(8, 4, 24)


def test_even_trims_only_what_it_must():
    assert even(flat(0, 0, 0, 65, 33)).shape == (32, 64, 3)
    assert even(flat(0, 0, 0, 65, 33)).flags.c_contiguous


@pytest.mark.parametrize(("width", "height"), [(16, 16), (512, 288), (333, 77), (1920, 1080)])
def test_the_card_has_seven_bars_and_a_ramp(width, height):
    card = draw_card(width, height)
    assert card.shape == (height, width, 3) and card.dtype == np.uint8 and card.flags.c_contiguous
    assert len(np.unique(card[0], axis=0)) == 7
    assert card[-1, 0, 0] == 0 and card[-1, -1, 0] == 255


def test_the_card_shows_the_name():
    assert (draw_card(512, 288, "ONE") != draw_card(512, 288, "TWO")).any()
