"""What is wished for of a patch: tried as it comes, kept in order, and the patch that comes of it."""

from __future__ import annotations

import pytest

from instrument.engine.wishes import Edit, Making, Wishes
from instrument.parameters.params import BadValue, ParamSet
from instrument.state.patch import Patch
from pipelines.spec import TextSpec


@pytest.fixture
def params() -> ParamSet:
    made = ParamSet()
    made.add("petal.add", TextSpec(""), "petal")
    return made


def reading(text: str) -> Making[str]:
    """A text that says it is bad is none; a wish for what stands in the prompt already cannot be."""
    if text == "bad":
        raise ValueError("that is no petal")

    def make(patch: Patch) -> Edit[str]:
        if text in patch.prompt:
            raise ValueError(f"{text} is there")
        return Edit(text, text, 0, True, {})

    return make


def wishes(params: ParamSet, patch: Patch) -> Wishes[str]:
    return Wishes(params, "petals", {"petal.add": reading}, lambda: patch, (2, "2 wait"))


def test_a_wish_is_tried_as_it_comes_and_waits(params):
    made = wishes(params, Patch(prompt="red"))
    for text, answer in (("bad", "petal.add: that is no petal"), (" red ", "petal.add: red is there")):
        with pytest.raises(BadValue, match=answer):
            params.set("petal.add", text, "osc")
    params.set("petal.add", " blue  one ", "osc")
    made.again(reading("green"))
    waiting = [(wish.edit(Patch()).name, wish.steps_back, wish.origin) for wish in made.waiting]
    assert waiting == [("blue  one", True, "osc"), ("green", False, "")]
    with pytest.raises(BadValue, match=r"petal\.add: 2 wait; send 'late' again in a moment"):
        params.set("petal.add", "late", "osc")


def test_texts_that_are_taken_up_are_no_wishes(params):
    made = wishes(params, Patch())
    params.set("petal.add", "blue", "osc")
    made.take_up()
    assert params["petal.add"].base == "" and len(made.waiting) == 1
    params.set("petal.add", "", "osc")
    params.set("petal.add", "of its own", "petals")
    assert len(made.waiting) == 1


def less(patch: Patch) -> Patch:
    return patch.model_copy(update={"prompt": patch.prompt.replace("red ", ""), "seed": 1})


def more(patch: Patch) -> Patch:
    return patch.model_copy(update={"prompt": f"red {patch.prompt}"})


def test_what_comes_back_to_what_it_went_from_comes_back_with_all_that_spoke_of_it():
    before = Patch(prompt="red petals", seed=3)  # the seed stands for what is said of it elsewhere
    edit = Edit("red", "red", 0, False, {}, before)
    gone = edit.made(before, more, less)
    assert (gone.prompt, gone.seed) == ("petals", 1)
    assert edit.back().made(gone, more, less) == before
    other = Patch(prompt="leaves", seed=1)
    assert edit.back().made(other, more, less) == Patch(prompt="red leaves", seed=1)
    assert edit.back().back() == edit
