"""Live streams, received by FFmpeg's own program on loopback: every protocol, lost and absent receivers."""

import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest

from instrument.outputs import OutputError, OutputRunner, child, parse, streamer
from tests.stamps import number_in, stamped

WIDTH, HEIGHT, FPS = 256, 144, 30


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Listener:
    """FFmpeg waiting for a stream; `numbers` are those read in the frames it decoded, `last` the newest frame."""

    def __init__(self, *how):
        if shutil.which("ffmpeg") is None:
            pytest.skip("ffmpeg is not installed; on Debian: apt install ffmpeg")
        quick = ["-fflags", "nobuffer", "-flags", "low_delay", "-probesize", "32768", "-analyzeduration", "200000"]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-vsync", "passthrough", "pipe:1"]
        command = ["ffmpeg", "-loglevel", "fatal", *quick, *how, *raw]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.numbers, self.last = [], None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        size = WIDTH * HEIGHT * 3
        while len(data := self.process.stdout.read(size)) == size:
            self.last = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 3)
            self.numbers.append(number_in(self.last))

    def stop(self):
        self.process.kill()
        self.process.wait()
        self._thread.join(5)


def rtmp(port):
    return f"rtmp://127.0.0.1:{port}/live/secret", (
        "-listen",
        "1",
        "-f",
        "flv",
        "-i",
        f"rtmp://127.0.0.1:{port}/live/x",
    )


def rtsp(port):
    return f"rtsp://127.0.0.1:{port}/b", ("-rtsp_flags", "listen", "-i", f"rtsp://127.0.0.1:{port}/b")


def udp(port):
    return f"udp://127.0.0.1:{port}", ("-i", f"udp://127.0.0.1:{port}")


def srt(port):
    return f"srt://127.0.0.1:{port}?latency=20", ("-i", f"srt://127.0.0.1:{port}?mode=listener&latency=20000")


class Player:
    """Plays numbered frames into a runner at an even rate; `slowest` is the longest a send took."""

    def __init__(self, spec, back_off=(0.2,)):
        self.runner = OutputRunner(parse(spec), back_off=back_off)
        self.runner.start(WIDTH, HEIGHT, FPS)
        self.sent, self.slowest = 0, 0.0

    def play_until(self, fact, seconds=25.0):
        """Whether it came true in time."""
        end = time.monotonic() + seconds
        while not fact() and time.monotonic() < end:
            time.sleep(1 / FPS)
            start = time.monotonic()
            self.runner.send(stamped(self.sent % 4096, WIDTH, HEIGHT))
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.sent += 1
        return fact()


@pytest.mark.parametrize("protocol", [rtmp, rtsp, udp, srt])
def test_numbers_arrive_in_order_and_in_their_colours(protocol):
    port = free_port(socket.SOCK_DGRAM if protocol in (udp, srt) else socket.SOCK_STREAM)
    address, how = protocol(port)
    listener = Listener(*how)
    player = Player(f"stream:{address}")
    try:
        assert player.play_until(lambda: len(listener.numbers) >= 30), player.runner.stats()
    finally:
        player.runner.close()
        listener.stop()
    numbers = listener.numbers
    assert numbers == sorted(set(numbers)) and numbers[-1] < player.sent
    assert numbers[-1] - numbers[5] < 3 * len(numbers)  # once it runs, few are lost even on a busy machine
    error = np.abs(listener.last.astype(int) - stamped(numbers[-1], WIDTH, HEIGHT))
    assert error.mean() < 6
    assert player.slowest < 3


def test_a_lost_receiver_is_found_again():
    port = free_port()
    address, how = rtmp(port)
    first = Listener(*how)
    player = Player(f"stream:{address}")
    try:
        assert player.play_until(lambda: len(first.numbers) >= 5), player.runner.stats()
        first.stop()
        assert player.play_until(lambda: player.runner.stats().error)
        second = Listener(*how)
        try:
            assert player.play_until(lambda: len(second.numbers) >= 5), player.runner.stats()
        finally:
            second.stop()
    finally:
        player.runner.close()
    assert second.numbers[0] > first.numbers[-1]
    assert player.runner.stats().errors >= 1 and player.slowest < 3
    assert "secret" not in player.runner.stats().name


