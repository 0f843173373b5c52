"""Base and modulation apart, timed triggers, changes told once: what the engine and surfaces build on."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.parameters.params import ParamSet
from instrument.parameters.values import clamped, fits, travelled
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TriggerSpec

GAIN = ControlSpec(0, 8, 1, warp="cubed", doc="how much")


@pytest.fixture
def params():
    params = ParamSet(notices=lambda text: None)
    params.add("petals.gain", GAIN, group="petals")
    params.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    params.add("petals.layers.width", ControlSpec(0, 30, 29))
    params.add("seed", ControlSpec(0, 1000, 0, step=1))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    params.add("next", TriggerSpec())
    return params


def test_triggers_know_their_time_and_some_may_wait(params):
    before = time.monotonic()
    params.trigger("panic")
    params.trigger("next")
    [(id, at, _)] = params.drain_timed(but=("panic",))
    assert id == "next" and before <= at <= time.monotonic()
    assert params.drain() == ["panic"]


@given(
    base=st.floats(0, 1),
    amounts=st.dictionaries(st.sampled_from(["gain", "seed", "freeze", "padding", "gone"]), st.floats(-3, 3)),
)
def test_what_is_heard_is_base_plus_modulation_clamped_and_the_base_is_left_alone(base, amounts):
    params = ParamSet(notices=lambda text: None)
    specs = {
        "gain": GAIN,
        "seed": ControlSpec(0, 1000, 0, step=1),
        "freeze": SwitchSpec(),
        "padding": ChoiceSpec(("zeros", "border", "reflection"), "zeros"),
    }
    for id, spec in specs.items():
        params.add(id, spec)
        params.set_normalised(id, base)
    bases = {id: params[id].base for id in specs}
    params.modulate(lambda now, values: amounts)
    heard = params.tick(0.0)
    assert {id: params[id].base for id in specs} == bases
    for id, spec in specs.items():
        if amounts.get(id, 0.0) == 0.0:
            assert heard[id] == bases[id] and type(heard[id]) is type(bases[id])
        else:
            assert heard[id] == travelled(spec, params[id].travel + amounts[id])
            assert clamped(spec, fits(spec, heard[id])) == heard[id]
    assert set(params.moving()) == {id for id, amount in amounts.items() if amount and id in specs}
    assert all(params.heard(id) == heard[id] for id in specs)
    params.modulate(None)
    assert params.tick(0.0) == bases and params.moving() == {}


def test_modulation_is_asked_with_what_is_heard(params):
    asked = []

    def modulation(now, values):
        asked.append((now, values["petals.gain"]))
        return {"petals.gain": 0.5}

    params.modulate(modulation)
    params.set("petals.gain", 0)
    params.tick(1.0)
    params.tick(2.0)
    assert asked == [(1.0, 0), (2.0, 1.0)]  # what is modulated itself: as it was a tick before


def test_a_recorder_is_told_of_changes_to_what_is_kept(params):
    told = []
    params.recorder = told.append
    params.add("tempo", GAIN, kept=False)
    params.set("petals.gain", 2, "osc")
    params.set("petals.gain", 2, "osc")
    params.set("tempo", 3)
    params.trigger("panic")
    with params.together():
        params.set("freeze", True)
        params.set("petals.layers", (1, 3), "midi")
    params.set("petals.layers", (2, 3), "midi")
    assert [(c.id, c.before, c.after, c.origin) for c in told[:2]] == [
        ("petals.gain", 1, 2, "osc"),
        ("freeze", False, True, ""),
    ]
    blocks = [change.block for change in told]
    assert blocks[0] == 0 and blocks[1] == blocks[2] == blocks[3] != 0
    assert blocks[4] == blocks[5] not in (0, blocks[1])


def test_a_storm_from_many_threads_ends_at_the_last_move_and_no_listener_misses_it(params):
    """Each thread owns one parameter; whatever the others do, its own last value arrives, with its origin."""
    ids = [params.add(f"storm.{n}", ControlSpec(0, 5000, 0)).id for n in range(4)]
    heard: dict[str, float] = {}
    stop = threading.Event()

    def listen():
        version, last = 0, False
        while not last:
            last = stop.is_set()
            version, changed = params.changed(version)
            heard.update({id: params[id].base for id in changed})
            params.tick(0.0)

    def move(id):
        for value in range(1, 5001):
            params.set(id, value, id)
            params.set("petals.gain", value % 8, id)

    listener = threading.Thread(target=listen)
    movers = [threading.Thread(target=move, args=(id,)) for id in ids]
    for thread in (listener, *movers):
        thread.start()
    for thread in movers:
        thread.join()
    stop.set()
    listener.join()
    assert all(params[id].base == heard[id] == 5000 and params[id].origin == id for id in ids)
    assert heard["petals.gain"] == params["petals.gain"].base == 5000 % 8


def test_changes_are_told_the_longest_unchanged_first_however_often_they_move(params):
    version, _ = params.changed(0)
    for id in ("petals.gain", "seed", "petals.gain", "freeze", "seed"):
        params.set(id, params[id].base + 1 if id != "freeze" else True)
    assert params.changed(version)[1] == ["petals.gain", "freeze", "seed"]
    params.remove("freeze")
    assert params.changed(version)[1] == ["petals.gain", "seed"]
