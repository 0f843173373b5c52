"""OSC: the codec against another implementation, and the server on real sockets, with friends and with noise."""

import os
import random
import shutil
import socket
import struct
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage

from instrument import mapping
from instrument.mapping import Mapping
from instrument.osc import OscPortError, OscServer, RateLimit
from instrument.osc_codec import (
    IMPULSE,
    Message,
    OscError,
    decode,
    encode,
    encode_bundle,
    is_pattern,
    matches,
)
from instrument.params import ParamSet
from pipelines.spec import ControlSpec, SwitchSpec, TextSpec, TriggerSpec

ADDRESSES = st.from_regex(r"(/[a-z0-9_]{1,8}){1,4}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
PLAIN = st.integers(-(2**63), 2**63 - 1) | st.booleans() | TEXTS | st.binary(max_size=40) | st.none()
ARGS = st.lists(PLAIN | st.floats(width=32, allow_nan=False) | st.lists(PLAIN, max_size=3), max_size=6)


def wait_until(true, seconds=3.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


# --- codec ---


@given(ADDRESSES, ARGS)
def test_what_is_encoded_is_decoded(address, args):
    assert decode(encode(address, *args)) == [(0.0, (Message(address, tuple(args)),))]


@given(ADDRESSES, st.lists(st.integers(-(2**31), 2**31 - 1) | TEXTS | st.floats(width=32, allow_nan=False), max_size=6))
def test_another_implementation_reads_the_same(address, args):
    theirs = OscMessage(encode(address, *args))
    assert theirs.address == address and list(theirs.params) == args


@given(st.binary(max_size=300))
def test_noise_is_only_ever_an_osc_error(packet):
    for start in (b"", b"/a\0\0,", b"/a\0\0,iis\0\0\0\0", b"#bundle\0" + bytes(8)):
        try:
            decode(start + packet)
        except OscError as error:
            assert str(error)


@given(ADDRESSES, ARGS, st.data())
def test_a_packet_cut_short_or_changed_is_only_ever_an_osc_error(address, args, data):
    packet = bytearray(encode_bundle([encode(address, *args), encode(address, 1)]))
    packet = packet[: data.draw(st.integers(0, len(packet)))]
    for _ in range(data.draw(st.integers(0, 3)) if packet else 0):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(packet))
    except OscError as error:
        assert str(error)


def packet(tags, payload=b""):
    text = b"," + tags
    return b"/a\0\0" + text + bytes(4 - len(text) % 4) + payload


@pytest.mark.parametrize(
    ("tags", "payload", "args"),
    [
        (b"i", b"\0\0\0\x05", (5,)),
        (b"f", struct.pack(">f", 0.5), (0.5,)),
        (b"s", b"ice\0", ("ice",)),
        (b"S", b"ice\0", ("ice",)),
        (b"b", b"\0\0\0\x05hello\0\0\0", (b"hello",)),
        (b"h", struct.pack(">q", -(2**40)), (-(2**40),)),
        (b"d", struct.pack(">d", 0.1), (0.1,)),
        (b"t", struct.pack(">Q", 1), (1,)),
        (b"c", b"\0\0\0A", ("A",)),
        (b"r", b"\x01\x02\x03\x04", ((1, 2, 3, 4),)),
        (b"m", b"\0\x90\x3c\x7f", (b"\0\x90\x3c\x7f",)),
        (b"TFNI", b"", (True, False, None, IMPULSE)),
        (b"i[ii[f]]s", struct.pack(">iiif", 1, 2, 3, 4) + b"x\0\0\0", (1, [2, 3, [4.0]], "x")),
        (b"cf", b"\0\0\0A" + struct.pack(">f", 0.5), ("A", 0.5)),
    ],
)
def test_every_type_is_read(tags, payload, args):
    assert decode(packet(tags, payload))[0].messages == (Message("/a", args),)


def test_a_message_without_type_tags_is_read():
    assert decode(b"/abc\0\0\0\0")[0].messages == (Message("/abc", ()),)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "starts with neither"),
        (b"hello\0\0\0", "starts with neither"),
        (b"/a", "text breaks off"),
        (b"/\xff\0\0", "text is not UTF-8"),
        (b"/a\0\0ii\0\0", "do not start with a comma"),
        (packet(b"i"), "an argument of type i breaks off"),
        (packet(b"x", bytes(4)), "argument type 'x' is not known"),
        (packet(b"c", b"\0\x11\0\0"), "character 1114112 does not exist"),
        (packet(b"b", b"\x7f\xff\xff\xff"), "a blob names 2147483647 bytes where 0 are left"),
        (packet(b"["), "an array never ends"),
        (packet(b"]"), "an array ends that never began"),
        (packet(b"[" * 9 + b"]" * 9), "arrays are nested deeper"),
        (packet(b"", b"more"), "4 bytes are left over"),
        (b"#bundle\0" + bytes(7), "starts with neither"),
        (b"#bundle\0" + bytes(8) + b"\0\0", "breaks off inside a size"),
        (b"#bundle\0" + bytes(8) + b"\0\0\0\0", "an element of 0 bytes"),
        (b"#bundle\0" + bytes(8) + b"\0\0\0\x40/a\0\0", "an element of 64 bytes where 4 are left"),
    ],
)
def test_errors_say_what_is_wrong(data, words):
    with pytest.raises(OscError, match=words.replace("[", r"\[")):
        decode(data)


