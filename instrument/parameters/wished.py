"""Parameters that hands wish by, and that show what is the case: which patch, which model, which mappings.

A wish is the latest value; whoever takes them up looks now and then, acts, and shows what came of it. Whose wish was
overtaken before anybody looked is answered. Knows parameters; not what they wish for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from instrument.parameters.answers import Asked
from instrument.parameters.params import ParamSet
from pipelines.spec import Value

_MOST = 16  # answered between two looks: a storm of wishes must not take the words of others away


class Wished(NamedTuple):
    """What a hand has set, or fired, since the last look."""

    id: str
    value: Value
    origin: str

    @property
    def asked(self) -> Asked:
        return _asked(self.id, self.value, self.origin)


class Wishing:
    """Some parameters of one kind. They are set in any thread; the methods are called in one."""

    def __init__(self, params: ParamSet, ids: Iterable[str], origin: str) -> None:
        """`origin`: of what is shown, and is no wish."""
        self._params, self._origin = params, origin
        self._seen = {id: params[id].version for id in ids}
        self._waiting: dict[str, Asked] = {}  # not looked at yet
        self._overtaken = 0  # since the last look
        for id in self._seen:
            params.watchers[id] = partial(self._set, id)

    def _set(self, id: str, value: Value, origin: str) -> None:
        """In whichever thread, under the parameters' lock. Of numbers a fader passes through many that nobody means."""
        if origin != self._origin and isinstance(value, str):
            asked, before = _asked(id, value, origin), self._waiting.get(id)
            if before is not None and self._overtaken < _MOST:
                self._overtaken += 1
                self._params.answers.overtaken(before, asked)
            self._waiting[id] = asked

    def take(self) -> list[Wished]:
        """What was wished for since the last look, in the order of the parameters; names without blanks around."""
        found = []
        with self._params.together():
            for id, seen in self._seen.items():
                parameter = self._params[id]
                if parameter.version != seen:
                    self._seen[id] = parameter.version
                    if parameter.origin != self._origin:
                        value = parameter.base.strip() if isinstance(parameter.base, str) else parameter.base
                        found.append(Wished(id, value, parameter.origin))
            self._waiting.clear()
            self._overtaken = 0
        return found

    def show(self, id: str, value: Value) -> None:
        """Let surfaces see what is the case, unless something else has been wished for since the last look."""
        with self._params.together():
            if self._params[id].version == self._seen[id]:
                self._params.set(id, value, self._origin)
                self._seen[id] = self._params[id].version


def _asked(id: str, value: Value, origin: str) -> Asked:
    return Asked(f"{id} {value}".strip(), origin)
