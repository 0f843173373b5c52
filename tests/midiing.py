"""Shared by the MIDI tests: waiting, and a listener that keeps everything."""

import time

from instrument.midi.ports import Listener


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
