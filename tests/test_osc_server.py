"""The OSC server on real UDP sockets: what a message does, what is answered, and what noise does not do."""

import os
import random
import shutil
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.osc.codec import Message, encode, encode_bundle
from instrument.osc.router import Complaints
from instrument.osc.server import OscServer
from instrument.osc.target import OscPortError
from instrument.parameters.params import ParamSet
from pipelines.spec import ControlSpec
from tests.oscing import ADDRESSES, ARGS, Client, heard, packet, some_params, wait_until


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def server(params, told):
    bound = Mapping(mapping.loads("bindings: [{osc: /1/fader1, to: petals.gain}]"), params, told.append)
    server = OscServer(params, bound, port=0, notices=told.append)
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(server):
    client = Client(server.port)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("address", "args", "id", "value"),
    [
        ("/petals/gain", (2.5,), "petals.gain", 2.5),
        ("/petals/gain", (3,), "petals.gain", 3),
        ("/petals/gain/n", (0.5,), "petals.gain", 1.0),
        ("/bend/1/amount", (4,), "petals.gain", 4),
        ("/freeze", (), "freeze", True),
        ("/freeze", (1,), "freeze", True),
        ("/prompt", ("black ice",), "prompt", "black ice"),
        ("/prompt", ("black", "ice", 3), "prompt", "black ice 3"),
        ("/prompt", (1999,), "prompt", "1999"),
        ("/prompt", (2.5, "moons"), "prompt", "2.5 moons"),
        ("/petals/gain", (True,), "petals.gain", 1),
        ("/petals/gain", ([2.5],), "petals.gain", 2.5),
        ("/petals/gain", (99,), "petals.gain", 8),
        ("/petals/gain", (-1e30,), "petals.gain", 0),
        ("/count", (3.6,), "count", 4),
        ("/count", (-0.4,), "count", 0),
        ("/mode", ("sum",), "mode", "sum"),
        ("/mode", (1,), "mode", "sum"),
        ("/mode", (1.0,), "mode", "sum"),
        ("/mode/n", (0.9,), "mode", "sum"),
        ("/freeze", (0.7,), "freeze", True),
        ("/freeze", ("on",), "freeze", True),
        ("/freeze/n", (1.0,), "freeze", True),
        ("/petals/layers", (8, 19), "petals.layers.center", 13.5),
        ("/petals/layers", ([8, 19],), "petals.layers.width", 11),
        ("/petals/layers/n", (0.0, 1.0), "petals.layers.width", 29),
        ("/1/fader1", (1.0,), "petals.gain", 8),
        ("/*/gain", (0.25,), "brush.gain", 0.25),
        ("//gain/n", (1.0,), "brush.gain", 1),
        ("/{brush,petals}/gain", (0.5,), "brush.gain", 0.5),
        ("/*/layers", (3, 9), "petals.layers.center", 6),
    ],
)
def test_a_message_reaches_its_parameter(params, client, address, args, id, value):
    if params[id].base == value:
        params.set(id, 1 if value == 0 else 0)
    client.send(address, *args)
    assert heard(params, id, value)
    assert params[id].origin == client.origin


def test_triggers_fire_with_and_without_value_and_not_on_release(params, client, server):
    for args in ((), (1,), (0,), (1.0,), (0.0,), (True,)):
        client.send("/panic", *args)
    client.socket.send(packet(b"I").replace(b"/a\0\0", b"/panic\0\0"))
    assert wait_until(lambda: server.received == 7)
    assert wait_until(lambda: params["panic"].base == 5) and params.drain() == ["panic"] * 5


def test_every_message_of_a_burst_is_heard_in_order(params, client, server):
    for i in range(3000):
        client.send("/panic")
        client.send("/petals/gain", i % 8)
    assert wait_until(lambda: server.received == 6000)
    assert wait_until(lambda: params["panic"].base == 3000) and params["petals.gain"].base == 2999 % 8


