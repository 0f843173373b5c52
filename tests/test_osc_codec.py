"""The OSC codec: against itself, against another implementation, and against noise."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage

from instrument.osc.codec import (
    IMPULSE,
    Message,
    OscError,
    decode,
    encode,
    encode_bundle,
    is_pattern,
    matches,
)
from tests.oscing import ADDRESSES, ARGS, TEXTS, packet


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
    for when in (1e12, -1e12):
        with pytest.raises(OscError, match="OSC ends in 2036"):
            encode_bundle([], when)


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
    assert time.monotonic() - start < 20  # a search that goes back would take years
    assert is_pattern("/a/*") and is_pattern("//a") and not is_pattern("/a/b")
