"""The gallery: every column can be played, does something, and the page says what it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from instrument import gallery
from instrument.engine.loading import bends_of, declared
from pipelines.house import model, world
from pipelines.recipes import HOUSE
from pipelines.systems import System

COLUMNS = [column for sheet in gallery.SHEETS for column in sheet.columns]


@pytest.fixture(scope="module")
def toy() -> System:
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    dit = replace(config.dit, num_layers=HOUSE.config.num_layers, ffn_dim=HOUSE.config.ffn_dim)
    config = replace(config, dit=dit)
    house = model.build(config)
    for module in house:
        module.eval().requires_grad_(False)
    recipe = replace(HOUSE, config=dit, width=config.width, height=config.height)
    return System(recipe, house.dit, house.vae, house.text)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
def test_every_bend_is_one_that_the_house_model_plays(column):
    for line in gallery.LINES:
        patch = gallery.patch_of(line, column)
        declared(patch, HOUSE.config, len(HOUSE.steps))  # refuses values out of range, too
        assert len(bends_of(patch, HOUSE.config)) == len(column.bends)
        for bend in patch.bends:
            assert bend.scope.tokens == "all" or bend.scope.tokens in line.prompt


def test_the_model_knows_every_word(toy):
    for line in gallery.LINES:
        assert toy.encoder.encode(line.prompt).notices == ()
        assert {line.colour, line.subject} < set(line.prompt.split()) and line.place in line.prompt


def test_the_page_shows_every_sheet_and_says_every_bend(toy, tmp_path: Path):
    lines = gallery.LINES[:2]
    told = list(gallery.page(toy, tmp_path, lines, frames=1))
    text = (tmp_path / "gallery.md").read_text()
    shown = re.findall(r"!\[[^\]]*\]\((gallery/[a-z]+\.png)\)", text)
    assert len(shown) == len(gallery.SHEETS) == len(told) - 1
    for name in shown:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    for column in COLUMNS:
        assert column.title in text and all(bend in text for bend in column.bends)


def test_a_bend_changes_its_cell_and_nothing_else(toy):
    line, unbent = gallery.LINES[0], gallery.UNBENT
    plain = gallery.cell(toy, line, unbent, 2)
    assert plain.shape == (80, 160, 3) and torch.equal(plain, gallery.cell(toy, line, unbent, 2))
    loud = gallery.Column("loud", ("name: a, lever: self.out.noise, values: {noise: 4}",))
    assert not torch.equal(plain, gallery.cell(toy, line, loud, 2))


def test_tiles_stand_in_rows_and_columns():
    tiles = [[torch.full((2, 4, 3), 10 * row + column, dtype=torch.uint8) for column in range(3)] for row in range(2)]
    picture = gallery.joined(tiles)
    assert picture.shape == (2 * (2 + gallery.GAP), 3 * (4 + gallery.GAP), 3)
    assert (picture[2 + gallery.GAP, 2 * (4 + gallery.GAP)] == 12).all()
