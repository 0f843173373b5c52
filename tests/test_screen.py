"""The full-screen window, on a real X server without a monitor; what it shows is read back by another program."""

import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from instrument.outputs import OutputError, OutputRunner, parse

pytest.importorskip("pygame", reason='pygame is not installed: pip install "attentionbender[screen]"')

WIDE, HIGH = 640, 480


@pytest.fixture(scope="module")
def display(tmp_path_factory):
    """An X server's name; a screen of 640 x 480."""
    for program in ("Xvfb", "ffmpeg"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; on Debian: apt install xvfb ffmpeg")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{WIDE}x{HIGH}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    number = server.stdout.readline().strip().decode()
    yield f":{number}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def window(display, monkeypatch):
    """Opens screen outputs on that server, closed after the test."""
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    opened = []

    def make(spec, width=64, height=36):
        output = parse(spec)
        output.open(width, height, 24)
        opened.append(output)
        return output

    yield make
    for output in opened:
        output.close()


def seen(display):
    """uint8 [480, 640, 3]: what is on the screen, as FFmpeg's screen recorder sees it."""
    grab = ["ffmpeg", "-loglevel", "error", "-f", "x11grab", "-draw_mouse", "0", "-video_size", f"{WIDE}x{HIGH}"]
    raw = ["-i", display, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run([*grab, *raw], capture_output=True, check=True, timeout=20).stdout
    return np.frombuffer(data, np.uint8).reshape(HIGH, WIDE, 3)


def shown(display, fact, seconds=10.0):
    """The screen, once `fact` holds of it, or as it is at last."""
    end = time.monotonic() + seconds
    while not fact(picture := seen(display)) and time.monotonic() < end:
        time.sleep(0.05)
    return picture


def two_halves(width=64, height=36):
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : width // 2] = (250, 20, 10)
    frame[:, width // 2 :] = (10, 20, 250)
    return frame


def near(pixel, colour):
    return np.abs(pixel.astype(int) - colour).max() <= 3


def test_it_fills_the_screen_with_bars_where_the_shape_differs(window, display):
    output = window("screen")
    output.send(two_halves())
    picture = shown(display, lambda p: near(p[240, 100], (250, 20, 10)))
    assert near(picture[240, 100], (250, 20, 10)) and near(picture[240, 540], (10, 20, 250))
    assert near(picture[240, 2], (250, 20, 10)) and near(picture[240, 637], (10, 20, 250))
    assert not picture[:50].any() and not picture[-50:].any()  # 16:9 on 4:3


def test_stretched_it_has_no_bars_and_shows_the_newest(window, display):
    output = window("screen?fit=stretch")
    for shade in (40, 80, 120):
        output.send(np.full((36, 64, 3), shade, np.uint8))
    picture = shown(display, lambda p: near(p[5, 5], (120, 120, 120)))
    assert near(picture.reshape(-1, 3).min(0), (120, 120, 120))


def test_a_window_has_the_pictures_size_and_goes_with_the_output(window, display):
    output = window("screen?windowed", 320, 180)
    output.send(np.full((180, 320, 3), 200, np.uint8))
    picture = shown(display, lambda p: (p == 200).all(-1).sum() == 320 * 180)
    assert (picture == 200).all(-1).sum() == 320 * 180
    output.close()
    assert not (seen(display) == 200).all(-1).any()


def test_a_dead_window_opens_again(window, display):
    output = window("screen?fit=crop")
    output.close()
    runner = OutputRunner(output, back_off=(0.1,))
    runner.start(64, 36, 24)
    output._child.process.kill()
    end = time.monotonic() + 15
    while not (runner.stats().errors and near(seen(display)[240, 320], (7, 200, 7))) and time.monotonic() < end:
        runner.send(np.full((36, 64, 3), (7, 200, 7), np.uint8))
    picture = seen(display)
    assert runner.close()
    assert runner.stats().errors >= 1 and near(picture[240, 320], (7, 200, 7))


def test_a_screen_that_is_not_there(window):
    with pytest.raises(OutputError, match="there are 1 screens, counted from 0"):
        window("screen:7")
    with pytest.raises(OutputError, match="screen:0 is the first"):
        parse("screen:left")


def test_without_a_desktop_it_says_so(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", ":4999")
    with pytest.raises(OutputError, match="start this where a desktop is shown"):
        parse("screen").open(64, 36, 24)


def test_without_pygame_it_says_how_to_get_it():
    code = (
        "import sys; sys.modules['pygame'] = None; import importlib.util as u; u.find_spec = lambda name: None\n"
        "from instrument.outputs import OutputError, parse\n"
        "try: parse('screen').open(64, 32, 24)\n"
        "except OutputError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "attentionbender[screen]"' in said


def test_with_a_dummy_driver_frames_are_taken_and_it_ends_well(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    output = parse("screen?windowed")
    output.open(64, 36, 24)
    for _ in range(30):
        output.send(two_halves())
    process = output._child.process
    output.close()
    output.close()
    assert process.returncode == 0
