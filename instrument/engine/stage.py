"""What is on stage: one stream, its text encoder, and the patch that plays on it.

A patch goes on as a whole or not at all: what is set is put back when anything of it fails. What made a chunk once is
remembered as proven, so that the engine can go back to it. Knows no threads and no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from instrument.engine.console import Console
from instrument.engine.loading import SEED, Prepared, declare_patch, prepare, set_all
from instrument.engine.prompts import PromptDesk
from instrument.modulation.modspec import named
from instrument.parameters.params import GLIDE, BadValue, ParamSet
from instrument.state.patch import Patch, PatchError
from instrument.state.patchdesk import PatchDesk
from instrument.state.snapshots import Snapshot, state
from pipelines.bends.bank import Bend
from pipelines.passes import StreamBank
from pipelines.spec import Spec, Value
from pipelines.stream import Stream
from pipelines.text import Prompt, TextEncoder


@dataclass(frozen=True)
class Act:
    """What plays, or could: a patch made ready for this stream."""

    stream: Stream
    encoder: TextEncoder
    prepared: Prepared
    prompts: Mapping[str, Prompt] = field(default_factory=dict)  # that the encoder has encoded already, by their texts
    songs: tuple[Prepared, ...] = ()  # of the set list, made ready too


class Played(NamedTuple):
    """What played, and how the hands had set it; not its bank, which may be large."""

    patch: Patch
    snapshots: dict[int, Snapshot]
    values: dict[str, Value]


def with_songs(act: Act, songs: Iterable[Patch]) -> tuple[Act, list[str]]:
    """The act with these of the set list made ready as well: their banks, prompts and recordings; and what is wrong
    with those that are not. Its stream must not play yet, has read a prompt, and forgets its past."""
    ready, prompts, problems = [], dict(act.prompts), []
    for song in songs:
        try:
            same = song is act.prepared.patch
            prepared = act.prepared if same else prepare(song, act.stream)
            for text in texts_of(song):
                prompts[text] = prompts.get(text) or act.encoder.encode(text)
            if act.stream.recorded and not same:
                act.stream.rehearse(prepared.bank)
            ready.append(prepared)
        except PatchError as problem:
            problems.append(str(problem))
        except Exception as problem:  # no memory, an encoder that fails: the others, and what plays, go on
            problems.append(f"{song.name} cannot be made ready ({type(problem).__name__}: {problem})")
    return replace(act, prompts=prompts, songs=tuple(ready)), problems


def texts_of(patch: Patch) -> tuple[str, ...]:
    """What a patch says first, to be encoded."""
    first, *others = (voice.text for voice in patch.voices)
    return tuple(dict.fromkeys([first, *filter(None, others)]))


class Stage:
    """Owned by the engine and used in its thread."""

    def __init__(
        self,
        stream: Stream,
        encoder: TextEncoder,
        params: ParamSet,
        console: Console,
        desk: PatchDesk,
        prompts: PromptDesk,
    ) -> None:
        self.stream, self.encoder = stream, encoder
        self._params, self._console, self._desk, self._prompts = params, console, desk, prompts
        self.ids: list[str] = []  # the parameters that came of the patch
        self._ready: dict[int, Prepared] = {}  # the set list on this stream, by identity
        self._stored: dict[int, tuple[Patch, dict[int, Snapshot]]] = {}  # its snapshots, on whatever stream
        self._playing: Act | None = None
        self._proven: Act | None = None
        self._made: dict[str, Value] = {}  # the values of what is proven

    @property
    def patch(self) -> Patch | None:
        return self._playing.prepared.patch if self._playing else None

    @property
    def songs(self) -> tuple[Patch, ...]:
        """The set list."""
        return self._desk.songs

    # --- patches ---

    def rehearse(self, patch: Patch) -> None:
        """Prepare a patch of the set list, its bank and its prompts, and where passes are recorded its recordings.
        Raises PatchError. The one that plays keeps its own, and what is stored in it."""
        same = self._playing is not None and self._playing.prepared.patch is patch
        ready = self._playing.prepared if same else prepare(patch, self.stream)
        self._keep(ready)
        spoken = self._prompts.first(patch)
        if self.stream.recorded:
            if not self.stream.has_prompt:
                self.stream.read_prompt(spoken)
            self.stream.rehearse(ready.bank)

    def _keep(self, ready: Prepared) -> None:
        """A patch of the set list is ready."""
        self._stored.setdefault(id(ready.patch), (ready.patch, ready.snapshots))
        self._ready[id(ready.patch)] = self._own(ready)

    def _own(self, ready: Prepared) -> Prepared:
        """With what was stored in it on another stream, if it is of the set list."""
        _, stored = self._stored.get(id(ready.patch), (ready.patch, ready.snapshots))
        return replace(ready, snapshots=stored)

    def load(self, patch: Patch) -> None:
        """Make the patch the one that plays. Raises PatchError, or whatever else went wrong; then nothing changed."""
        ready = self._ready.get(id(patch)) or self._own(prepare(patch, self.stream))
        self._put_on(Act(self.stream, self.encoder, ready))

    def take_over(self, act: Act, values: Mapping[str, Value] | None) -> None:
        """Another stream comes on; with `values` the patch that plays goes on there, over its own where they still fit,
        and keeps what was stored. Raises as `load` does."""
        ready = self._own(act.prepared)
        if values is not None:
            ready = replace(ready, snapshots=self._console.snapshots)
        self._put_on(replace(act, prepared=ready), values)

    def played(self) -> Played | None:
        """What plays, to be gone back to; None before the first patch."""
        return Played(self.patch, self._console.snapshots, self.values()) if self._playing else None

    def go_back(self, played: Played) -> None:
        """As it was left, with what has been stored in it. Raises as `load` does."""
        ready = self._ready.get(id(played.patch)) or prepare(played.patch, self.stream)
        act = Act(self.stream, self.encoder, replace(ready, snapshots=played.snapshots))
        self._put_on(act, played.values)

    def refused(self) -> None:
        """Surfaces are shown what plays, after a wish that could not be met."""
        self._desk.refused()

    def edited(self, patch: Patch, bends: tuple[Bend, ...] | None = None, bank: StreamBank | None = None) -> None:
        """The patch that plays has been given other modulators, or bends and their bank; they play already."""
        ready = self._playing.prepared
        bends, bank = ready.bends if bends is None else bends, bank or ready.bank
        prepared = replace(ready, patch=patch, bends=bends, bank=bank, modulators=named(patch.modulators))
        self._playing = replace(self._playing, prepared=prepared)

    def values(self) -> dict[str, Value]:
        """What the hands have set of all that a patch can say, by id."""
        return {parameter.id: parameter.base for parameter in self._params if parameter.kept or _is_said(parameter.id)}

    def _put_on(self, act: Act, values: Mapping[str, Value] | None = None) -> None:
        before, was, snapshots = self._playing, self.values(), dict(self._console.snapshots)
        past = self._console.history.past()
        try:
            self._install(act, values or {})
        except BaseException:
            if before is not None:
                self._install(before, was)
                self._console.snapshots = snapshots
                self._console.history.restore(past)
            raise
        if _kin(before, self._proven):
            self._made = {**self._made, **was}
        self._playing = act
        if act.stream is not self.stream:
            self.stream, self.encoder = act.stream, act.encoder
            self.let_go()
            for ready in act.songs:
                self._keep(ready)
            self._prompts.use(act.encoder, act.stream.device, act.prompts)
        act.stream.play(act.prepared.bank)

    def _install(self, act: Act, values: Mapping[str, Value]) -> None:
        """The act's parameters at its values, and what moves them."""
        params, ready, stream = self._params, act.prepared, act.stream
        with params.together():
            specs = {id: params[id].spec for id in self.ids}
            for id in self.ids:
                params.remove(id)
            others = set(params.ids())
            try:
                declare_patch(params, ready.patch, ready.bends, stream.steps, stream.model.config.num_layers)
            finally:
                self.ids = [id for id in params.ids() if id not in others]
            set_all(params, ready.patch)
            self._prompts.load(ready.patch)
            home = state(params)
            for id, value in values.items():
                self._restore(id, value, specs.get(id))
            self._console.load(ready.modulators, ready.snapshots, home)
            self._desk.played(ready.patch)

    def _restore(self, id: str, value: Value, spec: Spec | None) -> None:
        """A value from before, where its parameter is still there and takes it. What stood at the default of a network
        with other sizes (all of its layers, its own number of steps) is at this one's."""
        if id in self._params and self._params[id].base != value:
            now = self._params[id].spec
            if spec is not None and spec != now and value == spec.default != now.default:
                return
            try:
                self._params.set(id, value, "patch")
            except BadValue:  # another kind of parameter bears the name now
                return

    # --- what has proven itself ---

    def prove(self) -> None:
        """What plays has made a chunk."""
        self._proven, self._made = self._playing, self.values()

    def fall_back(self) -> Patch | None:
        """Go back to what made a chunk last, as the hands had set it, if what plays has made none yet; the patch that
        failed."""
        failed, proven = self._playing, self._proven
        if failed is None or proven is None or failed is proven or proven.stream is not self.stream:
            return None
        values = {**self._made, **self.values()} if _kin(failed, proven) else self._made
        self._put_on(proven, values)
        return failed.prepared.patch

    def let_go(self) -> None:
        """Nothing is proven, nothing is ready and nothing can be undone: nobody but whoever plays it holds what was on
        stage. What was stored in the set list's snapshots stays."""
        self._proven = None
        self._console.history.clear()
        self._ready.clear()


def _is_said(id: str) -> bool:
    """Whether a patch speaks of it though it is not kept in snapshots."""
    return id in (SEED, GLIDE) or id.startswith("clock.") or id.endswith(".solo")


def _kin(one: Act | None, other: Act | None) -> bool:
    """Whether one is the other, or came of it by bends that came and went."""
    return one is not None and other is not None and one.prepared.snapshots is other.prepared.snapshots
