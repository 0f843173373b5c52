"""Snapshots as patches write them: slots, ranges, and every mistake with its line."""

import pytest

from instrument.parameters.params import ParamSet
from instrument.state import patch, snapshots
from instrument.state.patch import PatchError
from pipelines.spec import ControlSpec, SwitchSpec, TriggerSpec


def params() -> ParamSet:
    made = ParamSet(lambda text: None)
    made.add("petals.gain", ControlSpec(0, 8, 1))
    made.add("petals.on", SwitchSpec(True))
    made.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    made.add("petals.layers.width", ControlSpec(0, 29, 29))
    made.add("clock.tempo", ControlSpec(20, 300, 120), kept=False)
    made.add("panic", TriggerSpec())
    made.alias("bend.1.amount", "petals.gain")
    return made


def read(text: str) -> dict:
    return snapshots.read(patch.loads(text, "song.yaml"), params())


def test_a_name_that_is_a_number_has_that_slot_the_others_the_free_ones():
    found = read("snapshots: {drown: {petals.gain: 6}, 2: {petals.gain: 1}, rise: null, '7': {petals.on: off}}")
    assert {slot: each.name for slot, each in found.items()} == {1: "drown", 2: "2", 3: "rise", 7: "7"}
    assert found[1].values == {"petals.gain": 6} and found[3].values == {} and found[7].values == {"petals.on": False}


def test_values_are_made_legal_and_ranges_and_aliases_resolved():
    found = read("snapshots: {a: {petals.layers: [3, 9], bend.1.amount: 99}}")
    assert found[1].values == {"petals.layers.center": 6, "petals.layers.width": 6, "petals.gain": 8}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{a: {petals.gian: 1}}", "did you mean 'petals.gain'"),
        ("{a: {petals.gain: loud}}", "petals.gain cannot be 'loud'"),
        ("{a: {petals.layers: 3}}", "send two values, lo and hi"),
        ("{a: {clock.tempo: 90}}", "a snapshot cannot hold clock.tempo"),
        ("{a: {panic: 1}}", "a snapshot cannot hold panic"),
        ("{a: 3}", "snapshots a: should be keys and values"),
        ("{a: {petals.gain: [1]}}", "write a number, on or off, text, or [lo, hi]"),
        ("{0: {}}", "'0' is no slot; they are 1 to 128"),
        ("{999: {}}", "'999' is no slot"),
        ("{1: {}, '01': {}}", "'1' and '01' are one slot; give one of them another number"),
        ("[1]", "snapshots: should be keys and values"),
    ],
)
def test_a_mistake_is_answered_with_file_line_and_remedy(line, words):
    with pytest.raises(PatchError) as error:
        read(f"version: 2\nsnapshots:\n  {line}")
    assert words in str(error.value) and str(error.value).startswith("song.yaml:")


def test_at_most_so_many():
    many = "\n".join(f"  s{n}: {{petals.gain: 1}}" for n in range(129))
    with pytest.raises(PatchError, match="there are 129; at most 128 are kept"):
        read(f"snapshots:\n{many}")


def test_the_state_is_what_patches_keep():
    assert snapshots.state(params()) == {
        "petals.gain": 1,
        "petals.on": True,
        "petals.layers.center": 14.5,
        "petals.layers.width": 29,
    }
