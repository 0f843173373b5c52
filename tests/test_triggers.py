"""Triggers that wait: counted and in order up to a bound, one for all where more would do nothing."""

from __future__ import annotations

import time

import pytest

from instrument.parameters.params import ParamSet
from instrument.parameters.triggers import MOST
from pipelines.spec import ControlSpec, TriggerSpec


@pytest.fixture
def params(told: list[str]) -> ParamSet:
    params = ParamSet(told.append)
    params.add("panic", TriggerSpec(once=True))
    params.add("reset", TriggerSpec(once=True))
    params.add("next", TriggerSpec())
    params.add("undo", TriggerSpec())
    params.add("gain", ControlSpec(0, 8, 1))
    return params


def fire(params: ParamSet, *ids: str) -> None:
    for id in ids:
        params.trigger(id)


def test_what_does_the_same_again_acts_once_and_last(params: ParamSet) -> None:
    fire(params, "panic", "next", "panic", "undo", "next", "reset", "reset")
    assert params.drain() == ["next", "panic", "undo", "next", "reset"]
    assert params["panic"].base == 2  # surfaces see that it was fired
    fire(params, "panic")
    assert params.drain() == ["panic"]


def test_the_last_firing_is_the_one_that_is_answered(params: ParamSet) -> None:
    params.trigger("panic", "osc")
    params.trigger("panic", "page")
    assert [event.origin for event in params.drain_timed()] == ["page"]


def test_what_waits_on_keeps_its_order(params: ParamSet) -> None:
    fire(params, "next", "undo", "reset", "next")
    assert [event.id for event in params.drain_timed(but={"next", "reset"})] == ["undo"]
    fire(params, "undo")
    assert params.drain() == ["next", "reset", "next", "undo"]


def test_too_many_are_told_once_and_the_newest_count(params: ParamSet, told: list[str]) -> None:
    fire(params, *["next"] * (MOST - 1), "undo", "next")
    assert not told
    fire(params, "next", "next")
    assert told == [f"next: more than {MOST} wait to be heard; the oldest are dropped"]
    assert params.drain() == [*["next"] * (MOST - 3), "undo", *["next"] * 3]


def test_a_storm_that_waits_costs_a_step_nothing(params: ParamSet) -> None:
    """However many were fired: the time of a thousand drains that leave them waiting is that of a handful's."""
    fire(params, "reset", "next")
    few = drains(params)
    fire(params, *["reset", "next"] * 20_000)
    assert drains(params) < 50 * few + 0.1
    assert params.drain() == ["next"] * (MOST - 1) + ["reset", "next"]


def drains(params: ParamSet) -> float:
    """Seconds, at best of a few: a machine under test may stand still."""

    def once() -> float:
        start = time.monotonic()
        for _ in range(1000):
            assert params.drain_timed(but={"reset", "next"}) == []
        return time.monotonic() - start

    return min(once() for _ in range(5))
