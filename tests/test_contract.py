"""What every kind of output keeps to, whichever it is. What only one of them does is in that one's own test."""

import gc
import sys
import threading
import time
import types
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

from instrument.outputs import KINDS, OutputError, OutputGroup, parse
from tests import ndi, test_textures


class Rig:
    """Lets each kind run here: its real library where there is one, a recorded double where there cannot be."""

    def __init__(self, tmp_path, monkeypatch):
        self.tmp_path, self.patch = tmp_path, monkeypatch

    def spec(self, kind):
        """A spec that opens on this computer, for a kind that can; skips the test otherwise."""
        return getattr(self, kind)()

    def dummy(self):
        return "dummy"

    def file(self):
        return f"file:{self.tmp_path}/clip.mkv"

    def camera(self):
        pyvirtualcam = pytest.importorskip("pyvirtualcam")

        class Device:
            def __init__(self, **given):
                assert given["width"] % 2 == 0 and given["height"] % 2 == 0

            def device(self):
                return "device"

            def native_fourcc(self):
                return None

            def send(self, pixels):
                pass

            def close(self):
                pass

        pyvirtualcam.register_backend("contract", Device)
        return "camera?backend=contract"

    def ndi(self):
        if not ndi.is_alone():
            pytest.skip("its sockets are open to all; test_ndi.py plays this in a network of its own")
        return "ndi:contract"

    def screen(self):
        pytest.importorskip("pygame")
        self.patch.setenv("SDL_VIDEODRIVER", "dummy")
        return "screen"

    def stream(self):
        return "stream:udp://127.0.0.1:9"  # nobody there, which UDP does not mind

    def spout(self):
        self.patch.setattr(sys, "platform", "win32")
        self.patch.setitem(sys.modules, "SpoutGL", types.SimpleNamespace(SpoutSender=test_textures.Sender))
        return "spout"

    def syphon(self):
        test_textures.write_doubles(self.tmp_path, self.patch)
        return "syphon"


@pytest.fixture
def rig(tmp_path, monkeypatch):
    return Rig(tmp_path, monkeypatch)


def picture(width=64, height=36, shade=100):
    return np.full((height, width, 3), shade, np.uint8)


@contextmanager
def no_thread_left():
    before = threading.active_count()
    yield
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


every_kind = pytest.mark.parametrize("kind", sorted(KINDS))


@every_kind
def test_it_is_named_in_its_first_words_and_says_what_it_is_for(kind, rig):
    output = parse(rig.spec(kind))
    assert output.name.startswith(kind)
    assert f"`{kind}" in KINDS[kind].__doc__.split("\n")[0]


@every_kind
def test_made_but_not_opened_it_does_nothing_and_closes_quietly(kind, rig):
    with no_thread_left():
        output = parse(rig.spec(kind))
        before = set(rig.tmp_path.rglob("*.mkv"))
        output.close()
        assert set(rig.tmp_path.rglob("*.mkv")) == before


@every_kind
def test_it_opens_sends_closes_and_does_so_again_with_another_odd_size(kind, rig):
    output = parse(rig.spec(kind))
    with no_thread_left():
        for width, height in ((64, 36), (129, 73)):
            output.open(width, height, 24.0)
            for n in range(5):
                output.send(picture(width, height, n), at=n / 24)
            output.send(picture(width, height))
            output.close()
            output.close()


@every_kind
def test_it_neither_writes_to_a_frame_nor_keeps_it(kind, rig):
    output = parse(rig.spec(kind))
    output.open(64, 36, 24.0)
    frame = picture()
    frame.flags.writeable = False
    kept = weakref.ref(frame)
    output.send(frame, at=1.0)
    del frame
    gc.collect()
    assert kept() is None
    output.close()


@every_kind
def test_size_scale_fit_and_rate_are_its_own(kind, rig):
    spec = rig.spec(kind)
    for options in ("size=128x72&fit=crop&fps=12", "scale=2.5"):
        output = parse(f"{spec}{'&' if '?' in spec else '?'}{options}")
        output.open(64, 36, 24.0)
        for n in range(4):
            output.send(picture(), at=n / 24)
        output.close()


@every_kind
def test_an_option_it_does_not_know_is_refused_by_name(kind, rig):
    spec = rig.spec(kind)
    with pytest.raises(OutputError, match=f"'{kind}' has no option 'colour'"):
        parse(f"{spec}{'&' if '?' in spec else '?'}colour=red")


@every_kind
def test_it_comes_and_goes_while_another_plays_on(kind, rig):
    group = OutputGroup([parse("dummy?keep=10000")])
    group.start(64, 36, 50.0)
    steady, stop, slowest = group.runners[0].output, threading.Event(), [0.0]

    def play():
        while not stop.wait(0.02):
            start = time.monotonic()
            group.send(picture(shade=steady.count % 256))
            slowest[0] = max(slowest[0], time.monotonic() - start)

    player = threading.Thread(target=play)
    player.start()
    try:
        output = parse(rig.spec(kind))
        name = group.add(output)
        end = time.monotonic() + 20
        while group.stats()[1].sent < 5 and time.monotonic() < end:
            time.sleep(0.01)
        assert group.stats()[1].sent >= 5, group.stats()
        assert group.remove(name)
        assert [stats.name for stats in group.stats()] == ["dummy"]
        count = steady.count
        end = time.monotonic() + 10
        while steady.count < count + 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert steady.count >= count + 3
    finally:
        stop.set()
        player.join()
        group.close()
    assert group.stats()[0].errors == 0
    assert slowest[0] < 3


def test_the_group_says_what_it_cannot_add_or_remove(tmp_path):
    group = OutputGroup([])
    with pytest.raises(OutputError, match="the outputs are not playing"):
        group.add(parse("dummy"))
    group.start(64, 36, 24.0)
    with pytest.raises(OutputError, match="there are none"):
        group.remove("dummy")
    group.add(parse("dummy"))
    with pytest.raises(OutputError, match="did you mean 'dummy'"):
        group.remove("dumy")
    with pytest.raises(OutputError, match="there is no folder"):
        group.add(parse(f"file:{tmp_path}/none/clip.mp4"))
    assert [stats.name for stats in group.stats()] == ["dummy"]
    group.close()
    with pytest.raises(OutputError, match="the outputs are not playing"):
        group.add(parse("dummy"))


def test_removing_one_that_hangs_leaves_it_behind():
    gate = threading.Event()

    class Stuck(KINDS["dummy"]):
        def send(self, frame, at=None):
            gate.wait()

    group = OutputGroup([Stuck("")])
    group.start(64, 36, 24.0)
    group.send(picture())
    assert not group.remove("dummy", timeout=0.1)
    group.send(picture())  # reaches nobody, and does not wait
    assert group.stats() == []
    gate.set()
    group.close()


def test_size_and_scale_do_not_go_together():
    with pytest.raises(OutputError, match="give one of them"):
        parse("dummy?size=64x36&scale=2")
    with pytest.raises(OutputError, match=r"0\.125 to 8"):
        parse("dummy?scale=100")


def test_scaled_up_a_picture_keeps_its_edges_and_colours():
    output = parse("dummy?scale=4&keep=1")
    output.open(64, 36, 24.0)
    frame = picture(shade=20)
    frame[:, 32:] = 220
    output.send(frame)
    big = output.inner.frames[0][1]
    assert big.shape == (144, 256, 3)
    assert np.abs(big[:, :120].astype(int) - 20).max() <= 2 and np.abs(big[:, 136:].astype(int) - 220).max() <= 2
