"""MIDI bytes -> touches, clock and transport.

One Decoder for each port: it remembers what only makes sense over several messages (the halves of 14-bit values, which
NRPN is selected). It knows no ports, mappings or parameters, and any bytes at all leave it in working order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import mido

from instrument.parameters.touch import STEPS, WIDEST, Touch

PAIR = 0.005  # seconds to wait for the fine half of a value before going on without it
_LATE = 0.1  # seconds by which a message may have waited; more is a clock that drifted
_NONE = (127, 127)  # "no parameter selected"
_COARSE, _FINE, _MORE, _LESS = 6, 38, 96, 97
_SELECT = {99: ("nrpn", 0), 98: ("nrpn", 1), 101: ("rpn", 0), 100: ("rpn", 1)}
_MMC = {1: "stop", 2: "play", 3: "play", 4: "forward", 5: "rewind", 6: "record", 9: "pause"}


class ClockListener(Protocol):
    """Who follows another machine's time. Called from the MIDI thread; must not block."""

    def tick(self, at: float) -> None:
        """One of the 24 clocks of a beat; `at` on `time.monotonic`."""

    def start(self, at: float) -> None:
        """Play from the position last told, or from the top (then `position(0)` came first)."""

    def stop(self, at: float) -> None: ...

    def position(self, beats: float) -> None:
        """Song position in beats (quarter notes) from the top."""


def touch_of(data: Iterable[int]) -> Touch | None:
    """The bytes of one MIDI message as a Touch; None for clock, system exclusive and whatever else is no touch.

    Raises ValueError for bytes that are not MIDI.
    """
    try:
        message = mido.Message.from_bytes(data)
    except (IndexError, TypeError):
        raise ValueError("a MIDI message breaks off") from None
    kind = message.type
    if kind == "control_change":
        return Touch("cc", message.control, message.value, message.channel + 1)
    if kind == "note_on":
        return Touch("note", message.note, message.velocity, message.channel + 1)
    if kind == "note_off":
        return Touch("note", message.note, 0, message.channel + 1)
    if kind == "pitchwheel":
        return Touch("pitch", 0, message.pitch, message.channel + 1)
    if kind == "aftertouch":
        return Touch("pressure", 0, message.value, message.channel + 1)
    if kind == "polytouch":
        return Touch("poly", message.note, message.value, message.channel + 1)
    if kind == "program_change":
        return Touch("program", message.program, message.program, message.channel + 1)
    if kind == "sysex":
        return _machine_control(message.data)
    return None


def _machine_control(data: tuple[int, ...]) -> Touch | None:
    """MIDI Machine Control: F0 7F device 06 command F7 (MMC 1.0)."""
    if len(data) == 4 and data[0] == 0x7F and data[2] == 6 and data[3] in _MMC:
        return Touch("mmc", _MMC[data[3]], 1)
    return None


def worth_playing(touches: list[Touch], counts: Callable[[Touch], bool]) -> list[int]:
    """Which of them: of each control only the latest, in the order of the latest; notes, and what `counts`, all and in
    order."""
    latest = {t.place: i for i, t in enumerate(touches)}
    return [i for i, t in enumerate(touches) if latest[t.place] == i or t.kind == "note" or counts(t)]


