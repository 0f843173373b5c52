"""`bender bench` on the tiny model: what it counts, and that the bent lanes really bend."""

from __future__ import annotations

import re

from instrument.bench.speed import KNOB_TRAVEL, Lane, bench
from instrument.bench.speed import _lane as lane
from instrument.bench.speed import _turned as turned
from instrument.state.patch import Patch, loads
from pipelines.systems import System
from tests import tiny

PATCH = """
version: 1
prompt: a purple tulip swaying
bends: [{name: loud, lever: ffn.out.gain}, {name: words, lever: cross.map.gain, scope: {tokens: tulip}}]
"""


class Encoder:
    quick = True

    def encode(self, text: str):
        return tiny.prompt(text)


def system() -> System:
    return System(tiny.RECIPE, tiny.wan(), tiny.taehv(), Encoder())


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
    made = turned(lane("bent", system(), patch(), 1))
    assert made.engine.params["loud.gain"].travel == KNOB_TRAVEL or made.engine.params["loud.gain"].base != 1.0
    assert len(unbent) == 12 and unbent == neutral and last_frames(made, 3) != unbent


def test_a_turn_is_timed() -> None:
    made = lane("unbent", system(), patch(), 1)
    made.turn()
    made.turn()
    assert len(made.chunks) == 2 and all(0 < seconds < 60 for seconds in made.chunks)
    made.forget()
    assert made.chunks == []
