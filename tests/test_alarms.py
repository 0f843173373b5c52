"""Alarms: rung once by the next change, from whatever thread."""

from __future__ import annotations

import threading

from instrument.parameters.alarms import Alarms
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec, TriggerSpec


def test_an_alarm_rings_once_and_can_be_set_again_or_dropped() -> None:
    alarms, rung = Alarms(), []
    assert not alarms
    alarms.set("a", lambda: rung.append("a"))
    alarms.set("a", lambda: rung.append("again"))  # one for each key
    alarms.set("b", lambda: rung.append("b"))
    alarms.drop("b")
    alarms.drop("never set")
    alarms.ring()
    alarms.ring()
    assert rung == ["again"] and not alarms


def test_whoever_is_rung_may_set_the_next_alarm() -> None:
    alarms, rung = Alarms(), []

    def ring() -> None:
        rung.append(1)
        alarms.set("a", ring)

    alarms.set("a", ring)
    for _ in range(3):
        alarms.ring()
    assert len(rung) == 3


def test_every_kind_of_change_rings_and_nothing_else_does() -> None:
    params = ParamSet()
    params.add("gain", ControlSpec(0, 2, 1))
    params.add("go", TriggerSpec("goes"))
    rung = threading.Event()
    for change in (
        lambda: params.set("gain", 2),
        lambda: params.set_normalised("gain", 0.1),
        lambda: params.trigger("go"),
    ):
        params.alarms.set("test", rung.set)
        params.set("gain", params["gain"].base)  # as it is
        params.tick(0.0)
        assert not rung.is_set()
        other = threading.Thread(target=change)
        other.start()
        other.join()
        assert rung.is_set()
        rung.clear()
