"""The soak, short; and its ten-minute cut by name. That it would see what it looks for is shown with faults put in."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from instrument.bench import soak
from instrument.bench.quiet import Quiet, grown, in_use, slope
from instrument.bench.soak import FIRST, Errors, Player, SoakFailed, bench_soak
from instrument.parameters.params import ParamSet


def test_a_short_one_holds() -> None:
    lines = list(bench_soak(700, 0, seed=3))
    assert lines[-1].startswith("held:") and any(line.startswith("threads:") for line in lines)
    done = next(line for line in lines if "positions" in line)
    assert int(done.split("positions ")[1].split()[0]) > 10


def test_a_position_that_is_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ParamSet.set

    def forgetful(self, id, value, origin=""):
        if not (origin.startswith("osc") and id.endswith(".gain")):
            real(self, id, value, origin)

    monkeypatch.setattr(ParamSet, "set", forgetful)
    monkeypatch.setattr(soak, "PATIENCE", 3.0)
    with pytest.raises(SoakFailed, match="the last positions"):
        list(bench_soak(5000, 0, seed=3))


def test_an_exception_nobody_catches_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Player.rest

    def rest(self):
        def fails():
            raise RuntimeError("nobody catches this")

        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
        logging.getLogger("somewhere").error("this neither")
        return real(self)

    monkeypatch.setattr(Player, "rest", rest)
    with pytest.raises(SoakFailed, match=r"nobody catches this.*this neither"):
        list(bench_soak(50, 0, seed=3))


def test_the_first_output_stays_and_all_others_go(tmp_path: Path) -> None:
    """Two hands may take the same output away: nothing else may go in its place, nor what came stay."""
    player = Player(tmp_path, 3, Errors())
    try:
        before = player.rest()
        for wish in ("/out/add dummy", "/out/remove dummy", "/out/remove dummy", "/out/add dummy?size=32x32"):
            player._osc.send_message(*wish.split())
            player.wait(lambda: not player.show.params["out.add"].base, "the wish")
        player.show.outputs.add(soak.parse("stream:udp://127.0.0.1:9"))
        after = player.rest()
        assert [runner.name for runner in player.show.outputs.runners] == [FIRST] and not player.problems
        assert after.files == before.files or player.rest().files == before.files  # a stream ends a moment later
        player.show.outputs.remove(FIRST)
        with pytest.raises(SoakFailed, match="the first output is gone"):
            player.rest()
    finally:
        player.close()


def test_growth_is_told_from_steadiness() -> None:
    steady = [Quiet(300 * n, 300.0 + 3 * n, 100.0 + n % 3, 12 + n % 2, 20) for n in range(40)]
    assert abs(slope(steady)) < 0.1 and list(grown(steady)) == []
    leaking = [Quiet(300 * n, 300.0, 100.0 + 3 * n, 12 + n // 10, 20 + n) for n in range(40)]
    assert slope(steady, "rss") == pytest.approx(10.0)  # what the system keeps for later is stated, and no fault
    assert slope(leaking) == pytest.approx(10.0)
    assert len(list(grown(leaking))) == 3
    assert list(grown(leaking[:6])) == []  # too few to tell


def test_memory_in_use_is_what_is_held() -> None:
    before = in_use(0.0)
    if before == 0.0:
        pytest.skip("only glibc tells")
    held = bytearray(64 * 2**20)
    assert 60 < in_use(0.0) - before < 70
    del held
    assert abs(in_use(0.0) - before) < 4


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_minutes_hold() -> None:
    lines = list(bench_soak(None, 10.0, seed=11))
    print("\n".join(lines))
    assert lines[-1].startswith("held:")
