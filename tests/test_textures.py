"""Spout and Syphon against recorded doubles of their libraries: not run on real hardware here.

The doubles have the names and the arguments of SpoutGL 0.1.1 (its binding's source) and syphon-python 0.2.0 (its
wheel's source), and take nothing else. What only a Windows computer or a Mac can tell is in the checklist of
docs/outputs.md.
"""

import json
import subprocess
import sys
import types

import numpy as np
import pytest

from instrument.outputs import OutputError, parse
from instrument.outputs.spout import GL_RGBA

DOUBLES = {
    "objc.py": """
        from contextlib import contextmanager
        @contextmanager
        def autorelease_pool():
            yield
    """,
    "Cocoa.py": """
        from log import log
        NSDefaultRunLoopMode = "mode"
        class NSDate:
            def dateWithTimeIntervalSinceNow_(seconds): return ("in", seconds)
        class NSRunLoop:
            def currentRunLoop(): return NSRunLoop()
            def runMode_beforeDate_(self, mode, date): log.loops += 1
    """,
    "log.py": """
        import atexit, json, os
        class Log:
            calls, loops = [], 0
            def __call__(self, *call): self.calls.append(call)
        log = Log()
        def save():
            with open(os.environ["DOUBLE_LOG"], "w") as file:
                json.dump({"calls": log.calls, "loops": log.loops}, file)
        atexit.register(save)
    """,
    "syphon/__init__.py": """
        from log import log
        class SyphonMetalServer:
            def __init__(self, name, device=None, command_queue=None, *, is_private=False):
                if name == "no metal":
                    raise RuntimeError("No Metal device is available")
                self.device = "metal"
                log("server", name)
            def publish_frame_texture(
                self, texture, region=None, size=None, is_flipped=False, command_buffer=None, auto_commit=True
            ):
                log("publish", texture.number, texture.pixel, is_flipped)
            def stop(self): log("stop")
    """,
    "syphon/utils/__init__.py": "",
    "syphon/utils/raw.py": """
        from log import log
        class Texture:
            made = 0
            def __init__(self, width, height):
                self.size, self.number = (width, height), Texture.made
                Texture.made += 1
        def create_mtl_texture(device, width, height, pixel_format=70):
            assert device == "metal"
            log("texture", width, height)
            return Texture(width, height)
    """,
    "syphon/utils/numpy.py": """
        def copy_image_to_mtl_texture(image, texture):
            assert image.shape == (texture.size[1], texture.size[0], 4) and image.dtype == "uint8"
            texture.pixel = image[0, 0].tolist()
    """,
}


class Sender:
    """SpoutGL.SpoutSender: positional arguments only, as pybind11 has them without names."""

    context, takes = True, True

    def __init__(self):
        self.calls = []

    def createOpenGL(self, /):
        self.calls.append("createOpenGL")
        return self.context

    def setSenderName(self, name, /):
        self.calls.append(("setSenderName", name))

    def sendImage(self, pixels, width, height, form, invert, fbo, /):
        data = np.frombuffer(memoryview(pixels).cast("B"), np.uint8)  # a buffer in C order, as the binding checks
        assert data.size >= width * height * 4 and isinstance(invert, bool) and fbo == 0
        self.calls.append(("sendImage", width, height, form, invert, data[:4].tolist()))
        return self.takes

    def setFrameSync(self, name, /):
        self.calls.append(("setFrameSync", name))

    def releaseSender(self, /):
        self.calls.append("releaseSender")

    def closeOpenGL(self, /):
        self.calls.append("closeOpenGL")
        return True


@pytest.fixture
def spoutgl(monkeypatch):
    made = []

    class Made(Sender):
        def __init__(self):
            super().__init__()
            made.append(self)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "SpoutGL", types.SimpleNamespace(SpoutSender=Made))
    return made, Made


def frame(shade):
    return np.full((36, 64, 3), (shade, 2, 3), np.uint8)


def test_spout_says_and_sends_what_its_library_wants(spoutgl):
    made, _ = spoutgl
    output = parse("spout:Left?flip")
    output.open(64, 36, 24)
    output.send(frame(1))
    output.send(frame(9), 3.0)
    output.close()
    output.close()
    image = ("sendImage", 64, 36, GL_RGBA, True)
    assert made[0].calls == [
        "createOpenGL",
        ("setSenderName", "Left"),
        (*image, [1, 2, 3, 255]),
        ("setFrameSync", "Left"),
        (*image, [9, 2, 3, 255]),
        ("setFrameSync", "Left"),
        "releaseSender",
        "closeOpenGL",
    ]


def test_spout_without_a_gpu(spoutgl):
    _, kind = spoutgl
    kind.context = False
    with pytest.raises(OutputError, match="no OpenGL context"):
        parse("spout").open(64, 36, 24)
    kind.context, kind.takes = True, False
    output = parse("spout")
    output.open(64, 36, 24)
    with pytest.raises(OutputError, match="was not taken"):
        output.send(frame(1))


def write_doubles(tmp_path, monkeypatch):
    """A double of syphon-python for the processes started from here, on what looks like a Mac; where it records."""
    for name, text in DOUBLES.items():
        path = tmp_path / "doubles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.split("\n")
        path.write_text("\n".join(line.removeprefix("        ") for line in lines), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "doubles"))
    monkeypatch.setenv("DOUBLE_LOG", str(tmp_path / "log.json"))
    monkeypatch.setattr(sys, "platform", "darwin")
    return tmp_path / "log.json"


@pytest.fixture
def doubles(tmp_path, monkeypatch):
    """The double in place; call it for what was recorded."""
    log = write_doubles(tmp_path, monkeypatch)
    return lambda: json.loads(log.read_text(encoding="utf-8"))


def test_syphon_publishes_from_its_own_process_and_keeps_its_run_loop_going(doubles):
    output = parse("syphon?flip")
    output.open(64, 36, 24)
    last = 200
    for shade in range(last + 1):
        output.send(frame(shade))
    output.close()
    output.close()
    recorded = doubles()
    server, first, second, *published, stop = recorded["calls"]
    assert server == ["server", "AttentionBender"]
    assert first == second == ["texture", 64, 36]
    assert stop == ["stop"] and recorded["loops"] >= 1
    shades = [pixel[0] for _, _, pixel, _ in published]
    assert shades == sorted(shades) and shades[-1] == last
    assert all(pixel[1:] == [2, 3, 255] for _, _, pixel, _ in published)
    assert [number for _, number, _, _ in published] == [n % 2 for n in range(len(published))]
    assert all(flipped for *_, flipped in published)


def test_syphon_without_metal_says_so(doubles):
    with pytest.raises(OutputError, match="No Metal device is available"):
        parse("syphon:no metal").open(64, 36, 24)


def test_syphon_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OutputError, match=r'pip install "attentionbender\[syphon\]"'):
        parse("syphon").open(64, 36, 24)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="about the systems that have neither")
@pytest.mark.parametrize(("kind", "words"), [("spout", "on Windows only"), ("syphon", "on macOS only")])
def test_elsewhere_each_says_in_one_line_what_to_take_instead(kind, words):
    with pytest.raises(OutputError, match=words) as error:
        parse(kind).open(64, 36, 24)
    assert "\n" not in str(error.value) and "ndi or camera on Linux" in str(error.value)


def test_nothing_is_imported_before_it_opens():
    code = "import sys; from instrument.outputs import parse; parse('spout'); parse('syphon'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"SpoutGL", "syphon", "objc"} & set(loaded)
