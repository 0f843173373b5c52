"""Patches of older versions, brought up to date step by step when they are read.

MIGRATIONS has one row for every version that is not the newest: from its data to the next version's. A new row is
added whenever a key is renamed or changes its meaning, or a file of the new version would mislead the program before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VERSION = 2


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 adds modulators, glide and snapshots; what version 1 had stays as it was."""
    return data


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def migrated(data: dict[str, Any]) -> dict[str, Any]:
    """The data of a patch file as version VERSION has it; a file that names no version is of the first.

    Raises ValueError for a version this program does not read.
    """
    version = data.get("version", 1)
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError(f"version: should be a whole number, not {version!r}")
    if not 1 <= version <= VERSION:
        raise ValueError(f"version: this program reads versions 1 to {VERSION}, not {version}; update the program")
    while version < VERSION:
        data = {**MIGRATIONS[version](data), "version": version + 1}
        version += 1
    return data
