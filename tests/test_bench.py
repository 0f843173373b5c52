"""`bender bench` on the tiny model: what it counts, that the bent lanes really bend, and what it needs."""

from __future__ import annotations

import re
import sys
import threading

import pytest

from instrument.__main__ import main
from instrument.bench import knobs
from instrument.bench.looks import bench_looks
from instrument.bench.page import BrowserMissing, Load, bench_page, find_browser
from instrument.bench.speed import Lane, bench
from instrument.bench.speed import _lane as lane
from instrument.measuring import BENCHES
from instrument.state.patch import Patch, loads
from instrument.surface.looks import AT_ONCE
from pipelines.systems import System
from tests import tiny
from tests.playing import wait_until

PATCH = """
version: 1
prompt: a purple tulip swaying
bends: [{name: loud, lever: ffn.out.gain}, {name: words, lever: cross.map.gain, scope: {tokens: tulip}}]
"""


def system() -> System:
    return System(tiny.RECIPE, tiny.wan(), tiny.taehv(), tiny.Encoder())


def patch() -> Patch:
    return loads(PATCH)


def last_frames(made: Lane, chunks: int) -> list[bytes]:
    """The frames of so many chunks of the lane's own engine."""
    frames: list[bytes] = []
    made.engine._show = lambda frame, stamp: frames.append(frame.tobytes())
    for _ in range(chunks):
        made.turn()
    made.engine.finish()
    return frames


def test_the_report_has_a_row_a_lane_and_ratios_to_the_first() -> None:
    head, columns, *rows = bench(system(), patch(), 2, 1)
    assert head.startswith("tiny 96x64") and "2 bends" in head and "2 chunks each" in head
    assert columns.split()[:3] == ["fps", "chunk", "ms"]
    assert [row.split()[0] for row in rows] == ["unbent", "neutral", "bent"]
    assert all(re.fullmatch(r"\w+( +\d+\.\d+){4}", row) for row in rows)
    assert rows[0].split()[-1] == "1.000" and all(float(row.split()[1]) > 0 for row in rows)


def test_the_lanes_are_what_they_are_called() -> None:
    plain = patch().model_copy(update={"bends": [], "values": {}})
    unbent = last_frames(lane("unbent", system(), plain, 1), 3)
    neutral = last_frames(lane("neutral", system(), patch(), 1), 3)
    made = lane("bent", system(), patch(), 1)
    knobs.turn_all(made.engine)
    assert made.engine.params["loud.gain"].base != 1.0 and made.engine.params["words.gain"].base != 1.0
    assert len(unbent) == 12 and unbent == neutral and last_frames(made, 3) != unbent


def test_a_turn_is_timed() -> None:
    made = lane("unbent", system(), patch(), 1)
    made.turn()
    made.turn()
    assert len(made.chunks) == 2 and all(0 < seconds < 60 for seconds in made.chunks)
    made.forget()
    assert made.chunks == []


@pytest.mark.parametrize(("played", "knob"), [(patch(), "loud.gain"), (Patch(), "master.mix")])
def test_a_knob_is_turned_until_it_is_over(monkeypatch, played, knob) -> None:
    monkeypatch.setattr(knobs, "TURN_EVERY", 0.001)
    engine = lane("turned", system(), played, 1).engine
    seen = set()
    with knobs.turning(engine):
        assert wait_until(lambda: seen.add(engine.params[knob].base) or len(seen) > 1)
    assert "a hand" not in {thread.name for thread in threading.enumerate()}


def test_looking_is_measured_in_every_view() -> None:
    head, columns, *rows = bench_looks(system(), patch(), 1)
    assert head.startswith("tiny, 1 chunks") and columns.split()[0] == "looks"
    counts = [int(row[24:30]) for row in rows]
    assert counts[0] == 0 and all(0 < count <= AT_ONCE for count in counts[1:])
    assert rows[0].split()[-2:] == ["1.000", "1.000"]


def test_selenium_that_is_missing_is_named_with_what_brings_it(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "selenium", None)
    assert main(["bench", "page"]) == 2
    told = capsys.readouterr().err
    assert 'selenium, which is not installed; pip install "attentionbender[bench]"' in told and told.count("\n") == 1


@pytest.mark.parametrize("lacking", [{"chromium"}, {"chromedriver"}, {"chromium", "chromedriver"}])
def test_a_missing_browser_is_named_with_what_brings_it(tmp_path, monkeypatch, capsys, lacking) -> None:
    pytest.importorskip("selenium")
    for name in {"chromium", "chromedriver"} - lacking:
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["bench", "page"]) == 2
    told = capsys.readouterr().err
    assert f"needs {' and '.join(sorted(lacking, key=len))} on" in told
    assert "apt install chromium chromium-driver" in told and told.count("\n") == 1


def test_the_page_is_measured_while_a_patch_plays() -> None:
    try:
        find_browser()
    except BrowserMissing as problem:
        pytest.skip(str(problem))
    head, made, *rows, _ = bench_page(Load(1.0, parameters=10, groups=2, fps=10.0), (system(), patch(), 1))
    assert head == "10 parameters at 60 Hz, 10 pictures a second of 256x144"
    assert float(made.split()[3]) > 0
    assert [row.split()[0] for row in rows] == ["values", "pictures", "painted"]
    assert rows[-1].endswith("5 bars in view") and "none" not in "".join(rows)


def test_every_bench_is_a_word_of_the_command(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "nothing"])
    choices = capsys.readouterr().err.split("choose from")[1].split(")")[0]
    assert sorted(re.findall(r"\w+", choices)) == sorted(BENCHES)
