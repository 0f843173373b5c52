"""A hundred thousand packets that nobody should send: none escapes, none reaches a file, and a good one right after
still plays."""

import math
import random
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.mapping import mapping
from instrument.mapping.live import Mapping
from instrument.osc.codec import IMPULSE, OscError, decode, encode, encode_bundle
from instrument.osc.router import Router, Sender
from instrument.osc.server import OscServer
from instrument.parameters.params import ParamSet
from pipelines.spec import ChoiceSpec, ControlSpec
from tests.oscing import ADDRESSES, ARGS, Client, heard, some_params, wait_until

MANY = 100_000
SEED = 20
PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\con",
    "file:///x",
    "a/../../b",
    "patch.yaml",
    "~",
    "$HOME",
    "%n%s",
    "\n",
]
ADDRESS_PARTS = [
    "petals",
    "gain",
    "n",
    "layers",
    "*",
    "//",
    "{a,petals}",
    "[!x]",
    "?",
    "..",
    "etc",
    "subscribe",
    "",
    "Ω",
]
ARGUMENTS = [0, 1, -1, 2**31 - 1, 2**62, 0.5, 1e30, math.inf, math.nan, True, False, None, IMPULSE, "", "on", *PATHS]
ARGUMENTS += [b"", b"\xff" * 40, [], [1, 2], [[[0.5]]], ["x", None]]


def good_packets(noise):
    """Packets that are well formed, to break: messages to real and unreal addresses, bundles of them, dated and not."""
    known = ["/petals/gain", "/petals/gain/n", "/petals/layers", "/freeze", "/panic", "/prompt", "/1/fader1", "/mode"]
    made = []
    for _ in range(400):
        unreal = "/" + "/".join(noise.choices(ADDRESS_PARTS, k=noise.randrange(1, 5)))
        address = noise.choice([*known, unreal, "/" + noise.choice(PATHS)])
        made.append(encode(address, *noise.choices(ARGUMENTS, k=noise.randrange(4))))
    for _ in range(100):
        when = noise.choice([0.0, time.time() - 1, time.time() + 0.01, time.time() + 1e8])
        made.append(encode_bundle(noise.sample(made, noise.randrange(4)), when))
    return made


def broken(packet, noise):
    """One packet with something wrong with it: cut, changed, stretched, doubled, or mixed with another."""
    data = bytearray(packet)
    kind = noise.randrange(6)
    if kind == 0:
        return bytes(data[: noise.randrange(len(data) + 1)])
    if kind == 1:
        for _ in range(noise.randrange(1, 5)):
            data[noise.randrange(len(data))] = noise.randrange(256)
    elif kind == 2:
        at = noise.randrange(len(data) + 1)
        data[at:at] = noise.randbytes(noise.randrange(9))
    elif kind == 3:
        at = 4 * noise.randrange(len(data) // 4)
        data[at : at + 4] = noise.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b",[[[", b"]]]]"])
    elif kind == 4:
        data = data * 2
    else:
        data = bytearray(noise.randbytes(noise.randrange(80)))
    return bytes(data)


def legal(params):
    """Whether every parameter holds what it may."""
    for parameter in params:
        spec, value = parameter.spec, parameter.base
        if isinstance(spec, ControlSpec) and not (spec.lo <= value <= spec.hi):
            return False
        if isinstance(spec, ChoiceSpec) and value not in spec.options:
            return False
    return True


class Watch:
    """What this thread asks of the file system while the block runs."""

    FILES = ("open", "os.open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.chmod", "exec")

    def __init__(self):
        self.events, self._thread = [], 0
        sys.addaudithook(self._note)

    def _note(self, event, args):
        if self._thread in (threading.get_ident(), -1) and event in self.FILES:
            self.events.append((event, str(args)[:200]))

    def __enter__(self):
        self._thread = threading.get_ident()
        return self

    def __exit__(self, *fault):
        self._thread = 0


