"""Parameters: latest value wins, triggers are counted, errors say what to do."""

import json
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.parameters.params import BadValue, ParamSet, UnknownParameter, suggest
from instrument.parameters.triggers import MOST
from instrument.parameters.values import closest
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

GAIN = ControlSpec(0, 8, 1, warp="cubed", doc="how much")


@pytest.fixture
def notices():
    return []


@pytest.fixture
def params(notices):
    params = ParamSet(notices=notices.append)
    params.add("petals.gain", GAIN, group="petals")
    params.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    params.add("petals.layers.width", ControlSpec(0, 30, 29))
    params.add("seed", ControlSpec(0, 1000, 0, step=1))
    params.add("freeze", SwitchSpec())
    params.add("padding", ChoiceSpec(("zeros", "border", "reflection"), "zeros"))
    params.add("prompt", TextSpec("black water"))
    params.add("panic", TriggerSpec())
    params.add("next", TriggerSpec())
    return params


def test_importing_the_control_side_does_not_import_torch():
    names = (
        "parameters.params",
        "state.patch",
        "state.patchdesk",
        "mapping.mapping",
        "mapping.learn",
        "osc.server",
        "midi.ports",
        "engine.console",
        "modulation.audio",
        "bench.tickcost",
    )
    modules = ", ".join(f"instrument.{name}" for name in names)
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("number", "value", "whole"), [(10**400, 8, 1000), (-(10**400), 0, 0)])
def test_a_number_beyond_all_floats_is_clamped_as_any_other(params, number, value, whole):
    params.set("petals.gain", number)
    params.set("seed", number)
    params.set("petals.layers", [number, number])
    assert (params["petals.gain"].base, params["seed"].base) == (value, whole)
    params.set_normalised("petals.gain", number)
    params.set_normalised("petals.layers", [0, number])
    assert params["petals.gain"].base == value
    for id in ("padding", "prompt"):
        with pytest.raises(BadValue):
            params.set(id, number)


def test_defaults_are_heard_before_anything_is_set(params):
    assert params.tick(0.0) == {
        "petals.gain": 1,
        "petals.layers.center": 14.5,
        "petals.layers.width": 29,
        "seed": 0,
        "freeze": False,
        "padding": "zeros",
        "prompt": "black water",
    }


def test_the_last_write_wins(params):
    for value in range(9):
        params.set("petals.gain", value, origin="osc")
    assert params.tick(0.0)["petals.gain"] == 8
    assert params["petals.gain"].origin == "osc"


@pytest.mark.parametrize(
    ("id", "sent", "kept"),
    [
        ("petals.gain", 2, 2.0),
        ("petals.gain", True, 1.0),
        ("seed", 41.6, 42),
        ("freeze", 1, True),
        ("freeze", 0.0, False),
        ("freeze", "on", True),
        ("freeze", " ON\n", True),
        ("padding", "Border", "border"),
        ("padding", "  REFLECTION ", "reflection"),
        ("padding", "border", "border"),
        ("padding", 2, "reflection"),
        ("padding", 1.4, "border"),
        ("padding", -0.3, "zeros"),
        ("padding", 2.5, "reflection"),
        ("prompt", "ice", "ice"),
    ],
)
def test_reasonable_types_are_converted(params, id, sent, kept):
    params.set(id, sent)
    value = params[id].base
    assert value == kept and type(value) is type(kept)


def test_a_choices_name_in_its_own_letters_wins_over_one_that_differs_in_case():
    params = ParamSet()
    params.add("clef", ChoiceSpec(("c", "C", "f"), "f"))
    for sent, taken in (("C", "C"), ("c", "c"), (" C ", "C"), ("F", "f")):
        params.set("clef", sent)
        assert params["clef"].base == taken, sent


