"""How a show ends, as processes of their own: on every request with files finished, ports free and lights out, and at
once for a person who asks twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import pytest

from instrument.engine.stopping import LONGEST
from tests.jack import Controller, running_jack
from tests.playing import PATCH, PATIENCE, QUICK, Playing, bender, wait_until

REQUESTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def assert_free(port: int, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as again:
        if kind == socket.SOCK_STREAM:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def pictures(path: Path) -> int:
    with av.open(str(path)) as take:
        return len(list(take.decode(video=0)))


@pytest.mark.parametrize("number", REQUESTS)
def test_everything_is_put_away(tmp_path: Path, number: int) -> None:
    with Playing(tmp_path, "--out", "take.mp4", "--out", "take.mov", "--log-json", "story.jsonl") as show:
        assert show.plays_on(30)
        ports = show.osc_port, show.page_port
        status, seconds = show.end(number)
        assert (status, show.errors) == (0, "") and seconds < 20
    assert_free(ports[0], socket.SOCK_DGRAM)
    assert_free(ports[0], socket.SOCK_STREAM)
    assert_free(ports[1], socket.SOCK_STREAM)
    assert pictures(tmp_path / "take.mp4") > 10 and pictures(tmp_path / "take.mov") > 10
    assert '"event": "stop"' in (tmp_path / "story.jsonl").read_text().splitlines()[-1]


def test_the_lights_go_out(tmp_path: Path) -> None:
    with running_jack():
        pad = Controller("nanoKONTROL2", lights=True)
        try:
            with Playing(tmp_path, "--mapping", "nanokontrol2") as show:
                assert show.plays_on()
                assert wait_until(lambda: 127 in pad.shown.values())
                assert show.end(signal.SIGTERM)[0] == 0
            assert wait_until(lambda: pad.shown and not any(pad.shown.values()), 10), pad.shown
        finally:
            pad.unplug()


@pytest.mark.skipif(sys.platform != "linux", reason="closes a terminal as Linux does")
def test_a_terminal_that_is_closed_ends_it_in_good_order(tmp_path: Path) -> None:
    import pty

    (tmp_path / "small.yaml").write_text(PATCH)
    command = bender(
        *("play", "--patch", tmp_path / "small.yaml", *QUICK, "--osc-port", 0, "--page-port", 0),
        *("--out", f"{tmp_path}/take.mp4", "--log-json", tmp_path / "story.jsonl"),
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    story = tmp_path / "story.jsonl"
    reader = threading.Thread(target=drain, args=(terminal,), daemon=True)
    reader.start()
    assert wait_until(lambda: story.exists() and '"start"' in story.read_text())
    time.sleep(2.0)
    os.close(terminal)  # as a window that is closed
    end = time.monotonic() + PATIENCE
    ended = (0, 0)
    while ended[0] == 0 and time.monotonic() < end:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended[0] == child and os.waitstatus_to_exitcode(ended[1]) == 0
    assert '"stop"' in story.read_text().splitlines()[-1] and pictures(tmp_path / "take.mp4") > 1


def drain(terminal: int) -> None:
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:  # it is closed
        return


LOADING = """
import sys
import threading
from instrument.__main__ import main
from instrument.engine import switch

def load(system, seed):
    print('{"event": "loading"}', flush=True)
    threading.Event().wait(600)

switch.make_stream = load
sys.exit(main(sys.argv[1:]))
"""


def test_a_model_that_is_loaded_is_left_behind(tmp_path: Path) -> None:
    """One that never comes: the process ends in good order all the same, its recording finished."""
    arguments = "--out", "take.mp4", "--set", "engine.size=96x64"
    with Playing(tmp_path, *arguments, program=("-c", LOADING)) as show:
        assert wait_until(lambda: any(line["event"] == "loading" for line in show.printed))
        assert show.plays_on(30)
        status, seconds = show.end(signal.SIGINT)
        assert (status, show.errors) == (0, "") and seconds < 20
    assert pictures(tmp_path / "take.mp4") > 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_second_ctrl_c_does_not_wait_for_an_output_that_hangs(tmp_path: Path) -> None:
    """The output's log goes into a pipe whose reader reads nothing, so that it never finishes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Playing(tmp_path, "--out", f"dummy:{pipe}") as show:
            stuck = lambda: any(each["dropped"] > 20 for each in show.status().get("outputs", []))  # noqa: E731
            assert wait_until(stuck, 2 * PATIENCE)
            assert show.plays_on(6)  # the others do not mind
            os.kill(show.process.pid, signal.SIGINT)
            time.sleep(0.5)
            assert show.process.poll() is None
            start = time.monotonic()
            os.kill(show.process.pid, signal.SIGINT)
            assert show.process.wait(PATIENCE) == 130
            assert time.monotonic() - start < 6  # without: ten seconds of patience with the output
    finally:
        os.close(reading)


def test_what_keeps_the_interpreter_to_itself_cannot_keep_the_process() -> None:
    """As a MIDI library does that waits for a dead server; ctypes can hold the interpreter's lock as well."""
    words = "import ctypes; ctypes.PyDLL(None).sleep(60)"
    program = f"from instrument.engine.stopping import at_most\nwith at_most(1.0):\n    {words}\n"
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 1 and "Timeout" in ended.stderr and time.monotonic() - start < 45


def test_an_end_in_time_is_not_watched_any_more() -> None:
    program = "import time\nfrom instrument.engine.stopping import at_most\nwith at_most(0.3): pass\ntime.sleep(1)\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_a_jack_server_that_hangs_delays_the_end_but_files_are_whole(tmp_path: Path) -> None:
    with running_jack() as jack:
        pad = Controller("nanoKONTROL2", lights=True)
        try:
            with Playing(tmp_path, "--mapping", "nanokontrol2", "--out", "take.mp4") as show:
                assert show.plays_on(30)
                jack.hang()
                try:
                    os.kill(show.process.pid, signal.SIGTERM)
                    show.process.wait(LONGEST + 30)
                finally:
                    jack.kill()  # or the pad could not be unplugged either
        finally:
            pad.unplug()
    assert pictures(tmp_path / "take.mp4") > 10
