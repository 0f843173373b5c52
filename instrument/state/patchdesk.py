"""Which patch plays: the set list, patches loaded by name, and saving, by parameters and triggers.

Files are read and written in a thread of their own, so that the engine never waits for a disk; names come from anywhere
and stay inside the patch folder. What plays is kept there by itself, too (autosave.py). The desk only wishes for a
patch; the engine swaps it between chunks. No torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from instrument.parameters.answers import NOBODY, Asked, Tell
from instrument.parameters.params import ParamSet, shorten
from instrument.parameters.wished import Wishing
from instrument.state import patch as patches
from instrument.state import saving
from instrument.state.autosave import Autosave
from instrument.state.patch import Patch, PatchError
from instrument.state.saving import SaveError
from instrument.state.snapshots import Snapshot
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec, Value

GOTO, LOAD, NAME = "patch.goto", "patch.load", "patch.name"
NEXT, PREVIOUS, RELOAD, SAVE = "patch.next", "patch.previous", "patch.reload", "patch.save"
_BETWEEN_SAVES = 1.0  # seconds
ORIGIN = "desk"

_Awaited = tuple[Future, Asked]  # what the disk is asked, and by whom


def declare(params: ParamSet) -> None:
    """The parameters and triggers of the desk."""
    goes = "plays the patch of this place in the set list; 0: what plays is none of it"
    place = ControlSpec(0, 128, 0, step=1, doc=goes)
    params.add(GOTO, place, "patch", glide=0, kept=False)
    load = TextSpec("", "plays the patch of this name, from the patch folder or those that ship", listed=True)
    params.add(LOAD, load, "patch", kept=False)
    name = TextSpec("", "what patch.save calls the file; empty: as the patch that plays")
    params.add(NAME, name, "patch", kept=False)
    params.add(NEXT, TriggerSpec("plays the next patch of the set list"), "patch")
    params.add(PREVIOUS, TriggerSpec("plays the patch before it in the set list"), "patch")
    params.add(RELOAD, TriggerSpec("reads the patch that plays from its file again", once=True), "patch")
    params.add(SAVE, TriggerSpec("saves what is set now as a new patch in the patch folder"), "patch")


class PatchDesk:
    """`on_time(label, action, asked)` runs an action now or on the next beat; `tell` takes a line for the player."""

    def __init__(
        self, params: ParamSet, on_time: Callable[[str, Callable[[], None], Asked], None], tell: Callable[[str], None]
    ) -> None:
        declare(params)
        self.folder: Path | None = None
        self.snapshots: Callable[[], Mapping[int, Snapshot]] = dict
        self.system: Callable[[], tuple[str, str]] = lambda: ("", "")  # the model and the size that play
        self._params, self._on_time, self._tell = params, on_time, Tell(tell, params.answers)
        self._list: list[Patch] = []
        self._place, self._listed = 0, False  # where the set list goes on from; whether what plays is of it
        self._playing = Patch()
        self._wanted: tuple[Patch, Asked] | None = None
        self._asked = NOBODY  # the wish for what was taken last
        self._worker: ThreadPoolExecutor | None = None
        self._loading: _Awaited | None = None
        self._saving: _Awaited | None = None
        self._keeping: _Awaited | None = None
        self.autosave = Autosave()
        self._closing = threading.Lock()
        self._saved_at = -_BETWEEN_SAVES
        self._wishing = Wishing(params, (GOTO, LOAD), ORIGIN)
        self._commands = {
            NEXT: partial(self._step, 1),
            PREVIOUS: partial(self._step, -1),
            RELOAD: self._reload,
            SAVE: self._save,
        }

    def set_list(self, patches: list[Patch]) -> None:
        """The patches that next, previous and goto choose from."""
        self._list = list(patches)
        self._find()
        self.refused()

    def close(self) -> None:
        """Keep what plays, if it has changed since it was kept last, and finish writing. From any thread: where a chunk
        does not end, others wait no longer for the engine's."""
        with self._closing:
            if self.autosave.every:
                self._keep()
            if self._worker is not None:
                self._worker.shutdown()
                self._worker = None
            self._keeping = self._answer(self._keeping, lambda nothing, asked: None)

    # --- the engine's side ---

    def obey(self, id: str, origin: str = "") -> bool:
        """A trigger was fired; whether it was one of the desk's."""
        command = self._commands.get(id)
        if command is not None:
            command(origin)
        return command is not None

    def tick(self) -> None:
        """Follow `patch.goto` and `patch.load`, and say what the disk answered."""
        for wished in self._wishing.take():
            (self._goto if wished.id == GOTO else self._load)(wished.value, wished.asked)
        self._loading = self._answer(self._loading, self._want, self.refused)
        self._saving = self._answer(self._saving, lambda file, asked: self._tell.notice(f"saved {file}", asked.origin))
        self._keeping = self._answer(self._keeping, lambda nothing, asked: None)
        if self._keeping is None and self.autosave.due(self._params.version):
            self._keep()

    def take(self) -> Patch | None:
        """The patch to play from now on, once; None to go on with the one that plays."""
        if self._wanted is None:
            return None
        (patch, self._asked), self._wanted = self._wanted, None
        return patch

    @property
    def asked(self) -> Asked:
        """The wish for the patch taken last."""
        return self._asked

    @property
    def playing(self) -> Patch:
        """The patch that plays, as it was loaded, with the bends that came and went since."""
        return self._playing

    @property
    def songs(self) -> tuple[Patch, ...]:
        """The set list, in order."""
        return tuple(self._list)

    @property
    def names(self) -> list[str]:
        """Of the patches in the set list, in order."""
        return [patch.name for patch in self._list]

    def _find(self) -> None:
        """Where in the set list what plays stands: itself, or what was read from its file before."""
        itself = [place for place, each in enumerate(self._list) if each is self._playing]
        same = [place for place, each in enumerate(self._list) if _name_of(each) == _name_of(self._playing)]
        self._listed = bool(same)
        if same:
            self._place = itself[0] if itself else self._place if self._place in same else same[0]

    def edited(self, patch: Patch) -> None:
        """Bends came or went in the patch that plays; saving it keeps that, its file and the set list stay."""
        self._playing = patch

    def played(self, patch: Patch) -> None:
        """The engine plays this patch now; surfaces see it."""
        self._playing = patch
        self._find()
        self.refused()

    def refused(self, why: str = "") -> None:
        """What plays, on surfaces: after a wish that could not be met, too, so that the same may be wished again.
        `why`, if it is not told yet, goes to who wished for what was taken last."""
        if why:
            self._tell(why, self._asked.origin)
        self._wishing.show(LOAD, self._playing.name)
        self._wishing.show(GOTO, self._place + 1 if self._listed else 0)

    # --- what a hand asks for ---

    def _want(self, patch: Patch, asked: Asked) -> None:
        self._on_time("patch", partial(self._now, patch, asked), asked)

    def _now(self, patch: Patch, asked: Asked) -> None:
        self._params.answers.overtaken(self._wanted and self._wanted[1], asked)
        self._wanted = patch, asked

    def _choose(self, patch: Patch, asked: Asked) -> None:
        """One that is there already."""
        self._overtake(asked)
        self._want(patch, asked)

    def _overtake(self, asked: Asked) -> None:
        """A patch whose file is still being read is not wished for any more."""
        self._params.answers.overtaken(self._loading and self._loading[1], asked)
        self._loading = None

    def _step(self, by: int, origin: str) -> None:
        place = self._place + by
        if 0 <= place < len(self._list):
            self._choose(self._list[place], Asked(NEXT if by > 0 else PREVIOUS, origin))
        else:
            self._tell("there is no other patch in the set list; give several with --patch", origin)

    def _goto(self, number: Value, asked: Asked) -> None:
        if 1 <= int(number) <= len(self._list):
            self._choose(self._list[int(number) - 1], asked)
        elif number == 0:
            self.refused()
        else:
            self._tell(f"patch.goto {number}: the set list has {len(self._list)}", asked.origin)
            self.refused()

    def _load(self, name: Value, asked: Asked) -> None:
        if name:
            self._read(str(name), asked)
        else:
            self.refused()

    def _reload(self, origin: str) -> None:
        file = self._playing.file
        self._read(Path(file) if file else self._playing.name, Asked(RELOAD, origin))

    def _read(self, which: str | Path, asked: Asked) -> None:
        self._overtake(asked)
        self._loading = self._work(partial(patches.load, which, self.folder)), asked

    def _save(self, origin: str) -> None:
        if self.folder is None:
            self._tell("there is no folder to save into; start with --patches-dir FOLDER", origin)
            return
        now = time.monotonic()
        if self._saving is not None or now - self._saved_at < _BETWEEN_SAVES:
            self._tell("patch.save: one is being saved, or was less than a second ago; fire it again later", origin)
            return
        self._saved_at = now
        name = str(self._params[NAME].base) or self._playing.name
        self._saving = self._work(partial(saving.save, self._state(), self.folder, name)), Asked(SAVE, origin)

    def _keep(self) -> None:
        if self.folder is not None:
            self._keeping = self._work(partial(self.autosave.keep, self._state(), self.folder)), NOBODY

    def _state(self) -> Patch:
        return saving.as_patch(self._playing, self._params, self.snapshots(), self.system())

    def _work(self, action: Callable[[], object]) -> Future:
        self._worker = self._worker or ThreadPoolExecutor(1, "patches")
        return self._worker.submit(action)

    def _answer(
        self, awaited: _Awaited | None, use: Callable[[object, Asked], None], failed: Callable[[], None] = lambda: None
    ) -> _Awaited | None:
        """Once it is there: use it, or tell what went wrong. None when nothing is awaited any more."""
        if awaited is None or not awaited[0].done():
            return awaited
        future, asked = awaited
        try:
            use(future.result(), asked)
        except (PatchError, SaveError) as problem:
            self._tell(str(problem), asked.origin)
            failed()
        except Exception as problem:  # a disk that fails, no memory, a fault of ours: what plays goes on
            self._tell(f"the patch folder: {type(problem).__name__}: {shorten(str(problem))}", asked.origin)
            failed()
        return None


def _name_of(patch: Patch) -> tuple[object, str]:
    return patch.file, patch.name
