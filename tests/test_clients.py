"""The starting points in patches/clients: Pd's is played by Pd itself, both ways; TouchOSC's layout is read by a
program of others and what its controls send is played; the Max patch is checked as data."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from pathlib import Path

import py2tosc
import pytest

from instrument.engine.loading import declared
from instrument.osc.codec import decode
from instrument.osc.feedback import Subscription
from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from instrument.state import patch as patches
from pipelines.recipes import recipe
from pipelines.spec import ControlSpec, TextSpec, TriggerSpec
from tests.oscing import Client, free_port, heard, wait_until

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


def of_the_layout(message: py2tosc.OscMessage, where: dict[str, float]) -> tuple[str, list[int | float | str]]:
    """What TouchOSC sends for a message: address and arguments, with its control's values standing at `where`."""
    kinds = {"INTEGER": int, "FLOAT": float, "STRING": str}
    args = []
    for part in message.arguments:
        constant = py2tosc.PartialType(part.type) is py2tosc.PartialType.CONSTANT
        args.append(kinds[py2tosc.Conversion(part.conversion).value](part.value if constant else where[part.value]))
    return "".join(part.value for part in message.path), args


def test_every_control_of_the_touchosc_layout_plays() -> None:
    layout = py2tosc.load(CLIENTS / "attentionbender.tosc")
    assert not py2tosc.validate(layout)
    patch = patches.load("all-levers")
    params = declared(patch, recipe(patch.model).config, 3)
    server = OscServer(params, port=0, notices=lambda text: None)
    server.start()
    client = Client(server.port)
    controls = [control for control in layout.root.children if control.messages]
    for control in controls:
        for message in control.messages:
            address, args = of_the_layout(message, {"x": 0.75, "y": 0.25})
            assert not message.feedback and (args == [9001, "//n"] or address != "/subscribe")
            client.send(address, *args)
    client.send("/bender/ping")
    assert client.answer().address == "/bender/pong", "no /error before it"
    assert params["morph.x"].base == 0.75 and params["morph.y"].base == 0.25 and params["out.blackout"].base is True
    assert [params[f"bend.{number}.amount"].travel for number in range(1, 9)] == [pytest.approx(0.75, abs=0.01)] * 8
    fired = params.drain()
    assert {"panic", "undo", "patch.next"} < set(fired) and [f"snapshot.{n}.recall" for n in range(1, 9)] == fired[:8]
    assert len(server.feedback) == 1 and len(controls) == 3 * 8 + 8 + 8 + 5
    client.close()
    server.close()


def test_what_the_touchosc_layout_asks_to_hear_is_what_its_controls_show() -> None:
    layout = py2tosc.load(CLIENTS / "attentionbender.tosc")
    messages = [message for control in layout.root.children for message in control.messages]
    shown = {of_the_layout(message, {"x": 0.0, "y": 0.0})[0] for message in messages if message.receive}
    patch = patches.load("all-levers")
    subscription = Subscription(declared(patch, recipe(patch.model).config, 3), "touchosc", ("//n",))
    subscription.tell_all()
    told = set()
    while subscription.waiting:
        told |= {decode(packet)[0].messages[0].address for packet in subscription.take()}
    assert shown <= told and len(shown) == 3 * 8 + 5


def test_the_touchosc_layout_is_what_its_script_draws() -> None:
    drawn = runpy.run_path(str(CLIENTS / "touchosc.py"))["layout"]()
    assert py2tosc.dumps(drawn) == py2tosc.dumps(py2tosc.load(CLIENTS / "attentionbender.tosc"))
