"""The parameters as an OSCQuery address tree: JSON-ready nodes with type, range, value and description.

Every parameter is there once, under its own address; aliases and the `/n` twins can be played too but would only
double it. A range (`/petals/layers`) is a node of two values above its center and width. What the show tells of itself
is under `/status`, read only. After the OSCQuery proposal (github.com/Vidvox/OSCQueryProposal). Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instrument.osc.feedback import STATUS, TEXT, ends, status_values
from instrument.osc.router import address_of
from instrument.parameters.params import Parameter, ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec

Node = dict[str, Any]

NONE, READ, WRITE, BOTH = 0, 1, 2, 3  # ACCESS
# What can be asked for; OVERLOADS and HTML are not used.
ATTRIBUTES = (
    *("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION"),
    *("TAGS", "EXTENDED_TYPE", "UNIT", "CRITICAL", "CLIPMODE", "OVERLOADS", "HTML"),
)
# EXTENDED_TYPE, by the last word of an id: what the proposal has names for. The others are plain numbers.
_MEANINGS = {
    "rotate": "orientation.euler.r",
    **dict.fromkeys(("translate_x", "x"), "position.cart2D.x"),
    **dict.fromkeys(("translate_y", "y"), "position.cart2D.y"),
}
_UNITS = {"degrees": "angle.degree", "s": "time.second", "ms": "time.ms", "Hz": "time.hz", "bpm": "time.bpm"}


def tree(params: ParamSet, status: dict[str, Any]) -> Node:
    """The whole tree, all values from the same moment."""
    root: Node = {"FULL_PATH": "/", "ACCESS": NONE, "CONTENTS": {}, "DESCRIPTION": "AttentionBender"}
    with params.together():
        for parameter in params:
            _place(root, address_of(parameter.id), _leaf(parameter))
        for name in params.names():
            if params.is_range(name):
                _place(root, address_of(name), _range(params, name))
    for address, value in status_values(status).items():
        _, unit, doc = STATUS[address.rpartition("/")[2]]
        type = "s" if unit == TEXT else "i" if isinstance(value, int) else "f"
        node = {"TYPE": type, "ACCESS": READ, "VALUE": [value], "DESCRIPTION": doc}
        node |= {"UNIT": [unit] if unit not in ("", TEXT) else None}
        _place(root, address, node)
    return root


def nodes(root: Node) -> Iterator[tuple[str, Node]]:
    """(address, node) of a tree, a node before what it contains."""
    yield root["FULL_PATH"], root
    for inner in root.get("CONTENTS", {}).values():
        yield from nodes(inner)


def find(root: Node, address: str) -> Node | None:
    """The node at an address; None if there is none."""
    node: Node | None = root
    for word in address.strip("/").split("/") if address.strip("/") else ():
        node = node.get("CONTENTS", {}).get(word)
        if node is None:
            return None
    return node


def differences(old: Node, new: Node) -> list[tuple[str, str]]:
    """(PATH_REMOVED | PATH_ADDED | PATH_CHANGED, address): the topmost nodes that went and came, then nodes that are
    described or filled differently. Values make no difference."""
    before, after = dict(nodes(old)), dict(nodes(new))
    found = [("PATH_REMOVED", a) for a in before if a not in after and _parent(a) in after]
    found += [("PATH_ADDED", a) for a in after if a not in before and _parent(a) in before]
    both = (address for address in after if address in before)
    return found + [("PATH_CHANGED", a) for a in both if _described(before[a]) != _described(after[a])]


def _parent(address: str) -> str:
    return address.rpartition("/")[0] or "/"


def _described(node: Node) -> dict[str, Any]:
    contents = list(node.get("CONTENTS", {}))
    return {key: value for key, value in node.items() if key not in ("VALUE", "CONTENTS")} | {"names": contents}


def _place(root: Node, address: str, attributes: Node) -> None:
    """Put attributes at an address, with the containers above it."""
    node, path = root, ""
    for word in address[1:].split("/"):
        path += f"/{word}"
        node = node.setdefault("CONTENTS", {}).setdefault(word, {"FULL_PATH": path, "ACCESS": NONE})
    node |= {key: value for key, value in attributes.items() if value not in (None, "", [])}


def _leaf(parameter: Parameter) -> Node:
    spec = parameter.spec
    node: Node = {
        "ACCESS": BOTH,
        "DESCRIPTION": parameter.doc or spec.doc,
        "TAGS": [parameter.group] if parameter.group else None,
        "VALUE": [parameter.base],
    }
    if isinstance(spec, ControlSpec):
        whole = isinstance(parameter.base, int)
        ends = {"MIN": spec.lo, "MAX": spec.hi}
        node |= {"TYPE": "i" if whole else "f", "CLIPMODE": ["both"], "UNIT": _unit(spec)}
        node |= {"RANGE": [{key: int(end) if whole else float(end) for key, end in ends.items()}]}
        meaning = _MEANINGS.get(parameter.id.rpartition(".")[2])
        node |= {"EXTENDED_TYPE": [meaning] if meaning else None}
    elif isinstance(spec, SwitchSpec):
        node |= {"TYPE": "T"}
    elif isinstance(spec, ChoiceSpec):
        node |= {"TYPE": "s", "RANGE": [{"VALS": list(spec.options)}]}
    elif isinstance(spec, TextSpec):
        node |= {"TYPE": "s"}
    elif isinstance(spec, TriggerSpec):
        node |= {"TYPE": "I", "ACCESS": WRITE, "VALUE": None, "CRITICAL": True}
    return node


def _range(params: ParamSet, name: str) -> Node:
    center = params[f"{name}.center"]
    spec = center.spec
    if not isinstance(spec, ControlSpec):
        return {}
    return {
        "TYPE": "ff",
        "ACCESS": BOTH,
        "VALUE": ends(params, name),
        "RANGE": [{"MIN": float(spec.lo), "MAX": float(spec.hi)}] * 2,
        "CLIPMODE": ["both"] * 2,
        "UNIT": _unit(spec) * 2 if spec.unit else None,
        "TAGS": [center.group] if center.group else None,
        "DESCRIPTION": "the lower and the upper end",
    }


def _unit(spec: ControlSpec) -> list[str]:
    return [_UNITS.get(spec.unit, spec.unit)] if spec.unit else []
