"""Columns of values: the same array while nothing changes, a true one when something did."""

from __future__ import annotations

import numpy as np
import pytest

from instrument.modulation.reading import Column, reading


@pytest.mark.parametrize("ids", [[], ["b"], ["b", "a"], ["a", "a", "c"]])
def test_values_are_read_in_order(ids):
    values = {"a": 1.5, "b": "up", "c": False}
    assert reading(ids)(values) == tuple(values[id] for id in ids)


def test_an_array_is_made_anew_only_when_a_value_of_it_changes():
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    column = Column(["c", "a"], float)
    first = column(values)
    assert first.tolist() == [3.0, 1.0] and first.dtype == np.float64
    values["b"] = 9.0
    assert column(values) is first
    values["a"] = 7.0
    assert column(values).tolist() == [3.0, 7.0] and first.tolist() == [3.0, 1.0]


def test_an_element_may_be_made_of_a_value():
    column = Column(["a", "b"], bool, lambda value: value == "up")
    assert column({"a": "up", "b": "down"}).tolist() == [True, False]
    assert Column([], bool)({}).tolist() == []
