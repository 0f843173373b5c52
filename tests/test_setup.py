"""From words on the command line to what plays: first values."""

import pytest

from instrument.parameters.params import BadValue, ParamSet
from instrument.setup import set_first_values
from pipelines.spec import ControlSpec


@pytest.fixture
def params():
    params = ParamSet()
    params.add("words.layers.center", ControlSpec(0, 11, 5.5, step=0.5))
    params.add("words.layers.width", ControlSpec(0, 12, 12))
    params.add("words.gain", ControlSpec(0, 8, 1))
    return params


@pytest.mark.parametrize("text", ["4,11", "4-11", "4 11", "[4, 11]", " 4 , 11 ", "4.0,11"])
def test_a_range_takes_both_its_ends(params, text):
    set_first_values(params, [f"words.layers={text}", "words.gain=2"])
    whole = ParamSet()
    whole.add("words.layers.center", ControlSpec(0, 11, 5.5, step=0.5))
    whole.add("words.layers.width", ControlSpec(0, 12, 12))
    whole.set("words.layers", (4, 11))
    ids = ("words.layers.center", "words.layers.width")
    assert [params[id].base for id in ids] == [whole[id].base for id in ids] and params["words.gain"].base == 2


@pytest.mark.parametrize("text", ["4", "", "all", "4,,11", "4,11,12", ".,."])
def test_what_is_no_range_is_refused_with_one_that_is(params, text):
    with pytest.raises(BadValue, match=r"write its two ends, words\.layers=0,11"):
        set_first_values(params, [f"words.layers={text}"])


def test_ends_beyond_the_range_are_a_mistake(params):
    with pytest.raises(BadValue, match=r"words\.layers cannot be 4-99; give two from 0 to 11"):
        set_first_values(params, ["words.layers=4-99"])
