"""Scenes: a batch of attribute indices and continuous jitters, how they are sampled, and which are held back.

A fixed hash of colour x subject x place holds about a tenth of the combinations back from training, so that evaluation
can ask for things never shown. Knows nothing of pixels or of English.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from pipelines.house.names import CAMERAS, COLOURS, LIGHTS, MOTIONS, PLACES, SUBJECTS

SLOTS = 2  # the most subjects in one scene
JITTERS = 8  # uniform numbers per scene, and per subject
HELD_BACK = 0.1
_VARIED = {
    "colour": len(COLOURS),
    "subject": len(SUBJECTS),
    "motion": len(MOTIONS),
    "place": len(PLACES),
    "light": len(LIGHTS),
}
_ROUNDS = 16  # of looking for a sibling that is not held back
_TRIES = {False: 32, True: 512}  # candidates drawn per subject, by held: enough that running out is out of the question


@dataclass(frozen=True)
class Scenes:
    """N scenes. Indices follow the tables of `names.py`; the second subject exists where count is 2."""

    colour: Tensor  # [N, 2] int64
    subject: Tensor  # [N, 2] int64
    motion: Tensor  # [N, 2] int64
    count: Tensor  # [N] int64, 1 or 2
    place: Tensor  # [N] int64
    light: Tensor  # [N] int64
    camera: Tensor  # [N] int64
    jitter: Tensor  # [N, JITTERS] in 0..1: the place, the composition, the light
    slot_jitter: Tensor  # [N, 2, JITTERS] in 0..1: position, size, phase, hue

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Scenes:
        """The scenes at index, as a batch (an integer gives a batch of one)."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        elif not isinstance(index, slice | Tensor):
            index = torch.as_tensor(index)
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(*(getattr(self, f.name).to(device) for f in fields(self)))

    def alter(self, **changes: Tensor) -> Scenes:
        """A copy with whole fields replaced, for example the same scenes at another place."""
        return replace(self, **changes)


def is_held_back(colour: Tensor, subject: Tensor, place: Tensor) -> Tensor:
    """Whether a combination is kept out of training. Index tensors of one shape in, bool tensor of that shape out."""
    code = (colour * 64 + subject) * 64 + place
    code = (code * 2654435761 + 12345) & 0xFFFFFFFF  # Knuth's multiplicative hash, then one more round of mixing
    code = ((code ^ (code >> 15)) * 2246822519) & 0xFFFFFFFF
    code = code ^ (code >> 13)
    return (code & 0xFFFF) < int(HELD_BACK * 0x10000)


def sample(n: int, seed: int, split: str = "train", pairs: float = 0.25) -> Scenes:
    """Draw n scenes on the CPU, the same for the same arguments.

    split: "train" (no subject of any scene is a held-back combination) or "heldback" (every first subject is one).
    pairs: the share of scenes with two subjects.
    """
    if split not in ("train", "heldback"):
        raise ValueError(f"split is '{split}'; use 'train' or 'heldback'")
    dice = torch.Generator().manual_seed(seed)

    def roll(count: int, *shape: int) -> Tensor:
        return torch.randint(count, shape, generator=dice)

    place = roll(len(PLACES), n)
    colour, subject = _draw_subject(dice, place, split == "heldback")
    other = _draw_subject(dice, place, False, taken=(colour, subject))
    unit = torch.rand(n, 3, generator=dice)
    light = torch.where(unit[:, 1] < 0.45, 0, 1 + roll(len(LIGHTS) - 1, n))
    camera = torch.where(unit[:, 2] < 0.5, 0, 1 + roll(len(CAMERAS) - 1, n))
    return Scenes(
        colour=torch.stack([colour, other[0]], 1),
        subject=torch.stack([subject, other[1]], 1),
        motion=roll(len(MOTIONS), n, SLOTS),
        count=1 + (unit[:, 0] < pairs).long(),
        place=place,
        light=light,
        camera=camera,
        jitter=torch.rand(n, JITTERS, generator=dice),
        slot_jitter=torch.rand(n, SLOTS, JITTERS, generator=dice),
    )


def siblings(scenes: Scenes, seed: int) -> Scenes:
    """The same scenes with one thing changed: a first subject's colour, kind or motion, the place or the light.

    All jitters stay, so whatever is not changed looks the same. No sibling of a training scene is held back; the few
    for which nothing fitting is found are the scene itself.
    """
    dice = torch.Generator().manual_seed(seed)
    which = torch.randint(len(_VARIED), (len(scenes),), generator=dice)
    made, waiting = scenes, torch.ones(len(scenes), dtype=torch.bool)
    for _ in range(_ROUNDS):
        tried = _vary(scenes, which, dice)
        held = is_held_back(tried.colour, tried.subject, tried.place[:, None].expand(-1, SLOTS)).any(1)
        twins = (tried.colour[:, 0] == tried.colour[:, 1]) | (tried.subject[:, 0] == tried.subject[:, 1])
        good = waiting & ~held & ~twins
        made = _where(good, tried, made)
        waiting = waiting & ~good
    return made


