"""Looks inside take turns: what is not there, or not played, holds up nothing that is."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from instrument.surface import looks
from instrument.surface.looks import Wish


class Still:
    """A network of 4 layers, 4 steps and 2 heads, whose every look comes by the next beat, if it plays that step."""

    def __init__(self, plays=(0, 1, 2, 3, None)):
        self.plays, self.asked, self.came = plays, set(), []
        self.sizes = {"layers": 4, "steps": 4, "heads": 2, "tokens": ["ice"]}

    def facts(self):
        return self.sizes

    def ask(self, *key):
        self.asked.add(key)

    def take(self, *key):
        _, layer, step, _ = key
        if key not in self.asked or layer >= 4 or step not in self.plays:
            return None
        self.asked.discard(key)
        self.came.append(key)
        return np.ones((1, 2, 2), np.float32)

    def forget(self):
        self.asked.clear()


def came(source: Still, wishes: list[Wish], beats: int = 100) -> list[tuple]:
    """What a hundred beats of looking for these pages bring."""

    async def play():
        looking = looks.Looks(source)
        for wish in wishes:
            page = looks.Page(None, looking)
            page.wish = wish
            looking._pages.add(page)
        for _ in range(beats):
            await looking._once()

    asyncio.run(play())
    return source.came


ONE = Wish(map=(1, 2, None))


NOWHERE = [Wish(map=(99, 0, 0)), Wish(map=(0, 77, 0)), Wish(map=(0, 0, 5)), Wish(neurons=(9, 0))]


@pytest.mark.parametrize("other", NOWHERE)
def test_a_page_that_watches_what_is_not_there_takes_nothing_from_others(other) -> None:
    assert len(came(Still(), [ONE, other])) >= 98


def test_without_a_prompt_there_are_no_maps_and_neurons_go_on() -> None:
    class Wordless(Still):
        def take(self, *key):
            return None if key[0] == "map" else super().take(*key)

    source = Wordless()
    source.sizes["tokens"] = []
    assert len(came(source, [ONE, Wish(neurons=(1, 2))])) >= 98


@pytest.mark.parametrize("plays", [(3,), (0, 3, None)])
def test_steps_that_are_not_played_hold_up_those_that_are(plays) -> None:
    """With fewer steps than the recipe has, some never come; a mean is of those that do."""
    found = came(Still(plays), [Wish(map=(None, None, None)), ONE], 200)
    assert {key[2] for key in found} == {step for step in plays if step is not None}
    every = [found.count(("map", layer, 3, None)) for layer in range(4)]
    assert min(every) >= 50 and len(found) > 400


def test_a_step_that_is_played_again_is_seen_again() -> None:
    source, memory = Still((3,)), []

    def remember():
        memory.append(len(source.came))
        source.plays = (3,) if len(memory) < 100 else (0, 1, 2, 3)
        return []

    source.memory = remember
    later = came(source, [Wish(map=(None, None, None), memory=True)], 200)[memory[99] :]
    assert {key[1:3] for key in later} == {(layer, step) for layer in range(4) for step in range(4)}
