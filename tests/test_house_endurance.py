"""Minutes of play: which captions are told when, and what the first minute and the last differ in."""

from __future__ import annotations

import pytest
import torch

from pipelines.house import endurance, model, world
from pipelines.house.endurance import AFTER, END, Programme, Verdict
from pipelines.house.evaluate import Report
from pipelines.house.judge import ANSWERS, Judge
from pipelines.house.sampler import SamplePlan

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def house() -> model.House:
    torch.manual_seed(0)
    made = model.build(model.toy_config(world.VOCABULARY))
    for module in made:
        module.eval().requires_grad_(False)
    return made


def test_the_first_captions_come_again_where_they_are_to(house: model.House) -> None:
    programme, told = Programme(house.text, 2, 16, seed=1, again=3), []
    for number in range(5):
        rows = programme.rows(16 * number)
        told.append((rows, programme.scenes.jitter))
    for again, first in ((3, 0), (4, 1)):
        assert all(torch.equal(*pair) for pair in zip(told[again], told[first], strict=True))
    assert not any(torch.equal(told[number][1], told[0][1]) for number in (1, 2, 4))


def test_only_the_minutes_asked_for_are_judged(house: model.House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "PER_MINUTE", 16.0)
    config, judge = model.toy_config(world.VOCABULARY), Judge().eval()

    def judged(minutes: tuple[int, ...] | None) -> list[Verdict]:
        programme = Programme(house.text, 1, 16, seed=1, again=2)
        return list(endurance.endure(house, config, judge, programme, SamplePlan(48, 1), minutes))

    every, ends = judged(None), judged((1, 3))
    assert [(one.minute, one.when) for one in every] == [(m, when) for m in (1, 2, 3) for when in (AFTER, END)]
    assert [(one.minute, one.when) for one in ends] == [(m, when) for m in (1, 3) for when in (AFTER, END)]
    assert repr(ends[:2]) == repr(every[:2])  # a hue may be no number
    text = endurance.paired(ends)
    assert "minute 3" in text and all(name in text for name in (*ANSWERS, "sharpness"))


def test_pairs_are_subtracted_one_by_one() -> None:
    def verdict(minute: int, sharpness: float, right: float) -> Verdict:
        return Verdict(minute, AFTER, Report(0.0, 1.0, dict.fromkeys(ANSWERS, right), sharpness, 0.5))

    first = [verdict(1, 1.0, 1.0), verdict(1, 3.0, 0.5)]
    last = [verdict(9, 0.9, 0.5), verdict(9, 2.9, 0.5)]
    line = next(line for line in endurance.paired(first + last).splitlines() if line.startswith("sharpness"))
    assert [float(word) for word in line.split()[1:]] == pytest.approx([2.0, 1.9, -0.1, 0.0, 0.95])
    subject = next(line for line in endurance.paired(first + last).splitlines() if line.startswith("subject"))
    assert [float(word) for word in subject.split()[1:]] == pytest.approx([0.75, 0.5, -0.25, 0.25, 0.667])


def test_minutes_that_do_not_match_are_refused() -> None:
    one = Verdict(1, AFTER, Report(0.0, 1.0, dict.fromkeys(ANSWERS, 1.0), 1.0, 0.5))
    with pytest.raises(ValueError, match="play whole minutes"):
        endurance.paired([one, one, one._replace(minute=2)])
