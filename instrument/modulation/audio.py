"""What sound is like: level, bands, onsets, brightness and pitch, frame by frame; numpy only.

A frame is WINDOW samples, a new one every HOP. So a feature tells of sound half a window old on average, and is at most
one hop older still: 11 + 11 ms at 48 kHz, plus what the sound card holds back. Pitch needs two windows, 21 + 11 ms.
Knows no sound card and no file.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from instrument.modulation.modspec import FEATURES
from instrument.modulation.voices import Heard

RATE = 48_000  # samples a second
WINDOW, HOP = 1024, 512
DELAY = (WINDOW / 2 + HOP) / RATE  # seconds from a sound to its features, at most

_QUIET = -60.0  # dB below full scale that count as nothing
_TOO_LOUD = 16.0  # what a broken source may send is cut to this
_BANDS = {"bass": (20.0, 150.0), "low": (150.0, 500.0), "mid": (500.0, 2500.0), "high": (2500.0, 12_000.0)}
_BRIGHT = (100.0, 10_000.0)  # centroid that counts as 0 and 1, Hz
_PITCHES = (55.0, 1760.0)  # pitch that counts as 0 and 1: five octaves from A1, Hz
_CLEAR = 0.8  # how alike a wave must be to itself one period later to have a pitch
_SPREAD = 1.5  # bins over which the Hann window spreads a sine's power
_MEMORY = 43  # frames of flux an onset is compared with: about half a second
_SURGE = 2.0  # times their mean that it must exceed...
_LEAST_SURGE = 0.02  # ...and at least, in mean rise of the spectrum
_REST = 0.06  # seconds between two onsets
_FADE = 0.15  # seconds in which the onset feature falls to nothing

Samples = NDArray[np.float32]


class Analyser:
    """Feed it mono samples at RATE; `heard` is what the newest frame is like."""

    def __init__(self) -> None:
        self.heard = Heard(dict.fromkeys(FEATURES, 0.0), 0)
        self._waiting: Samples = np.zeros(0, dtype=np.float32)
        self._shape = np.hanning(WINDOW).astype(np.float32)
        self._frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
        self._bins = {name: self._between(*ends) for name, ends in _BANDS.items()}
        self._loudest = float(self._shape.sum() / 2)  # magnitude of a full-scale sine in its bin
        self._before = np.zeros(WINDOW // 2 + 1)
        self._flux: deque[float] = deque(maxlen=_MEMORY)
        self._since = math.inf  # seconds since the last onset
        self._lately = np.zeros(2 * WINDOW)
        self._pitch = 0.0

    def _between(self, lo: float, hi: float) -> slice:
        first, last = np.searchsorted(self._frequencies, [lo, hi])
        return slice(max(int(first), 1), max(int(last), int(first) + 1))

    def feed(self, samples: Samples) -> None:
        """More sound, float -1..1, any length."""
        sound = np.concatenate([self._waiting, np.nan_to_num(samples).clip(-_TOO_LOUD, _TOO_LOUD)])
        begin = 0
        while begin + WINDOW <= len(sound):
            self._listen(sound[begin : begin + WINDOW])
            begin += HOP
        self._waiting = sound[begin:]

    def _listen(self, frame: Samples) -> None:
        spectrum = np.abs(np.fft.rfft(frame * self._shape)) / self._loudest
        power = spectrum**2
        level = _loud(float(np.sqrt(2 * np.mean(np.square(frame, dtype=np.float64)))))  # a full-scale sine is 1
        features = {name: _loud(math.sqrt(float(power[bins].sum()) / _SPREAD)) for name, bins in self._bins.items()}
        onsets = self.heard.onsets + self._surges(spectrum)
        features |= {
            "level": level,
            "onset": max(0.0, 1.0 - self._since / _FADE),
            "centroid": self._brightness(power) if level > 0 else self.heard.features["centroid"],
            "pitch": self._tone(frame),
        }
        self.heard = Heard(features, onsets)

    def _surges(self, spectrum: NDArray[np.float64]) -> bool:
        """Whether a new sound begins: more rise in the spectrum than lately (spectral flux on compressed magnitudes,
        as in Bello et al. 2005)."""
        compressed = np.log1p(100 * spectrum)
        flux = float(np.maximum(compressed - self._before, 0).mean())
        self._before = compressed
        usual = sum(self._flux) / len(self._flux) if self._flux else 0.0
        self._flux.append(flux)
        self._since += HOP / RATE
        if flux < max(_LEAST_SURGE, _SURGE * usual) or self._since < _REST:
            return False
        self._since = 0.0
        return True

    def _brightness(self, power: NDArray[np.float64]) -> float:
        centre = float((self._frequencies * power).sum() / max(float(power.sum()), 1e-20))
        return _between_octaves(centre, *_BRIGHT)

    def _tone(self, frame: Samples) -> float:
        """The pitch, from how alike the last two windows of sound are to themselves a little later (the normalised
        square difference of McLeod and Wyvill 2005); where there is no clear one, the last one stays."""
        sound = self._lately = np.concatenate([self._lately[HOP:], frame[-HOP:]]).astype(np.float64)
        count = len(sound)
        shortest, longest = int(RATE / _PITCHES[1]), int(RATE / _PITCHES[0])
        products = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * count)) ** 2)[: longest + 2]
        energy = np.concatenate([[0.0], np.cumsum(sound**2)])
        lags = np.arange(longest + 2)
        alike = 2 * products / np.maximum(energy[count - lags] + energy[count] - energy[lags], 1e-12)
        falling = np.flatnonzero(alike < 0)
        first = max(shortest, int(falling[0]) if len(falling) else longest)
        reach = alike[first : longest + 1]
        if reach.max() >= _CLEAR:
            best = first + int(np.flatnonzero(reach >= 0.9 * reach.max())[0])  # not an octave too low
            while best < longest and alike[best + 1] > alike[best]:
                best += 1
            self._pitch = _between_octaves(RATE / _refined(alike, best), *_PITCHES)
        return self._pitch


def _refined(alike: NDArray[np.float64], at: int) -> float:
    """The top of the parabola through a peak and its neighbours."""
    before, here, after = alike[at - 1 : at + 2]
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _loud(amplitude: float) -> float:
    """Amplitude -> 0..1, even in decibels from -60 to full scale."""
    return min(max(1.0 - 20 * math.log10(max(amplitude, 1e-9)) / _QUIET, 0.0), 1.0)


def _between_octaves(frequency: float, lo: float, hi: float) -> float:
    return min(max(math.log(max(frequency, 1e-9) / lo) / math.log(hi / lo), 0.0), 1.0)
