"""From words on the command line to what plays: first values, and which mappings."""

import argparse
from pathlib import Path

import pytest

from instrument.mapping.mapping import MappingError
from instrument.parameters.params import BadValue, ParamSet
from instrument.setup import open_mappings, set_first_values
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


# --- mappings ---


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chosen(*named, folder=None):
    return open_mappings(argparse.Namespace(mapping=list(named), mappings_dir=folder))


def test_where_none_is_named_ones_own_plays_else_the_default_one(here):
    assert chosen() == (["default"], [])
    Path("my.yaml").write_text("over: default\nbindings: []")
    assert chosen() == ([Path("my.yaml")], [])
    assert chosen("lpd8") == (["lpd8"], [])
    folder = here / "mappings"
    folder.mkdir()
    assert chosen(folder=folder) == (["default"], [])
    (folder / "my.yaml").write_text("bindings: []")
    assert chosen(folder=folder) == ([folder / "my.yaml"], [])


def test_a_file_called_so_that_is_no_mapping_stops_no_show(here):
    Path("my.yaml").write_text("prompt: a moon\n")
    names, [told] = chosen()
    assert names == ["default"] and told.startswith("my.yaml:1: unknown key 'prompt'")
    with pytest.raises(MappingError, match=r"my\.yaml:1: unknown key 'prompt'"):
        chosen("my.yaml")


def test_a_file_that_is_not_there_yet_is_begun_and_that_is_said(here):
    assert chosen("new.yaml", "lpd8") == (
        [Path("new.yaml"), "lpd8"],
        ["new.yaml is not there yet; learning begins it"],
    )
    Path("mine.yaml").write_text("bindings: []")
    _, [told] = chosen("mien.yaml")
    assert told == "mien.yaml is not there yet; learning begins it (did you mean mine.yaml?)"
    assert not Path("new.yaml").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nanokontrol", "did you mean 'nanokontrol2'"),
        ("nanokontrol2.yaml", "no such file; did you mean 'nanokontrol2'"),
        ("nowhere/new.yaml", "there is no folder nowhere; make it first"),
        ("./new", r"one that is to be begun is called NAME\.yaml"),
    ],
)
def test_what_looks_like_a_slip_is_refused(here, name, words):
    with pytest.raises(MappingError, match=words):
        chosen(name)
