"""OSCQuery and mDNS met by somebody else's client, npm's `oscquery`, in a network of its own where that can be had."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from instrument.osc.announce import Announcement
from instrument.osc.tree import nodes, tree
from tests.oscing import some_params, wait_until
from tests.querying import STATUS, serving

ROOT = Path(__file__).parent.parent
READ_TREE = """
const { OSCQueryDiscovery } = require("oscquery");
new OSCQueryDiscovery().queryNewService("127.0.0.1", Number(process.argv[1])).then(service => {
    console.log(JSON.stringify({ host: service.hostInfo, rows: service.flat() }));
    process.exit(0);
});
"""
FIND = """
const { OSCQueryDiscovery } = require("oscquery");
const discovery = new OSCQueryDiscovery();
discovery.on("up", service => {
    console.log(JSON.stringify({ address: service.address, port: service.port, rows: service.flat().length }));
    process.exit(0);
});
discovery.start();
setTimeout(() => process.exit(1), 20000);
"""
# Run in a network of its own: nothing but loopback, on which multicast is switched on first.
ALONE = """
import json, subprocess, sys
from instrument.osc.announce import Announcement
from tests.querying import serving
with serving() as surface:
    told = []
    announcement = Announcement("127.0.0.1", surface.port, 9000, told.append)
    announcement.start()
    found = subprocess.run(["node", "-e", sys.argv[1]], capture_output=True, text=True, timeout=40)
    announcement.close()
    print(json.dumps({"port": surface.port, "found": found.stdout, "fault": found.stderr, "told": told}))
"""
NETWORK = "ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && exec"


def node_has_oscquery():
    """Whether node finds npm's `oscquery`, by NODE_PATH or in this folder."""
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", "require('oscquery')"], capture_output=True, timeout=30).returncode == 0


def lonely():
    """The command that gives a shell a network of its own; None where there is none."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and shutil.which("ip"):
            words = [*command, "sh", "-c", f"{NETWORK} true"]
            if subprocess.run(words, capture_output=True, timeout=10).returncode == 0:
                return command
    return None


needs_node = pytest.mark.skipif(not node_has_oscquery(), reason="node, or its package oscquery, is not installed")
needs_network = pytest.mark.skipif(lonely() is None, reason="no network namespace can be made here")


@needs_node
def test_a_foreign_client_reads_the_whole_tree():
    params = some_params()
    with serving(params) as surface:
        command = ["node", "-e", READ_TREE, str(surface.port)]
        told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert told["host"]["name"] == "AttentionBender" and told["host"]["oscPort"] == 9000
    rows = {row["full_path"]: row for row in told["rows"]}
    assert set(rows) == {address for address, node in nodes(tree(params, STATUS)) if "TYPE" in node}
    gain = {"type": "f", "value": 1, "clipmode": "both", "range": {"min": 0, "max": 8}}
    assert rows["/petals/gain"]["arguments"] == [gain] and rows["/petals/gain"]["access"] == 3
    assert [end["value"] for end in rows["/petals/layers"]["arguments"]] == [0, 29]
    assert rows["/mode"]["arguments"][0]["range"] == {"vals": ["product", "sum"]}
    assert rows["/count"]["arguments"][0]["type"] == "i" and rows["/panic"]["critical"] is True
    assert rows["/panic"]["arguments"][0]["type"] == "I" and rows["/status/fps"]["access"] == 1


@needs_node
@needs_network
def test_a_foreign_client_finds_it_by_name_alone():
    command = f"{NETWORK} {sys.executable} -c '{ALONE}' \"$0\""
    done = subprocess.run([*lonely(), "sh", "-c", command, FIND], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["found"], told
    found = json.loads(told["found"])
    count = sum("TYPE" in node for _, node in nodes(tree(some_params(), STATUS)))
    assert found == {"address": "127.0.0.1", "port": told["port"], "rows": count} and told["told"] == []


def test_both_services_are_announced_and_taken_back():
    from zeroconf import ServiceBrowser, Zeroconf

    class Ear:
        def __init__(self):
            self.there = {}

        def add_service(self, mdns, kind, name):
            info = mdns.get_service_info(kind, name, timeout=3000)
            if info is not None and info.port in (40001, 40002):
                self.there[kind] = (info.port, info.parsed_addresses())

        def remove_service(self, mdns, kind, name):
            self.there.pop(kind, None)

        def update_service(self, mdns, kind, name):
            self.add_service(mdns, kind, name)

    ear, told = Ear(), []
    kinds = ["_oscjson._tcp.local.", "_osc._udp.local."]
    with Zeroconf(interfaces=["127.0.0.1"]) as mdns:
        browser = ServiceBrowser(mdns, kinds, listener=ear)
        announcement = Announcement("127.0.0.1", 40001, 40002, told.append)
        announcement.start()
        assert wait_until(lambda: len(ear.there) == 2, 15)
        assert ear.there == {kinds[0]: (40001, ["127.0.0.1"]), kinds[1]: (40002, ["127.0.0.1"])}
        announcement.close()
        announcement.close()
        assert wait_until(lambda: not ear.there, 15) and told == []
        browser.cancel()


def test_an_address_that_is_not_ours_is_told_and_no_more():
    told = []
    announcement = Announcement("192.0.2.1", 40001, None, told.append)
    announcement.start()
    announcement._thread.join(20)
    announcement.close()
    assert len(told) == 1 and told[0].startswith("not announced by mDNS") and "by hand" in told[0]