@pytest.fixture(scope="module")
def watch():
    return Watch()  # an audit hook stays for ever, so there is one


def test_a_hundred_thousand_broken_packets(watch):
    noise, params, told, answers = random.Random(SEED), some_params(), [], []
    bound = Mapping(mapping.loads("bindings: [{osc: /1/fader1, to: petals.gain}]"), params, told.append)
    router = Router(params, bound, told.append)
    sender = Sender("127.0.0.1", "127.0.0.1:5", "osc:127.0.0.1:5", answers.append)
    good = good_packets(noise)
    router.take(encode("/petals/gain", 1.5), sender)
    told.clear()
    with watch:
        for number in range(MANY):
            router.take(broken(noise.choice(good), noise), sender)
            if number % 100 == 0:
                router.play_due()
                router.take_all([(encode("/petals/gain", number % 8), sender), (noise.choice(good), sender)])
        router.take(encode("/petals/gain", 2.5), sender)
    assert params["petals.gain"].base == 2.5 and legal(params)
    assert router.bad > MANY / 2 and router.waiting <= 4096
    assert not [text for text in told if text.startswith("OSC: ")], "a fault of ours"
    assert watch.events == [] and len(answers) < 1000
    assert all(decode(answer) for answer in answers)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=120) | st.tuples(ADDRESSES, ARGS), max_size=8))
def test_any_packets_leave_every_value_legal_and_the_next_is_played(packets):
    params, told = some_params(), []
    router = Router(params, None, told.append)
    sender = Sender("h", "h:1", "osc:h:1", lambda packet: None)
    made = [packet if isinstance(packet, bytes) else encode(packet[0], *packet[1]) for packet in packets]
    made += [
        encode(f"/petals/gain{end}", *packet[1])
        for packet in packets
        if isinstance(packet, tuple)
        for end in ("", "/n")
    ]
    router.take_all([(packet, sender) for packet in made])
    router.take_all([(encode("/petals/gain", 3.0), sender)])
    assert params["petals.gain"].base == 3 and legal(params)
    assert not [text for text in told if text.startswith("OSC: ")]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/petals/gain", "/bend/1/amount", "/brush/gain", "/petals/gain/n"]),
            st.floats(-1, 9, width=32) | st.integers(-1, 9) | st.just(math.nan) | st.just("x"),
        ),
        max_size=60,
    )
)
def test_a_row_played_at_once_ends_as_one_played_singly(moves):
    """Plain numbers of a row are played as the last of each parameter; nobody can tell the difference afterwards."""
    ends = []
    for at_once in (False, True):
        params = some_params()
        router = Router(params, None, lambda text: None)
        senders = [Sender("h", f"h:{n}", f"osc:h:{n}", lambda packet: None) for n in (1, 2)]
        row = [(encode(*move), senders[number % 2]) for number, move in enumerate(moves)]
        for _ in range(2):  # the second time every address is known
            if at_once:
                router.take_all(row)
            else:
                for packet, sender in row:
                    router.take(packet, sender)
        assert router.received == 2 * len(row)
        ends.append((params.tick(0), router.bad))
    assert ends[0] == ends[1]


def test_ten_thousand_of_them_over_a_real_socket_and_the_server_lives(watch):
    noise, params, told = random.Random(SEED + 1), some_params(), []
    server = OscServer(params, port=0, notices=told.append)
    server.start()
    client = Client(server.port)
    good = good_packets(noise)
    watch._thread = -1  # any thread
    try:
        for number in range(10_000):
            client.socket.send(broken(noise.choice(good), noise))
            if number % 500 == 0:
                assert wait_until(lambda number=number: server.received > number - 400)
        assert wait_until(lambda: server.received == 10_000)
        client.send("/petals/gain", 7)
        assert heard(params, "petals.gain", 7)
    finally:
        watch._thread = 0
        server.close()
        client.close()
    assert watch.events == [] and legal(params)
    assert not [text for text in told if text.startswith("OSC: ")] and len(told) < 400


