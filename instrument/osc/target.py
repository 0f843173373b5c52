"""Where OSC feedback goes without being asked for, as the command line names it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from instrument.osc.codec import OscError, matches
from pipelines.refusal import Refusal

_TARGET = re.compile(r"(?P<host>\[[^\]]+\]|[^:/\[\]]+)(:(?P<port>\d{1,5}))?(?P<pattern>/.*)?")


class OscPortError(Refusal, OSError):
    """A port cannot be listened on, or a target cannot be sent to; the text names it and the remedy."""


class Target(NamedTuple):
    """Where feedback goes without being asked for: a host (`sender`: everybody who sends) and a port (0: the one it
    sends from), and perhaps only what matches address patterns."""

    host: str
    port: int
    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Target:
        """`192.168.0.5:9001`, `sender`, `sender:9001`, `127.0.0.1:9001/bend/*/amount/n`. Raises OscPortError."""
        found = _TARGET.fullmatch(text)
        host = found["host"].strip("[]") if found else ""
        port = int(found["port"] or 0) if found else 0
        if not found or port > 65535 or (not port and host != "sender"):
            raise OscPortError(f"--osc-out {text}: write HOST:PORT, as in 192.168.0.5:9001, or sender, or sender:PORT")
        pattern = found["pattern"]
        try:
            matches(pattern or "", "/")
        except OscError as problem:
            raise OscPortError(f"--osc-out {text}: {problem}") from None
        return cls(host, port, (pattern,) if pattern else ())

    @classmethod
    def parse_all(cls, texts: Iterable[str]) -> list[Target]:
        """One target for every place, with all its patterns. Raises OscPortError."""
        found: dict[tuple[str, int], Target] = {}
        for one in map(cls.parse, texts):
            held = found.get(one[:2])
            both = held.patterns + one.patterns if held and held.patterns and one.patterns else ()
            found[one[:2]] = one._replace(patterns=both) if held else one
        return list(found.values())
