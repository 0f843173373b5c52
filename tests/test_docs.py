"""The documentation says what is so: its examples are read, its ids exist, and none is missing."""

import re
from pathlib import Path

import pytest

from instrument.engine.loading import declared
from instrument.modulation.modspec import KINDS, ModulatorSpec, parameters_of
from instrument.state import patch
from tests.tiny import CONFIG

DOCS = Path(__file__).parent.parent / "docs"
CODE = re.compile(r"`([^`]+)`")
EXAMPLE = {"lfo": "sine", "envelope": "ad", "hold": "random", "follow": "lfo1", "audio": "bass"}


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def told(words: str) -> set[str]:
    """Everything set as code; `snapshot.1.recall ... snapshot.8.store` is all of them."""
    found = {word for words in CODE.findall(words) for word in words.replace(",", " ").split()}
    if {"snapshot.1.recall", "snapshot.8.store"} <= found:
        found |= {f"snapshot.{pad}.{what}" for pad in range(1, 9) for what in ("recall", "store")}
    return found


@pytest.mark.parametrize("name", ["parameters.md", "modulators.md"])
def test_every_example_can_be_read(name):
    examples = re.findall(r"```yaml\n(.*?)```", text(name), re.S)
    assert examples
    for example in examples:
        patch.loads(example, name)


def test_every_parameter_of_a_show_is_documented_and_nothing_else():
    table = text("parameters.md").split("## What every show has")[1].split("Those of a patch")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    ids = set().union(*(told(row) for row in rows))
    assert ids == set(declared(patch.Patch(), CONFIG, 3).ids())


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_a_modulator_is_documented(kind):
    spec = ModulatorSpec.model_validate({kind: EXAMPLE[kind]})
    fields = {id.split(".", 1)[1] for id in parameters_of([spec])}
    section = text("modulators.md").split(f"| `{kind}` |")[1].split("\n\n")[0]
    assert fields - told(section) == {"on", "depth", "to"}