def test_a_receiver_that_is_away_at_first_is_no_refusal_and_its_key_stays_secret():
    port = free_port()
    address, how = rtmp(port)
    player = Player(f"stream:{address}")
    try:
        assert player.play_until(lambda: player.runner.stats().error)
        said = player.runner.stats().error
        assert "it connects again by itself" in said and "refused" in said
        assert "secret" not in said
        listener = Listener(*how)
        try:
            assert player.play_until(lambda: len(listener.numbers) >= 5), player.runner.stats()
        finally:
            listener.stop()
    finally:
        player.runner.close()


def test_a_server_that_never_answers_stops_nothing_else(monkeypatch):
    monkeypatch.setattr(child, "STALL", 4.0)
    monkeypatch.setattr(child, "FAREWELL", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        player = Player(f"stream:rtmp://127.0.0.1:{silent.getsockname()[1]}/live/x")
        gaps, last = [], time.monotonic()

        def ticking():
            nonlocal last
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            return player.runner.stats().errors >= 1

        assert player.play_until(ticking)
        assert max(gaps) < 2.0  # a connecting FFmpeg holds Python's lock: in this process it would be seconds
        assert "nothing was taken for 4 s" in player.runner.stats().error
        assert player.runner.close()


def test_a_stream_ends_its_process():
    output = parse(f"stream:udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    output.open(WIDTH, HEIGHT, FPS)
    for number in range(5):
        output.send(stamped(number, WIDTH, HEIGHT))
    process = output._child.process
    output.close()
    output.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("stream", "begin it with one of srt://"),
        ("stream:http://host/x", "begin it with one of srt://"),
        ("stream:rtmp://", "needs an address"),
        ("stream:udp://127.0.0.1:1?kbps=1", "give 100 to 200000"),
        ("stream:udp://127.0.0.1:1?kpbs=1000", "did you mean 'kbps'?"),
        ("stream:srt://127.0.0.1:1?passphrase=short", "10 to 79 letters"),
    ],
)
def test_a_wrong_address_says_what_would_be_right(spec, words):
    with pytest.raises(OutputError) as error:
        parse(spec)
    assert words in str(error.value)


def test_srt_without_ffmpeg_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OutputError, match="sudo apt install ffmpeg"):
        parse("stream:srt://127.0.0.1:9").open(WIDTH, HEIGHT, FPS)


def test_srt_encrypted_under_a_stream_id():
    port = free_port(socket.SOCK_DGRAM)
    words = "passphrase=ten+letters %26 more&streamid=%23!::r=a,m=publish"
    listener = Listener("-mode", "listener", "-passphrase", "ten+letters & more", "-i", f"srt://127.0.0.1:{port}")
    player = Player(f"stream:srt://127.0.0.1:{port}?{words}")
    try:
        assert player.play_until(lambda: len(listener.numbers) >= 5), player.runner.stats()
    finally:
        player.runner.close()
        listener.stop()


def test_whatever_ffmpeg_calls_its_failure_it_is_said_in_one_line(monkeypatch, capsys):
    def refuses(job):
        raise av.error.HTTPForbiddenError(1, "Server returned 403 Forbidden")

    job = {"url": "rtmp://127.0.0.1/live/x", "size": [64, 48], "fps": 30, "kbps": 1000, "ffmpeg": "", "settings": {}}
    monkeypatch.setattr(streamer, "connect", refuses)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(job).encode())))
    assert streamer.main() == 1
    assert capsys.readouterr().err == "HTTPForbiddenError: [Errno 1] Server returned 403 Forbidden\n"
