"""Names of what comes while a show plays: one for all of bends, modulators and the instrument's own groups.

Knows parameters and patches.
"""

from __future__ import annotations

import re

from instrument.engine.loading import RESERVED
from instrument.modulation.modspec import named
from instrument.parameters.params import ParamSet, shorten
from instrument.state.patch import Patch

LONGEST = 64  # letters
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST - 1}}}")


def taken_names(params: ParamSet, patch: Patch) -> set[str]:
    """Every name that something has already."""
    groups = {id.split(".", 1)[0] for id in params.ids()}
    return groups | {bend.name for bend in patch.bends} | {*named(patch.modulators)} | {*RESERVED}


def name_problem(wanted: str, what: str, taken: set[str]) -> str:
    """Why a new `what` cannot be called so, with the remedy; empty if it can."""
    if not _NAME.fullmatch(wanted):
        return f"'{shorten(wanted)}' is no name for a {what}; use letters, digits and _, such as petals"
    return f"the name '{wanted}' is taken; choose another" if wanted in taken else ""


def name_like(like: str, taken: set[str]) -> str:
    """The first free one of petals, petals2, petals3, ... for one that is called petals or petals7; a long stem is cut
    where its number would make the name too long."""
    stem = re.sub(r"\d+$", "", like) or like
    numbers = ("", *(str(number) for number in range(2, 1000)))
    return next(name for number in numbers if (name := f"{stem[: LONGEST - len(number)]}{number}") not in taken)
