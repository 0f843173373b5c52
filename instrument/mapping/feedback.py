"""What a controller shows: rings, lights and motor faders that follow the parameters.

A control that is moved by what it is sent is left alone while a hand moves it. Where a step or a choice was nearest to
where the hand left it, it goes there once the hand rests: sooner, and a knob that is turned click by click would be put
back at every click.

Latest value only: what a light should show is worked out anew and sent if it differs from what was sent last, so a
storm of changes costs one message a look. Knows a Mapping and how to send bytes; no ports.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from instrument.mapping.binding import Bound
from instrument.mapping.link import Link
from instrument.mapping.live import Mapping
from instrument.mapping.profile import Light

Send = Callable[[list[int]], None]
Address = tuple[str, int, int]  # kind, number, channel of the message that lights it


class Lights:
    """The lights of one controller under one mapping. Call it from one thread."""

    def __init__(self, mapping: Mapping, send: Send) -> None:
        self._mapping = mapping
        self._send = send
        self._sent: dict[Address, int | None] = {}
        self._looked: tuple[int, int, int, int] | None = None
        self._astray = False  # a control is to be put where its value is, as soon as the hand rests
        self._table: dict[Address, tuple[Light, list[Bound]]] = {}
        controller = mapping.file.controller
        for part in controller.parts.values() if controller else ():
            if part.light is not None:
                self._table.setdefault(_address(part.light), (part.light, []))
        for bound in mapping.file.bound:
            if bound.light is not None:
                self._table.setdefault(_address(bound.light), (bound.light, []))[1].append(bound)

    @property
    def all(self) -> set[Address]:
        """What it lights."""
        return set(self._table)

    @property
    def bound(self) -> set[Address]:
        """Of that, the lights that show a binding."""
        return {address for address, (_, bounds) in self._table.items() if bounds}

    def leave(self, addresses: set[Address]) -> None:
        """Leave these to another mapping's. Call it before `start`."""
        for address in addresses:
            self._table.pop(address, None)

    def start(self) -> None:
        """Greet the controller and show everything."""
        controller = self._mapping.file.controller
        for message in controller.hello if controller else ():
            self._send(list(message))
        self._sent.clear()
        self._looked = None
        self.show()

    def show(self) -> None:
        """Send what has changed since the last look."""
        if not self._table:
            return
        mapping = self._mapping
        with mapping.params.together(), mapping.lock:
            version, ids = mapping.params.changed(self._looked[0] if self._looked else -1)
            now = (version, mapping.state, mapping.params.structure, mapping.touches)
            if now == self._looked and not ids and not self._astray:
                return
            self._looked, self._astray = now, False
            wanted = [(address, light, self._value(light, bounds)) for address, (light, bounds) in self._table.items()]
        for address, light, value in wanted:
            if value is None:
                self._sent[address] = None  # the control itself stands there: what it showed before no longer counts
            elif self._sent.get(address) != value:
                self._sent[address] = value
                self._send(light.message(value))

    def off(self) -> None:
        """Everything dark; motor faders stay where they are."""
        for light, _ in self._table.values():
            if not light.led.motor:
                self._send(light.message(light.led.off))
        controller = self._mapping.file.controller
        for message in controller.bye if controller else ():
            self._send(list(message))

    def _value(self, light: Light, bounds: list[Bound]) -> int | None:
        """What a light should show: 0..127, 0..16383 for a pitch bend; None: leave it, the hand has just moved it."""
        mapping = self._mapping
        for bound in mapping.active(bounds):
            if bound.binding.go is not None:
                return _switched(light, self._is_open(bound.binding.go))
            for link in mapping.links(bound):
                if link.is_trigger:
                    return light.led.off if light.led.ready is None else light.led.ready
                if link.ours and _moves(light, bound) and not self._may_move(link):
                    return None
                return _level(light, link.shown())
        return light.led.off if not light.led.motor else None

    def _may_move(self, link: Link) -> bool:
        """Whether a control that stands where a hand left it should go to where its value is."""
        if not link.strays():
            return False
        rests = link.rests(time.monotonic())
        self._astray = self._astray or not rests
        return rests

    def _is_open(self, page: int | str) -> bool:
        """Whether the light of a page button is on: of `next` and `previous`, away from the first page."""
        if page in ("next", "previous"):
            return self._mapping.page > 0
        return page in (self._mapping.page_name, self._mapping.page + 1)


def _address(light: Light) -> Address:
    return light.kind, light.key, light.channel


def _moves(light: Light, bound: Bound) -> bool:
    """Whether lighting it moves the control itself: a fader or knob with ends that hears the message it sends."""
    if bound.button or bound.relative:
        return False
    return (light.kind, light.key) == bound.source and bound.channel in (None, light.channel)


def _switched(light: Light, on: bool) -> int:
    return light.led.on if on else light.led.off


def _level(light: Light, n: float) -> int:
    if light.shows == "switch":
        return _switched(light, n >= 0.5)
    lo, hi = light.led.range
    if light.kind == "pitch":
        lo, hi = lo * 129, hi * 129
    return round(lo + n * (hi - lo))
