"""What the player is told: notices once, latency in order, a line that fits, and a pace that foretells the latency."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
from typing import Any

import pytest

from instrument.engine import status
from instrument.engine.status import NOTICE_SECONDS, Latency, Notices, Pace, StatusLine, describe

STATUS: dict[str, Any] = {
    "fps": 14.26,
    "fps_sent": 13.9,
    "step_ms": 41.2,
    "latency_p95_ms": 71.0,
    "latency_ms": None,
    "cache": "6/6",
    "midi": [],
    "warnings": [],
}


def line(out: Any, notices: Notices | None = None, as_json: bool = False, **changes: Any) -> StatusLine:
    return StatusLine(lambda: {**STATUS, **changes}, notices or Notices(), as_json, out)


def test_the_line_says_what_counts() -> None:
    assert describe(STATUS) == "14.3 fps made | 13.9 sent | step 41 ms | latency - | cache 6/6 | midi none"
    full = describe({**STATUS, "latency_ms": 312.4, "midi": ["pad", "keys"], "warnings": ["too hot", "more"]})
    assert full.endswith("latency 312 ms, p95 71 | cache 6/6 | midi pad, keys | ! too hot")


def test_what_is_told_while_a_show_ends_is_printed_too() -> None:
    for as_json, words in (
        (False, "! the disk is full\n"),
        (True, '{"event": "notice", "text": "the disk is full"}\n'),
    ):
        out, notices = io.StringIO(), Notices()
        shown = line(out, notices, as_json)
        notices.tell("the disk is full")
        shown.close()
        assert out.getvalue() == words


def test_latency_counts_stamped_frames_only() -> None:
    latency = Latency()
    assert latency.percentile_ms(0.5) is None
    latency.sent(None, 1.0)
    latency.sent("card", 1.0)
    for n in range(1, 11):
        latency.sent(5.0, 5.0 + n / 10)
    assert latency.percentile_ms(0.0) == 100.0 and latency.percentile_ms(0.5) == 600.0
    assert latency.percentile_ms(1.0) == 1000.0


def test_a_notice_is_told_once_and_fades() -> None:
    notices = Notices()
    for text in ("a", "a", "b", "a"):
        notices.tell(text)
    assert notices.take_new() == ["a", "b", "a"] and notices.take_new() == []
    assert notices.current() == ["a", "b", "a"]


def test_the_same_again_after_it_has_faded_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, heard, notices = [100.0], [], Notices()
    monkeypatch.setattr(status.time, "monotonic", lambda: now[0])
    notices.also = heard.append
    for at, times in ((100, 1), (105, 1), (110, 1), (116.5, 2), (700, 3)):  # it comes again and again, and then late
        now[0] = at
        notices.tell("out.add ndi: no NDI here")
        assert heard == ["out.add ndi: no NDI here"] * times and len(notices.current()) == 1
    assert notices.take_new() == heard
    now[0] = 700 + NOTICE_SECONDS
    assert notices.current() == []


def test_log_lines_become_notices_with_the_fault_in_short() -> None:
    notices, logger = Notices(), logging.getLogger("test.status")
    logger.addHandler(notices)
    logger.propagate = False
    try:
        logger.info("not told")
        logger.warning("%s is slow", "camera")
        try:
            raise ValueError("no such\nword")
        except ValueError:
            logger.exception("a chunk failed")
    finally:
        logger.removeHandler(notices)
    assert notices.take_new() == ["camera is slow", "a chunk failed: ValueError: no such word"]


def test_the_sheet_and_notices_are_plain_lines_where_nothing_can_be_rewritten() -> None:
    out, notices = io.StringIO(), Notices()
    plain = line(out, notices)
    plain.sheet({"model": "house", "bends": ["a: x", "b: y"]})
    notices.tell("hot")
    plain.refresh()
    plain.refresh()
    plain.close()
    assert out.getvalue() == "  model  house\n  bends  a: x\n         b: y\n! hot\n"


def test_machines_get_one_json_object_a_line() -> None:
    out, notices = io.StringIO(), Notices()
    machine = line(out, notices, as_json=True)
    machine.sheet({"model": "house", "bends": ["a: x"]})
    notices.tell("hot")
    machine.refresh()
    machine.close()
    start, notice, status = map(json.loads, out.getvalue().splitlines())
    assert start == {"event": "start", "model": "house", "bends": ["a: x"]}
    assert notice == {"event": "notice", "text": "hot"} and status == {"event": "status", **STATUS}


def test_in_a_terminal_the_line_rewrites_itself_and_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    seen = ""
    master, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as out:
        shown = line(out, warnings=["so long a warning that it cannot fit into any line " * 3])
        shown.refresh()
        shown.refresh()
        shown.close()
        while seen.count("\x1b") < 2 or not seen.endswith("\n"):  # a terminal hands it over in pieces
            seen += os.read(master, 4096).decode()
    os.close(master)
    first, second = seen.rstrip("\r\n").removeprefix("\r\x1b[2K").split("\r\x1b[2K")
    assert first == second and len(first) == 39 and "\n" not in first


def test_the_show_goes_on_when_nobody_reads_any_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        lonely = line(out, as_json=True)
        lonely.refresh()
        lonely.refresh()
        lonely.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # so that closing has somewhere to go


def test_the_expected_latency_is_what_a_simulated_hand_waits() -> None:
    pace, steps, frames = Pace(chunk=0.3, step=0.07, commit=0.02, decode=0.1, frame=0.05), 4, 4
    moments = [n / 1000 * 0.3 for n in range(1000)]
    heard = [(steps - 1) * 0.07 >= at for at in moments]
    waits = [(0.28 if now else 0.58) - at for at, now in zip(moments, heard, strict=True)]
    simulated = sum(waits) / len(waits) + 0.1 + 0.3 / frames
    assert pace.expected_ms(steps, frames) == pytest.approx(1000 * simulated, rel=0.01)
    assert pace.worst_ms(steps, frames) == pytest.approx(1000 * (max(waits) + 0.1 + 0.3 / frames), rel=0.01)
    assert pace.target_ms(frames) == pytest.approx(1000 * (0.3 + 0.1 + 0.3 / frames))


def test_a_fast_machine_waits_for_the_tempo() -> None:
    fast, faster = Pace(0.1, 0.02, 0.02, 0.02, 0.05), Pace(0.05, 0.01, 0.01, 0.01, 0.05)
    assert fast.expected_ms(4, 4) > 100 and faster.expected_ms(4, 4) < fast.expected_ms(4, 4)
