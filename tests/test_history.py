"""Undo and redo: exact inverses, one step for a sweep, one for what was set together."""

from hypothesis import given
from hypothesis import strategies as st

from instrument.parameters.params import Change, ParamSet
from instrument.state import history
from instrument.state.history import MOST, PAUSE, History
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

IDS = ("a", "b", "mode", "on", "words")


def instrument() -> tuple[ParamSet, History]:
    params = ParamSet(lambda text: None)
    params.add("a", ControlSpec(0, 8, 1, warp="cubed"))
    params.add("b", ControlSpec(-1, 1, 0))
    params.add("mode", ChoiceSpec(("x", "y", "z"), "x"))
    params.add("on", SwitchSpec())
    params.add("words", TextSpec("ice"))
    params.add("x.center", ControlSpec(0, 10, 5))
    params.add("x.width", ControlSpec(0, 10, 10))
    params.add("tempo", ControlSpec(20, 300, 120), kept=False)
    params.add("panic", TriggerSpec())
    return params, History(params)


def bases(params: ParamSet) -> dict:
    return {p.id: p.base for p in params}


CHANGES = st.lists(
    st.tuples(st.sampled_from(IDS), st.integers(0, 2), st.sampled_from(["osc", "midi", "page"])), max_size=40
)


@given(CHANGES, st.integers(1, 60))
def test_undo_and_redo_are_inverse(changes, steps):
    params, past = instrument()
    start = bases(params)
    for id, value, origin in changes:
        params.set(id, ("ice", "fire", "sea")[value] if id == "words" else value, origin)
    end = bases(params)
    undone = sum(past.undo() for _ in range(steps))
    between = bases(params)
    assert sum(past.redo() for _ in range(undone)) == undone
    assert bases(params) == end and not past.redo()
    for _ in range(undone):
        past.undo()
    assert bases(params) == between
    while past.undo():
        pass
    assert bases(params) == start


def test_a_sweep_is_one_change_and_two_hands_are_two():
    params, past = instrument()
    for n in range(100):
        params.set("a", n / 20, "osc")
        params.set("b", n / 100, "midi")
    assert past.undo() and params["b"].base == 0 and params["a"].base == 99 / 20
    assert past.undo() and params["a"].base == 1 and not past.undo()
    assert past.redo() and params["a"].base == 99 / 20


def test_a_pause_or_another_hand_ends_a_sweep():
    params, past = instrument()
    past.record(Change("a", 1.0, 2.0, "osc", 0, 100.0))
    past.record(Change("a", 2.0, 3.0, "osc", 0, 100.0 + 0.9 * PAUSE))
    past.record(Change("a", 3.0, 4.0, "osc", 0, 100.0 + 2.1 * PAUSE))
    past.record(Change("a", 4.0, 5.0, "midi", 0, 100.0 + 2.2 * PAUSE))
    for expected in (4.0, 3.0, 1.0):
        assert past.undo() and params["a"].base == expected
    assert not past.undo()


def test_what_is_set_together_is_undone_together():
    params, past = instrument()
    params.set("a", 2)
    with params.together():
        params.set("a", 3)
        params.set("words", "fire")
    params.set("x", (2, 4))
    assert past.undo() and (params["x.center"].base, params["x.width"].base) == (5, 10)
    assert past.undo() and (params["a"].base, params["words"].base) == (1, "ice")


def test_a_sweep_over_many_targets_stays_one_change():
    params, past = instrument()
    for n in range(10):
        with params.together():
            params.set("a", n, "midi")
            params.set("b", n / 10, "midi")
    past.undo()
    assert (params["a"].base, params["b"].base) == (1, 0) and not past.undo()


def test_another_hand_between_splits_nothing_that_was_set_together():
    params, past = instrument()
    params.set("a", 2, "osc")
    params.set("on", True, "midi")
    with params.together():
        params.set("a", 3, "osc")
        params.set("b", 1, "osc")
    assert past.undo() and params["on"].base is False
    assert past.undo() and (params["a"].base, params["b"].base) == (1, 0) and not past.undo()


def test_a_sweep_does_not_go_on_over_what_another_hand_has_moved_since():
    params, past = instrument()
    params.set("a", 2, "osc")
    params.set("b", 0.5, "midi")
    with params.together():
        params.set("a", 3, "osc")
        params.set("b", 1, "osc")
    states = []
    while past.undo():
        states.append((params["a"].base, params["b"].base))
    assert states == [(2, 0.5), (2, 0), (1, 0)]


def test_a_cut_ends_every_sweep():
    params, past = instrument()
    for slot in (1, 2):
        past.cut()
        with params.together():
            params.set("a", slot + 1, "recall")
            params.set("b", slot / 10, "recall")
    assert past.undo() and (params["a"].base, params["b"].base) == (2, 0.1)


def test_a_sweep_that_fell_out_of_memory_is_not_gone_on_with():
    params, past = instrument()
    params.set("a", 2, "osc")
    for n in range(MOST):
        params.set("b", (n + 1) / MOST, f"hand {n}")
    params.set("a", 3, "osc")
    assert past.undo() and params["a"].base == 2


def test_at_most_so_many_are_remembered_and_a_new_change_ends_redo():
    params, past = instrument()
    for n in range(MOST + 20):
        params.set("a", n % 7 + 0.5, f"hand {n}")
    assert sum(past.undo() for _ in range(MOST + 20)) == MOST
    past.redo()
    params.set("b", 0.5)
    assert not past.redo()


def test_only_the_state_of_the_picture_is_undone():
    params, past = instrument()
    params.set("tempo", 90)
    params.trigger("panic")
    assert not past.undo() and params["tempo"].base == 90


def test_who_undid_is_told_and_what_is_gone_is_left_out():
    params, past = instrument()
    with params.together():
        params.set("a", 2, "osc")
        params.set("b", 1, "osc")
    params.remove("b")
    assert past.undo() and params["a"].origin == "undo"
    assert past.redo() and params["a"].base == 2 and params["a"].origin == "redo"
    past.clear()
    assert not past.undo() and not past.redo() and history.MOST == 50
