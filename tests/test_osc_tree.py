"""The tree that OSCQuery serves: a node of every type, and where two trees differ."""

import json

from instrument.osc.tree import differences, find, nodes, tree
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec
from tests.oscing import some_params
from tests.querying import STATUS


def test_a_node_of_every_type():
    params = some_params()
    root = tree(params, STATUS)
    assert find(root, "/petals/gain") == {
        "FULL_PATH": "/petals/gain",
        "TYPE": "f",
        "ACCESS": 3,
        "VALUE": [1.0],
        "RANGE": [{"MIN": 0.0, "MAX": 8.0}],
        "CLIPMODE": ["both"],
    }
    layers = find(root, "/petals/layers")
    assert (layers["TYPE"], layers["VALUE"], list(layers["CONTENTS"])) == ("ff", [0.0, 29.0], ["center", "width"])
    assert layers["RANGE"] == [{"MIN": 0.0, "MAX": 29.0}] * 2
    assert find(root, "/count")["TYPE"] == "i" and find(root, "/count")["RANGE"] == [{"MIN": 0, "MAX": 9}]
    assert (find(root, "/freeze")["TYPE"], find(root, "/freeze")["VALUE"]) == ("T", [False])
    assert find(root, "/mode")["RANGE"] == [{"VALS": ["product", "sum"]}] and find(root, "/mode")["TYPE"] == "s"
    assert find(root, "/prompt")["VALUE"] == ["water"]
    assert find(root, "/panic") == {"FULL_PATH": "/panic", "TYPE": "I", "ACCESS": 2, "CRITICAL": True}
    assert find(root, "/status/fps")["VALUE"] == [17.5] and find(root, "/status/fps")["ACCESS"] == 1
    words = find(root, "/status/outputs")
    assert (words["TYPE"], words["VALUE"]) == ("s", ["dummy plays"]) and "UNIT" not in words
    assert find(root, "/status/latency") is None and find(root, "/petals")["ACCESS"] == 0


def test_every_parameter_is_there_once_with_a_description_and_a_unit():
    params = ParamSet()
    params.add("turn.angle", ControlSpec(0, 90, 0, unit="degrees", doc="how far"), group="turn")
    node = find(tree(params, {}), "/turn/angle")
    assert (node["UNIT"], node["DESCRIPTION"], node["TAGS"]) == (["angle.degree"], "how far", ["turn"])
    params = some_params()
    addresses = [address for address, node in nodes(tree(params, {})) if "TYPE" in node]
    assert sorted(addresses) == sorted(["/" + id.replace(".", "/") for id in params.ids()] + ["/petals/layers"])


def test_the_tree_is_as_json_as_it_was():
    root = tree(some_params(), STATUS)
    assert json.loads(json.dumps(root, allow_nan=False)) == root


def test_differences_name_the_topmost():
    params = some_params()
    before = tree(params, {})
    params.set("petals.gain", 3)
    params.set("freeze", True)
    assert differences(before, tree(params, {})) == []
    params.remove("brush.gain")
    params.remove("count")
    params.add("count", ControlSpec(0, 99, 2, step=1))
    params.add("ink.gain", ControlSpec(0, 1, 0))
    params.add("ink.size", ControlSpec(0, 1, 0))
    found = differences(before, tree(params, {}))
    assert set(found) == {
        ("PATH_REMOVED", "/brush"),
        ("PATH_ADDED", "/ink"),
        ("PATH_CHANGED", "/"),
        ("PATH_CHANGED", "/count"),
    }


def test_places_and_angles_say_what_they_are():
    params = some_params()
    for id in ("drift.translate_x", "drift.translate_y", "drift.rotate", "drift.scale_x", "morph.x"):
        params.add(id, ControlSpec(-1, 1, 0))
    described = dict(nodes(tree(params, {})))
    found = {address: node["EXTENDED_TYPE"] for address, node in described.items() if "EXTENDED_TYPE" in node}
    assert found == {
        "/drift/translate_x": ["position.cart2D.x"],
        "/drift/translate_y": ["position.cart2D.y"],
        "/drift/rotate": ["orientation.euler.r"],
        "/morph/x": ["position.cart2D.x"],
    }
