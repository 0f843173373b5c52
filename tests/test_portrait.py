"""What a page is told of a playing engine, and teaching it."""

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from instrument.engine.portrait import Portrait
from instrument.mapping.classify import LearnError
from instrument.mapping.rig import Rig
from instrument.parameters.params import UnknownParameter
from instrument.surface.server import Surface
from tests.test_bending import Stage


def test_it_shows_what_plays():
    stage = Stage()
    stage.chunks(1)
    state = Portrait(stage.engine).state()
    assert json.loads(json.dumps(state, allow_nan=False)) is not None
    config = stage.engine.stream.model.config
    assert state["network"]["layers"] == config.num_layers and state["network"]["neurons"] == config.ffn_dim
    assert [bend["name"] for bend in state["bends"]] == ["loud", "grain", "words"]
    assert state["bends"][2] == {
        "name": "words",
        "lever": "cross.map.gain",
        "site": "cross",
        "main": "gain",
        "amounts": ["gain"],
        "acts": ["gain"],
    }
    assert state["bends"][1]["acts"] == ["noise"]
    text, at = state["prompt"]["text"], state["held"]["words"]
    assert [text[slice(*state["prompt"]["offsets"][i])] for i in at] == ["tulip"]
    assert state["snapshots"] == {"1": "high"} and state["modulators"] == {"lfo1": "lfo"}
    assert -1 <= state["signals"]["lfo1"] <= 1 and state["learn"] is None


def test_it_follows_what_is_played():
    stage = Stage()
    stage.chunks(1)
    portrait = Portrait(stage.engine)
    stage.params.set("prompt.text", "a red star")
    stage.params.set("words.tokens", "star")
    stage.params.trigger("snapshot.3.store")
    stage.params.set("bend.add", "ffn.in.gain new")
    stage.until(lambda: "new" in stage.bends)
    state = portrait.state()
    text = state["prompt"]["text"]
    assert [text[slice(*state["prompt"]["offsets"][i])] for i in state["held"]["words"]] == ["star"]
    assert state["apart"] == {} and state["idle"] == []
    assert state["snapshots"] == {"1": "high", "3": "3"} and state["bends"][3]["name"] == "new"


def test_teaching(tmp_path):
    stage = Stage()
    rig = Rig(stage.params)
    portrait = Portrait(stage.engine, rig)
    with pytest.raises(LearnError, match="mapping of your own"):
        portrait.learn("words.gain")
    file = tmp_path / "my.yaml"
    file.write_text("device: ''\n")
    rig.load(file)
    with pytest.raises(UnknownParameter, match="did you mean"):
        portrait.learn("words.gian")
    portrait.learn("words.gain")
    assert portrait.state()["learn"]["armed"] == "words.gain"
    portrait.learn(None)
    assert portrait.state()["learn"]["armed"] is None
    with pytest.raises(ValueError, match="nothing can be learnt"):
        Portrait(stage.engine).learn("words.gain")


def test_names_to_choose_from(tmp_path):
    stage = Stage()
    stage.engine.desk.folder = tmp_path
    (tmp_path / "my-set.yaml").write_text("prompt: a red star\n")
    rig = Rig(stage.params)
    (tmp_path / "mine.yaml").write_text("device: ''\n")
    rig.load(tmp_path / "mine.yaml")
    portrait = Portrait(stage.engine, rig)
    assert str(tmp_path / "mine.yaml") in portrait.names("mapping.load")
    assert {"my-set", "undertow"} < set(portrait.names("patch.load"))
    assert "nanokontrol2" in portrait.names("mapping.load") and "house" in portrait.names("engine.model")
    listed = {param["id"] for param in stage.params.describe() if param["listed"]}
    assert listed == {"patch.load", "mapping.load", "engine.model"}
    with pytest.raises(LookupError, match=r"prompt\.text has no list of names; there is one for patch\.load"):
        portrait.names("prompt.text")
    surface = Surface(stage.params, dict, port=0, play=portrait)
    surface.start()
    try:
        with urlopen(f"{surface.url}api/names?id=patch.load") as answer:
            assert json.load(answer) == portrait.names("patch.load")
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{surface.url}api/names?id=prompt.text")
    finally:
        surface.close()
