"""How many cores there are for a show: as the process, and the container around it, may really use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instrument.__main__ import main
from instrument.engine.threads import cores, fitting_threads, model_threads
from tests.playing import PATIENCE, bender

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALLOWED),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, ALLOWED),
        ({"cpu.max": "nonsense"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == expected


def test_the_model_leaves_a_core_to_decoding() -> None:
    assert model_threads(3) == 3 and model_threads(None) == max(1, cores() - 1)


def test_more_threads_than_cores_are_as_many_as_there_are_and_said() -> None:
    assert fitting_threads(2, 2) == (2, "") and fitting_threads(1, 8) == (1, "")
    held, words = fitting_threads(99, 2)
    assert held == 2 and words == "--threads 99: there are 2 cores for this process; the model plays with 2"


def test_a_command_says_once_that_there_are_fewer_cores(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("render", "--threads", 99999, "--seconds", 0.1, "--size", "64x48", "--plain", "--out", tmp_path / "a.mp4")
    assert main([str(word) for word in words]) == 0
    assert capsys.readouterr().err.count(f"--threads 99999: there are {cores()} cores for this process") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="pins a process as Linux does")
def test_a_pinned_show_states_and_uses_one_thread() -> None:
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *bender("doctor", "--osc-port", 0, "--page-port", 0)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert f"1 of {os.cpu_count()} cores; the model plays with 1 threads" in done.stdout, done.stdout + done.stderr
