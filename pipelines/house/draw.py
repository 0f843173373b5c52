"""Which function draws which subject, in the order of `names.SUBJECTS`."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.house import figures, subjects
from pipelines.house.names import SUBJECTS
from pipelines.house.shading import Ink

_DRAWINGS: dict[str, Callable[..., Ink]] = {
    "tulip": subjects.tulip,
    "jellyfish": subjects.jellyfish,
    "star": figures.star,
    "ring": figures.ring,
    "flame": subjects.flame,
    "wave": figures.wave,
    "cell": figures.cell,
    "moon": figures.moon,
    "crystal": figures.crystal,
    "bird": subjects.bird,
    "smoke": subjects.smoke,
    "spiral": figures.spiral,
    "eye": figures.eye,
    "feather": subjects.feather,
    "butterfly": subjects.butterfly,
    "fish": subjects.fish,
}

DRAWINGS: tuple[Callable[..., Ink], ...] = tuple(_DRAWINGS[name] for name in SUBJECTS)
