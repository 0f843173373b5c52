"""The patches and mappings that ship: all load, and one holds every lever."""

from __future__ import annotations

import pytest

from instrument.engine.loading import bends_of, declared
from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from instrument.state import patch
from pipelines.bends.group import MASTER
from pipelines.bends.lever import discover
from pipelines.bends.scope import missing
from pipelines.house import model as house
from pipelines.recipes import recipe


def _params(loaded: patch.Patch) -> ParamSet:
    row = recipe(loaded.model)
    return declared(loaded, row.config, len(row.steps))


@pytest.mark.parametrize("name", patch.available())
def test_every_patch_plays(name: str) -> None:
    loaded = patch.load(name)
    assert loaded.description and MASTER in _params(loaded)


def test_the_house_model_knows_every_word_and_scope_of_the_patches() -> None:
    encoder = house.load().text
    for name in patch.available():
        loaded = patch.load(name)
        prompt = encoder.encode(loaded.prompt)
        assert prompt.notices == ()
        for bend in bends_of(loaded, recipe(loaded.model).config):
            assert missing(bend.scope.tokens, prompt.words) == [], f"{name}: {bend.name}"


def test_one_patch_holds_every_lever_once() -> None:
    levers = [bend.lever.id for bend in bends_of(patch.load("all-levers"), recipe("house").config)]
    assert sorted(levers) == sorted(discover())


@pytest.mark.parametrize("name", mapping.available())
def test_every_mapping_finds_its_targets_in_the_patch_of_all_levers(name: str) -> None:
    told: list[str] = []
    params = _params(patch.load("all-levers"))
    playing = Mapping(mapping.load(name), params, told.append)
    for bound in playing.file.bound:
        for value in (127, 0):
            playing.handle(Touch(bound.kind, bound.key, value, bound.channel or 1))
    assert playing.problems() == {}
    assert told == []


@pytest.mark.parametrize("name", mapping.available())
def test_places_beyond_a_patchs_bends_are_no_mistake_of_a_mapping_that_ships(name: str) -> None:
    for each in ("citylights", "tides"):
        playing = Mapping(mapping.load(name), _params(patch.load(each)))
        assert playing.problems() == {} and playing.beyond()
    lacking = Mapping(mapping.loads("bindings: [{cc: 1, to: bend.1.nothing}]"), _params(patch.load("tides")))
    assert "this patch has no such bend or amount" in lacking.problems()[0] and not lacking.beyond()
