"""OSC over TCP: both framings on one port, told apart; streams cut anywhere, spiteful ones, and foreign clients."""

import os
import random
import shutil
import socket
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.tcp_client import SimpleTCPClient

from instrument.osc.codec import Message, decode, encode, encode_bundle
from instrument.osc.server import OscServer
from instrument.osc.stream import LARGEST, Framing, StreamError
from tests.oscing import Client, heard, some_params, wait_until

PACKETS = st.lists(st.binary(min_size=1, max_size=60).map(lambda data: b"/" + data), min_size=1, max_size=6)


def sized(packet):
    return len(packet).to_bytes(4, "big") + packet


def slipped(packet):
    return b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def single_ended(packet):
    """RFC 1055 as it was: END only after a packet."""
    return slipped(packet)[1:]


@given(PACKETS, st.sampled_from([sized, slipped, single_ended]), st.data())
def test_packets_come_out_however_the_stream_is_cut(packets, frame, data):
    stream = b"".join(map(frame, packets))
    framing, out = Framing(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        out += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert out == packets
    back = framing.frame(packets[0])
    assert back == (sized if frame is sized else slipped)(packets[0])


@given(st.binary(max_size=200))
def test_noise_in_a_stream_is_only_ever_a_stream_error(noise):
    for start in (b"", b"\0\0", b"\xc0", b"/"):
        try:
            for packet in Framing().feed(start + noise):
                assert packet
        except StreamError as problem:
            assert str(problem)


def test_a_packet_too_long_ends_the_connection_and_not_the_memory():
    with pytest.raises(StreamError, match="a packet of 65537 bytes is announced; at most 65536"):
        Framing().feed((LARGEST + 1).to_bytes(4, "big"))
    framing = Framing()
    with pytest.raises(StreamError, match="longer than"):
        for _ in range(1000):
            framing.feed(b"/" * 1000)
    assert len(framing._rest) < 2 * LARGEST + 2000
    for first in (b"GET / HTTP/1.1\r\n", b"POST", b"\x16\x03\x01", b"\x01\0\0\0"):
        with pytest.raises(StreamError, match="must start with the size of a packet"):
            Framing().feed(first)


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def server(params, told):
    server = OscServer(params, port=0, notices=told.append)
    server.start()
    yield server
    server.close()


class Wire:
    """One TCP connection, framed by hand."""

    def __init__(self, port, frame=sized):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.frame, self._framing, self._packets = frame, Framing(), []

    def send(self, address, *args):
        self.socket.sendall(self.frame(encode(address, *args)))

    def answer(self):
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self._packets += self._framing.feed(data)
        return decode(self._packets.pop(0))[0].messages[0]

    def close(self):
        self.socket.close()


@pytest.mark.parametrize("frame", [sized, slipped, single_ended])
def test_both_framings_play_and_are_answered_in_kind(params, server, frame):
    wire = Wire(server.port, frame)
    wire.send("/petals/gain", 2.5)
    wire.send("/prompt", "\u00c0\u00db ice")  # holds the bytes that SLIP escapes
    assert heard(params, "prompt", "\u00c0\u00db ice") and params["petals.gain"].base == 2.5
    assert params["prompt"].origin == f"osc-tcp:127.0.0.1:{wire.socket.getsockname()[1]}"
    wire.send("/bender/ping", 0xC0DB)
    assert wire.answer() == Message("/bender/pong", (0xC0DB,))
    wire.send("/petals/gian", 1)
    assert "did you mean 'petals.gain'" in wire.answer().args[0]
    wire.close()
    assert wait_until(lambda: server.status()["connections"] == 0)


def test_the_udp_port_is_the_same_and_both_play_at_once(params, server):
    wire, client = Wire(server.port), Client(server.port)
    wire.send("/petals/gain", 3)
    client.send("/brush/gain", 1)
    assert heard(params, "petals.gain", 3) and heard(params, "brush.gain", 1)
    wire.socket.sendall(sized(encode_bundle([encode("/freeze", 1)], time.time() + 0.2)))
    assert params["freeze"].base is False and heard(params, "freeze", True)
    wire.close()
    client.close()


def test_a_spiteful_connection_is_closed_and_the_others_play_on(params, server, told):
    good = Wire(server.port)
    for noise in (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n/petals/gain", b"\0\xff\xff\xff", b"\xc0" + b"/" * 300_000):
        bad = Wire(server.port)
        bad.socket.sendall(noise)
        with pytest.raises((ConnectionError, socket.timeout)):
            while bad.answer().address == "/error":
                pass
        bad.close()
    good.send("/petals/gain", 4)
    assert heard(params, "petals.gain", 4)
    assert sum("the connection is closed" in text for text in told) == 3
    good.close()


def test_connections_are_limited_and_free_their_place(server, told):
    wires = [Wire(server.port) for _ in range(32)]
    assert wait_until(lambda: server.status()["connections"] == 32)
    with pytest.raises(ConnectionError):
        Wire(server.port).answer()
    assert "32 TCP connections are open already" in told[0]
    for wire in wires:
        wire.close()
    assert wait_until(lambda: server.status()["connections"] == 0)


def test_who_does_not_read_is_not_waited_for_and_gets_the_latest_value(params, server):
    deaf, client = Wire(server.port), Client(server.port)
    deaf.send("/subscribe", "/prompt")
    assert deaf.answer() == Message("/prompt", ("water",))
    text = "ice " * 450
    for number in range(600):  # more than every buffer on the way holds, if nobody reads
        params.set("prompt", f"{text}{number}")
        time.sleep(0.004)
    client.send("/petals/gain", 5)
    assert heard(params, "petals.gain", 5)
    last = None
    while last != f"{text}599":
        last = deaf.answer().args[0]
    deaf.close()
    client.close()


def test_random_streams_do_not_deafen_it(params, server):
    noise = random.Random(8)
    for i in range(150):
        wire = Wire(server.port)
        start = noise.choice([b"", b"\0\0\0\x08", b"\xc0", b"/petals/gain\0\0\0\0,f\0\0", b"#bundle\0"])
        try:
            wire.socket.sendall(start + noise.randbytes(noise.randrange(400)))
        except ConnectionError:
            assert i  # closed already, and rightly
        wire.close()
    wire = Wire(server.port)
    wire.send("/petals/gain", 7)
    assert heard(params, "petals.gain", 7)
    wire.close()


def test_without_tcp_the_show_goes_on_and_says_so(params, told):
    taken = socket.create_server(("127.0.0.1", 0))
    server = OscServer(params, port=taken.getsockname()[1], notices=told.append)
    server.start()
    client = Client(server.port)
    client.send("/petals/gain", 2)
    assert heard(params, "petals.gain", 2) and server.status()["tcp"] is False
    assert told[0].startswith(f"no OSC over TCP: OSC port {server.port} on 127.0.0.1 is in use by another program")
    server.close()
    client.close()
    taken.close()


@pytest.mark.parametrize("mode", ["1.0", "1.1"])
def test_another_library_plays_in_both_modes(params, server, mode):
    with SimpleTCPClient("127.0.0.1", server.port, mode=mode) as client:
        for value in range(200):
            client.send_message("/petals/gain", value / 25)
        client.send_message("/prompt", "ÀÛ")
        assert heard(params, "prompt", "ÀÛ") and params["petals.gain"].base == pytest.approx(199 / 25)
        client.send_message("/bender/ping", 3)
        message = next(client.get_messages(5))
        assert message.address == "/bender/pong" and list(message.params) == [3]


@pytest.mark.skipif(shutil.which("oscsend") is None, reason="liblo-tools is not installed")
def test_liblo_plays_over_tcp(params, server):
    words = ["oscsend", f"osc.tcp://127.0.0.1:{server.port}", "/petals/layers", "ii", "8", "19"]
    subprocess.run(words, check=True, timeout=10, env={**os.environ, "LC_ALL": "C"})
    assert heard(params, "petals.layers.center", 13.5)