def test_names_from_the_network_never_become_files(watch):
    params, told = some_params(), []
    router = Router(params, None, told.append)
    sender = Sender("h", "h:1", "osc:h:1", lambda packet: None)
    with watch:
        for path in PATHS:
            for address in ("/prompt", "/mode", "/petals/gain", "/patch/load", "/snapshot/recall", f"/{path}"):
                router.take(encode(address, path), sender)
    assert watch.events == [] and params["prompt"].base == PATHS[-1].encode().decode()


def test_the_watch_sees_files(watch):
    """The test of the test: an opened file is noticed."""
    before = len(watch.events)
    with watch, open(__file__):
        pass
    assert len(watch.events) == before + 1 and watch.events.pop()[0] == "open"


def test_the_codec_alone_refuses_in_words():
    noise = random.Random(SEED + 2)
    good = good_packets(noise)
    refused = 0
    for _ in range(20_000):
        try:
            decode(broken(noise.choice(good), noise))
        except OscError as error:
            refused += bool(str(error))
    assert refused > 10_000


def test_a_fault_of_ours_is_told_and_the_next_message_is_heard():
    params, told = some_params(), []

    class Faulty(ParamSet):
        def set(self, id, value, origin=""):
            raise RuntimeError("broken")

    router = Router(Faulty(), None, told.append)
    router._params.add("petals.gain", ControlSpec(0, 8, 1))
    sender = Sender("h", "h:1", "osc:h:1", lambda packet: None)
    router.take(encode("/petals/gain", 1), sender)
    assert told == ["OSC: /petals/gain: RuntimeError: broken"]
    router._params = params
    router._structure = -1
    router.take(encode("/petals/gain", 2), sender)
    assert params["petals.gain"].base == 2


def test_a_spiteful_bundle_does_not_hold_up_the_engine():
    params = some_params()
    for number in range(300):
        params.add(f"many{number}.gain", ControlSpec(0, 1, 0))
    router = Router(params, None, lambda text: None)
    sender = Sender("h", "h:1", "osc:h:1", lambda packet: None)
    bundle = encode_bundle([encode(f"/*{'?' * (n % 40)}/gain*", 1.0) for n in range(400)])
    waits, done = [], threading.Event()

    def tick():
        while not done.is_set():
            begun = time.monotonic()
            params.tick(0.0)
            waits.append(time.monotonic() - begun)
            time.sleep(0.001)

    engine = threading.Thread(target=tick)
    engine.start()
    begun = time.monotonic()
    router.take(bundle, sender)
    took = time.monotonic() - begun
    done.set()
    engine.join()
    assert params["many7.gain"].base == 1.0
    assert len(waits) > 3 and max(waits) < max(0.5 * took, 0.2)


def test_bundles_that_wait_are_bounded_in_bytes():
    router, answers = Router(some_params(), None, lambda text: None), []
    sender = Sender("h", "h:1", "osc:h:1", answers.append)
    bundle = encode_bundle([encode("/prompt", b"x" * 60_000)], time.time() + 100)
    for _ in range(300):
        router.take(bundle, sender)
    assert 270 < router.waiting < 290 and "16 MB of bundles wait" in decode(answers[0])[0].messages[0].args[0]


def test_one_address_filled_up_in_countless_ways_is_known_once():
    params, at = some_params(), len("/petals/gain") + 1
    router, sender = Router(params), Sender("127.0.0.1", "a patcher", "osc:1", lambda packet: None)
    plain = encode("/petals/gain", 0.5)
    odd = [plain[:at] + number.to_bytes(3, "big") + plain[at + 3 :] for number in range(1, 500)]
    router.take_all((packet, sender) for packet in [plain, plain, *odd])
    assert params["petals.gain"].base == 0.5 and (router.received, router.bad) == (501, 0)
    assert len(router._heads) == 1
