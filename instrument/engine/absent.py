"""Words, heads and neurons that a scope asks for and the network lacks are told to whoever asked, at once.

The status warns of them too, for as long as they are absent; this is the answer to the one touch that set them.
"""

from __future__ import annotations

from instrument.parameters.params import ParamSet

_PLACES = ("tokens", "neurons", "heads")


class Absent:
    """Used in the engine's thread, once a chunk."""

    def __init__(self, params: ParamSet) -> None:
        self._params, self._answers = params, params.answers
        self._told: set[str] = set()
        self._versions = 0, 0  # at the last two looks: what is set in one chunk may be folded in the next

    def look(self, report: list[str]) -> None:
        """`report`: what the bank found absent when it was folded last, as lines `bend: ...`."""
        new = set(report) - self._told
        self._told = set(report)
        for line in sorted(new):
            self._answer(line)
        self._versions = self._versions[1], self._params.version

    def _answer(self, line: str) -> None:
        bend = line.partition(":")[0]
        ids = [id for id in (f"{bend}.{place}" for place in _PLACES) if id in self._params]
        latest = max((self._params[id] for id in ids), key=lambda parameter: parameter.version, default=None)
        if latest is not None and latest.version > self._versions[0]:  # else the prompt has changed, or the patch
            self._answers.put(latest.origin, line, refused=False)
