"""Studies from end to end at toy size, and what they rest on: captions in groups, tables, refusals."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from instrument.__main__ import main
from pipelines.house import model, world
from pipelines.house.names import COLOURS
from pipelines.house.study import geometry, report, response
from pipelines.house.study import run as studies
from pipelines.house.study.looks import strip
from pipelines.house.study.masks import lesson, load, marks, recoloured
from pipelines.house.study.play import Knob, Plan, Take, cast, open_player

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a model of three small layers."""
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    config = replace(config, dit=replace(config.dit, num_layers=3))
    parts = {name: module.state_dict() for name, module in model.build(config)._asdict().items()}
    return model.export(tmp_path_factory.mktemp("toy") / "toy.safetensors", config, parts, {})


def run(*words: object) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.mark.parametrize("name", ["fig3", "fig4", "geometry", "response"])
def test_a_study_from_the_command_line(name, toy, tmp_path, capsys):
    order = ("study", name, "--n", 2, "--device", "cpu", "--weights", toy, "--out", tmp_path, "--threads", 1)
    assert run(*order) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert found["facts"]["n"] == 2 and found["verdicts"]
    for verdict in found["verdicts"]:
        assert re.search(rf"^(met|NOT MET|found) +{re.escape(verdict['claim'])}", told, re.M)
    tables = {path.name for path in tmp_path.glob("*.csv")}
    assert tables and all(name in told for name in tables)
    chart = tmp_path / f"{name}-chart.png"
    drawn = chart.stat().st_mtime_ns
    assert run("study", name, "--charts", "--out", tmp_path) == 0
    assert chart.stat().st_mtime_ns > drawn and chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("study", "fig3", "--n", "1"), "a study needs 2 captions at least"),
        (("study", "fig5"), "invalid choice: 'fig5'"),
        (("study", "fig3", "--weights", "nowhere.safetensors"), "no house weights at nowhere.safetensors"),
        (("study", "fig3", "--device", "toaster"), "toaster"),
        (("study", "fig3", "--charts", "--out", "nowhere"), "nowhere/fig3-rows.csv"),
    ],
)
def test_refusals_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_a_caption_plays_the_same_whatever_group_it_is_in(toy):
    """A knob on the place splits the captions into groups; standing at neutral it changes nothing."""
    player = open_player(6, 3, CPU, toy)
    neutral = Knob("cross.map.gain", {"gain": 1.0}, ("place",))
    assert len({player._tokens(neutral, index) for index in range(6)}) > 1
    unbent = player.play(Plan(2))
    grouped = player.play(Plan(2), neutral)
    assert torch.allclose(unbent.latents, grouped.latents, atol=1e-4)
    alone = player.told(
        replace(
            player.cast, scenes=player.cast.scenes[4], prompts=player.cast.prompts[4:5], seeds=player.cast.seeds[4:5]
        )
    )
    assert torch.allclose(alone.play(Plan(2)).latents[0], unbent.latents[4], atol=1e-4)


def test_how_far_it_is_is_told_now_and_then(toy, monkeypatch):
    now, told = [0.0], []
    monkeypatch.setattr(studies.time, "monotonic", lambda: now[0])
    player = open_player(2, 3, CPU, toy, studies.Progress("fig3", told.append))
    for _ in range(5):
        now[0] += 4.0
        player.play(Plan(1))
    assert told == ["fig3: 3 takes, 4.0 s each"]


def test_a_knob_turned_later_leaves_what_came_before(toy):
    player = open_player(2, 3, CPU, toy)
    knob = Knob("ffn.hidden.noise", {"noise": 2.0})
    unbent, bent = player.play(Plan(3)), player.play(Plan(3, turned=2), knob)
    assert torch.equal(unbent.latents[:, :2], bent.latents[:, :2])
    assert not torch.allclose(unbent.latents[:, 2], bent.latents[:, 2], atol=1e-3)


def test_a_past_that_is_forgotten_is_another_past(toy):
    player = open_player(2, 3, CPU, toy)
    kept, reset, none = (player.play(Plan(3, 2, past)).latents for past in ("kept", "reset", "disabled"))
    assert torch.equal(kept[:, :2], reset[:, :2]) and not torch.equal(kept[:, 2], reset[:, 2])
    assert torch.equal(kept[:, 0], none[:, 0]) and not torch.equal(kept[:, 1], none[:, 1])
    assert torch.allclose(reset[:, 2], none[:, 2], atol=1e-4)  # the same noise, and nothing before it


def test_captions_and_their_words(toy):
    player = open_player(40, 1, CPU, toy)
    bare = player.cast.without("colour")
    for index, prompt in enumerate(player.cast.prompts):
        words = player.read[index].tokens
        for word in ("colour", "subject", "motion", "place"):
            held = player._tokens(Knob("cross.map.gain", {}, (word,)), index)
            said = " ".join(words[int(place)] for place in held.split(", "))
            assert said == player.cast.phrase(word, index), prompt
        article = player._tokens(Knob("cross.map.gain", {}, ("article",)), index)
        assert article == ("0" if words[0] in ("a", "an") else "")
        told = set(bare.prompts[index].split())
        assert not told & set(COLOURS) and told < set(prompt.split()), bare.prompts[index]


def test_a_cast_is_fixed_by_its_seed():
    assert cast(5, 2).prompts == cast(5, 2).prompts != cast(5, 3).prompts
    assert len(set(cast(5, 2).seeds) | set(cast(5, 2).reseeded().seeds) | set(cast(5, 3).seeds)) == 15


def test_the_masker_finds_real_subjects_also_without_their_colours():
    masker, facts = load()
    pictures, masks = lesson(48, 4321, "heldback")
    plain = pictures.float() / 255
    torch.manual_seed(0)
    assert marks(masker, plain, masks)["iou"] > facts["iou as drawn"] - 0.05
    assert marks(masker, recoloured(plain), masks)["iou"] > facts["iou recoloured"] - 0.05
    grey = plain.mean(1, keepdim=True).expand_as(plain)
    assert marks(masker, grey, masks)["iou"] > facts["iou recoloured"] - 0.08


def test_a_response_is_the_knobs_own():
    """Where two takes differ from a frame on, the curve begins there."""
    still = Take(torch.full((1, 24, 3, 32, 64), 0.4), torch.empty(0))
    bent = Take(still.pixels.clone(), torch.empty(0))
    bent.pixels[:, 10:] += 0.2
    change = response.apart(bent, still)
    assert torch.equal(change[0] > 0, torch.arange(24) >= 10)
    assert change[0, -1] == pytest.approx(0.2, abs=1e-3)


def test_tables_come_back(tmp_path):
    rows: list[report.Row] = [{"name": "a, b", "value": 0.25}, {"name": "c", "value": float("nan")}]
    report.write_tables(tmp_path, "x", report.Findings({"t": rows}, [], {}), {})
    back = report.read_table(tmp_path / "x-t.csv")
    assert back[0] == rows[0] and back[1]["value"] != back[1]["value"]


def test_amounts_are_the_levers_own():
    amounts = {name for move, values in geometry.MOVES.items() for name in geometry.amounts(move, values[0])}
    assert amounts == {"translate_x", "translate_y", "rotate", "scale_x", "scale_y"}


def test_a_strip_has_captions_down_and_takes_across():
    takes = [Take(torch.full((3, 4, 3, 16, 32), value).half(), torch.empty(0)) for value in (0, 0.8)]
    picture = strip(takes, 2, gap=1)
    assert picture.shape == (2 * 9, 2 * 17, 3)
    assert (picture[:8, :16] == 0).all() and (picture[:8, 17:33] == 204).all()