@pytest.mark.parametrize(
    ("address", "args", "words"),
    [
        ("/petals/gian", (1,), "/petals/gian: no parameter 'petals.gian'; did you mean 'petals.gain'?"),
        ("/petals/gain", ("loud",), "/petals/gain: petals.gain cannot be 'loud'; send a number from 0 to 8"),
        ("/petals/gain", (), "petals.gain needs a value; only triggers and switches do without"),
        ("/petals/gain", (1, 2), "petals.gain cannot be (1, 2); send a number"),
        ("/petals/gain", (None,), "cannot be None; send a number from 0 to 8"),
        ("/petals/gain", (b"x",), "cannot be b'x'; send a number from 0 to 8"),
        ("/petals/gain", (float("nan"),), "cannot be nan; send a number"),
        ("/petals/gain/n", ("half",), "cannot be at travel 'half'; send a number from 0 to 1"),
        ("/mode", ("product of",), "send one of: product, sum"),
        ("/mode", (7,), "send one of: product, sum"),
        ("/prompt", (None,), "prompt cannot be None; send text"),
        ("/prompt", ("black", b"ice"), "prompt cannot be b'ice'; send text"),
        ("/prompt", (), "prompt needs a value; send text"),
        ("/prompt/n", (0.5,), "text has no knob travel"),
        ("/petals/layers", (1,), "send two values, lo and hi"),
        ("/petals/layers", (), "petals.layers needs a value"),
        ("/nothing/*", (1,), "matches no parameter"),
        ("/*/gain", ("x",), "cannot be 'x'"),
        ("/[a", (1,), "opens a [ that never closes"),
        ("/1/fader1", (None,), "cannot be None; send a number from 0 to 1, or text"),
        ("/1/fadre1", (1,), "/1/fadre1: no such address; did you mean /1/fader1?"),
        ("/subscirbe", (9001,), "/subscirbe: no such address; did you mean /subscribe?"),
        ("/Unsubscribe", (), "/Unsubscribe: no such address; did you mean /unsubscribe?"),
        ("/bender/pnig", (), "/bender/pnig: no such address; did you mean /bender/ping?"),
        ("/erorr", ("x",), "no parameter 'erorr'; there are: petals.gain"),
        ("/subscribe", ("petals/gain",), "cannot hold 'petals/gain'; send the port you listen on"),
        ("/subscribe", (99999,), "cannot hold 99999; send the port you listen on"),
        ("/unsubscribe", ("/petals/gain",), "cannot hold '/petals/gain'; it ends all that was subscribed to"),
        ("/unsubscribe", (9001, 9002), "cannot hold 9002; it ends all that was subscribed to"),
        ("/unsubscribe", (9001,), "there is no subscription of this address with port 9001"),
    ],
)
def test_what_cannot_be_done_is_answered(params, client, server, told, address, args, words):
    before = params.tick(0.0)
    client.send(address, *args)
    assert client.answer().address == "/error"
    assert len(told) == 1 and words in told[0]
    assert server.bad == 1 and params.tick(0.0) == before


def test_ping_is_answered_and_an_error_is_not(client, server):
    client.send("/error", "no parameter")
    client.send("/bender/ping", 7, "x")
    assert client.answer() == Message("/bender/pong", (7, "x"))
    counts = {"received": 2, "bad": 0, "waiting": 0, "connections": 0, "listeners": 0}
    assert server.status() == {"host": "127.0.0.1", "port": server.port, "tcp": True, **counts}


def test_noise_does_not_deafen_it(params, client, server, told):
    noise = random.Random(4)
    heads = [b"", b"/", b"/petals/gain\0\0\0\0,", b"#bundle\0" + bytes(8), encode("/petals/gain", 1.0)]
    for i in range(5000):
        client.socket.send(noise.choice(heads) + noise.randbytes(noise.randrange(64)))
        if i % 500 == 0:
            assert wait_until(lambda i=i: server.received > i - 400)
    assert wait_until(lambda: server.received == 5000)
    assert server.bad > 3000 and len(told) < 100
    client.send("/petals/gain", 7)
    assert heard(params, "petals.gain", 7)


def test_a_bundle_is_applied_at_once_and_a_dated_one_when_it_is_due(params, client):
    due = time.time() + 0.3
    client.socket.send(encode_bundle([encode("/petals/gain", 5), encode("/freeze", 1)], due))
    client.socket.send(encode_bundle([encode("/brush/gain", 1)], due - 0.15))
    client.send("/petals/layers", 2, 4)  # not held up by those
    assert heard(params, "petals.layers.center", 3) and time.time() < due - 0.15
    assert heard(params, "brush.gain", 1) and params["petals.gain"].base == 1
    assert heard(params, "petals.gain", 5)
    assert due <= time.time() < due + 0.1 and params["freeze"].base is True


def test_bundles_dated_ahead_are_bounded(client, server):
    client.socket.send(encode_bundle([encode("/freeze", 1)], time.time() + 1e6))
    assert "dated more than 600 s ahead" in client.answer().args[0]
    later = encode_bundle([encode("/freeze", 1)], time.time() + 100)
    for i in range(4200):
        client.socket.send(later)
        if i % 500 == 0:
            assert wait_until(lambda i=i: server.received >= i)
    assert wait_until(lambda: server.received == 4201) and server.status()["waiting"] == 4096
    assert "more than 4096 bundles wait" in client.answer().args[0]


def test_a_late_bundle_is_applied_now(params, client):
    client.socket.send(encode_bundle([encode("/petals/gain", 5)], time.time() - 5))
    assert heard(params, "petals.gain", 5)


def test_a_busy_port_is_named_with_the_remedy(params, server):
    with pytest.raises(OscPortError) as error:
        OscServer(params, port=server.port).start()
    assert f"OSC port {server.port} on 127.0.0.1 is in use by another program" in str(error.value)
    assert "--osc-port" in str(error.value)
    for host, port, why in (
        ("no.such.host.invalid", 9000, "no computer is known by the name"),
        ("192.0.2.1", 9000, "is not an address of this computer; choose another --host"),
        ("127.0.0.1", 70000, "choose another port"),
    ):
        with pytest.raises(OscPortError, match=f"OSC port {port} on {host} cannot be opened.*{why}"):
            OscServer(params, host=host, port=port).start()


