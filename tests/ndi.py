"""NDI between processes on loopback alone: `alone(scene)` plays one of the functions below where no network is.

Run as a program it is that process, or the receiver that a scene starts beside itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = {
    "ndi": {
        "machinename": "benderci",
        "networks": {"ips": "127.0.0.1", "discovery": ""},
        "adapters": {"allowed": ["127.0.0.1"]},
        "groups": {"send": "Public", "recv": "Public"},
        "multicast": {"send": {"enable": False}, "recv": {"enable": False}},
    }
}


ROOT = Path(__file__).parents[1]
MARK = "alone"


def alone(scene: str, groups: str = "Public") -> dict:
    """What the scene of that name found out, played in a network of its own where the system allows one."""
    with tempfile.TemporaryDirectory() as folder:
        CONFIG["ndi"]["groups"]["recv"] = groups
        Path(folder, "ndi-config.v1.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        Path(folder, MARK).touch()
        inside = [sys.executable, "-m", "tests.ndi", scene]
        if shutil.which("unshare") and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
            inside = ["unshare", "-rn", *inside]
        environment = {**os.environ, "NDI_CONFIG_DIR": folder}
        done = subprocess.run(inside, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def loopback_up() -> None:
    """A network of one's own is born with its loopback down; elsewhere it is up and this changes nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(any_socket, 0x8913, request))[1]  # SIOCGIFFLAGS
        if not flags & 1:
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def is_alone() -> bool:
    """Whether this process is one that `alone` started."""
    return Path(os.environ.get("NDI_CONFIG_DIR", ""), MARK).exists()


