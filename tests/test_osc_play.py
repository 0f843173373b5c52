"""OSC out and OSCQuery of `bender play`, a process of its own, met from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from pythonosc.udp_client import SimpleUDPClient

from instrument.osc.codec import decode, encode
from instrument.osc.server import OscServer
from tests.oscing import some_params
from tests.playing import PATIENCE, Playing, bender, wait_until


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_show_tells_a_named_program_and_answers_oscquery(tmp_path: Path) -> None:
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind(("127.0.0.1", 0))
    ear.setblocking(False)
    told: dict[str, tuple] = {}

    def hears(address: str) -> tuple:
        try:
            while True:
                message = decode(ear.recv(65536))[0].messages[0]
                told[message.address] = message.args
        except BlockingIOError:
            return told.get(address, ())

    with Playing(tmp_path, "--osc-out", f"127.0.0.1:{ear.getsockname()[1]}") as show:
        assert show.sheet["osc"].startswith("udp and tcp 127.0.0.1:")
        assert wait_until(lambda: hears("/loud/gain") == (1.0,)) and wait_until(lambda: hears("/status/chunk"))
        with socket.create_connection(("127.0.0.1", show.osc_port), timeout=PATIENCE) as wire:
            packet = encode("/loud/gain", 2.0)
            wire.sendall(len(packet).to_bytes(4, "big") + packet)
            assert wait_until(lambda: hears("/loud/gain") == (2.0,))
        assert wait_until(lambda: hears("/status/latency") and hears("/status/fps")[0] > 0)
        assert hears("/status/bpm") == (120.0,) and hears("/status/beat")[0] > 0
        page = show.sheet["page"]
        assert get(f"{page}loud/gain?VALUE") == {"VALUE": [2.0]}
        info = get(f"{page}?HOST_INFO")
        assert (info["OSC_PORT"], info["WS_PORT"]) == (show.osc_port, show.page_port)
        ids = {id.replace(".", "/") for id in show.values()}
        assert {path for path in ids if get(f"{page}{path}")["FULL_PATH"] == f"/{path}"} == ids
        assert get(f"{page}status/fps")["ACCESS"] == 1
        status, seconds = show.end(signal.SIGTERM)
        assert status == 0 and seconds < PATIENCE and not show.errors
    ear.close()


@pytest.mark.skipif(shutil.which("oscdump") is None, reason="liblo-tools is not installed")
def test_a_foreign_receiver_reads_what_is_told(tmp_path: Path) -> None:
    params = some_params()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "heard.txt"
    with log.open("w") as out:
        dump = subprocess.Popen(["oscdump", "-L", str(port)], stdout=out, env={**os.environ, "LC_ALL": "C"})
        server = OscServer(params, port=0, notices=lambda text: None, status=lambda: {"fps": 17.5})
        try:
            # What a fixed receiver is told first it is told once: it must be up by then.
            hello = SimpleUDPClient("127.0.0.1", port)
            assert wait_until(lambda: hello.send_message("/up", 1) or "/up" in log.read_text())
            server.start([f"127.0.0.1:{port}"])
            assert wait_until(lambda: "/status/fps f 17.5" in log.read_text())
            params.set("petals.gain", 2.5, "page")
            params.set("prompt", "black ice", "page")
            params.trigger("panic", "page")
            assert wait_until(lambda: "/petals/gain f 2.5" in log.read_text()), log.read_text()
            assert wait_until(lambda: '/prompt s "black ice"' in log.read_text()), log.read_text()
            assert wait_until(lambda: "/panic" in log.read_text())
            assert wait_until(lambda: "/freeze i 0" in log.read_text()), log.read_text()
            assert wait_until(lambda: "/count i 2" in log.read_text()), log.read_text()
        finally:
            server.close()
            dump.kill()
            dump.wait()


def test_a_target_that_cannot_be_is_one_line_and_exit_2() -> None:
    command = bender("play", "--osc-out", "9001", "--no-mdns", "--osc-port", 0, "--page-port", 0, "--size", "64x48")
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("bender: --osc-out 9001: write HOST:PORT, as in 192.168.0.5:9001")
