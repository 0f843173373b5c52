"""What is played, as a file: it loads as what was played, and lands nowhere but in its folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.engine.loading import declared
from instrument.state import patch, saving
from instrument.state.patch import Patch
from instrument.state.saving import SaveError, as_patch, safe_name, save
from instrument.state.snapshots import Snapshot, read, state
from tests.filling import full_disk
from tests.tiny import CONFIG

SONG = """
version: 2
description: a song
prompt: a purple tulip swaying
seed: 7
bends:
  - {name: loud, lever: ffn.out.gain, values: {gain: 2.0}, scope: {layers: [1, 2]}}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip}, persist: transient}
modulators:
  - {lfo: sine, period: 8 beats, to: words.gain, depth: 0.5}
  - {envelope: ad, by: bar, attack: 20 ms, to: loud.gain, name: thump}
glide: {words.gain: 250}
values: {clock.tempo: 90, words.gain: 3}
snapshots: {low: {loud.gain: 0}, 4: {words.layers: [0, 1]}}
"""


def playing(text: str = SONG):
    loaded = patch.loads(text)
    return loaded, declared(loaded, CONFIG, 4)


def test_the_playing_state_is_a_patch_that_plays_it():
    loaded, params = playing()
    params.set("loud.gain", 0.123456789)
    params.set("words.tokens", "swaying")
    params.set("words.layers", (0.5, 1.25))
    params.set("lfo1.depth", -0.25)
    params.set("lfo1.to", "loud.gain")
    params.set("prompt.text", "fire: 'at' # night")
    params.set("engine.seed", 99)
    params.set("clock.tempo", 133.3)
    params.set("master.mix", 0.5)
    snapshots = {**read(loaded, playing()[1]), 2: Snapshot("2", state(params))}
    saved = patch.loads(patch.dump(as_patch(loaded, params, snapshots)))
    again = declared(saved, CONFIG, 4)
    assert state(again) == state(params)
    assert (saved.prompt, saved.seed, saved.description) == ("fire: 'at' # night", 99, "a song")
    assert again["clock.tempo"].base == 133.3 and again["words.gain"].glide == 250
    assert read(saved, declared(saved, CONFIG, 4)) == dict(sorted(snapshots.items()))


@given(
    st.dictionaries(st.sampled_from(["loud.gain", "words.gain", "lfo1.rate", "words.layers.feather"]), st.floats(0, 1))
)
def test_every_number_comes_back_exactly(travels):
    loaded, params = playing()
    for id, travel in travels.items():
        params.set_normalised(id, travel)
    saved = patch.loads(patch.dump(as_patch(loaded, params, {})))
    assert state(declared(saved, CONFIG, 4)) == state(params)


def test_a_note_that_is_held_is_no_state():
    loaded, params = playing()
    params.set("thump.gate", True)
    assert "thump.gate" not in as_patch(loaded, params, {}).values and "thump.gate" not in state(params)


def test_what_stands_at_its_default_is_left_out():
    loaded, params = playing("bends: [{name: a, lever: ffn.out.gain}]")
    assert as_patch(loaded, params, {}).values == {}
    params.set("a.gain", 2)
    assert as_patch(loaded, params, {}).values == {"a.gain": 2}


@given(st.text(max_size=200))
def test_no_name_leads_out_of_the_folder(name):
    safe = safe_name(name)
    assert safe and len(safe) <= 64 and Path(safe).name == safe and not set(safe) & set("./\\:\0 ")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b", "c:\\x", "", "\0", ".hidden"])
def test_a_bad_name_becomes_a_good_one_inside(tmp_path, name):
    folder = tmp_path / "patches"
    file = save(Patch(prompt="x"), folder, name)
    assert file.parent == folder and patch.load(file).prompt == "x"
    assert [found.name for found in tmp_path.iterdir()] == ["patches"]


def test_no_file_is_ever_written_over(tmp_path):
    (tmp_path / "song.yaml").write_text("prompt: mine")
    (tmp_path / "song-3.yaml").symlink_to(tmp_path / "elsewhere")
    files = [save(Patch(prompt=str(n)), tmp_path, "song").name for n in range(3)]
    assert files == ["song-2.yaml", "song-4.yaml", "song-5.yaml"]
    assert (tmp_path / "song.yaml").read_text() == "prompt: mine" and not (tmp_path / "elsewhere").exists()


def test_a_full_or_forbidden_folder_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="the patch cannot be saved"):
        save(Patch(), tmp_path / "file", "x")
    monkeypatch.setattr(saving, "MOST_FILES", 2)
    for _ in range(2):
        save(Patch(), tmp_path, "x")
    with pytest.raises(SaveError, match="holds 2 patches already; move some away"):
        save(Patch(), tmp_path, "x")


def test_a_full_disk_leaves_no_file_and_takes_no_name(tmp_path):
    with full_disk(), pytest.raises(SaveError, match="the patch cannot be saved"):
        save(Patch(prompt="x"), tmp_path, "song")
    assert list(tmp_path.iterdir()) == []
    assert save(Patch(prompt="x"), tmp_path, "song").name == "song.yaml"
