"""What happens in a show, as one JSON object a line, for those who watch over it: `--log-json FILE` or `-`.

    {"time": "2025-11-24T20:15:02.113Z", "event": "prompt", "text": "a green moon"}

Events: start, patch, prompt, system, notice, fault, recovered, muted, output up, output down, output fault,
output well, stop. Written by a thread of its own, so that a slow disk or reader holds up nobody; what does not fit into
its queue is counted and said. A disk that is full ends the log, not the show.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

WAITING = 1000  # events not yet written


class Events:
    """`tell` takes a line for the player when the log cannot go on. Raises OSError where the file cannot be opened."""

    def __init__(self, where: str, tell: Callable[[str], None]) -> None:
        """`where` is a file, to which is added, or - for standard output."""
        self._tell, self._where = tell, where
        self._out: TextIO = sys.stdout if where == "-" else Path(where).expanduser().open("a", encoding="utf-8")
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self.lost = 0  # events that found no room, since the start
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def __call__(self, event: str, **facts: Any) -> None:
        """Note an event that happens now; never waits."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._queue.put_nowait({"time": now, "event": event, **facts})
        except queue.Full:
            self.lost += 1

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and let go."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:  # the disk or the reader stands still; it is left behind
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        writing, said = True, 0
        while (facts := self._queue.get()) is not None:
            lost = self.lost
            if lost > said:
                facts["lost"] = lost - said
                said = lost
            if writing:
                writing = self._write(json.dumps(facts, default=str))
        if self._out is not sys.stdout:
            self._attempt(self._out.close)

    def _write(self, line: str) -> bool:
        def write() -> None:
            self._out.write(line + "\n")
            self._out.flush()

        return self._attempt(write)

    def _attempt(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except (OSError, ValueError) as problem:  # ValueError: closed
            self._tell(f"--log-json {self._where}: nothing more is written ({problem})")
            return False
        return True


class Watch:
    """Turns what a show says of itself into events: give it the status now and then. Called from one thread."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note
        self._seen: dict[str, Any] = {}
        self._outputs: dict[str, str] = {}

    def look(self, status: dict[str, Any]) -> None:
        """What has changed since the last look."""
        for key, event, field in (("patch", "patch", "name"), ("prompt", "prompt", "text"), ("system", "system", "is")):
            if self._is_new(key, status[key]):
                self._note(event, **{field: status[key]})
        if self._is_new("fault", status["fault"]):
            self._note("fault" if status["fault"] else "recovered", text=status["fault"])
        if self._is_new("muted", status["muted"]):
            self._note("muted", bends=status["muted"])
        self._look_at_outputs({each["name"]: each["error"] for each in status["outputs"]})

    def _is_new(self, key: str, value: Any) -> bool:
        before = self._seen.get(key, "" if key == "fault" else [] if key == "muted" else None)
        self._seen[key] = value
        return value != before

    def _look_at_outputs(self, now: dict[str, str]) -> None:
        for name in now.keys() - self._outputs.keys():
            self._note("output up", name=name)
        for name in self._outputs.keys() - now.keys():
            self._note("output down", name=name)
        for name, error in now.items():
            if error != self._outputs.get(name, ""):
                self._note("output fault" if error else "output well", name=name, text=error)
        self._outputs = now
