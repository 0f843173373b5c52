"""What the measure of prompt travel plays, and that a cut is told from a slow change."""

from __future__ import annotations

import pytest
import torch

from pipelines.house import model, travel, world
from pipelines.house.judge import ANSWERS, Judge

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("length", [0, 3])
def test_the_words_go_from_one_caption_to_the_other(length: int) -> None:
    start, end = torch.zeros(2, 5, 4), torch.ones(2, 5, 4)
    rows = travel.told(start, end, length)
    means = [float(rows(position).mean()) for position in range(travel.BEFORE + length + 2)]
    expected = [0.0] * travel.BEFORE + [(step + 1) / (length + 1) for step in range(length)] + [1.0, 1.0]
    assert means == pytest.approx(expected)


@pytest.mark.parametrize("cut", [True, False])
def test_a_cut_is_told_from_travel(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that are black, then white: in one step, or in as many as there are frames."""
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)

    def played(house, config, rows, frames, seed) -> torch.Tensor:
        count, at = 4 * frames, 4 * travel.BEFORE
        level = torch.zeros(count)
        if rows.__name__ == "<lambda>":  # the second caption alone
            level[:] = 1.0
        else:
            level[at:] = 1.0 if cut else torch.linspace(0, 1, count - at + 1)[1:]
        return level[None, :, None, None, None].expand(2, count, 3, 36, 64)

    monkeypatch.setattr(travel, "_played", played)
    journey = travel.travel(model.build(config), config, Judge().eval(), 2, 4, seed=1)
    assert journey.usual == 0.0 and journey.cut == 1.0
    assert journey.largest == pytest.approx(1.0 if cut else 1 / 48, rel=1e-4)
    assert journey.largest_of_cut == pytest.approx(journey.largest, rel=1e-4)
    assert set(journey.right) == set(ANSWERS)
    assert "at once" not in travel.table([journey]) and "0.0" in travel.table([journey])


def test_a_toy_model_travels() -> None:
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    journey = travel.travel(model.build(config), config, Judge().eval(), 2, 2, seed=1)
    assert journey.largest >= journey.usual > 0 and journey.cut > 0
