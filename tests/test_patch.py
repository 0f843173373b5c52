"""Patch files: what they may say, and that every mistake is answered with a line and a remedy."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instrument.parameters.params import ParamSet
from instrument.state import patch
from instrument.state.patch import PatchError
from pipelines.spec import ControlSpec, SwitchSpec

UNDERTOW = """\
# the undertow
version: 1
model: house
prompt: slow black water under ice
bends:
  - {name: petals, lever: cross.map.gain, scope: {tokens: black water, layers: [8, 19], steps: 1}, values: {gain: 3}}
  - name: brush
    lever: ffn.hidden.gain
    persist: transient
    scope:
      neurons: 0-1023, 4096
      heads: [1, 3-5]
      layers: 8-19
values: {petals.gain: 2.0, petals.layers: [3, 9], brush.freeze: on}
"""


def test_a_patch_is_read():
    undertow = patch.loads(UNDERTOW)
    petals, brush = undertow.bends
    assert (undertow.model, undertow.prompt, undertow.seed) == ("house", "slow black water under ice", 0)
    assert petals.lever == "cross.map.gain" and petals.persist == "cache"
    assert petals.scope.layers == (8, 19) and petals.scope.steps == (1, 1) and petals.scope.tokens == "black water"
    assert petals.scope.heads is None and petals.scope.feather == 0
    assert brush.persist == "transient" and brush.scope.layers == (8, 19) and brush.scope.tokens == "all"
    assert brush.scope.neurons == "0-1023, 4096"
    assert brush.scope.heads == "1, 3-5"


def test_prompt_and_seed_can_be_set_over_the_file():
    undertow = patch.loads(UNDERTOW, "song.yaml", "song")
    undertow.prompt, undertow.seed = "fire", 7
    assert (undertow.prompt, undertow.seed, undertow.name, len(undertow.bends)) == ("fire", 7, "song", 2)
    assert str(undertow.error("x", "bends", 1, "lever")) == "song.yaml:8: x"
    with pytest.raises(ValueError, match="seed"):
        undertow.seed = -1


def test_an_empty_file_is_a_patch_without_bends():
    for text in ("", "# nothing yet", "prompt:\nbends:\nvalues:\n"):
        assert patch.loads(text).bends == [] and patch.loads(text).model == "house"


def test_values_of_the_patch_win_over_those_in_its_bends():
    assert patch.loads(UNDERTOW).all_values() == {"petals.gain": 2.0, "petals.layers": (3, 9), "brush.freeze": "on"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle: x", "song.yaml:1: unknown key 'modle'; did you mean 'model'?"),
        ("bends:\n  - name: a\n    levr: b", "song.yaml:3: unknown key 'levr' in bends 1; did you mean 'lever'?"),
        ("bends:\n  - {name: a, lever: b, scope: {layrs: 1}}", "song.yaml:2: unknown key 'layrs' in bends 1 scope;"),
        (
            "bends:\n  - {lever: b, scope: {band: {centre: 1}}, name: a}",
            "in bends 1 scope band; did you mean 'center'?",
        ),
        ("bends:\n  - name: a", "song.yaml:2: bends 1 needs a key 'lever'"),
        ("bends:\n  - {name: two words, lever: b}", "bends 1 name: 'two words' should be one word"),
        ("bends: [{name: a, lever: b}, {name: a, lever: c}]", "two bends are called 'a'"),
        ("\nbends: [{name: a, lever: b, persist: forever}]", "song.yaml:2: bends 1 persist: should be 'transient' or"),
        ("bends: [{name: a, lever: b, scope: {layers: [9, 3]}}]", "[9, 3] runs backwards; write [3, 9]"),
        ("bends: [{name: a, lever: b, scope: {layers: [1, 2, 3]}}]", "write [lo, hi] or a single number"),
        ("bends: [{name: a, lever: b, scope: {layers: [1, .inf]}}]", "write [lo, hi] or a single number"),
        ("bends: [{name: a, lever: b, scope: {neurons: 9-3}}]", "range '9-3' runs backwards; write 3-9"),
        (
            "bends: [{name: a, lever: b, scope: {neurons: some}}]",
            "range 'some' is not a number or a range; write for example 0-3",
        ),
        ("bends: [{name: a, lever: b, scope: {neurons: 1, band: {}}}]", "give either neurons or band, not both"),
        ("bends: [{name: a, lever: b, scope: {feather: -1}}]", "scope feather: should be greater than or equal to 0"),
        ("bends: [{name: a, lever: b, scope: {tokens: []}}]", "write a word or phrase of the prompt"),
        ("bends: [{name: a, lever: b, scope: {tokens: ''}}]", "a word is empty"),
        ("bends: a", "bends: should be a list, not 'a'"),
        ("bends: [a]", "bends 1: should be keys and values, not 'a'"),
        ("seed: soon", "seed: should be a whole number, not 'soon'"),
        ("seed: -1", "seed: should be greater than or equal to 0, not -1"),
        ("prompt: 2001", "prompt: should be text, not 2001"),
        ("values: {a: [1]}", "values a: write a number, on or off, text, or [lo, hi]"),
        ("values: {a: .nan}", "values a: write a number"),
        ("version: 99", "this program reads versions 1 to 2, not 99"),
        ("- 1", "should be keys and values, such as 'version: ...'"),
        ("a: [1,\nb", "song.yaml:2: not valid YAML: expected ',' or ']'"),
        ("seed: 1\nseed: 2", "song.yaml:2: not valid YAML: found duplicate key"),
        ("a:\n\t- 1", "cannot start any token; indent with spaces, not tabs"),
        ("a: {b: bend.{n}.gain}", "but got '{'; put text that has braces between quotes: \"bend.{n}.amount\""),
        ("a: {b: 1 c: 2}", "but got ':'; put a comma between two settings"),
        ("a: [1, 2", "but got '<stream end>'; close every bracket"),
        ('a: "b', "song.yaml:1: not valid YAML: found unexpected end of stream; close every quote"),
        ("a: *.gain", 'put text that begins with * between quotes: "*.gain"'),
        ("a:\n  - 1\n - 2", "begin every item of a list with - at the same place"),
        ("a: &a [*a]", "unknown key 'a'"),
        ("a: " + "[" * 200, "not valid YAML"),
        ("a: " + "[" * 50 + "]" * 50, "nested deeper than 20 levels"),
    ],
)
def test_a_mistake_is_answered_with_file_line_and_remedy(text, words):
    with pytest.raises(PatchError) as error:
        patch.loads(text, "song.yaml")
    assert words in str(error.value)
    assert str(error.value).startswith("song.yaml:") and error.value.line > 0


def test_aliases_that_multiply_do_not_fill_the_memory():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(PatchError, match="more than 50000 values"):
        patch.loads("\n".join(rows))


PIECES = ["a", "seed", "values", "? ", "<<", "&a ", "*a", "!!", "!", "int", "omap", "set", "1:2", "0x", ".inf"]
PIECES += [*"[]{},|>'\"#%", "2001-01-01", "---", ": ", "- ", " ", "\n", "9" * 400]


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@example("a: !!omap b")
@example("&a !!int ")
@example("values: {master.mix: " + "9" * 400 + "}")
@example("modulators: [{lfo: sine, period: 1/00 beat}]")
def test_any_text_is_a_patch_or_a_patch_error(text):
    try:
        patch.loads(text)
    except PatchError as error:
        assert "patch:" in str(error)


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
ENDS = st.lists(st.floats(0, 1000), min_size=2, max_size=2).map(sorted)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "steps": ENDS,
        "layers": ENDS | st.integers(0, 40),
        "feather": st.floats(0, 10),
        "tokens": WORDS | st.lists(WORDS, min_size=1, max_size=3),
        "heads": st.lists(st.integers(0, 15), min_size=1, max_size=4),
    },
)
BENDS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "lever": WORDS}, optional={"scope": SCOPES, "persist": st.just("transient")}),
    max_size=3,
    unique_by=lambda bend: bend["name"],
)
VALUES = st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | WORDS, max_size=4)


@given(prompt=st.text(st.characters(codec="utf-8", exclude_categories=["C"])), bends=BENDS, values=VALUES)
def test_what_is_written_is_read_back_equal(prompt, bends, values):
    made = patch.Patch.model_validate({"prompt": prompt, "bends": bends, "values": values})
    assert patch.loads(patch.dump(made)) == made


def test_dumping_keeps_the_example():
    undertow = patch.loads(UNDERTOW)
    assert patch.loads(patch.dump(undertow)) == undertow
    assert patch.dump(undertow).startswith("version: 2\nmodel: house\nprompt: slow black water under ice\n")


def test_a_patch_is_found_by_name_or_path(tmp_path):
    (tmp_path / "clients").mkdir()
    (tmp_path / "undertow.yaml").write_text(UNDERTOW)
    (tmp_path / "clients" / "pd.yaml").write_text("seed: 4")
    for which in ("undertow", "undertow.yaml", tmp_path / "undertow.yaml"):
        assert patch.load(which, tmp_path).name == "undertow"
    assert patch.load("clients/pd", tmp_path).seed == 4
    assert {"undertow", "clients/pd"} <= set(patch.available(tmp_path))
    with pytest.raises(PatchError, match=r"undertwo: no such patch in .*; did you mean 'undertow'"):
        patch.load("undertwo", tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", "", ".", "a/../../secret", "..\\secret", "c:x", "a\0"]
)
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    (tmp_path / "secret.yaml").write_text("seed: 1")
    folder = tmp_path / "patches"
    folder.mkdir()
    absolute = str(tmp_path / "secret")
    for which in (name, absolute):
        with pytest.raises(PatchError, match="no such patch"):
            patch.load(which, folder)


def test_unreadable_files_are_patch_errors(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PatchError, match=r"binary\.yaml: cannot be read: it is not UTF-8"):
        patch.load("binary", tmp_path)
    (tmp_path / "huge.yaml").write_text("#" * 1_000_001)
    with pytest.raises(PatchError, match="at most 1000000 are read"):
        patch.load(Path(tmp_path / "huge.yaml"))


def test_values_reach_the_parameters_or_name_their_line():
    params = ParamSet()
    params.add("petals.gain", ControlSpec(0, 8, 1))
    params.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    params.add("petals.layers.width", ControlSpec(0, 30, 30))
    params.add("brush.freeze", SwitchSpec())
    patch.set_values(patch.loads(UNDERTOW), params)
    heard = params.tick(0.0)
    assert heard == {
        "petals.gain": 2,
        "petals.layers.center": 6,
        "petals.layers.width": 6,
        "brush.freeze": True,
    }
    bad = patch.loads("seed: 1\nvalues:\n  petals.gain: 1\n  petals.gian: 2\n", "song.yaml")
    with pytest.raises(PatchError, match=r"song\.yaml:4: no parameter 'petals\.gian'; did you mean 'petals\.gain'"):
        patch.set_values(bad, params)
    bad = patch.loads("bends:\n- name: petals\n  lever: x\n  values:\n    gain: loud\n", "song.yaml")
    with pytest.raises(PatchError, match=r"song\.yaml:5: petals\.gain cannot be 'loud'"):
        patch.set_values(bad, params)


def test_others_can_point_at_a_line():
    error = patch.loads(UNDERTOW, "song.yaml").error("no lever 'x'", "bends", 1, "lever")
    assert str(error) == "song.yaml:8: no lever 'x'"


def test_several_prompts_and_a_list_to_go_along():
    song = patch.loads("prompts: [a moon, {text: a star, weight: 0.5}]\nprompt_list: [a sea, a moon]")
    assert [(voice.text, voice.weight) for voice in song.voices] == [("a moon", 1), ("a star", 0.5)]
    assert song.prompt == "a moon" and song.prompt_list == ["a sea", "a moon"]
    assert patch.loads(patch.dump(song)) == song
    assert patch.loads("prompt_list: [a sea, a moon]").prompt == "a sea"
    one = patch.loads("version: 1\nprompt: a moon")  # as every older file has it
    assert [(voice.text, voice.weight) for voice in one.voices] == [("a moon", 1)] and "prompts" not in patch.dump(one)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt: a moon\nprompts: [a star]", "there are prompt and prompts; give one of them"),
        ("prompts: [a, b, c, d, e]", "at most 4 items"),
        ("prompts: [{text: a, wieght: 1}]", "unknown key 'wieght' in prompts 1; did you mean 'weight'?"),
        ("prompts: [{text: a, weight: 2}]", "prompts 1 weight"),
        ("prompts: a moon", "prompts: should be a list"),
        (f"prompt_list: [{'x' * 2001}]", "prompt_list 1"),
    ],
)
def test_prompts_that_cannot_be_are_refused(text, problem):
    with pytest.raises(patch.PatchError, match=re.escape(problem)):
        patch.loads(text, "song.yaml")
