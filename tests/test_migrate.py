"""Patches of older versions load; those of newer ones say what to do."""

import pytest

from instrument.state import migrate, patch
from instrument.state.patch import PatchError

OLD = "version: 1\nprompt: ice\nbends: [{name: a, lever: b, scope: {layers: 3}}]\nvalues: {a.gain: 2}\n"


def test_a_file_of_version_1_or_of_none_is_read_as_it_was_meant():
    old, nameless = patch.loads(OLD), patch.loads(OLD.split("\n", 1)[1])
    assert old == nameless and old.version == migrate.VERSION
    assert old.bends[0].scope.layers == (3, 3) and old.values == {"a.gain": 2}
    assert patch.dump(old).startswith(f"version: {migrate.VERSION}\n")


def test_every_older_version_has_its_step():
    assert sorted(migrate.MIGRATIONS) == list(range(1, migrate.VERSION))


def test_steps_are_taken_in_order(monkeypatch):
    monkeypatch.setattr(migrate, "VERSION", 3)
    monkeypatch.setitem(migrate.MIGRATIONS, 1, lambda data: {**data, "steps": ["one"]})
    monkeypatch.setitem(migrate.MIGRATIONS, 2, lambda data: {**data, "steps": [*data["steps"], "two"]})
    assert migrate.migrated({"prompt": "x"}) == {"prompt": "x", "version": 3, "steps": ["one", "two"]}
    assert migrate.migrated({"version": 2, "steps": []})["steps"] == ["two"]
    assert migrate.migrated({"version": 3}) == {"version": 3}


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3", "song.yaml:2: version: this program reads versions 1 to 2, not 3; update the program"),
        ("0", "reads versions 1 to 2, not 0"),
        ("soon", "version: should be a whole number, not 'soon'"),
        ("true", "version: should be a whole number, not True"),
        ("[1]", "version: should be a whole number"),
    ],
)
def test_other_versions_are_refused_with_their_line(version, words):
    with pytest.raises(PatchError) as error:
        patch.loads(f"prompt: x\nversion: {version}", "song.yaml")
    assert words in str(error.value)
