"""Outputs added and removed while the show plays, by two text parameters that any surface can set.

Words from the network are never trusted with more than they need. They may open what stays on this computer or offers
itself to receivers (camera, ndi, spout, syphon, screen, dummy), and files by a plain name inside one folder, never
over one that exists. They may not make this computer send pictures to an address, unless the show was started so
(`any`). What the command line asks for is not bound by this. Opening takes time, so it happens in a thread of its own;
wishes are kept in order and none is lost, up to a bound.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from instrument.outputs import Output, OutputError, OutputGroup, parse
from instrument.parameters.answers import Tell
from instrument.parameters.params import ParamSet, shorten
from pipelines.spec import TextSpec, Value

log = logging.getLogger(__name__)

ADD, REMOVE = "out.add", "out.remove"
Rule = Literal["off", "local", "any"]

MOST = 16  # outputs at once
WAITING = 32  # wishes not yet done
LONGEST = 500  # letters of a wish
_LOCAL = ("camera", "dummy", "file", "ndi", "screen", "spout", "syphon")
_FILE = re.compile(r"[^\W_][\w .()#-]{0,99}")  # begins with a letter or digit: no folder, no dot file
_DEVICE = re.compile(r"(/dev/video\d{1,3}|[\w .()-]{0,99})")


def declare(params: ParamSet) -> None:
    """The two texts that a desk obeys."""
    params.add(ADD, TextSpec("", "adds an output, such as ndi or file:take.mp4"), "out", kept=False)
    params.add(REMOVE, TextSpec("", "takes away the output of this name"), "out", kept=False)


def confined(spec: str, folder: Path, rule: Rule) -> Output:
    """The output that words from the network describe, not yet open. Raises OutputError where they may not have it."""
    spec = spec.strip()
    head, _, query = spec.partition("?")
    kind, _, target = head.partition(":")
    shown = shorten(spec)
    if rule == "off":
        raise OutputError(shown, "outputs cannot be added while this show plays", "start it with --live-out local")
    if len(spec) > LONGEST or not spec.isprintable():
        raise OutputError(shown, "its description cannot be read", f"give at most {LONGEST} letters")
    if kind == "stream" and rule != "any":
        raise OutputError(shown, "streams cannot be added from the network", "start the show with --live-out any")
    if kind == "dummy" and target:
        raise OutputError(shown, "a log cannot be added from the network", "write dummy alone")
    if kind == "dummy" and any(part.partition("=")[0] == "keep" for part in query.split("&")):
        raise OutputError(shown, "frames cannot be kept from the network", "leave that option away")
    if kind == "camera" and not _DEVICE.fullmatch(target):
        raise OutputError(shown, "this is no name of a camera", "write for example camera:/dev/video4")
    if kind == "file":
        return _file(shown, target, query, folder)
    if kind not in (*_LOCAL, "stream"):
        parse(head)  # says which kinds there are
        raise OutputError(shown, f"{kind} cannot be added from the network", "name it on the command line")
    return parse(spec)


def _file(shown: str, target: str, query: str, folder: Path) -> Output:
    """A recording inside the folder."""
    if not _FILE.fullmatch(target) or target != Path(target).name:
        raise OutputError(shown, "a file needs a plain name", "write for example file:take.mp4, without any folder")
    if any(part.partition("=")[0] == "overwrite" for part in query.split("&")):
        raise OutputError(shown, "files cannot be overwritten from the network", "leave that option away")
    return parse(f"file:{folder / target}" + (f"?{query}" if query else ""))


class OutputDesk:
    """`params` are `declare`d, `tell` takes one line for the player, `folder` is where files go. Between `start` and
    `close` it obeys."""

    def __init__(
        self, params: ParamSet, group: OutputGroup, tell: Callable[[str], None], folder: Path, rule: Rule = "local"
    ) -> None:
        self._params, self._group, self._tell = params, group, Tell(tell, params.answers)
        self._folder, self._rule = folder, rule
        self._wishes: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        params.watchers[ADD] = partial(self._wish, ADD)
        params.watchers[REMOVE] = partial(self._wish, REMOVE)

    def _wish(self, id: str, value: Value, origin: str) -> None:
        """Called by whoever sets the parameter, under its lock: must not wait."""
        if not value or self._thread is None:
            return
        if self._wishes.qsize() >= WAITING:
            self._tell(f"{id}: too many at once; wait until those before are done", origin)
            return
        self._wishes.put((id, str(value), origin))

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Obey nothing more; what is being opened is waited for, so long."""
        self._wishes.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None

    def _run(self) -> None:
        while (wish := self._wishes.get()) is not None:
            id, text, origin = wish
            try:
                (self._add if id == ADD else self._remove)(text)
            except OutputError as problem:
                self._tell(str(problem), origin)
            except Exception as problem:  # whatever a library does when it opens: the show goes on
                log.exception("output %s", shorten(text))
                self._tell(f"{id} {shorten(text)}: {type(problem).__name__}: {problem}", origin)
            if self._wishes.empty():  # all is done: the same may be asked for again
                for each in (ADD, REMOVE):
                    self._params.set(each, "", "outputs")

    def _add(self, spec: str) -> None:
        if len(self._group.runners) >= MOST:
            raise OutputError(shorten(spec), f"there are {MOST} outputs already", "take one away first")
        output = confined(spec, self._folder, self._rule)
        name = self._group.add(output)
        self._tell(f"output {name} added")

    def _chosen(self, text: str) -> str:
        """The name of the output that is meant: by its name, or in the words that added it."""
        names = {runner.name for runner in self._group.runners}
        kind, _, target = text.partition(":")
        for spec in (f"file:{self._folder / target}" if kind == "file" else text, text):
            with suppress(OutputError):  # many a name is no description
                own = spec if spec in names else parse(spec).name
                if own in names:
                    return own
        return text

    def _remove(self, name: str) -> None:
        if self._rule == "off":
            raise OutputError(shorten(name), "outputs cannot be removed", "start the show with --live-out local")
        chosen = self._chosen(name.strip())
        finished = self._group.remove(chosen)
        self._tell(f"output {chosen} {'removed' if finished else 'left behind: it did not finish'}")
