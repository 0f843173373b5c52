"""Shared by the MIDI tests: waiting, a listener that keeps everything, and controllers that are surely heard."""

import time

from instrument.midi.ports import Listener, MidiPorts
from instrument.parameters.touch import Touch
from tests.jack import Controller


def wait_until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


class Recorder(Listener):
    """A listener that keeps everything."""

    def __init__(self):
        self.touches = []
        self.origins = set()

    def handle(self, touch, origin="", at=None):
        self.touches.append(touch)
        self.origins.add(origin)

    def counts(self, touch):
        return True


def reach(ports: MidiPorts, *controllers: Controller) -> None:
    """Wait until what these controllers send is heard at the ports, and count from then on.

    A connection counts from the server's next cycle on, which a busy machine may owe for a while; what is sent before
    is nobody's.
    """
    listener, probe = ports._listener, Recorder()
    ports._listener = probe
    for place, controller in enumerate(controllers):
        heard = False
        for number in range(600):  # no two send the same: that would be one controller with two ports
            sent = Touch("cc", 100 + place, number % 128, 16)
            controller.send(0xBF, sent.key, sent.value)
            heard = wait_until(lambda sent=sent: probe.touches[-1:] == [sent], 0.1)
            if heard:
                break
        assert heard, f"nothing that {controller.name} sends is heard"
    ports._listener = listener
    ports.received = ports.bad = 0
