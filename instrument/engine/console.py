"""The console: what stands between the hands and the engine, beat by beat.

It owns the clock, the modulators, the snapshots with their morphs, and undo; it declares their parameters and carries
their triggers out at the next denoising step, or on the next beat or bar. All of it runs in the engine's thread, as
`tick` before every step. Knows no tensors and no files; patches are swapped by the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from instrument.modulation.ableton import AbletonLink, LinkMissing
from instrument.modulation.clock import FASTEST, INTERNAL, LINK, SLOWEST, SOURCES, Clock
from instrument.modulation.modspec import ModulatorSpec
from instrument.modulation.modulators import Rack
from instrument.parameters.answers import NOBODY, Asked, Tell
from instrument.parameters.params import GLIDE, ParamSet
from instrument.state import morph
from instrument.state.history import History
from instrument.state.morph import Morph
from instrument.state.patch import LONGEST_GLIDE, MOST_SNAPSHOTS
from instrument.state.snapshots import Snapshot, state
from pipelines.spec import ChoiceSpec, ControlSpec, TextSpec, TriggerSpec, Value

PADS = 8  # snapshots with triggers of their own
GOTO = "snapshot.goto"
RECALLED = "snapshot"  # the origin of what a recall sets
_OFTEN = 64  # triggers waiting for a beat
_SHOWN = 0.05  # beats a minute that a followed tempo must differ from the one shown


def declare(params: ParamSet) -> None:
    """The parameters of clock, snapshots, morphs, undo and glides: those that every show has."""

    def number(id: str, spec: ControlSpec) -> None:
        params.add(id, spec, group=id.split(".", 1)[0], glide=0, kept=False)

    number(GLIDE, ControlSpec(0, LONGEST_GLIDE, 0, "cubed", "ms", doc="how long numbers take to follow a jump"))
    number("clock.tempo", ControlSpec(SLOWEST, FASTEST, 120, unit="bpm", doc="beats a minute"))
    number("clock.bar", ControlSpec(1, 16, 4, step=1, doc="beats in a bar"))
    sources = "own tempo and taps, MIDI clock, or Ableton Link"
    params.add("clock.source", ChoiceSpec(SOURCES, INTERNAL, sources), "clock", kept=False)
    quantise = "when recalls and patch changes happen: at once, on the next beat, or bar"
    params.add("clock.quantise", ChoiceSpec(("off", "beat", "bar"), "off", quantise), "clock", kept=False)
    params.add("clock.tap", TriggerSpec("the tempo, from two taps on"), "clock")
    params.add("clock.downbeat", TriggerSpec("now is the first beat of a bar"), "clock")
    for pad in range(1, PADS + 1):
        params.add(f"snapshot.{pad}.recall", TriggerSpec(f"recall snapshot {pad}"), "snapshot")
        params.add(f"snapshot.{pad}.store", TriggerSpec(f"store the state as snapshot {pad}"), "snapshot")
    recalls = "recalls the snapshot of this number; 0: as the file has it"
    number(GOTO, ControlSpec(0, MOST_SNAPSHOTS, 0, step=1, doc=recalls))
    number("morph.seconds", ControlSpec(0, 120, 0, "cubed", "s", doc="how long a recall takes"))
    slots = {"lo": 0, "hi": MOST_SNAPSHOTS, "step": 1}
    number("morph.from", ControlSpec(**slots, default=0, doc="snapshot at the fader's start; 0: as the file has it"))
    number("morph.to", ControlSpec(**slots, default=1, doc="snapshot at the fader's end"))
    number("morph.position", ControlSpec(0, 1, 0, doc="fader between two snapshots"))
    corners = "snapshots at bottom left, bottom right, top left, top right of the square"
    params.add("morph.corners", TextSpec("1 2 3 4", corners), "morph", kept=False)
    number("morph.x", ControlSpec(0, 1, 0, doc="across the square of four snapshots"))
    number("morph.y", ControlSpec(0, 1, 0, doc="up the square of four snapshots"))
    for id in (GOTO, *_FADERS):  # the same again brings back what a hand has moved since
        params.heed(id)
    params.add("undo", TriggerSpec("takes back the last of up to 50 changes"), "engine")
    params.add("redo", TriggerSpec("makes the change last taken back again"), "engine")


class _Waiting(NamedTuple):
    """What is to be done at a beat."""

    due: float  # beats
    label: str
    action: Callable[[], None]
    asked: Asked


class Console:
    """One show's. `tell` takes one line of text for the player and must not wait."""

    def __init__(self, params: ParamSet, tell: Callable[[str], None]) -> None:
        declare(params)
        self.params, self._tell = params, Tell(tell, params.answers)
        self.clock = Clock()
        self.rack = Rack(params, self.clock)
        self.history = History(params)
        self.snapshots: dict[int, Snapshot] = {}
        self._home = Snapshot("as the file has it", {})
        self._link = AbletonLink(self.clock)
        self._morph: Morph | None = None
        self._waiting: deque[_Waiting] = deque(maxlen=_OFTEN)
        self._now, self._jumps = 0.0, 0
        self._watched = {id: params[id].wished for id in _WATCHED}
        self._faders = self._standing()
        self._commands = self._table()
        params.modulate(self.rack)

    def _table(self) -> dict[str, Callable[[float, str], None]]:
        """Trigger -> what it does, given when it was fired and by whom."""
        table: dict[str, Callable[[float, str], None]] = {
            "clock.tap": lambda at, by: self._tap(at),
            "clock.downbeat": lambda at, by: self.clock.downbeat(at),
            "undo": lambda at, by: self._step_back(self.history.undo, "undo", by),
            "redo": lambda at, by: self._step_back(self.history.redo, "redo", by),
        }
        for pad in range(1, PADS + 1):
            table[f"snapshot.{pad}.recall"] = lambda at, by, pad=pad: self._wish_for(pad, by)
            table[f"snapshot.{pad}.store"] = lambda at, by, pad=pad: self.store(pad)
        return table

    def load(
        self,
        modulators: dict[str, ModulatorSpec],
        snapshots: dict[int, Snapshot],
        home: Mapping[str, Value] | None = None,
    ) -> None:
        """A patch was loaded: its parameters are there and have their values. `home`: the state as its file has it, if
        it is another than this."""
        self._morph = None
        for wish in [wish for wish in self._waiting if wish.label != _LASTING]:
            self.params.answers.overtaken(wish.asked, Asked("another patch"))
            self._waiting.remove(wish)
        self.rack.load(modulators)
        self.snapshots = snapshots  # not a copy: what is stored is there when the set comes back to this patch
        self._home = Snapshot(self._home.name, state(self.params) if home is None else dict(home))
        self._faders = self._standing()
        self.history.clear()
        self.params.settle()

    def joined(self, ids: list[str]) -> None:
        """Parameters that came while the patch plays: in slot 0 they are as they came."""
        values = {id: self.params[id].base for id in ids if self.params[id].kept}
        self._home = Snapshot(self._home.name, {**self._home.values, **values})

    @property
    def problems(self) -> list[str]:
        """What the player should know now."""
        return self.rack.problems

    def close(self) -> None:
        """Leave the Link session, if there is one."""
        self._link.close()

    # --- every tick ---

    def tick(self, now: float) -> None:
        """Everything that is due at `now`, before the parameters are read."""
        self._now = now
        for id in _WATCHED:
            wished = self.params[id].wished
            if wished != self._watched[id]:
                self._watched[id] = wished
                self._turned(id)
        self._show_tempo()
        self.rack.listen(now)
        beat, jumps = self.clock.beat(now), self.clock.jumps
        late = jumps != self._jumps or not self.clock.running  # the beat that was waited for never comes
        while self._waiting and (self._waiting[0].due <= beat or late):
            self._waiting.popleft().action()
        self._jumps = jumps
        if self._morph is not None and not self._morph.tick(now):
            self._morph = None
        self._follow_faders()

    def obey(self, id: str, at: float, origin: str = "") -> bool:
        """A trigger was fired at `at` by `origin`; whether it was one of the console's. Any may fire a modulator."""
        self.rack.fire(id)
        command = self._commands.get(id)
        if command is not None:
            command(at, origin)
        return command is not None

    def on_time(self, label: str, action: Callable[[], None], asked: Asked = NOBODY) -> None:
        """Do it now, or on the beat or bar that `clock.quantise` asks for; the last wish with a label counts, and who
        has `asked` for one before is answered."""
        for wish in [wish for wish in self._waiting if wish.label == label]:
            self.params.answers.overtaken(wish.asked, asked)
            self._waiting.remove(wish)
        quantise = self.params["clock.quantise"].base
        if quantise == "off" or not self.clock.running:
            action()
            return
        due = self.clock.next_beat(self._now, 1 if quantise == "beat" else 0)
        wishes = [*self._waiting, _Waiting(due, label, action, asked)]
        self._waiting = deque(sorted(wishes, key=lambda wish: wish.due), maxlen=_OFTEN)

    def _turned(self, id: str) -> None:
        """A parameter that is acted on when it changes."""
        value = self.params[id].base
        if id == "clock.tempo":
            if self.params[id].origin not in SOURCES:
                self.clock.set_tempo(value, self._now)
                self._link.set_tempo(value)
        elif id == "clock.bar":
            self.clock.set_bar(int(value))
        elif id == "clock.source":
            self._listen_to(str(value), self.params[id].origin)
        elif id == GOTO and self.params[id].origin != RECALLED:
            self._wish_for(int(value), self.params[id].origin)

    # --- the clock ---

    def _tap(self, at: float) -> None:
        tempo = self.clock.tap(at)
        if tempo is not None:
            self.params.set("clock.tempo", tempo, INTERNAL)
            self._link.set_tempo(tempo)

    def _listen_to(self, source: str, origin: str) -> None:
        try:
            if source == LINK:
                self._link.start()
            else:
                self._link.close()
        except LinkMissing as problem:
            self._tell(str(problem), origin)
            self.params.set("clock.source", INTERNAL, "clock")
            source = INTERNAL
        self.clock.follow(source, self._now)

    def _show_tempo(self) -> None:
        """A tempo that comes from outside, where surfaces see it."""
        if self.clock.source != INTERNAL and abs(self.clock.tempo - self.params["clock.tempo"].base) > _SHOWN:
            self.params.set("clock.tempo", self.clock.tempo, self.clock.source)

    # --- snapshots, morphs, undo ---

    def store(self, slot: int) -> None:
        """Keep the state as it is set now, without modulation, in a slot from 1. Undo brings back what was there."""
        before, own = self.snapshots.get(slot), self.snapshots  # of this patch, whichever plays when it is taken back
        after = Snapshot(before.name if before else str(slot), state(self.params))
        self.history.step(partial(self._put, own, slot, before), partial(self._put, own, slot, after))
        self._put(own, slot, after)

    def _put(self, snapshots: dict[int, Snapshot], slot: int, snapshot: Snapshot | None) -> None:
        """Into a slot; None empties it."""
        if snapshot is None:
            snapshots.pop(slot, None)
            self._tell(f"snapshot {slot} is empty again")
        else:
            snapshots[slot] = snapshot
            self._tell(f"stored snapshot {slot}")

    def _wish_for(self, slot: int, origin: str) -> None:
        self.on_time("snapshot", partial(self.recall, slot, origin), Asked(f"snapshot {slot}", origin))

    def recall(self, slot: int, origin: str = "") -> None:
        """Set what the snapshot holds, over `morph.seconds`; it is `origin` who wished so."""
        if slot and slot not in self.snapshots:
            self._tell(f"snapshot {slot} is empty; store it first", origin)
            return
        values = self.snapshots[slot].values if slot else self._home.values
        self.history.cut()
        with self.params.together():
            shown = self.params[GOTO]
            if shown.wished == self._watched[GOTO] or shown.origin == RECALLED:  # else a hand has just wished again
                self.params.set(GOTO, slot, RECALLED)
        seconds = float(self.params.heard("morph.seconds"))
        if seconds > 0:
            self._morph = Morph(self.params, values, self._now, seconds)
        else:
            self._morph = None
            morph.write(self.params, values, RECALLED)

    def _follow_faders(self) -> None:
        """Where a morph's fader or corner was moved, by a hand or a modulator, or sent where it stands, go there."""
        standing = self._standing()
        if standing == self._faders:
            return
        moved = {id for id in _FADERS if standing[id] != self._faders[id]}
        self._faders = standing
        heard = {id: value for id, (value, _) in standing.items()}
        if moved & {"morph.from", "morph.to", "morph.position"}:
            position = float(heard["morph.position"])
            self._blend([int(heard["morph.from"]), int(heard["morph.to"])], (1 - position, position))
        else:
            slots = [int(word) for word in str(heard["morph.corners"]).split() if word.isdecimal()]
            if len(slots) == 4:
                self._blend(slots, morph.corners(float(heard["morph.x"]), float(heard["morph.y"])))
            else:
                remedy = "write four numbers such as 1 2 3 4"
                self._tell(f"morph.corners cannot be '{heard['morph.corners']}'; {remedy}", self._mover(moved))

    def _standing(self) -> dict[str, tuple[Value, int]]:
        """Of every fader and corner: where it is heard, and when that was wished for."""
        return {id: (self.params.heard(id), self.params[id].wished) for id in _FADERS}

    def _mover(self, moved: set[str]) -> str:
        """The hand that moved one of these last; nobody where a modulator did."""
        newest = max((self.params[id] for id in moved), key=lambda parameter: parameter.wished)
        return newest.origin if newest.base == self._faders[newest.id][0] else ""

    def _blend(self, slots: list[int], weights: tuple[float, ...]) -> None:
        """What any of the snapshots holds, between them all; what one lacks is as the file has it."""
        self._morph = None
        own = [self.snapshots[slot].values if slot in self.snapshots else {} for slot in slots]
        ids = {id for values in own for id in values} or set(self._home.values)
        full = [{id: values.get(id, self._home.values[id]) for id in ids if id in self._home.values} for values in own]
        morph.write(self.params, morph.between(self.params, full, weights))

    def _step_back(self, step: Callable[[], bool], word: str, origin: str) -> None:
        self._morph = None
        if not step():
            self._tell(f"nothing to {word}", origin)

    def calm(self, pressed: int) -> None:
        """Panic: no morph, no glide, and every modulator off that was not switched on since version `pressed`."""
        self._morph = None
        for name in self.rack.names:
            if self.params[f"{name}.on"].version < pressed:
                self.params.set(f"{name}.on", False, "panic")
        self.params.settle()


_LASTING = "patch"  # the label of what is newer than any patch that comes on meanwhile
_WATCHED = ("clock.tempo", "clock.bar", "clock.source", GOTO)
_FADERS = ("morph.from", "morph.to", "morph.position", "morph.x", "morph.y", "morph.corners")
