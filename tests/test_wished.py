"""Parameters to wish by: what is taken up, what is shown, and who is told that a newer wish came first."""

from instrument.parameters.params import ParamSet
from instrument.parameters.wished import Wished, Wishing
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec


def some() -> tuple[ParamSet, Wishing]:
    params = ParamSet()
    params.add("load", TextSpec(""))
    params.add("goto", ControlSpec(1, 9, 1, step=1), glide=0)
    params.add("reload", TriggerSpec())
    return params, Wishing(params, ("load", "goto", "reload"), "desk")


def told(params: ParamSet) -> list[tuple[str, str]]:
    return [words[:2] for words in params.answers.since(0)[1]]


def test_every_wish_is_taken_once_and_what_is_shown_is_none():
    params, wishing = some()
    assert wishing.take() == []
    params.set("load", "a", "osc:one")
    params.trigger("reload", "midi")
    assert wishing.take() == [Wished("load", "a", "osc:one"), Wished("reload", 1, "midi")]
    wishing.show("load", "b")
    assert params["load"].base == "b" and wishing.take() == [] and told(params) == []


def test_blanks_around_a_name_are_no_part_of_it():
    params, wishing = some()
    params.set("load", "  a b\n", "osc:one")
    assert wishing.take() == [Wished("load", "a b", "osc:one")]


def test_a_wish_that_nobody_has_looked_at_is_not_painted_over():
    params, wishing = some()
    params.set("load", "a", "osc:one")
    wishing.show("load", "b")
    assert params["load"].base == "a"
    assert [wished.asked for wished in wishing.take()] == [("load a", "osc:one")]


def test_whoever_is_overtaken_before_anybody_has_looked_is_told():
    params, wishing = some()
    params.set("load", "a", "osc:one")
    params.set("load", "b", "osc:two")
    params.set("load", "b", "osc:three")
    assert told(params) == [("osc:one", "load a: overtaken by load b")]
    assert wishing.take() == [Wished("load", "b", "osc:two")]
    params.set("load", "c", "osc:one")
    assert len(told(params)) == 1, "a wish that was taken up is for who took it to answer"


def test_numbers_that_a_fader_passes_through_are_no_wishes():
    params, wishing = some()
    for number in (2, 3, 4):
        params.set("goto", number, "osc:one")
    assert told(params) == [] and wishing.take() == [Wished("goto", 4, "osc:one")]


def test_a_storm_of_wishes_takes_no_words_from_others():
    params, wishing = some()
    params.answers.put("osc:other", "no such patch")
    for number in range(1000):
        params.set("load", str(number), "osc:one")
    assert told(params)[0] == ("osc:other", "no such patch")
    assert told(params)[1] == ("osc:one", "load 0: overtaken by load 1") and len(told(params)) < 50
    assert wishing.take() == [Wished("load", "999", "osc:one")]
    params.set("load", "a", "osc:one")
    params.set("load", "b", "osc:one")
    assert told(params)[-1] == ("osc:one", "load a: overtaken by load b")
