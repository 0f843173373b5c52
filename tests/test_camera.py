"""The virtual camera: a recording device of our own, and the real Linux code before a stand-in device."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from instrument.outputs import OutputError, OutputRunner, parse
from instrument.outputs.camera import remedy

pyvirtualcam = pytest.importorskip("pyvirtualcam")

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/videodev2.h>

/* /dev/video0 becomes a plain file that answers like the loopback device. */
static int device = -1;

static int divert(const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open");
    if (strncmp(path, "/dev/video", 10)) return real(path, flags, mode);
    if (strcmp(path, "/dev/video0")) return -1;
    device = real(getenv("CAMERA_FILE"), O_WRONLY | O_CREAT | O_APPEND, 0644);
    return device;
}

int open(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);
    return divert(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);
    return divert(path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    va_list rest; va_start(rest, request); void *argument = va_arg(rest, void *); va_end(rest);
    if (fd != device || fd < 0) return real(fd, request, argument);
    if (request == VIDIOC_QUERYCAP) {
        struct v4l2_capability *answer = argument;
        memset(answer, 0, sizeof *answer);
        strcpy((char *)answer->driver, "v4l2 loopback");
        strcpy((char *)answer->card, "Stand-in");
        answer->capabilities = answer->device_caps = V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_READWRITE;
    }
    return 0;
}
"""


class Recorder:
    """A pyvirtualcam backend that keeps what it is sent."""

    made = []  # noqa: RUF012 - shared on purpose: pyvirtualcam makes the objects

    def __init__(self, *, width, height, fps, fourcc, device, **options):
        if device == "taken":
            raise RuntimeError("device is in use")
        self.size, self.fps, self.name = (width, height), fps, device or "recorder"
        self.frames, self.open = [], True
        Recorder.made.append(self)

    def device(self):
        return self.name

    def native_fourcc(self):
        return None

    def send(self, data):
        self.frames.append(np.array(data).reshape(self.size[1], self.size[0], 3))

    def close(self):
        self.open = False


@pytest.fixture(scope="module", autouse=True)
def recorder():
    pyvirtualcam.register_backend("recorder", Recorder)