@pytest.mark.parametrize(
    ("id", "sent", "words"),
    [
        ("petals.gain", "loud", "petals.gain cannot be 'loud'; send a number from 0 to 8"),
        ("petals.gain", float("nan"), "petals.gain cannot be nan; send a number from 0 to 8"),
        ("petals.gain", None, "petals.gain cannot be None"),
        ("freeze", "perhaps", "freeze cannot be 'perhaps'; send 1 or 0"),
        ("padding", "mirror", "padding cannot be 'mirror'; send one of: zeros, border, reflection"),
        ("padding", 3, "padding cannot be 3; send one of: zeros, border, reflection; or its number, 0 to 2"),
        ("padding", -0.6, "padding cannot be -0.6"),
        ("padding", float("inf"), "padding cannot be inf; send one of"),
        ("padding", float("nan"), "padding cannot be nan; send one of"),
        ("padding", 10**400, "send one of"),
        ("prompt", 5, "prompt cannot be 5; send text"),
        ("petals.layers", 5, "petals.layers cannot be 5; send two values, lo and hi, or one to petals.layers.center"),
        ("petals.layers", (1, 2, 3), "send two values"),
        ("petals.layers", (1, "x"), "petals.layers.center cannot be 'x'"),
    ],
)
def test_bad_values_name_id_value_and_remedy_and_change_nothing(params, id, sent, words):
    before = params.tick(0.0)
    with pytest.raises(BadValue) as error:
        params.set(id, sent)
    assert words in str(error.value)
    assert params.tick(0.0) == before


def test_an_unknown_id_is_answered_with_the_nearest(params):
    for call in (
        lambda: params.set("petals.gian", 1),
        lambda: params["petals.gian"],
        lambda: params.remove("petals.gian"),
    ):
        with pytest.raises(UnknownParameter) as error:
            call()
        assert str(error.value) == "no parameter 'petals.gian'; did you mean 'petals.gain'?"


def test_a_name_in_another_case_is_near():
    assert closest("LPD8", ["default", "lpd8", "midimix"]) == "lpd8"
    assert suggest("NOSUCH", ["lpd8"]) == "there are: lpd8"


def test_an_unlike_id_is_answered_with_what_there_is(params):
    with pytest.raises(UnknownParameter) as error:
        params.trigger("x" * 500 + "\n")
    assert "there are: petals.gain" in str(error.value)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)
    with pytest.raises(UnknownParameter, match="there are none yet"):
        ParamSet().set("a", 1)


def test_clamping_is_told_once_per_parameter(params, notices):
    for value in (99, 100, -5):
        params.set("petals.gain", value)
    params.set("petals.layers.center", float("inf"))
    assert notices == ["petals.gain: 99 clamped to 8", "petals.layers.center: inf clamped to 29"]
    assert params["petals.gain"].base == 0 and params["petals.layers.center"].base == 29


def test_clamping_goes_to_the_log_when_nobody_listens(caplog):
    params = ParamSet()
    params.add("gain", GAIN)
    params.set("gain", 9)
    assert "gain: 9 clamped to 8" in caplog.text


def test_a_range_sets_center_and_width(params):
    params.set("petals.layers", (8, 19), origin="osc")
    assert params["petals.layers.center"].base == 13.5
    assert params["petals.layers.width"].base == 11
    params.set("petals.layers", [19, 8])
    assert params["petals.layers.width"].base == 11
    assert "petals.layers" not in params and params.is_range("petals.layers") and "petals.layers" in params.names()


def test_normalised_travel_goes_through_the_curve(params):
    params.set_normalised("petals.gain", 0.5)
    assert params["petals.gain"].base == pytest.approx(1.0)
    assert params["petals.gain"].travel == pytest.approx(0.5)
    params.set_normalised("padding", 0.5)
    params.set_normalised("freeze", 0.7)
    params.set_normalised("petals.layers", (0, 1))
    assert params.tick(0)["padding"] == "border" and params.tick(0)["freeze"] is True
    assert (params["petals.layers.center"].base, params["petals.layers.width"].base) == (14.5, 29)
    with pytest.raises(BadValue, match="prompt cannot be at travel 1; text has no knob travel"):
        params.set_normalised("prompt", 1)
    with pytest.raises(BadValue, match=r"petals\.gain cannot be at travel 'x'"):
        params.set_normalised("petals.gain", "x")


@given(st.floats() | st.integers() | st.text() | st.none() | st.booleans())
def test_any_value_is_either_legal_afterwards_or_refused(value):
    params = ParamSet(notices=lambda text: None)
    params.add("gain", GAIN)
    for call in (params.set, params.set_normalised):
        try:
            call("gain", value)
        except BadValue as error:
            assert "gain cannot be" in str(error)
        assert 0 <= params["gain"].base <= 8


def test_triggers_are_counted_in_order_and_drained_once(params):
    params.trigger("panic", origin="midi")
    params.set("next", 1)
    params.set("panic", None)
    params.set("panic", 0)  # a button let go
    params.set_normalised("next", 1.0)
    params.set_normalised("next", 0.0)
    assert params.drain() == ["panic", "next", "panic", "next"]
    assert params.drain() == []
    assert params["panic"].base == 2
    with pytest.raises(BadValue, match=r"petals\.gain is not a trigger"):
        params.trigger("petals.gain")


