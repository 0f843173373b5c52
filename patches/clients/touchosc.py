"""Draws attentionbender.tosc, the layout for TouchOSC: `python touchosc.py`, with the package py2tosc (MIT).

Eight bends with a fader for the amount, one for the middle of its layers, and a switch; the square of four snapshots,
the snapshots' buttons, and what every show has. The button `listen` asks for feedback on port 9001.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import py2tosc
from py2tosc import ButtonType, Control, Conversion, OscMessage, Partial, PartialType, Trigger, TriggerCondition, Value

FILE = Path(__file__).with_name("attentionbender.tosc")
WIDTH, HEIGHT, GAP = 1024, 768, 6
BENDS = 8
PORT = 9001  # where TouchOSC listens: Connections, OSC 1, receive port
RED, BLUE, GREY = (0.85, 0.25, 0.2, 1), (0.2, 0.55, 0.85, 1), (0.45, 0.45, 0.5, 1)
TRIGGERS = ("panic", "cache.reset", "engine.reseed", "undo", "redo", "patch.previous", "patch.next", "clock.tap")
Box = tuple[float, float, float, float]


def address(id: str) -> list[Partial]:
    return [Partial(PartialType.CONSTANT, Conversion.STRING, f"/{id.replace('.', '/')}")]


def turning(id: str, var: str = "x") -> OscMessage:
    """Knob travel, 0..1, both ways."""
    value = Partial(PartialType.VALUE, Conversion.FLOAT, var)
    return OscMessage(triggers=[Trigger(var)], path=address(f"{id}.n"), arguments=[value])


def firing(id: str, *arguments: Partial) -> OscMessage:
    """When the button goes down; what comes back moves nothing."""
    trigger = Trigger("x", TriggerCondition.RISE)
    return OscMessage(receive=False, triggers=[trigger], path=address(id), arguments=list(arguments))


def draw(kind: str, name: str, box: Box, messages: list[OscMessage], **properties: object) -> Control:
    make = {"fader": py2tosc.fader, "button": py2tosc.button, "xy": py2tosc.xy, "label": py2tosc.label}[kind]
    made = make(name=name, frame=box, messages=messages, **properties)
    made.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"attentionbender/{name}"))
    return made


def label(name: str, box: Box) -> Control:
    made = draw("label", f"label {name}", box, [], color=GREY, textSize=11)
    made.values = [Value(key="text", default=name)]
    return made


def bend(number: int) -> list[Control]:
    """One bend's column: amount, layers, switch."""
    width = WIDTH / BENDS
    x, wide = (number - 1) * width + GAP / 2, width - GAP
    id = f"bend.{number}"
    return [
        label(f"bend {number}", (x, 4, wide, 26)),
        draw("fader", f"amount {number}", (x, 34, wide * 0.62, 300), [turning(f"{id}.amount")], color=RED),
        draw("fader", f"layers {number}", (x + wide * 0.66, 34, wide * 0.34, 300), [turning(f"{id}.layers.center")]),
        draw("button", f"on {number}", (x, 340, wide, 46), [turning(f"{id}.on")], buttonType=ButtonType.TOGGLE_RELEASE),
    ]


def row(ids: list[str], box: Box) -> list[Control]:
    """Buttons side by side, each with its name above."""
    x, y, width, height = box
    found = []
    for place, id in enumerate(ids):
        here = x + place * width / len(ids), y, width / len(ids) - GAP
        found += [label(id, (*here, 20)), draw("button", id, (here[0], y + 22, here[2], height - 22), [firing(id)])]
    return found


def bottom() -> list[Control]:
    snapshots = [f"snapshot.{number}.recall" for number in range(1, 9)]
    square = [turning("morph.x", "x"), turning("morph.y", "y")]
    listen = [Partial(PartialType.CONSTANT, Conversion.INTEGER, str(PORT))]
    listen += [Partial(PartialType.CONSTANT, Conversion.STRING, "//n")]
    return [
        *row(snapshots, (GAP / 2, 396, WIDTH, 96)),
        *row(list(TRIGGERS), (GAP / 2, 500, 744, 96)),
        label("master.mix", (3, 604, 250, 20)),
        draw("fader", "master.mix", (3, 626, 250, 136), [turning("master.mix")], color=RED, orientation=1),
        label("morph.position", (262, 604, 250, 20)),
        draw("fader", "morph.position", (262, 626, 250, 136), [turning("morph.position")], orientation=1),
        label("out.blackout", (521, 604, 110, 20)),
        draw("button", "out.blackout", (521, 626, 110, 136), [turning("out.blackout")], buttonType=1, color=RED),
        label("listen", (640, 604, 102, 20)),
        draw("button", "listen", (640, 626, 102, 136), [firing("subscribe", *listen)], color=GREY),
        label("four snapshots", (752, 500, 269, 20)),
        draw("xy", "morph", (752, 522, 269, 240), square, color=BLUE),
    ]


def layout() -> py2tosc.Document:
    children = [control for number in range(1, BENDS + 1) for control in bend(number)] + bottom()
    root = py2tosc.group(name="AttentionBender", frame=(0, 0, WIDTH, HEIGHT), children=children)
    root.id = str(uuid.uuid5(uuid.NAMESPACE_URL, "attentionbender"))
    return py2tosc.Document(root=root)


if __name__ == "__main__":
    layout().save(FILE)