class Stamp:
    """When messages really arrived, from the driver's gaps between them, kept near our own clock.

    They are read every few milliseconds, which would jitter a clock; the driver's gaps are exact but drift.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, gap: float, now: float) -> float:
        at = now if self._last is None else self._last + gap
        if not now - _LATE <= at <= now:
            at = now
        self._last = at + 0.01 * (now - at)
        return at


class Decoder:
    """The messages of one port, in order.

    `wide(key, channel)` says which controllers send their value in two halves: coarse on `key`, fine on `key` + 32. It
    has to be said, because many controllers use 32 to 63 for something else.
    """

    def __init__(self, wide: Callable[[int, int], bool], clock: ClockListener | None = None) -> None:
        self._wide = wide
        self._clock = clock
        self._coarse: dict[tuple[str, int, int], int] = {}  # (kind, key, channel) -> the half that came last
        self._waiting: dict[tuple[str, int, int], float] = {}  # those whose fine half may still come, and since when
        self._chosen: dict[int, tuple[str, list[int | None]]] = {}  # channel -> (nrpn or rpn, [high, low])

    def feed(self, data: Iterable[int], now: float, at: float | None = None) -> list[Touch]:
        """What one message means, read `now`; a clock runs by `at`, when it arrived, where that is known better.

        Raises ValueError for bytes that are not MIDI.
        """
        data = list(data)
        if data and data[0] in (0xF2, 0xF8, 0xFA, 0xFB, 0xFC):
            self._time(data, now if at is None else at)
            return []
        touch = touch_of(data)
        if touch is None:
            return []
        if touch.kind != "cc":
            return [touch]
        return [*self._halves(touch, now), *self._numbered(touch, now)]

    def due(self, now: float) -> list[Touch]:
        """Coarse values whose fine half did not come. They count as whole: a 7-bit 127 is the end of the way."""
        late = [place for place, since in self._waiting.items() if now - since >= PAIR]
        for place in late:
            del self._waiting[place]
        return [self._alone(place) for place in late]

    def _alone(self, place: tuple[str, int, int]) -> Touch:
        half = self._coarse[place]
        return Touch(place[0], place[1], WIDEST if half == 127 else half << 7, place[2])

    def _time(self, data: list[int], at: float) -> None:
        if self._clock is None:
            return
        if data[0] == 0xF8:
            self._clock.tick(at)
        elif data[0] == 0xFA:
            self._clock.position(0.0)
            self._clock.start(at)
        elif data[0] == 0xFB:
            self._clock.start(at)
        elif data[0] == 0xFC:
            self._clock.stop(at)
        elif len(data) == 3 and max(data[1:]) < 128:
            self._clock.position((data[1] | data[2] << 7) / 4)  # in sixteenths of a whole note
        else:
            raise ValueError("a song position breaks off")

    def _halves(self, touch: Touch, now: float) -> list[Touch]:
        """A controller in one message or two."""
        if touch.key < 32 and self._wide(touch.key, touch.channel):
            self._wait("cc14", touch.key, touch, now)
            return []
        if 32 <= touch.key < 64 and self._wide(touch.key - 32, touch.channel):
            return self._join("cc14", touch.key - 32, touch)
        return [touch]

    def _numbered(self, touch: Touch, now: float) -> list[Touch]:
        """NRPN and RPN (MIDI 1.0): 99/98 or 101/100 select, 6/38 are the data, 96/97 count up and down."""
        if touch.key in _SELECT:
            kind, half = _SELECT[touch.key]
            if self._chosen.get(touch.channel, ("",))[0] != kind:
                self._chosen[touch.channel] = (kind, [None, None])
            self._chosen[touch.channel][1][half] = int(touch.value)
            return []
        kind, (high, low) = self._chosen.get(touch.channel, ("", _NONE))
        if high is None or low is None or (high, low) == _NONE:
            return []
        key = high << 7 | low
        if touch.key == _COARSE:
            self._wait(kind, key, touch, now)
        elif touch.key == _FINE:
            return self._join(kind, key, touch)
        elif touch.key in (_MORE, _LESS):
            return [Touch(STEPS[kind], key, 1 if touch.key == _MORE else -1, touch.channel)]
        return []

    def _wait(self, kind: str, key: int, touch: Touch, now: float) -> None:
        self._coarse[kind, key, touch.channel] = int(touch.value)
        self._waiting[kind, key, touch.channel] = now

    def _join(self, kind: str, key: int, touch: Touch) -> list[Touch]:
        place = (kind, key, touch.channel)
        self._waiting.pop(place, None)
        return [Touch(kind, key, self._coarse.get(place, 0) << 7 | int(touch.value), touch.channel)]
