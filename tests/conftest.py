"""Shared by all tests: few threads, so that a small machine is not fought over; real MIDI for those that want it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
from hypothesis import settings

from instrument.midi.ports import MidiPorts
from tests.jack import Controller, running_jack
from tests.midiing import reach, wait_until

# No deadline: a machine that does other things too is no fault. The same examples every time, so that the same code
# gets the same answer; `--hypothesis-profile explore` looks for others.
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeat")

# As `bender` does, and before any test imports torch: waiting threads soon sleep, so that others may have a core.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


_TIME = "asyncio concurrent.futures multiprocessing socket subprocess threading time urllib.request"
_PARTNERS = "hub jack looking midiing ndi oscing page playing rigging strangers switching viewing vm wire"
_PACES = {*_TIME.split(), *(f"tests.{name}" for name in _PARTNERS.split())}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What meets other programs, threads or the clock is tried once more where it fails: on a busy machine sound
    servers, browsers and players sometimes stall. What only computes must pass at once."""
    for item in items:
        if _has_a_pace(item.module):
            item.add_marker(pytest.mark.flaky(reruns=1))


@cache
def _has_a_pace(module: ModuleType) -> bool:
    found = vars(module).values()
    names = (each.__name__ if isinstance(each, ModuleType) else getattr(each, "__module__", "") for each in found)
    return any(name in _PACES for name in names)


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of work so small that a second thread only waits: `pytestmark = pytest.mark.usefixtures(...)`."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def browser():
    from tests.page import chromium

    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def playing():
    """A real show with a page, see tests.page.Room."""
    from tests.page import room

    with room() as made:
        yield made


@pytest.fixture(scope="module")
def page(browser, playing):
    """That page in a real browser."""
    from tests.page import Tab

    return Tab(browser, playing.url)


@pytest.fixture(scope="module")
def jack():
    with running_jack() as server:
        yield server


@pytest.fixture
def controllers(jack):
    """Those that are plugged in, unplugged after the test."""
    plugged = []
    yield plugged
    for controller in plugged:
        controller.unplug()


@pytest.fixture
def plug(controllers):
    """plug(name) -> a Controller."""

    def plug(name):
        controllers.append(Controller(name))
        return controllers[-1]

    return plug


@pytest.fixture
def told():
    """What the player was told, in order, where a test hands on `told.append`."""
    return []


@pytest.fixture
def open_server(params, monkeypatch):
    """open_server(outs) -> an OscServer of the file's own `params`, until the end of the test; see tests.oscing."""
    from instrument.osc import feedback
    from tests.oscing import STATUS, servers

    monkeypatch.setattr(feedback, "AGAIN", 1e9)  # most tests count; those of saying again set their own
    with servers(params, lambda: STATUS) as opened:
        yield opened


@pytest.fixture
def ears():
    """ears(client, port) -> an Ear, until the end of the test; see tests.oscing."""
    from tests.oscing import listening

    with listening() as made:
        yield made


@pytest.fixture
def listen(controllers, told):
    """listen(pattern, listener) -> a MidiPorts that runs until the end of the test, and hears what is plugged in."""
    running = []

    def listen(pattern, listener, **options):
        running.append(MidiPorts(pattern, listener, told.append, api="JACK", **options))
        running[-1].start()
        assert wait_until(running[-1]._looked.is_set)
        open_ones = running[-1].status()["ports"]
        reach(running[-1], *(each for each in controllers if f"{each.name}:out" in open_ones))
        return running[-1]

    yield listen
    for one in running:
        one.close()
