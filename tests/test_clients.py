"""The starting points in patches/clients: Pd's is played by Pd itself, both ways; the Max patch is checked as data."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec
from tests.oscing import free_port, heard, wait_until

CLIENTS = Path(__file__).parent.parent / "patches" / "clients"
# Moves the client's third slider and presses panic half a second after it opened, and prints what the client hears.
HAND = """#N canvas 0 0 400 300 10;
#X obj 10 10 loadbang;
#X obj 10 40 del 1000;
#X msg 10 70 0.75;
#X obj 10 100 s bender-bend-3;
#X obj 100 70 bng 15 250 50 0 empty empty empty 17 7 0 10 #fcfcfc #000000 #000000;
#X obj 100 100 s bender-panic;
#X obj 200 10 r bender-in;
#X obj 200 40 print heard;
#X obj 200 100 client;
#X connect 0 0 1 0;
#X connect 1 0 2 0;
#X connect 2 0 3 0;
#X connect 1 0 4 0;
#X connect 4 0 5 0;
#X connect 6 0 7 0;
"""


def playable() -> ParamSet:
    params = ParamSet(notices=lambda text: None)
    for number in range(1, 9):
        params.add(f"b{number}.gain", ControlSpec(0, 4, 1))
        params.alias(f"bend.{number}.amount", f"b{number}.gain")
    params.add("prompt.text", TextSpec("water"))
    for id in ("panic", "cache.reset", "engine.reseed"):
        params.add(id, TriggerSpec())
    return params


@pytest.mark.skipif(shutil.which("pd") is None, reason="puredata-core is not installed")
def test_pd_plays_and_is_told(tmp_path: Path) -> None:
    params, listening = playable(), free_port()
    server = OscServer(params, port=0, notices=lambda text: None, status=lambda: {"fps": 17.5})
    server.start()
    text = (CLIENTS / "attentionbender.pd").read_text()
    assert "9000" in text and "9001" in text
    (tmp_path / "client.pd").write_text(text.replace("9000", str(server.port)).replace("9001", str(listening)))
    (tmp_path / "hand.pd").write_text(HAND)
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        command = ["pd", "-nogui", "-noaudio", "-nomidi", "-stderr", "-path", str(tmp_path), str(tmp_path / "hand.pd")]
        pd = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            assert heard(params, "b3.gain", 3.0), log.read_text()  # 0.75 of the way from 0 to 4
            assert wait_until(lambda: params.drain() == ["panic"]), log.read_text()
            assert params["b3.gain"].origin.startswith("osc:127.0.0.1:") and server.status()["listeners"] == 1
            params.set("b2.gain", 2.0, "page")
            assert wait_until(lambda: "heard: bend 2 amount n 0.5" in log.read_text()), log.read_text()
            assert wait_until(lambda: "heard: status fps 17.5" in log.read_text()), log.read_text()
        finally:
            pd.kill()
            pd.wait()
            server.close()
    told = log.read_text()
    assert "heard: bend 3 amount n 0.75" not in told, "its own change came back"
    assert "heard: bend 3 amount n 0.25" in told and server.bad == 0 and "couldn't create" not in told


def test_the_max_patch_is_whole() -> None:
    patcher = json.loads((CLIENTS / "attentionbender.maxpat").read_text())["patcher"]
    boxes = {box["box"]["id"]: box["box"] for box in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"])
    for line in patcher["lines"]:
        (source, outlet), (target, inlet) = line["patchline"]["source"], line["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"] and inlet < boxes[target]["numinlets"]
    texts = [box.get("text", "") for box in boxes.values()]
    assert "udpsend 127.0.0.1 9000" in texts and "udpreceive 9002" in texts
    assert any(text.startswith("/subscribe 9002") for text in texts)
    touched = {end[0] for line in patcher["lines"] for end in line["patchline"].values()}
    loose = [box["text"] for id, box in boxes.items() if id not in touched and box["maxclass"] != "comment"]
    assert not loose
