"""What was touched, told from the messages it sent: a knob, a 14-bit fader, an endless knob and its encoding, a pad.

Knows messages only; nothing of ports, files or parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from instrument.parameters.touch import Touch
from pipelines.refusal import Refusal

WINDOW = 0.3  # seconds of touches after the first
PATIENCE = 1.0  # the same where so few messages could mean two things
_FINGER = 8  # the most steps an endless knob is taken to make in one message
_NUMBERED = (6, 38, 96, 97, 98, 99, 100, 101)  # controllers that carry NRPN and RPN

Heard = tuple[float, Touch | None]  # seconds on any clock; None: nothing happened


class LearnError(Refusal, ValueError):
    """Nothing could be learnt; the text says why and what to do."""


@dataclass(frozen=True)
class Control:
    """What was touched. kind: knob, endless, button, pad, wheel, pressure or program; `relative` is the encoding of an
    endless knob."""

    kind: str
    source: tuple[str, int | str]
    channel: int
    relative: str | None = None

    def __str__(self) -> str:
        name, key = self.source
        encoding = f" ({self.relative})" if self.relative else ""
        number = "" if name in ("pitch", "pressure") else f" {key}"
        return f"{self.kind}{encoding}: {name}{number} on channel {self.channel}"


def collect(heard: Iterable[Heard], timeout: float = 30.0, window: float = WINDOW) -> list[Touch]:
    """Every touch within `window` seconds of the first. Raises LearnError after `timeout` seconds without any."""
    touches: list[Touch] = []
    start = first = None
    for now, touch in heard:
        start = now if start is None else start
        if touch is not None:
            first = now if first is None else first
            touches.append(touch)
        if first is not None and enough(touches, now - first, window):
            return touches
        if first is None and now - start >= timeout:
            break
    if not touches:
        raise LearnError(f"no control was touched within {timeout:g} s; is the controller plugged in and listed?")
    return touches


def enough(touches: list[Touch], seconds: float, window: float = WINDOW) -> bool:
    """Whether to stop listening, `seconds` after the first touch.

    One or two messages of 127, say, are a button or an endless knob that turns slowly; those get more time.
    """
    values = [touch.value for touch in touches if touch.kind == "cc"]
    unclear = 0 < len(values) < 3 and len(values) == len(touches) and 0 not in values
    return seconds >= (max(window, PATIENCE) if unclear else window)


def classify(touches: list[Touch]) -> Control:
    """The control that was touched most, and its kind.

    Of two CCs 32 apart that move together, coarse then fine, the pair is meant. Aftertouch is a pad's own, as long as
    its note is there. An endless knob should have been turned to the left, slowly; its encoding shows then.
    """
    counts = Counter(t.place for t in touches if t.kind != "osc" and not t.kind.endswith("_step"))
    if not counts:
        raise LearnError("no MIDI control was touched; move one knob or press one pad")
    if any(kind in ("nrpn", "rpn") for kind, _, _ in counts):
        for place in [p for p in counts if p[0] == "cc" and p[1] in _NUMBERED]:
            del counts[place]
    plain = {place: n for place, n in counts.items() if place[0] not in ("pressure", "poly")}
    kind, key, channel = Counter(plain or counts).most_common(1)[0][0]
    if kind == "cc":
        coarse = key - 32 if 32 <= key < 64 else key
        if coarse < 32 and _in_halves(touches, coarse, channel):
            return Control("knob", ("cc14", coarse), channel)
        return _controller([int(t.value) for t in touches if t.place == (kind, key, channel)], key, channel)
    names = {"note": "pad", "pitch": "wheel", "poly": "pressure", "pressure": "pressure", "program": "program"}
    return Control(names.get(kind, "knob"), (kind, key), channel)


def _controller(values: list[int], key: int | str, channel: int) -> Control:
    relative = encoding(values)
    if relative:
        return Control("endless", ("cc", key), channel, relative)
    button = set(values) <= {0, 127} and len(values) <= 4
    return Control("button" if button else "knob", ("cc", key), channel)


def _in_halves(touches: list[Touch], coarse: int, channel: int) -> bool:
    """Whether controllers `coarse` and `coarse` + 32 are one fader: most of the coarse are followed by a fine one.

    A button may have the number of the fine half; it sends 0 and 127 only.
    """
    pair = [t for t in touches if t.kind == "cc" and t.channel == channel and t.key in (coarse, coarse + 32)]
    fine = [t.value for t in pair if t.key == coarse + 32]
    first = [i for i, t in enumerate(pair) if t.key == coarse]
    followed = sum(i + 1 < len(pair) and pair[i + 1].key == coarse + 32 for i in first)
    return bool(first) and followed >= len(first) / 2 and not set(fine) <= {0, 127}


def encoding(values: list[int]) -> str | None:
    """How an endless knob codes its steps, told from its messages; None for a knob with ends.

    A knob with ends never sends one value twice in a row; an endless one sends little else.
    """
    if len(values) < 3 or not any(a == b for a, b in pairwise(values)):
        return None
    if all(0 < v <= _FINGER for v in values):
        return "signed2"  # turned left as asked, so small numbers are steps to the left
    if all(0 < v <= _FINGER or v >= 128 - _FINGER for v in values):
        return "twos"
    if all(64 - _FINGER <= v < 64 or 64 < v <= 64 + _FINGER for v in values):
        return "offset" if min(values) < 64 else "signed"
    if all(0 < v <= _FINGER or 64 < v <= 64 + _FINGER for v in values):
        return "signed" if values[0] > 64 else "signed2"
    return None
