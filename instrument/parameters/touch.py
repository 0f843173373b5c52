"""What a hand did, once the bytes are read: one Touch, whatever it came over.

Knows the kinds of messages and how far each is along its way; nothing of ports, bytes, files or parameters.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

WIDEST = 16383  # of two 7-bit halves
SIXTEEN_K = ("cc14", "nrpn", "rpn")  # kinds whose values run over 0..16383
STEPS = {"nrpn": "nrpn_step", "rpn": "rpn_step"}  # what data increment and decrement arrive as


class Touch(NamedTuple):
    """One thing a hand did. MIDI channels count from 1; 0 = none.

    kind       key                  value
    cc         0..127               0..127
    cc14       0..31, coarse half   0..16383
    note       0..127               velocity, 0 when let go
    pitch      0                    -8192..8191
    pressure   0                    0..127, aftertouch of the whole channel
    poly       note 0..127          0..127, aftertouch of one key
    program    0..127               the same number again
    nrpn rpn   0..16383             0..16383
    nrpn_step rpn_step  0..16383    1 or -1: data increment, decrement
    mmc        stop, play, ...      1
    osc        the address          its argument, 0..1 or text
    """

    kind: str
    key: int | str
    value: float | str
    channel: int = 0

    @property
    def travel(self) -> float:
        """Where the control stands, 0..1; text counts as 1."""
        if isinstance(self.value, str):
            return 1.0
        if self.kind == "pitch":
            return (self.value + 8192) / WIDEST
        if self.kind in ("osc", "mmc"):
            return min(max(self.value, 0.0), 1.0)
        return min(max(self.value / (WIDEST if self.kind in SIXTEEN_K else 127), 0.0), 1.0)

    @property
    def down(self) -> bool:
        """Whether a button is held: a note that sounds, anything else in its upper half. A program always is."""
        if self.kind in ("note", "poly"):
            return self.travel > 0
        return self.kind in ("program", "mmc") or self.travel >= 0.5

    @property
    def place(self) -> tuple[str, int | str, int]:
        """Which control it was: (kind, key, channel)."""
        return self.kind, self.key, self.channel

    def presses(self, last: float | None) -> bool:
        """Whether a button goes down with this, having stood at `last`: any note-on, program or command; of the rest
        what rises through the middle, or the same high value again, as buttons send it that tell no release."""
        if self.kind in ("note", "program", "mmc"):
            return self.down
        return self.down and (last is None or last < 0.5 or self.travel == last)


class OscSources(Protocol):
    """Who plays OSC addresses that are no parameter's: a Mapping, or a Rig of several."""

    @property
    def addresses(self) -> list[str]:
        """OSC addresses that are sources here."""

    def answers(self, address: str) -> bool:
        """Whether an OSC address is a source here."""

    def handle(self, touch: Touch, origin: str = "", *, refused: list[str] | None = None) -> bool:
        """Apply one touch; True if any binding listens to it. `refused` takes why one of them does nothing."""