def test_no_trigger_is_lost_between_threads(params):
    heard = []
    stop = threading.Event()

    def engine():
        while not stop.is_set():
            heard.extend(params.drain())

    def player(id):
        for value in range(2000):
            while params[id].base > heard.count(id) + MOST // 2:
                time.sleep(0.001)  # not more than may wait
            params.trigger(id)
            params.set("petals.gain", value % 8)

    listener = threading.Thread(target=engine)
    players = [threading.Thread(target=player, args=(id,)) for id in ("panic", "next") for _ in range(2)]
    for thread in (listener, *players):
        thread.start()
    for thread in players:
        thread.join()
    stop.set()
    listener.join()
    heard.extend(params.drain())
    assert heard.count("panic") == heard.count("next") == 4000


def test_changes_are_coalesced_and_carry_their_origin(params):
    version, _ = params.changed(0)
    for value in (2, 3, 4):
        params.set("petals.gain", value, origin="midi")
    params.set("freeze", True, origin="page")
    params.trigger("panic")
    params.set("prompt", "black water")  # unchanged
    version, ids = params.changed(version)
    assert ids == ["petals.gain", "freeze", "panic"]
    assert params["petals.gain"].origin == "midi" and params["freeze"].origin == "page"
    assert params.changed(version) == (version, [])


def test_a_wish_that_is_set_again_is_one_more_but_no_change_that_listeners_could_send_back_for_ever(params):
    params.heed("seed")
    params.set("seed", 7, "one")
    version, _ = params.changed(0)
    first = params["seed"].wished
    params.set("seed", 7, "two")
    assert params["seed"].wished > first and params["seed"].origin == "two"
    assert params.changed(version)[1] == []
    params.set("petals.gain", 2, "one")
    before = params["petals.gain"].wished
    params.set("petals.gain", 2, "two")
    assert params["petals.gain"].wished == before and params["petals.gain"].origin == "one"


def test_aliases_stand_for_ids_until_the_parameter_goes(params):
    params.alias("bend.1.amount", "petals.gain")
    params.set("bend.1.amount", 3)
    assert params["petals.gain"].base == 3 and "bend.1.amount" in params
    assert params["bend.1.amount"].id == "petals.gain"
    assert "bend.1.amount" not in params.ids()
    params.alias("bend.1.amount", "petals.layers.center")
    params.set("bend.1.amount", 5)
    assert params["petals.layers.center"].base == 5
    structure = params.structure
    params.remove("petals.layers.center")
    assert params.structure > structure and "bend.1.amount" not in params and not params.is_range("petals.layers")


def test_names_that_would_clash_are_refused(params):
    with pytest.raises(ValueError, match="exists already"):
        params.add("petals.gain", GAIN)
    with pytest.raises(ValueError, match="already the id"):
        params.alias("petals.gain", "seed")
    with pytest.raises(ValueError, match="must be words of letters"):
        params.add("petals/gain", GAIN)
    with pytest.raises(ValueError, match="must be words of letters"):
        params.alias("", "seed")


def test_the_engine_sees_what_is_set_together_at_once(params):
    seen = []
    with params.together():
        params.set("petals.gain", 5)
        other = threading.Thread(target=lambda: seen.append(params.tick(0.0)))
        other.start()
        params.set("seed", 7)
    other.join()
    assert (seen[0]["petals.gain"], seen[0]["seed"]) == (5, 7)


def test_the_description_is_json_and_complete(params):
    told = {row["id"]: row for row in json.loads(json.dumps(params.describe()))}
    assert list(told) == params.ids()
    assert told["petals.gain"] == {
        "id": "petals.gain",
        "type": "number",
        "lo": 0,
        "hi": 8,
        "step": 0,
        "default": 1,
        "value": 1,
        "warp": "cubed",
        "unit": "",
        "options": None,
        "longest": None,
        "listed": False,
        "doc": "how much",
        "group": "petals",
    }
    assert told["padding"]["options"] == ["zeros", "border", "reflection"]
    assert told["prompt"]["longest"] == 2000
    assert [told[id]["type"] for id in ("freeze", "padding", "prompt", "panic")] == [
        "switch",
        "choice",
        "text",
        "trigger",
    ]