def noise(width=64, height=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_frames_reach_the_camera_unchanged():
    output = parse("camera?backend=recorder")
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    assert output.device == "recorder"
    runner.send(noise())
    assert runner.close()
    camera = Recorder.made[-1]
    assert camera.size == (64, 32) and camera.fps == 24
    assert (camera.frames[0] == noise()).all() and not camera.open


def test_size_fit_and_rate():
    output = parse("camera?backend=recorder&size=96x96&fit=crop&fps=30")
    output.open(64, 32, 17.5)
    output.send(noise())
    output.close()
    assert Recorder.made[-1].size == (96, 96) and Recorder.made[-1].fps == 30


def test_mirrored():
    output = parse("camera?backend=recorder&mirror")
    output.open(64, 32, 24)
    output.send(noise())
    output.close()
    assert (Recorder.made[-1].frames[0] == noise()[:, ::-1]).all()


def test_odd_sizes():
    output = parse("camera?backend=recorder")
    output.open(65, 33, 24)
    output.send(noise(65, 33))
    output.close()
    assert (Recorder.made[-1].frames[0] == noise(65, 33)[:32, :64]).all()


def test_a_camera_in_use_is_an_output_error_with_a_remedy():
    with pytest.raises(OutputError, match=r"camera:taken: no virtual camera.*in use"):
        parse("camera:taken?backend=recorder").open(64, 32, 24)


def test_no_device_is_told_not_crashed():
    if sys.platform != "linux" or os.path.exists("/dev/video0"):
        pytest.skip("needs Linux without a video device")
    with pytest.raises(OutputError) as error:
        OutputRunner(parse("camera?backend=v4l2loopback")).start(64, 32, 24)
    assert remedy() in str(error.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the library, not ours
def test_an_unknown_backend_is_told():
    with pytest.raises(OutputError, match="no virtual camera"):
        parse("camera?backend=none").open(64, 32, 24)


def test_every_system_has_its_remedy():
    assert "v4l2loopback-dkms" in remedy("linux") and "modprobe" in remedy("linux")
    assert "OBS" in remedy("darwin") and "OBS" in remedy("win32")


def test_without_pyvirtualcam_everything_else_still_works():
    code = (
        "import sys; sys.modules['pyvirtualcam'] = None\n"
        "from instrument.outputs import parse, OutputError\n"
        "parse('dummy').open(8, 8, 1)\n"
        "try: parse('camera').open(8, 8, 1)\n"
        "except OutputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "attentionbender[camera]"' in done.stdout


def test_importing_outputs_does_not_import_the_camera_library():
    code = "import sys, instrument.outputs; assert 'pyvirtualcam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("gcc"), reason="needs Linux and gcc")
def test_the_real_linux_camera_code(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    build = ["gcc", "-shared", "-fPIC", "-w", "-o", str(shim), str(tmp_path / "shim.c"), "-ldl"]
    if subprocess.run(build, capture_output=True).returncode:
        pytest.skip("no C headers for video devices here")
    code = (
        "import numpy as np; from instrument.outputs import parse\n"
        "out = parse('camera'); out.open(64, 32, 24); print(out.device)\n"
        "for colour in ((255, 0, 0), (0, 0, 255)): out.send(np.full((32, 64, 3), colour, np.uint8))\n"
        "out.close()"
    )
    environment = {**os.environ, "LD_PRELOAD": str(shim), "CAMERA_FILE": str(tmp_path / "frames")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "/dev/video0"
    frames = np.fromfile(tmp_path / "frames", np.uint8).reshape(2, 32 * 64 * 3 // 2)  # I420
    assert frames[:, 0].tolist() == pytest.approx([76, 29], abs=20)  # luma of red and blue
    assert frames[0, -1] > 200 and frames[1, 32 * 64] > 200  # red in V, blue in U


GUEST = """
import subprocess, threading, time
import numpy as np
from instrument.outputs import OutputRunner, parse

for width, height in ((576, 320), (575, 321), (1280, 720)):
    runner = OutputRunner(parse("camera"))
    runner.start(width, height, 24)
    done = threading.Event()

    def feed():
        frame = np.full((height, width, 3), (220, 30, 20), np.uint8)
        frame[:, width // 2 :] = (20, 30, 220)
        while not done.wait(0.02):
            runner.send(frame)

    feeder = threading.Thread(target=feed)
    feeder.start()
    time.sleep(1)
    take = ["ffmpeg", "-loglevel", "error", "-f", "v4l2", "-i", "/dev/video0", "-frames:v", "5"]
    raw = subprocess.run([*take, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, timeout=60)
    done.set()
    feeder.join()
    closed = runner.close()
    even = (height - height % 2, width - width % 2, 3)
    frames = np.frombuffer(raw.stdout, np.uint8).reshape(-1, *even)
    last = frames[-1]
    left, right = last[:, : width // 3].mean((0, 1)).round(), last[:, -width // 3 :].mean((0, 1)).round()
    print("SEEN", runner.output.device, len(frames), width, height, *left.astype(int), *right.astype(int), closed)
"""


@pytest.mark.slow
def test_the_real_kernel_module_in_a_virtual_machine(tmp_path):
    from tests.vm import Machine

    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed; on Debian: apt install ffmpeg")
    said = Machine(tmp_path).run(GUEST)
    seen = [line.split()[1:] for line in said.splitlines() if line.startswith("SEEN")]
    assert [line[:4] for line in seen] == [
        ["/dev/video0", "5", "576", "320"],
        ["/dev/video0", "5", "575", "321"],
        ["/dev/video0", "5", "1280", "720"],
    ], said[-3000:]
    for *_, red, green, blue, red2, green2, blue2, closed in seen:
        assert [int(n) for n in (red, green, blue)] == pytest.approx([220, 30, 20], abs=6)
        assert [int(n) for n in (red2, green2, blue2)] == pytest.approx([20, 30, 220], abs=6)
        assert closed == "True"
