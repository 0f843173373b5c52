"""Mistakes in mapping files: told with file, line and remedy; and whatever is accepted plays on, whatever comes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.mapping import mapping, profile
from instrument.mapping.live import Mapping
from instrument.mapping.mapping import MappingError
from instrument.parameters.params import ParamSet
from instrument.parameters.touch import Touch
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec
from tests.touches import cc


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile: nanocontrol2", "m.yaml:1: no device profile 'nanocontrol2'; did you mean 'nanokontrol2'?"),
        ("profile: ../../etc/passwd", "no device profile"),
        ("bindings: [{control: fader.1, to: a}]", "control: fader.1 needs a profile"),
        (
            "profile: lpd8\nbindings:\n  - {control: knop.1, to: a}",
            "m.yaml:3: Akai LPD8 has no control 'knop.1'; did you mean 'knob.1'?",
        ),
        (
            'profile: lpd8\nbindings: [{control: "fader.{n}", to: a}]',
            "has no control 'fader.{n}'; there are: button.{n}, knob.{n}, ",
        ),
        ("bindings: [{cc14: 32, to: a}]", "cc14: should be less than or equal to 31, not 32"),
        ("bindings: [{cc: 7-200, to: a}]", "cc: should be less than or equal to 127, not 200"),
        ("bindings: [{cc: loud, to: a}]", "should be a whole number, a range such as 0-7 or a list"),
        ('bindings: [{osc: /a, to: "bend.{n}.x"}]', "{n} needs a row as its source"),
        ('bindings: [{cc: 1, to: "bend.{m}.x"}]', "is not a parameter id"),
        ("bindings: [{cc: 1, to: a, page: two}]", "no page 'two'; list the pages at the top"),
        ("pages: [one, two]\nbindings: [{cc: 1, to: a, page: tow}]", "m.yaml:2: no page 'tow'; did you mean 'two'?"),
        ("pages: 2\nbindings: [{cc: 1, to: a, page: 3}]", "no page '3'"),
        ("bindings: [{note: 1, go: next}]", "go needs pages: list them at the top"),
        ("pages: [next, b]", "no page can be called next or previous"),
        ("pages: []", "write how many pages there are"),
        ("bindings: [{cc: 1, to: a, when: shift}]", "when: 'shift' should be a message such as note 98"),
        ("bindings: [{cc: 1, to: a, acceleration: 0.5}]", "acceleration: should be greater than or equal to 1"),
        ("bindings: [{osc: /a, to: a, feedback: true}]", "feedback here needs the message that lights the control"),
        ("bindings: [{cc: 1, to: a, feedback: {cc: 1, note: 2}}]", "give at most one of cc, note and pitch"),
        ("bindings: [{note: 1, to: a, takeover: scale}]", "takeover: scale is for faders and knobs with ends"),
        ("bindings: [{cc: 1, to: a, mode: toggel}]", "'gate', 'toggle', 'momentary', 'velocity' or 'trigger'"),
        ("bindings: [{osc: /a, device: x, to: a}]", "an osc source has no channel and no device"),
        ("bindings: [{cc: 1, go: 2, range: [0, 1]}]", "a trigger has no range, curve or mode"),
        ("bindings: [" + ", ".join(["{poly: 0-127, to: a}"] * 40) + "]", "make more than 5000 bindings"),
    ],
)
def test_mistakes_name_file_line_and_remedy(text, words):
    with pytest.raises((MappingError, profile.ProfileError)) as error:
        mapping.loads(text, "m.yaml")
    assert words in str(error.value) and str(error.value).startswith("m.yaml:")


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 20000), st.floats(), st.text(max_size=8))


SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "control": st.sampled_from(["fader.{n}", "knob.1", "button.{n}", "stop", "nothing"]),
        "cc": st.sampled_from([0, 7, "0-7", [1, 2], "9-2", 500]),
        "cc14": st.sampled_from([1, "0-3"]),
        "note": st.sampled_from([36, "36-43"]),
        "poly": st.just(36),
        "program": st.sampled_from(["all", 3]),
        "nrpn": st.sampled_from([5, 16383]),
        "pressure": st.just(True),
        "channel": st.sampled_from([1, 16, 0]),
        "to": st.sampled_from(
            ["bend.{n}.amount", "bend.{n+8p}.amount", "*.amount", "freeze", "panic", "prompt", "pad"]
        ),
        "trigger": st.sampled_from(["panic", "bend.{n}.fire"]),
        "go": st.sampled_from(["next", "a", 2, 9]),
        "range": st.lists(st.floats(-2, 2), min_size=2, max_size=2),
        "takeover": st.sampled_from(["jump", "pickup", "scale"]),
        "relative": st.sampled_from(["twos", True]),
        "acceleration": st.sampled_from([1, 4]),
        "mode": st.sampled_from(["gate", "toggle", "momentary", "velocity", "trigger"]),
        "feedback": st.sampled_from([True, False, {"note": 3}]),
        "page": st.sampled_from(["a", 1, ["a", "b"]]),
        "when": st.sampled_from(["note 98", "stop", ["cc 49", "stop"]]),
        "invert": st.booleans(),
    },
)


TOUCHES = st.lists(
    st.builds(
        Touch,
        st.sampled_from(["cc", "cc14", "note", "poly", "program", "nrpn", "nrpn_step", "pressure"]),
        st.sampled_from([0, 1, 5, 7, 36, 42, 98, 49]),
        st.integers(0, 127),
        st.sampled_from([1, 16]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(SOURCES, max_size=4), TOUCHES)
def test_every_accepted_mapping_survives_every_touch_and_still_plays(lines, touches):
    good = {"cc": 100, "to": "good"}
    document = {"profile": "nanokontrol2", "pages": ["a", "b"], "bindings": [*lines, good]}
    try:
        file = mapping.loads(json.dumps(document))
    except MappingError as error:
        assert str(error).startswith("mapping:")
        return
    params = ParamSet(notices=lambda text: None)
    for number in range(1, 5):
        params.add(f"bend.{number}.amount", ControlSpec(0, 1, 0.5))
    params.add("freeze", SwitchSpec())
    params.add("panic", TriggerSpec())
    params.add("prompt", TextSpec(""))
    params.add("pad", ChoiceSpec(("a", "b"), "a"))
    params.add("good", ControlSpec(0, 1, 0))
    playing = Mapping(file, params, lambda text: None)
    for touch in touches:
        playing.handle(touch, "midi:nanoKONTROL2")
    playing.handle(cc(100, 0))
    assert playing.handle(cc(100, 127)) and params["good"].base == 1


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=20,
    )
)
def test_any_yaml_at_all_is_accepted_or_told(data):
    for key in ("bindings", "pages", "profile", "device"):
        try:
            mapping.loads(json.dumps({key: data}), "m.yaml")
        except (MappingError, profile.ProfileError) as error:
            assert "m.yaml" in str(error)


@given(st.text(max_size=200))
def test_any_text_at_all_is_accepted_or_told(text):
    for read in (mapping.loads, profile.loads):
        try:
            read(text, "m.yaml")
        except (MappingError, profile.ProfileError) as error:
            assert str(error).startswith("m.yaml")
