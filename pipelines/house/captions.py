"""Plain lower-case English for scenes, in varied phrasings.

Attributes are sometimes left out (never the subject), so a model learns both short and full captions. Knows nothing of
pixels: it reads only the indices of `Scenes`.
"""

from __future__ import annotations

import random

from torch import Tensor

from pipelines.house.names import CAMERAS, COLOURS, LIGHTS, MOTIONS, PLACES, SUBJECTS
from pipelines.house.scenes import Scenes

_MASS = {"smoke"}  # takes no article
_JOINS = ("and", "beside", "next to")
_FILLERS = ("a", "an", "and", "beside", "next", "to", "the", "with")


def captions(scenes: Scenes, seed: int, full: bool = False) -> list[str]:
    """One caption per scene, the same for the same scenes and seed. full: leave nothing out, first phrasing of each."""
    dice = random.Random(seed)
    return [_Teller(scenes, i, dice, full).tell() for i in range(len(scenes))]


class _Teller:
    """Tells one scene; holds the dice so that each phrase is one short method."""

    def __init__(self, scenes: Scenes, index: int, dice: random.Random, full: bool):
        self.scene, self.index, self.dice, self.full = scenes, index, dice, full

    def tell(self) -> str:
        if int(self.scene.count[self.index]) == 2:
            who = f"{self.who(0)} {self.pick(_JOINS)} {self.who(1)}"
        else:
            who = self.who(0)
        place = self.attribute(PLACES, "place", keep=0.88)
        light = self.attribute(LIGHTS, "light", keep=0.85)
        camera = self.attribute(CAMERAS, "camera", keep=0.75)
        if place and not self.full and self.dice.random() < 0.15:
            parts = [f"{place}, {who}", light, camera]
        else:
            parts = [f"{who} {place}".strip(), light, camera]
            if camera and not self.full and self.dice.random() < 0.15:
                parts = [camera, parts[0], light]
        return ", ".join(part for part in parts if part)

    def who(self, slot: int) -> str:
        """'a purple tulip swaying', or 'swaying purple tulip' now and then with its article."""
        colour = self.word(COLOURS, self.scene.colour[self.index, slot], keep=0.94)
        subject = self.word(SUBJECTS, self.scene.subject[self.index, slot])
        motion = self.word(MOTIONS, self.scene.motion[self.index, slot], keep=0.88)
        ahead = motion and " " not in motion and not self.full and self.dice.random() < 0.18
        words = [motion, colour, subject] if ahead else [colour, subject, motion]
        phrase = " ".join(word for word in words if word)
        return phrase if subject in _MASS else f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"

    def attribute(self, table: dict[str, tuple[str, ...]], field: str, keep: float) -> str:
        return self.word(table, getattr(self.scene, field)[self.index], keep)

    def word(self, table: dict[str, tuple[str, ...]], index: Tensor, keep: float = 1.0) -> str:
        phrases = list(table.values())[int(index)]
        if not phrases or (not self.full and self.dice.random() > keep):
            return ""
        return self.pick(phrases)

    def pick(self, phrases: tuple[str, ...]) -> str:
        return phrases[0] if self.full else self.dice.choice(phrases)


def _vocabulary() -> tuple[str, ...]:
    words = set(_FILLERS)
    for table in (COLOURS, SUBJECTS, MOTIONS, PLACES, LIGHTS, CAMERAS):
        words.update(word for phrases in table.values() for phrase in phrases for word in phrase.split())
    return tuple(sorted(words))


VOCABULARY: tuple[str, ...] = _vocabulary()
"""Every word a caption can use, sorted; the only punctuation is the comma."""
