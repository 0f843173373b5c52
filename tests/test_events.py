"""Events as JSON lines and numbers for Prometheus: what happens is said once, and nobody is held up by who reads."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from instrument.engine.events import WAITING, Events, Watch
from instrument.engine.metrics import Endpoint, MetricsError
from tests.playing import Playing, wait_until

STATUS = {
    "patch": "one", "prompt": "a moon", "system": "house 256x144", "fault": "", "muted": [], "warnings": [],
    "outputs": [{"name": "dummy", "sent": 3, "dropped": 1, "errors": 0, "error": ""}], "chunks": 7,
    "fps": 20.0, "fps_sent": 19.5, "step_ms": 41.0, "chunk_ms": 200.0, "latency_ms": None, "latency_p95_ms": None,
    "jitter_ms": 1.5,
}  # fmt: skip


def seen(*statuses: dict) -> list[tuple[str, dict]]:
    noted: list[tuple[str, dict]] = []
    watch = Watch(lambda event, **facts: noted.append((event, facts)))
    for status in statuses:
        watch.look({**STATUS, **status})
    return noted


def test_every_change_is_an_event_and_nothing_else_is() -> None:
    first = seen({})
    assert [event for event, _ in first] == ["patch", "prompt", "system", "output up"]
    assert seen({}, {}) == first
    broken = {"name": "dummy", "sent": 3, "dropped": 1, "errors": 1, "error": "no disk"}
    later = seen(
        {}, {"prompt": "a star", "fault": "OSError: x", "muted": ["b"]}, {"outputs": [broken]}, {"outputs": []}
    )
    assert later[len(first) :] == [
        ("prompt", {"text": "a star"}),
        ("fault", {"text": "OSError: x"}),
        ("muted", {"bends": ["b"]}),
        ("prompt", {"text": "a moon"}),
        ("recovered", {"text": ""}),
        ("muted", {"bends": []}),
        ("output fault", {"name": "dummy", "text": "no disk"}),
        ("output down", {"name": "dummy"}),
    ]


def test_lines_are_json_with_a_time_and_are_added_to_a_file(tmp_path: Path) -> None:
    for number in range(2):
        events = Events(str(tmp_path / "show.jsonl"), print)
        events("prompt", text="a \u2603\nmoon", number=number, odd=Path("x"))
        events.close()
    lines = [json.loads(line) for line in (tmp_path / "show.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1] and lines[0]["text"] == "a \u2603\nmoon"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[0]["time"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_ends_the_log_and_is_said_once() -> None:
    told: list[str] = []
    events = Events("/dev/full", told.append)
    for number in range(5):
        events("prompt", text=str(number))
    events.close()
    assert told and all("nothing more is written" in text and "No space left" in text for text in told)
    assert len(told) <= 2  # and once more where closing tries again


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_reader_that_stands_still_holds_up_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        events = Events(str(pipe), print)
        start = time.monotonic()
        for _ in range(3 * WAITING):
            events("notice", text="x" * 200)
        assert time.monotonic() - start < 5 and events.lost > 0
        events.close(timeout=0.1)
    finally:
        os.close(reading)


def fetch(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        rows = [line for line in answer.read().decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (row.rpartition(" ") for row in rows)}


def test_numbers_are_read_when_they_are_asked_for() -> None:
    now = dict(STATUS)
    endpoint = Endpoint("127.0.0.1", 0, lambda: now)
    try:
        first = fetch(endpoint.port)
        assert first["bender_fps_made"] == 20.0 and first["bender_chunks_total"] == 7
        assert first['bender_output_frames_sent_total{output="dummy",place="1"}'] == 3
        assert "bender_latency_p50_milliseconds" not in first
        now.update(latency_ms=212.0, fps=10.0, muted=["a"])
        again = fetch(endpoint.port)
        assert (again["bender_latency_p50_milliseconds"], again["bender_fps_made"]) == (212.0, 10.0)
        assert again["bender_muted_bends"] == 1
        with pytest.raises(MetricsError, match="give another, or 0"):
            Endpoint("127.0.0.1", endpoint.port, lambda: now)
    finally:
        endpoint.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", endpoint.port))


def test_without_the_package_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MetricsError, match=r'pip install "attentionbender\[metrics\]"'):
        Endpoint("127.0.0.1", 0, dict)


def test_a_show_tells_its_story(tmp_path: Path) -> None:
    story = tmp_path / "story.jsonl"
    with Playing(tmp_path, "--log-json", story, "--metrics-port", 0) as show:
        assert show.plays_on()
        show.send(("/prompt/text", "a green moon"), ("/patch/load", "nowhere"), ("/out/add", "dummy"))
        assert wait_until(lambda: "a green moon" in story.read_text() and story.read_text().count("output up") == 2)
        assert wait_until(lambda: any("no such patch" in text for text in show.notices()))
        assert wait_until(lambda: any("metrics at" in text for text in show.notices()))
        port = next(int(text.split(":")[-1].split("/")[0]) for text in show.notices() if "metrics at" in text)
        numbers = fetch(port)
        assert numbers["bender_chunks_total"] > 0 and numbers["bender_fps_made"] > 0
        assert show.end(signal.SIGTERM)[0] == 0 and show.errors == ""
    told = [json.loads(line) for line in story.read_text().splitlines()]
    names = [event["event"] for event in told]
    assert names[0] in ("start", "notice") and names[-1] == "stop" and told[-1]["played"] > 0
    assert {"start", "patch", "prompt", "system", "output up", "notice", "stop"} <= set(names)
    assert [event["text"] for event in told if event["event"] == "prompt"][-1] == "a green moon"
