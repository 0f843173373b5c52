"""A pacer on a simulated clock, and what makes frames for it."""

from __future__ import annotations

import numpy as np

from instrument.engine.pacer import Pacer

FRAME = np.zeros((4, 8, 3), np.uint8)


class Simulation:
    """A pacer on a clock of its own, fed by a source of bursts; keeps (time, stamp) of everything sent."""

    def __init__(self, fps=None, wobble=0.0, seed=0):
        self.now = 0.0
        self.sent, self.fresh = [], []
        self.pacer = Pacer(
            lambda frame, stamp: self.sent.append((self.now, stamp)),
            fps,
            clock=lambda: self.now,
            on_sent=lambda stamp, at: self.fresh.append((at, stamp)),
        )
        self.number, self.stamp = 0, lambda number: number
        self.wobble, self.random = wobble, np.random.default_rng(seed)
        self.next_burst, self.due = 0.0, 0.0

    def run(self, seconds, burst=4, every=0.2, spread=0.005):
        """`burst` frames, `spread` seconds apart, each `every` seconds."""
        end = self.now + seconds
        arrivals = []
        self.next_burst = max(self.next_burst, self.now)
        while self.next_burst < end:
            start = self.next_burst + self.wobble * every * self.random.uniform(0, 1)
            arrivals += [start + n * spread for n in range(burst)]
            self.next_burst += every
        for at in arrivals:
            self.steps_until(at)
            self.now = at
            self.pacer.push(FRAME, self.stamp(self.number))
            self.number += 1
        self.steps_until(end)
        self.now = max(end, self.now)

    def pause(self, seconds):
        self.steps_until(self.now + seconds)
        self.now += seconds
        self.next_burst = self.now

    def steps_until(self, end):
        while self.due < end:
            self.now = max(self.now, self.due)
            self.due = self.pacer.step(self.now)

    def steps(self, since):
        """Seconds between new frames since `since`."""
        return np.diff([at for at, _ in self.fresh if at >= since])
