"""`bender doctor`: each fault is seen where it really is, with what helps; and it answers whatever is broken."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from instrument import doctor
from instrument.__main__ import main
from tests.playing import PATIENCE, bender

CALM = ("--osc-port", "0", "--page-port", "0")


def findings(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, str]]]:
    status = main(["doctor", "--json", *CALM, *map(str, words)])
    return status, json.loads(capsys.readouterr().out)


def of(part: str, found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in found if each["part"] == part]


def test_a_computer_that_can_play_says_so(tmp_path: Path) -> None:
    command = bender("doctor", *CALM, "--out-dir", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ready to play", done.stdout + done.stderr
    lines = done.stdout.splitlines()[:-1]
    assert all(line[0] in "+o" for line in lines)
    assert {line.split()[1] for line in lines} >= {"python", "packages", "ports", "encoders", "weights", "folders"}


def test_every_part_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = findings(capsys)
    assert status == 0 and all(set(each) == {"part", "level", "text", "remedy"} for each in found)
    assert all(each["remedy"] for each in found if each["level"] != "ok")
    assert any("house: " in each["text"] and each["level"] == "ok" for each in of("weights", found))
    assert any(f"torch {__import__('torch').__version__}" in each["text"] for each in of("packages", found))


@pytest.mark.parametrize(("kind", "option"), [(socket.SOCK_DGRAM, "--osc-port"), (socket.SOCK_STREAM, "--page-port")])
def test_a_port_in_use_is_a_fault(capsys: pytest.CaptureFixture[str], kind: int, option: str) -> None:
    with socket.socket(socket.AF_INET, kind) as busy:
        busy.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            busy.listen()
        port = busy.getsockname()[1]
        status, found = findings(capsys, option, port)
        faults = [each for each in found if each["level"] == "fault"]
        assert status == 1 and len(faults) == 1 and f":{port} " in faults[0]["text"] and option in faults[0]["remedy"]
    assert findings(capsys, option, port)[0] == 0


def test_a_folder_that_cannot_be_written_is_a_fault(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found = findings(capsys, "--out-dir", tmp_path / "none", "--patches-dir", tmp_path)
    levels = {
        each["text"].split(" for ")[1].split(",")[0].split(":")[0]: each["level"] for each in of("folders", found)
    }
    assert status == 1 and levels == {"recordings": "fault", "patches": "ok"}


def test_weights_that_are_damaged_are_a_fault(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house.safetensors").write_bytes(b"no tensors at all")
    monkeypatch.setattr("pipelines.house.model.WEIGHTS", tmp_path / "house.safetensors")
    status, found = findings(capsys)
    (house,) = [each for each in of("weights", found) if each["text"].startswith("house")]
    assert status == 1 and house["level"] == "fault" and "install" in house["remedy"]


def test_a_package_that_is_missing_or_broken_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CORE", (*doctor.CORE, "no-such-package"))
    monkeypatch.setattr(doctor, "EXTRAS", {"broken_one": ("camera", "x"), "not_there": ("ndi", "--out ndi")})
    (tmp_path / "broken_one.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    status, found = findings(capsys)
    told = {each["text"]: each for each in found}
    assert status == 1 and told["no-such-package is missing"]["level"] == "fault"
    assert told["broken_one cannot be loaded (PortAudio library not found)"]["level"] == "fault"
    assert 'pip install "attentionbender[ndi]"' in told["not_there is not installed"]["remedy"]


def test_a_check_that_fails_itself_is_a_fault_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def _graphics(options):
        raise RuntimeError("the driver is too old")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (_graphics, *doctor.CHECKS[-2:]))
    status, found = findings(capsys)
    assert status == 1 and "could not be checked: RuntimeError: the driver is too old" in found[0]["text"]
    assert of("folders", found)


def test_an_nvidia_card_that_torch_does_not_see_is_a_fault(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch sees a card here")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    status, found = findings(capsys)
    (card,) = of("graphics", found)
    assert status == 1 and card["level"] == "fault" and "CUDA wheel" in card["remedy"]


@pytest.mark.skipif(sys.platform != "linux", reason="hides a package from a process of its own")
def test_it_answers_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    command = bender("doctor", *CALM)
    where = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=where)
    assert done.returncode == 1 and "no torch here" in done.stdout and "folders" in done.stdout, done.stderr


def declared(section: str) -> str:
    """What pyproject.toml says after these words, up to the next table."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    return text.split(section)[1].split("\n[")[0]


PLATFORMS = {"spout": "win32", "syphon": "darwin", "flash": "linux"}  # of the extras that are for one alone


def test_every_package_that_is_declared_is_looked_at() -> None:
    needed = re.findall(r'^ +"([\w.-]+)', declared("dependencies = [").split("\n]")[0], re.M)
    assert sorted(needed) == sorted(doctor.CORE)
    extras = dict(re.findall(r"^(\w+) = (\[.*)", declared("[project.optional-dependencies]"), re.M))
    elsewhere = {name for name, platform in PLATFORMS.items() if sys.platform != platform}
    assert {extra for extra, _ in doctor.EXTRAS.values()} == set(extras) - elsewhere - {"test"}
