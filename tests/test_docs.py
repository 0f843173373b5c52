"""The documentation says what is so: examples are read, ids, commands, links and files exist, and none is missing."""

import argparse
import re
from pathlib import Path

import pytest
import torch

from instrument import outputs
from instrument.__main__ import _parser
from instrument.engine.loading import declared
from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.modulation.modspec import KINDS, ModulatorSpec, parameters_of
from instrument.state import patch
from pipelines.bends import levers
from pipelines.bends.bank import Bank, Bend
from pipelines.bends.lever import discover, mistakes
from pipelines.bends.scope import Scope
from pipelines.recipes import recipe
from tests.test_bank import SHAPE
from tests.tiny import CONFIG

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "patches" / "clients" / "README.md", *sorted(DOCS.glob("*.md"))]
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


def test_the_example_of_a_mapping_fits_the_patch_of_all_levers(tmp_path):
    example = re.search(r"```yaml\n(# my\.yaml.*?)```", text("midi.md"), re.S)[1]
    (tmp_path / "my.yaml").write_text(example, encoding="utf-8")
    params = declared(patch.load("all-levers"), recipe("house").config, 3)
    assert Mapping(mapping.load(tmp_path / "my.yaml"), params).problems() == {}


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


def commands() -> dict[str, argparse.ArgumentParser]:
    """The commands of `bender`, by name."""
    (found,) = (each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    return found.choices


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_is_told_of_exists(page):
    known = {name: set(parser._option_string_actions) for name, parser in commands().items()}
    for command, words in re.findall(r"\bbender ([a-z]+)([^`\n|]*)", page.read_text(encoding="utf-8")):
        assert command in known, f"bender {command}"
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", words.split("&&")[0]):
            assert option in known[command], f"bender {command} {option}"


def test_the_readme_tells_of_every_command():
    told = re.findall(r"\| `bender ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(told) == set(commands())


def headings(page: Path) -> set[str]:
    """What a link can aim at within a page."""
    lines = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S).splitlines()
    plain = (re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in lines if line.startswith("#"))
    return {line.replace(" ", "-") for line in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith(("http:", "https:")):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(([^)#\s]+\.md)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} <= linked


def laid_out(tree: str) -> set[Path]:
    """The files and folders that a tree names, two spaces a level; lines further in tell more of the one before."""
    folder: list[str] = []
    named: set[Path] = set()
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        if depth > 3:
            continue
        names = re.match(r"\S+( \S+)*", line.lstrip())
        found = [name for name in names.group().split() if name.endswith(("/", ".py"))] if names else []
        named |= {ROOT.joinpath(*folder[:depth], name) for name in found}
        folder = [*folder[:depth], *found[-1:]]
    return named


def test_the_readme_lays_out_the_folders_as_they_are():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## How a knob becomes a picture")[1].split("```")[1]
    named = laid_out(tree)
    assert len(named) > 60 and [place for place in named if not place.exists()] == []
    folders = {child for top in ("pipelines", "instrument") for child in (ROOT / top).iterdir() if child.is_dir()}
    assert {child for child in folders if any(child.glob("*.py"))} <= named


# --- what is written in Python is run ---


def blocks(page: str, heading: str) -> str:
    """All the Python of one section."""
    section = text(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.S)
    assert found
    return "\n".join(found)


def run(code: str, known: dict | None = None) -> dict:
    """What is there once it has run, after what was known before."""
    found = {} if known is None else known
    exec(compile(code, "docs", "exec"), found)
    return found


def test_every_section_with_python_is_run_here():
    pages = {page.name: page.read_text(encoding="utf-8").count("```python\n") for page in PAGES}
    assert {name: count for name, count in pages.items() if count} == {"bends.md": 1, "python.md": 5}


def test_the_new_lever_that_is_shown_is_one_as_it_stands(tmp_path, monkeypatch):
    (tmp_path / "hidden_bias.py").write_text(blocks("bends.md", "Adding a lever"), encoding="utf-8")
    monkeypatch.setattr(levers, "__path__", [*levers.__path__, str(tmp_path)])
    assert mistakes() == []
    found = discover()["ffn.hidden.bias"]
    bank, x = Bank([Bend("x", found, Scope(neurons="0-9"))], SHAPE, 4), torch.randn(1, 20, 256)
    bank.fold(0)
    assert bank.layers[0].at("ffn.hidden", x) is x
    bank.write({"x.bias": -1.5})
    bank.fold(0)
    assert torch.equal(bank.layers[0].at("ffn.hidden", x)[..., :10], x[..., :10] - 1.5)
    assert torch.equal(bank.layers[0].at("ffn.hidden", x)[..., 10:], x[..., 10:])


def test_playing_and_patches_from_python(capsys):
    found = run(blocks("python.md", "Chunks and frames"))
    assert len(found["frames"]) == 12 and {frame.shape for frame in found["frames"]} == {(144, 256, 3)}
    assert found["stream"].bank.report() == [] and found["stream"].bank.held_tokens() == {"hue": [1]}
    run(blocks("python.md", "A patch"), found)
    assert len(found["frames"]) == 8 and capsys.readouterr().out == "8 []\n"
    assert found["engine"].heard["colour.gain"] == 0.0


def test_an_output_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, "KINDS", dict(outputs.KINDS))
    run(blocks("python.md", "An output"))
    assert Path("log.txt").read_text() == "0.0\n2.0\n"
    with pytest.raises(outputs.OutputError, match="output brightness: cannot write nowhere/log"):
        outputs.parse("brightness:nowhere/log").open(256, 144, 20.0)


def test_bending_the_pipeline_of_diffusers(monkeypatch, capsys):
    """Word for word, but with small random weights instead of the real ones, and a small short film."""
    diffusers, foreign = pytest.importorskip("diffusers"), pytest.importorskip("tests.foreign")
    small = {'"cuda"': '"cpu"', "480": "64", "832": "96", "81": "5", "50": "2", "Span.of(0, 14)": "Span.of(0, 1)"}
    code = blocks("python.md", "diffusers' WanPipeline")
    assert all(each in code for each in small)
    for large, less in small.items():
        code = code.replace(large, less)
    pipe = foreign.pipeline("unipc", speaking=True)
    monkeypatch.setattr(diffusers.WanPipeline, "from_pretrained", lambda name, torch_dtype: pipe)
    torch.manual_seed(0)
    bent = run(code)["frames"]
    assert capsys.readouterr().out == "[] {'hue': [1]}\n" and bent.shape == (5, 64, 96, 3)
    torch.manual_seed(0)
    assert (run(code.replace("0.0", "1.0"))["frames"] != bent).any()  # from the same noise
