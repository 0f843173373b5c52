"""TouchOSC's layout, read by a program of others: what its controls send is played, what they show is told."""

from __future__ import annotations

import runpy
from pathlib import Path

import py2tosc
import pytest

from instrument.engine.loading import declared
from instrument.osc.codec import decode
from instrument.osc.feedback import Subscription
from instrument.osc.server import OscServer
from instrument.state import patch as patches
from pipelines.recipes import recipe
from tests.oscing import Client

CLIENTS = Path(__file__).parent.parent / "patches" / "clients"


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