def interleave(first: Scenes, second: Scenes) -> Scenes:
    """Two batches of the same length as one, a scene of the first and a scene of the second in turn."""
    pairs = zip(_columns(first), _columns(second), strict=True)
    return Scenes(*(torch.stack(pair, dim=1).flatten(0, 1) for pair in pairs))


def _vary(scenes: Scenes, which: Tensor, dice: torch.Generator) -> Scenes:
    """Each scene with another value of its attribute number `which` [N] of those that vary."""
    changes = {}
    for index, (name, count) in enumerate(_VARIED.items()):
        old = getattr(scenes, name)
        first = old[:, 0] if old.ndim == 2 else old
        other = (first + 1 + torch.randint(count - 1, first.shape, generator=dice)) % count
        new = torch.where(which == index, other, first)
        changes[name] = torch.stack([new, old[:, 1]], dim=1) if old.ndim == 2 else new
    return scenes.alter(**changes)


def _where(choice: Tensor, a: Scenes, b: Scenes) -> Scenes:
    pairs = zip(_columns(a), _columns(b), strict=True)
    return Scenes(*(torch.where(choice.view(-1, *[1] * (x.ndim - 1)), x, y) for x, y in pairs))


def _columns(scenes: Scenes) -> list[Tensor]:
    return [getattr(scenes, f.name) for f in fields(scenes)]


def _draw_subject(dice: torch.Generator, place: Tensor, held: bool, taken=None) -> tuple[Tensor, Tensor]:
    """Colour and subject indices [N] whose combination with place is held back or not, neither equal to those taken."""
    shape = (len(place), _TRIES[held])
    colour = torch.randint(len(COLOURS), shape, generator=dice)
    subject = torch.randint(len(SUBJECTS), shape, generator=dice)
    good = is_held_back(colour, subject, place[:, None].expand(shape)) == held
    if taken is not None:
        good &= (colour != taken[0][:, None]) & (subject != taken[1][:, None])
    if not good.any(1).all():
        raise RuntimeError(f"no fitting combination within {_TRIES[held]} draws; use another seed")
    pick = good.long().argmax(1, keepdim=True)
    return colour.gather(1, pick)[:, 0], subject.gather(1, pick)[:, 0]


def scenes_from_attributes(rows: Sequence[dict[str, str]], seed: int = 0) -> Scenes:
    """One scene per row of names, for evaluation and contact sheets.

    A row has colour and subject, and may have motion, place, light, camera, and colour2, subject2, motion2 for a second
    subject. What is missing is still, darkness, plain, fixed. Jitters come from the seed.
    Raises ValueError naming the value when a name is unknown.
    """
    dice = torch.Generator().manual_seed(seed)
    known = {"colour", "subject", "motion", "place", "light", "camera", "colour2", "subject2", "motion2"}
    for row in rows:
        if unknown := set(row) - known:
            raise ValueError(f"unknown attribute '{sorted(unknown)[0]}'; use one of {', '.join(sorted(known))}")

    def column(key: str, table: dict[str, tuple[str, ...]], default: str) -> Tensor:
        names = list(table)
        for row in rows:
            if row.get(key, default) not in table:
                raise ValueError(f"no {key} '{row[key]}'; use one of {', '.join(names)}")
        return torch.tensor([names.index(row.get(key, default)) for row in rows], dtype=torch.long)

    def columns(key: str, table: dict[str, tuple[str, ...]], default: str) -> Tensor:
        return torch.stack([column(key, table, default), column(key + "2", table, default)], 1)

    return Scenes(
        colour=columns("colour", COLOURS, "white"),
        subject=columns("subject", SUBJECTS, "ring"),
        motion=columns("motion", MOTIONS, "still"),
        count=torch.tensor([2 if "subject2" in row else 1 for row in rows], dtype=torch.long),
        place=column("place", PLACES, "darkness"),
        light=column("light", LIGHTS, "plain"),
        camera=column("camera", CAMERAS, "fixed"),
        jitter=torch.rand(len(rows), JITTERS, generator=dice),
        slot_jitter=torch.rand(len(rows), SLOTS, JITTERS, generator=dice),
    )