def test_a_closed_port_is_free_again(params):
    server = OscServer(params, port=0)
    server.start()
    port = server.port
    server.close()
    server.close()
    again = OscServer(params, port=port)
    again.start()
    again.close()


def test_a_failing_command_does_not_stop_the_thread(params, client, server, told):
    def fail(args, sender):
        raise RuntimeError("broken")

    server.commands["/fail"] = fail
    client.send("/fail")
    client.send("/petals/gain", 6)
    assert heard(params, "petals.gain", 6) and told == ["OSC: /fail: RuntimeError: broken"]


def test_complaints_are_limited_counted_and_not_repeated():
    complaints = Complaints(3)
    allowed = sum(complaints.allows(i) for i in range(100))
    assert 3 <= allowed <= 6 and complaints.take_missed() == 100 - allowed and complaints.take_missed() == 0
    complaints = Complaints(1000)
    assert complaints.allows("a", 60) and not complaints.allows("a", 60) and complaints.allows("b", 60)
    assert complaints.allows("c", 0.01) and wait_until(lambda: complaints.allows("c", 0.01))


def test_one_who_is_told_much_leaves_half_of_the_words_to_others(monkeypatch):
    monkeypatch.setattr("instrument.osc.complaints.time.monotonic", lambda: 7.5)
    complaints = Complaints(20)
    assert sum(complaints.allows(("a", i), 1.0, "a") for i in range(100)) == 10
    assert complaints.allows(("b", 0), 1.0, "b") and complaints.take_missed() == 90
    assert sum(complaints.allows(i) for i in range(100)) == 9


def test_the_same_mistake_is_told_once_a_while_and_another_at_once(client, server, told):
    for _ in range(200):
        client.send("/petals/gain", "loud")
    client.send("/petals/gain", "soft")
    assert wait_until(lambda: server.bad == 201)
    first, second = client.answer(), client.answer()
    assert "cannot be 'loud'" in first.args[0]
    assert "cannot be 'soft'" in second.args[0] or "cannot be 'loud'" in second.args[0]
    assert len(told) < 6 and any("more like this not shown" in text for text in told)


def test_what_cannot_be_subscribed_to_is_named_in_one_short_line(client):
    for wrong in (99999999, "petals/gain" * 500, b"x" * 5000):
        client.send("/subscribe", wrong)
        text = client.answer().args[0]
        assert "send the port you listen on" in text and len(text) < 200


def test_a_storm_of_one_mistake_leaves_words_for_others(client, server):
    other = Client(server.port)
    for _ in range(500):
        client.send("/petals/gian", 1.0)  # a fader of a patch that has gone, say
    other.send("/petals/gain", "loud")
    assert "cannot be 'loud'" in other.answer().args[0]
    assert "did you mean 'petals.gain'?" in client.answer().args[0]
    other.close()


def test_a_storm_of_mistakes_takes_no_late_answer_away(params, client, server):
    other = Client(server.port)
    other.send("/bender/ping")
    assert other.answer().address == "/bender/pong"
    for second in range(3):
        for number in range(200):
            client.send(f"/{second}/{number}", 1.0)
        assert wait_until(lambda second=second: server.bad == 200 * (second + 1))
        params.answers.put(other.origin, f"there is no patch {second}")
        assert other.answer().args == (f"there is no patch {second}",)
    other.close()


@pytest.mark.skipif(shutil.which("oscsend") is None, reason="liblo-tools is not installed")
def test_a_foreign_client_plays(params, server):
    def oscsend(*words):
        env = {**os.environ, "LC_ALL": "C"}
        subprocess.run(["oscsend", "localhost", str(server.port), *words], check=True, timeout=10, env=env)

    oscsend("/petals/gain", "f", "2.5")
    oscsend("/petals/layers", "ii", "8", "19")
    oscsend("/prompt", "s", "black ice")
    oscsend("/panic", "I")
    oscsend("/freeze", "T")
    oscsend("/brush/gain", "d", "0.5")
    assert heard(params, "brush.gain", 0.5)
    assert params.tick(0) == {
        "petals.gain": 2.5,
        "petals.layers.center": 13.5,
        "petals.layers.width": 11,
        "brush.gain": 0.5,
        "freeze": True,
        "mode": "product",
        "count": 2,
        "prompt": "black ice",
    }
    assert params.drain() == ["panic"] and server.bad == 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(ADDRESSES, ARGS), max_size=5))
def test_any_message_leaves_every_value_legal(messages):
    params = ParamSet(notices=lambda text: None)
    params.add("a", ControlSpec(0, 8, 1))
    server = OscServer(params, port=0, notices=lambda text: None)
    server.start()
    client = Client(server.port)
    for address, args in messages:
        client.send(address, *args)
        client.send("/a", *args)
    client.send("/a", 3)
    assert heard(params, "a", 3)
    server.close()
    client.close()
