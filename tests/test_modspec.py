"""A modulator as a patch writes it: every mistake has its line, every setting becomes a parameter."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument import yamlfile
from instrument.modulation.modspec import ModulatorSpec, duration, named, parameters_of, points
from instrument.state import patch
from instrument.state.patch import PatchError
from pipelines.spec import ControlSpec, TriggerSpec

KEYS = st.sampled_from([*ModulatorSpec.model_fields])


def made(**line) -> ModulatorSpec:
    return ModulatorSpec.model_validate(line)


@pytest.mark.parametrize(
    ("text", "length", "beats"),
    [("8 beats", 8, True), ("1/4 beat", 0.25, True), ("2 s", 2, False), ("500 ms", 0.5, False), ("1.5", 1.5, False)],
)
def test_durations(text, length, beats):
    assert duration(text) == (length, beats)


@pytest.mark.parametrize("text", ["", "soon", "-1 s", "1/0 s", "8 bars", "1 s s", "١ hour"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration; write for example 8 beats"):
        duration(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{to: a.b}", "give exactly one kind: lfo, envelope, hold, follow, audio"),
        ("{lfo: sine, audio: bass}", "give exactly one kind"),
        ("{lfo: sinus}", "modulators 1 lfo: should be 'sine', 'triangle'"),
        ("{lfo: sine, attack: 1}", "'attack' is no setting of lfo; it has: depth, lfo, name"),
        ("{lfo: sine, dept: 1}", "unknown key 'dept' in modulators 1; did you mean 'depth'"),
        ("{lfo: sine, depth: 2}", "modulators 1 depth: should be less than or equal to 1, not 2"),
        ("{lfo: sine, depth: .nan}", "depth: should be a finite number"),
        ("{lfo: sine, period: 8 bars}", "'8 bars' is not a duration"),
        ("{lfo: sine, period: 0}", "period '0 s' should be 0.02 to 1000 s or beats"),
        ("{lfo: sine, period: 1, rate: 2}", "give either period or rate, not both"),
        ("{lfo: table}", "lfo: table needs its points"),
        ("{lfo: sine, to: a.b, c.d, e.f, depth: 1}", "several need brackets: write to: [a.b, c.d, e.f]"),
        ("{lfo: sine, to: [a.b, c.d], e.f}", "write to: [a.b, c.d, e.f]"),
        ("{lfo: table, table: -1, 0.5, 1}", "write table: [-1, 0.5, 1]"),
        ("{lfo: sine, to: a.b, depth: 1, c.d}", "unknown key 'c.d'"),
        ("{lfo: table, table: [0, 2]}", "a table is 2 to 256 numbers from -1 to 1"),
        ("{lfo: sine, name: two words}", "name 'two words' should be one word"),
        ("{envelope: ad, attack: 1 beat, decay: 1 s}", "should all be in beats, or all in seconds"),
        ("{envelope: ad, attack: 99}", "'99 s' is longer than 60 s or beats"),
        ("{audio: treble}", "should be 'level', 'bass'"),
        ("{follow: lfo1, rise: 1 beat}", "rise and fall are in seconds"),
    ],
)
def test_a_mistake_is_answered_with_file_line_and_remedy(line, words):
    with pytest.raises(PatchError) as error:
        patch.loads(f"version: 2\nmodulators:\n  - {line}\n", "song.yaml")
    assert words in str(error.value) and str(error.value).startswith("song.yaml:3: ")


def test_two_of_one_name_are_refused():
    with pytest.raises(PatchError, match="two modulators are called 'lfo2'"):
        patch.loads("modulators: [{lfo: sine, name: lfo2}, {lfo: saw}]")
    with pytest.raises(PatchError, match="a bend and a modulator are both called 'a'"):
        patch.loads("bends: [{name: a, lever: b}]\nmodulators: [{lfo: sine, name: a}]")


def test_names_are_by_kind_and_number():
    kinds = [made(lfo="sine"), made(audio="bass"), made(lfo="saw", name="slow"), made(lfo="walk"), made(envelope="ad")]
    assert list(named(kinds)) == ["lfo1", "audio1", "slow", "lfo3", "env1"]


def test_settings_become_parameters_with_the_files_values():
    found = parameters_of([made(lfo="sine", period="8 beats", to=["a.b", "c.d"], depth=-0.25, on=False)])
    assert found["lfo1.rate"].default == 1 / 8 and found["lfo1.time"].default == "beats"
    assert found["lfo1.to"].default == "a.b, c.d" and found["lfo1.depth"].default == -0.25
    assert found["lfo1.on"].default is False and found["lfo1.shape"].default == "sine"
    assert isinstance(found["lfo1.restart"], TriggerSpec)
    env = parameters_of([made(envelope="adsr", attack="1/2 beat", by="bar")])
    assert (env["env1.attack"].default, env["env1.time"].default, env["env1.by"].default) == (0.5, "beats", "bar")
    audio = parameters_of([made(audio="bass", fall="1 s")])
    assert (audio["audio1.of"].default, audio["audio1.fall"].default) == ("bass", 1.0)


def test_tables_can_be_typed():
    assert points("0, 1 -1,0.5") == [0, 1, -1, 0.5]
    for text in ("", "1", "0 x", "0 nan", " ".join(["0"] * 257)):
        with pytest.raises(ValueError, match="a table is"):
            points(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["modulators", "snapshots", "glide", "version", "values"]), ANYTHING))
def test_any_data_is_a_patch_or_is_refused_in_words(data):
    out = io.StringIO()
    yamlfile.round_trip().dump(data, out)
    try:
        read = patch.loads(out.getvalue(), "song.yaml")
    except PatchError as problem:
        assert str(problem).startswith("song.yaml")
    else:
        assert patch.loads(patch.dump(read)) == read
        parameters_of(read.modulators)


@given(
    st.sampled_from(
        [
            {"lfo": "walk", "period": "3 beats", "seed": 4},
            {"lfo": "table", "table": [0, 1, -0.5]},
            {"envelope": "ad", "attack": 0.2, "decay": "1 s", "by": "onset"},
            {"hold": "lfo1", "rate": 2.5},
            {"follow": "audio.level", "rise": "5 ms"},
            {"audio": "onset", "gain": 3},
        ]
    ),
    st.floats(-1, 1),
    st.booleans(),
)
def test_what_is_written_is_read_back_equal(line, depth, on):
    original = patch.Patch.model_validate({"modulators": [{**line, "to": "a.b", "depth": depth, "on": on}]})
    assert patch.loads(patch.dump(original)) == original
    for spec in parameters_of(original.modulators).values():
        assert not isinstance(spec, ControlSpec) or spec.lo <= spec.default <= spec.hi