def test_bundles_nest_to_a_limit_and_keep_their_times():
    inner = encode("/a", 1)
    when = 1_800_000_000.25
    bundle = encode_bundle([encode("/b", 2), encode_bundle([inner], when)])
    assert decode(bundle) == [(0.0, (Message("/b", (2,)),)), (when, (Message("/a", (1,)),))]
    assert OscBundle(bundle).num_contents == 2
    for _ in range(20):
        inner = encode_bundle([inner])
    with pytest.raises(OscError, match="nested deeper"):
        decode(inner)


def test_what_cannot_be_sent_is_an_osc_error():
    for value in (2**70, object(), "a\0b"):
        with pytest.raises(OscError, match="/a cannot be encoded"):
            encode("/a", value)


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        ("/petals/gain", "/petals/gain", True),
        ("/petals/*", "/petals/gain", True),
        ("/petals/*", "/petals/layers/center", False),
        ("/*/gain", "/petals/gain", True),
        ("/*/*/center", "/petals/layers/center", True),
        ("/p?tals/gain", "/petals/gain", True),
        ("/petals?gain", "/petals/gain", False),
        ("/[op]etals/gain", "/petals/gain", True),
        ("/[a-q]etals/gain", "/petals/gain", True),
        ("/[!p]etals/gain", "/petals/gain", False),
        ("/[!a-c]etals/gain", "/petals/gain", True),
        ("/{brush,petals}/gain", "/petals/gain", True),
        ("/{pet,petal}s/gain", "/petals/gain", True),
        ("/{brush,}petals/gain", "/petals/gain", True),
        ("//gain", "/petals/gain", True),
        ("//gain", "/gain", True),
        ("//center", "/petals/layers/center", True),
        ("/petals//center", "/petals/layers/center", True),
        ("/petals//gain", "/petals/gain", True),
        ("//enter", "/petals/layers/center", False),
        ("//*", "/petals/layers/center", True),
        ("/petals/gai", "/petals/gain", False),
        ("/petals/gain*", "/petals/gain", True),
        ("/**gain*", "/gain", True),
    ],
)
def test_address_patterns(pattern, address, expected):
    assert matches(pattern, address) is expected


def test_broken_or_spiteful_patterns_cost_little():
    for broken in ("/[a", "/{a", "/" + "*" * 300):
        with pytest.raises(OscError):
            matches(broken, "/a")
    start = time.monotonic()
    assert not matches("/" + "*a" * 120, "/" + "a" * 119 + "b")
    assert time.monotonic() - start < 0.5
    assert is_pattern("/a/*") and is_pattern("//a") and not is_pattern("/a/b")


# --- server ---


class Client:
    """A program on the other end of a real socket."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(2.0)
        self.socket.connect(("127.0.0.1", port))

    def send(self, address, *args):
        self.socket.send(encode(address, *args))

    def answer(self):
        return decode(self.socket.recv(65536))[0].messages[0]


@pytest.fixture
def params():
    params = ParamSet(notices=lambda text: None)
    params.add("petals.gain", ControlSpec(0, 8, 1, warp="cubed"))
    params.add("petals.layers.center", ControlSpec(0, 29, 14.5))
    params.add("petals.layers.width", ControlSpec(0, 30, 29))
    params.add("brush.gain", ControlSpec(0, 1, 0))
    params.add("freeze", SwitchSpec())
    params.add("prompt", TextSpec("water"))
    params.add("panic", TriggerSpec())
    params.alias("bend.1.amount", "petals.gain")
    return params


@pytest.fixture
def told():
    return []


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
    client.socket.close()


def heard(params, id, value):
    return wait_until(lambda: params[id].base == value)


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
        params.set(id, 0 if value else 1)
    client.send(address, *args)
    assert heard(params, id, value)
    assert params[id].origin == f"osc:127.0.0.1:{client.socket.getsockname()[1]}"


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
        ("/petals/layers", (1,), "send two values, lo and hi"),
        ("/petals/layers", (), "petals.layers needs a value"),
        ("/nothing/*", (1,), "matches no parameter"),
        ("/*/gain", ("x",), "cannot be 'x'"),
        ("/[a", (1,), "opens a [ that never closes"),
        ("/1/fader1", (None,), "cannot be None; send a number from 0 to 1, or text"),
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
    assert server.status() == {"host": "127.0.0.1", "port": server.port, "received": 2, "bad": 0, "waiting": 0}


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
    for host, port in (("no.such.host.invalid", 9000), ("127.0.0.1", 70000)):
        with pytest.raises(OscPortError, match=f"OSC port {port} on {host} cannot be opened"):
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
    def fail(args, reply):
        raise RuntimeError("broken")

    server.commands["/fail"] = fail
    client.send("/fail")
    client.send("/petals/gain", 6)
    assert heard(params, "petals.gain", 6) and told == ["OSC: RuntimeError: broken"]


def test_the_rate_limit_counts_what_it_held_back():
    limit = RateLimit(3)
    allowed = sum(limit.allows() for _ in range(100))
    assert 3 <= allowed <= 6 and limit.take_missed() == 100 - allowed and limit.take_missed() == 0


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
    client.socket.close()
