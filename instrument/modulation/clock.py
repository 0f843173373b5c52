"""The clock: where the music stands, in beats; from a tempo, taps, MIDI clock, or Ableton Link.

A beat is a quarter note. Between events the position is a straight line through time, so any moment can be asked for.
All times are seconds on one steady clock, the caller's. May be fed from any thread; knows no ports and no parameters.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from itertools import pairwise
from typing import NamedTuple

from instrument.modulation.midiclock import PER_BEAT, TickFilter

INTERNAL, MIDI, LINK = "internal", "midi", "link"
SOURCES = (INTERNAL, MIDI, LINK)
SLOWEST, FASTEST = 20.0, 300.0  # beats a minute
_TAPS = 8  # the tempo is the median of the gaps between so many
_FORGOTTEN = 60.0 / SLOWEST  # seconds after which a tap begins a new tempo
_BOUNCE = 0.5 * 60.0 / FASTEST  # seconds after a tap within which another is the same foot


class Moment(NamedTuple):
    """Where the music stands. `beat` counts from 0 at the start; `bar` too; both phases lie in 0..1."""

    beat: float
    bar: int
    beat_phase: float
    bar_phase: float
    tempo: float
    running: bool


class Clock:
    """Its tempo is set by hand, by taps, or follows `source`; messages of the other sources are then ignored."""

    def __init__(self, tempo: float = 120.0, beats_a_bar: int = 4) -> None:
        self._lock = threading.Lock()
        self._tempo = tempo
        self._beats_a_bar = beats_a_bar
        self._at, self._beat = 0.0, 0.0  # a point of the line
        self._running = True
        self._taps: deque[float] = deque(maxlen=_TAPS)
        self._ticks = TickFilter()
        self._source = INTERNAL
        self._told: float | None = None  # a song position not yet started from
        self.jumps = 0  # grows when the position does not simply go on, so that what is tied to it can follow

    def begin(self, now: float) -> None:
        """The show starts: this is the first beat of the first bar, unless another source says where the music is."""
        with self._lock:
            if self._source == INTERNAL:
                self._beat, self._at = 0.0, now
                self.jumps += 1

    # --- asked by the engine ---

    def beat(self, now: float) -> float:
        """Beats since the start; stands still while a MIDI clock is stopped."""
        with self._lock:
            return self._position(now)

    def moment(self, now: float) -> Moment:
        with self._lock:
            beat, bar = self._position(now), self._beats_a_bar
            return Moment(beat, int(beat // bar), beat % 1.0, beat % bar / bar, self._tempo, self._running)

    @property
    def tempo(self) -> float:
        """Beats a minute."""
        return self._tempo

    @property
    def beats_a_bar(self) -> int:
        return self._beats_a_bar

    @property
    def source(self) -> str:
        return self._source

    @property
    def running(self) -> bool:
        return self._running

    def next_beat(self, now: float, every: int = 1) -> float:
        """The next position after `now` that is a whole multiple of `every` beats; of a bar where `every` is 0."""
        with self._lock:
            unit = every or self._beats_a_bar
            return (self._position(now) // unit + 1) * unit

    def _position(self, now: float) -> float:
        return self._beat + (now - self._at) * self._tempo / 60.0 if self._running else self._beat

    # --- set by a hand ---

    def set_tempo(self, tempo: float, now: float) -> None:
        """From `now` on, this many beats a minute, clamped to 20..300; the position goes on unbroken."""
        with self._lock:
            self._turn(tempo, now)

    def set_bar(self, beats: int) -> None:
        """Beats in a bar, 1 or more."""
        with self._lock:
            self._beats_a_bar = max(1, int(beats))

    def follow(self, source: str, now: float) -> None:
        """Listen to one of SOURCES; ValueError for another. What was running goes on until the new source speaks."""
        if source not in SOURCES:
            raise ValueError(f"clock source '{source}'; choose one of: {', '.join(SOURCES)}")
        with self._lock:
            self._beat, self._at = self._position(now), now
            self._source = source
            self._running = self._running or source != MIDI

    def tap(self, at: float) -> float | None:
        """A foot on the beat: from the second tap on, the new tempo. The nearest beat is moved onto the tap; a switch
        that bounces is one tap."""
        with self._lock:
            if self._taps and 0 <= at - self._taps[-1] < _BOUNCE:
                return None
            if self._taps and not 0 < at - self._taps[-1] <= _FORGOTTEN:
                self._taps.clear()
            self._taps.append(at)
            if len(self._taps) < 2:
                return None
            gap = statistics.median(after - before for before, after in pairwise(self._taps))
            self._turn(60.0 / gap, at)
            self._beat = float(round(self._beat))
            return self._tempo

    def downbeat(self, at: float) -> None:
        """This moment is the first beat of a bar; the nearest bar line is moved onto it."""
        with self._lock:
            position = self._position(at)
            self._beat, self._at = float(round(position / self._beats_a_bar) * self._beats_a_bar), at
            self.jumps += 1

    def _turn(self, tempo: float, now: float) -> None:
        self._beat, self._at = self._position(now), now
        self._tempo = min(max(float(tempo), SLOWEST), FASTEST)

    def _meet(self, beat: float, at: float) -> None:
        """Stand where the source says; more than half a beat away is a jump, less a correction."""
        self.jumps += abs(self._position(at) - beat) > 0.5
        self._beat, self._at = beat, at

    # --- fed by MIDI clock, 24 ticks a beat ---

    def tick(self, at: float) -> None:
        """One clock message (0xF8). Jitter is filtered: the line goes through the best fit of the last ticks."""
        with self._lock:
            line = self._ticks.tick(at)
            if line is None or self._source != MIDI or not self._running:
                return
            tempo = 60.0 / (line.period * PER_BEAT)
            if SLOWEST <= tempo <= FASTEST:
                self._meet(line.ticks / PER_BEAT, line.at)
                self._tempo = tempo

    def start(self, at: float) -> None:
        """Play: the next tick is where `position` last put the song, or where it was stopped."""
        with self._lock:
            told, self._told = self._told, None
            if self._source == MIDI:
                self._beat = self._position(at) if told is None else told
                self._at, self._running = at, True
                self._ticks.start(round(self._beat * PER_BEAT))  # clocks heard while stopped do not count
            elif told is not None:
                self._ticks.start(round(told * PER_BEAT))

    def stop(self, at: float) -> None:
        """The position stands still."""
        with self._lock:
            if self._source == MIDI:
                self._beat, self._at, self._running = self._position(at), at, False

    def position(self, beats: float) -> None:
        """Where the next `start` begins, in beats from the top."""
        with self._lock:
            self._told = beats
            if self._source == MIDI:
                self.jumps += 1
                if not self._running:
                    self._beat = beats

    # --- fed by Ableton Link ---

    def steer(self, beat: float, tempo: float, at: float) -> None:
        """The session's position and tempo at `at`."""
        with self._lock:
            if self._source != LINK:
                return
            self._meet(beat, at)
            self._tempo = min(max(tempo, SLOWEST), FASTEST)