class Watcher:
    """A receiver in a process of its own."""

    def __init__(self, source: str, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.ndi", "watch", source, str(seconds)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def found(self) -> dict:
        return json.loads(self.process.communicate(timeout=60)[0].splitlines()[-1])


def watch(source: str, seconds: str) -> dict:
    """Look for a source whose name holds `source`, receive it for that long; all numbers seen, and when."""
    from cyndilib import Finder, MetadataRecvFrame, Receiver, VideoFrameSync
    from cyndilib.receiver import ReceiveFrameType
    from cyndilib.wrapper import RecvBandwidth, RecvColorFormat

    from tests.stamps import number_in

    end = time.monotonic() + float(seconds)
    seen = {"source": "", "numbers": [], "at": [], "size": [], "rate": 0.0, "metadata": [], "mean": []}
    with Finder() as finder:
        while not seen["source"] and time.monotonic() < end:
            finder.wait_for_sources(0.1)
            finder.update_sources()
            seen["source"] = next((name for name in finder.get_source_names() if source in name), "")
        if not seen["source"]:
            return seen
        receiver = Receiver(color_format=RecvColorFormat.RGBX_RGBA, bandwidth=RecvBandwidth.highest)
        picture, words = VideoFrameSync(), MetadataRecvFrame()
        receiver.frame_sync.set_video_frame(picture)  # its plain receive() loses most frames
        receiver.set_metadata_frame(words)
        receiver.set_source(finder.get_source(seen["source"]))
        while time.monotonic() < end:
            if receiver.receive(ReceiveFrameType.recv_metadata, 0) & ReceiveFrameType.recv_metadata:
                seen["metadata"].append([words.get_tag(), dict(words.items())])
            receiver.frame_sync.capture_video()
            width, height = picture.get_resolution()
            if width and height:
                frame = picture.get_array().reshape(height, -1)[:, : width * 4].reshape(height, width, 4)
                if (number := number_in(frame)) not in seen["numbers"][-1:]:
                    seen["numbers"].append(number)
                    seen["at"].append(time.monotonic())
                    seen["size"], seen["rate"] = [width, height], float(picture.get_frame_rate())
                    seen["mean"] = frame.reshape(-1, 4).mean(0).round(1).tolist()
            time.sleep(0.002)
        receiver.disconnect()
    return seen


def _play(output, count: int, fps: float, size: tuple[int, int], sent: dict[int, float], first: int = 0) -> None:
    from tests.stamps import stamped

    for number in range(first, first + count):
        time.sleep(1 / fps)
        frame = stamped(number, *size)
        sent[number] = time.monotonic()
        output.send(frame, sent[number])


def numbers() -> dict:
    """A receiver in another process reads the numbers of the frames sent."""
    from instrument.outputs import parse

    output, sent = parse("ndi:one?note=tides %26 <rock>"), {}
    output.open(256, 144, 30)
    watcher = Watcher("one", 5.0)
    while not output.receivers:
        _play(output, 1, 30, (256, 144), sent)
    _play(output, 60, 30, (256, 144), sent, first=100)
    seen = watcher.found()
    while output.receivers:
        _play(output, 1, 30, (256, 144), sent)
    output.close()
    delays = [at - sent[n] for n, at in zip(seen["numbers"], seen["at"], strict=True) if n >= 100]
    return {**seen, "sent": sorted(n for n in sent if n >= 100), "delays": delays}


def comings() -> dict:
    """Two receivers come at different times, one is killed and one frozen; the sender's longest send is noted."""
    import signal

    from instrument.outputs import parse

    output, sent, slowest, most = parse("ndi:two"), {}, 0.0, 0
    output.open(256, 144, 30)

    def play(count: int) -> None:
        nonlocal slowest, most
        for _ in range(count):
            start = time.monotonic()
            _play(output, 1, 30, (256, 144), sent, first=len(sent))
            slowest, most = max(slowest, time.monotonic() - start - 1 / 30), max(most, output.receivers)

    first = Watcher("two", 30.0)
    frozen = Watcher("two", 30.0)
    end = time.monotonic() + 15
    while output.receivers < 2 and time.monotonic() < end:
        play(1)
    first.process.kill()
    frozen.process.send_signal(signal.SIGSTOP)
    play(90)
    third = Watcher("two", 4.0)
    end = time.monotonic() + 6
    while time.monotonic() < end and third.process.poll() is None:
        play(3)
    seen = third.found()
    frozen.process.kill()
    first.process.wait()
    frozen.process.wait()
    output.close()
    return {"most": most, "slowest": slowest, "late": len(seen["numbers"]), "distinct": len(set(seen["numbers"]))}


def hidden() -> dict:
    """A source in a group that the receiver does not listen to."""
    return _in_groups("elsewhere")


def grouped() -> dict:
    """A source in two groups, one of which the receiver listens to; then one with other groups in the same process."""
    return _in_groups("stage,foyer")


def _in_groups(names: str) -> dict:
    from instrument.outputs import OutputError, parse

    output, sent = parse(f"ndi:three?groups={names}"), {}
    output.open(256, 144, 30)
    watcher = Watcher("three", 2.5)
    while watcher.process.poll() is None:
        _play(output, 3, 30, (256, 144), sent)
    output.close()
    try:
        parse("ndi:four?groups=others").open(64, 64, 30)
        refusal = ""
    except OutputError as error:
        refusal = str(error)
    return {"source": watcher.found()["source"], "refusal": refusal}


def again() -> dict:
    """Closed and opened again with another size and rate, odd in number."""
    from instrument.outputs import parse

    output, sent = parse("ndi"), {}
    output.open(256, 144, 30)
    _play(output, 3, 30, (256, 144), sent)
    output.close()
    output.close()
    output.open(255, 143, 24)
    watcher = Watcher("AttentionBender", 3.0)
    while watcher.process.poll() is None:
        _play(output, 1, 24, (255, 143), sent, first=7)
    seen = watcher.found()
    output.close()
    return seen


def contract() -> dict:
    """The tests that every output has to pass, of this one."""
    import pytest

    class Count:
        passed = 0

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            self.passed += report.when == "call" and report.passed

    count = Count()
    status = pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_contract.py", "-k", "[ndi]"], plugins=[count])
    print()
    return {"status": int(status), "passed": count.passed}


if __name__ == "__main__":
    loopback_up()
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
