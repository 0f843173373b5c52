"""`bender bench control`: its rows measure what they say; and the storm that an instrument must stand."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from instrument.bench import control as bench_control
from instrument.bench.control import RATE, ROWS, Bench, Stamped, arrived, knobs, listening, moved, stormed, storming
from instrument.bench.control import bench_control as run
from tests.oscing import wait_until
from tests.test_bench import patch, system


def bench(seconds: float = 0.5) -> Bench:
    return Bench(system(), patch(), seconds, 1)


def test_the_report_has_a_row_for_everything(monkeypatch) -> None:
    monkeypatch.setattr(bench_control, "FEWEST", 2)
    head, *rows = run(bench())
    assert head.startswith("300 parameters, 64 of them moved, 20000 messages/s, 0.5 s a row")
    assert [row[:26].strip() for row in rows] == [name.strip() for name in ROWS]
    assert re.search(r"\d+ /s +0 of 10064 lost, 64 of 64 last values", rows[0])
    assert re.search(r"\d+\.\d{3} ms +median, \d+\.\d{3} ms p99", rows[2])
    assert re.search(
        r"\d\.\d{3} x +of a calm chunk, median of \d+ \(.*; \d\.\d{3} x where the same storm goes elsewhere", rows[4]
    )


def test_a_storm_sends_what_it_says_and_ends_at_one() -> None:
    params = knobs()
    with listening(params) as server:
        sent, seconds = stormed(server.port, 2000, 0.5)
        arrived(server, sent)
        assert sent == 1000 + len(moved()) == server.received and 0.4 < seconds < 10
    assert all(params[id].base == 1.0 for id in moved())


def test_a_storm_rests_and_goes_on() -> None:
    with listening(knobs()) as server, storming(server.port, 2000, 60) as switch:
        assert wait_until(lambda: server.received > 10)
        switch()
        before = server.received
        assert not wait_until(lambda: server.received > before + 100, 0.3)
        switch()
        assert wait_until(lambda: server.received > before + 100)


def test_stamps_are_of_the_probe_alone() -> None:
    params = knobs(Stamped)
    params.set("knob1.gain", 1)
    assert params.times == {}


def test_it_is_a_command() -> None:
    command = [sys.executable, "-m", "instrument", "bench", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "control" in told and "--seconds" in told


@pytest.mark.slow
def test_twenty_thousand_messages_a_second_for_ten_seconds_lose_no_last_value() -> None:
    params = knobs()
    with listening(params) as server:
        sent, _ = stormed(server.port, RATE, 10.0)
        arrived(server, sent)
        assert sent == 10 * RATE + len(moved())
        assert all(params[id].base == 1.0 for id in moved())
        assert server.received > 0.99 * sent
