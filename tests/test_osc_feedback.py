"""What listeners are told: over real sockets, throttled, never their own changes, and never an old value last."""

import socket
import threading
import time

import pytest

from instrument.osc import feedback as osc_feedback
from instrument.osc.codec import decode, encode
from instrument.osc.feedback import status_values
from instrument.osc.server import OscPortError, OscServer, Target
from pipelines.spec import ControlSpec, TriggerSpec
from tests.oscing import Client, free_port, heard, some_params, wait_until

STATUS = {"fps": 17.5, "latency_ms": None, "chunks": 42, "warnings": ["x"], "beat": 3.25}


class Ear:
    """A UDP port that keeps what it hears."""

    def __init__(self, client=None, port=0):
        self.socket = client.socket if client else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if client is None:
            self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.heard = []
        self._stop = threading.Event()
        self.socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while not self._stop.is_set():
            try:
                message = decode(self.socket.recv(65536))[0].messages[0]
            except (TimeoutError, ConnectionError):
                continue
            self.heard.append((message.address, *message.args))

    def of(self, address):
        return [message[1:] for message in self.heard.copy() if message[0] == address]

    def last(self, address):
        return (self.of(address) or [None])[-1]

    def close(self):
        self._stop.set()
        self._thread.join()
        self.socket.close()


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def open_server(params, monkeypatch):
    servers = []
    monkeypatch.setattr(osc_feedback, "AGAIN", 1e9)  # these tests count; those of saying again set their own

    def opened(outs=()):
        server = OscServer(params, port=0, notices=lambda text: None, status=lambda: STATUS)
        server.start(outs)
        servers.append(server)
        return server

    yield opened
    for server in servers:
        server.close()


@pytest.fixture
def ears():
    made = []

    def listening(client=None, port=0):
        made.append(Ear(client, port))
        return made[-1]

    yield listening
    for ear in made:
        ear.close()


def test_a_subscriber_hears_the_full_state_then_every_change(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    everything = {"/petals/gain": (1.0,), "/freeze": (0,), "/mode": ("product",), "/count": (2,), "/prompt": ("water",)}
    assert wait_until(lambda: all(ear.last(address) == value for address, value in everything.items()))
    assert ear.of("/petals/layers/center") == [(14.5,)] and not ear.of("/panic") and not ear.of("/bend/1/amount")
    params.set("petals.gain", 2.5, "page")
    params.set("freeze", True, "midi")
    params.trigger("panic", "page")
    assert wait_until(lambda: ear.last("/petals/gain") == (2.5,) and ear.last("/freeze") == (1,) and ear.of("/panic"))
    assert ear.of("/panic") == [()]


def test_a_subscriber_is_not_told_what_it_did_itself_but_others_are(params, open_server, ears):
    server = open_server()
    one, two = Client(server.port), Client(server.port)
    first, second = ears(one), ears(two)
    one.send("/subscribe")
    two.send("/subscribe")
    assert wait_until(lambda: first.of("/prompt") and second.of("/prompt"))
    one.send("/petals/gain", 5)
    one.send("/petals/layers", 2, 4)
    assert wait_until(lambda: second.last("/petals/gain") == (5.0,) and second.last("/petals/layers/center") == (3.0,))
    two.send("/petals/gain", 6)
    assert wait_until(lambda: first.last("/petals/gain") == (6.0,))
    assert first.of("/petals/gain") == [(1.0,), (6.0,)] and first.of("/petals/layers/center") == [(14.5,)]
    assert second.of("/petals/gain") == [(1.0,), (5.0,)]


def test_who_was_not_taken_at_its_word_is_told_once_what_counts(params, open_server, ears):
    server = open_server()
    one, two = Client(server.port), Client(server.port)
    first, second = ears(one), ears(two)
    for each in (one, two):
        each.send("/subscribe", "/petals/gain", "/count", "/mode/n", "/petals/layers", "/brush/gain")
    assert wait_until(lambda: first.of("/count") and second.of("/count") and first.of("/petals/layers"))
    one.send("/petals/gain", 9.5)
    assert wait_until(lambda: first.last("/petals/gain") == (8.0,) and second.last("/petals/gain") == (8.0,))
    one.send("/petals/gain", 20.0)  # where it stands already, but it does not know that
    assert wait_until(lambda: first.of("/petals/gain") == [(1.0,), (8.0,), (8.0,)])
    one.send("/petals/gain", 3.3)  # exact, as far as 32 bits can say it: no echo
    one.send("/count", 4.4)
    assert wait_until(lambda: first.last("/count") == (4,))
    one.send("/mode/n", 0.9)
    assert wait_until(lambda: first.last("/mode/n") == (1.0,))
    one.send("/petals/layers", -5, 10)
    assert wait_until(lambda: first.last("/petals/layers") == (0.0, 10.0))
    one.send("/brush/gain", 0.5)
    assert wait_until(lambda: second.last("/brush/gain") == (0.5,))
    assert first.of("/petals/gain")[3:] == [] and first.of("/brush/gain") == [(0.0,)]
    assert second.of("/petals/gain")[:2] == [(1.0,), (8.0,)] and len(second.of("/petals/gain")) == 3
    assert len(first.of("/count")) == 2 and len(first.of("/mode/n")) == 2 and len(first.of("/petals/layers")) == 2


def test_a_correction_that_may_have_been_lost_is_said_again_until_the_sender_is_right(params):
    subscription = osc_feedback.Subscription(params, "osc:1", ["/count"])
    changes = osc_feedback.Changes(params)

    def said(share: float) -> list[bytes]:
        subscription.note(changes.take())
        subscription.remind(share)
        return subscription.take()

    params.set("count", 20, "osc:1")
    assert len(said(1.0)) == 1 and len(said(1.0)) == 1
    params.set("count", 9, "osc:1")  # its value already
    params.set("count", 8, "osc:1")
    assert said(1.0) == []


def test_a_number_between_two_choices_is_answered_with_the_choice_it_became(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.last("/mode") is not None)
    for sent, taken in ((0.6, "sum"), (0.7, "sum"), (0.2, "product")):
        before = len(ear.of("/mode"))
        client.send("/mode", sent)
        assert wait_until(lambda before=before: len(ear.of("/mode")) > before), sent
        assert ear.last("/mode") == (taken,)


def test_a_sweep_is_throttled_and_its_last_value_arrives(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.of("/prompt"))
    start = time.monotonic()
    for step in range(2001):
        params.set("petals.gain", step / 1000, "page")
        time.sleep(0.0005)
    seconds = time.monotonic() - start
    assert wait_until(lambda: ear.last("/petals/gain") == (2.0,))
    told = [value for (value,) in ear.of("/petals/gain")[1:]]
    assert 5 < len(told) <= 60 * seconds + 3 and told == sorted(told)


def test_another_port_of_the_sender_can_be_named_and_only_some_addresses(params, open_server, ears):
    server, ear = open_server(), ears()
    client = Client(server.port)
    client.send("/subscribe", ear.port, "/bend/*/amount/n", "/petals/layers", "/status/fps")
    assert wait_until(lambda: ear.of("/status/fps"))
    assert set(ear.heard) == {("/bend/1/amount/n", 0.5), ("/petals/layers", 0.0, 29.0), ("/status/fps", 17.5)}
    params.set("petals.gain", 8.0, "page")
    params.set("petals.layers", (8, 19), "page")
    params.set("brush.gain", 1.0, "page")
    assert wait_until(lambda: ear.last("/bend/1/amount/n") == (1.0,) and ear.last("/petals/layers") == (8.0, 19.0))
    client.send("/petals/gain", 0.0)
    params.set("petals.layers", (2, 3), "page")
    assert wait_until(lambda: ear.last("/petals/layers") == (2.0, 3.0))
    assert ear.last("/bend/1/amount/n") == (1.0,) and not ear.of("/brush/gain")


def test_what_cannot_be_is_answered_where_the_sender_listens(params, open_server, ears, monkeypatch):
    server = open_server()
    client, ear = Client(server.port), ears()
    client.send("/subscribe", ear.port, "/petals/gain")
    assert wait_until(lambda: ear.of("/petals/gain"))
    client.send("/petals/gian", 2)
    assert wait_until(lambda: ear.of("/error")) and "did you mean 'petals.gain'" in ear.last("/error")[0]
    client.send("/unsubscribe")
    back = ears(client)
    client.send("/petals/gina", 2)
    assert wait_until(lambda: back.of("/error")) and len(ear.of("/error")) == 1
    monkeypatch.setattr(osc_feedback, "EXPIRES", 0.01)
    client.send("/subscribe", ear.port)
    assert wait_until(lambda: server.received == 5 and not server.feedback)
    client.send("/petals/giny", 2)
    assert wait_until(lambda: len(back.of("/error")) == 2) and len(ear.of("/error")) == 1, "it has expired"


def test_how_it_plays_is_told_a_few_times_a_second(open_server, ears):
    ear = ears()
    open_server([f"127.0.0.1:{ear.port}"])
    assert wait_until(lambda: len(ear.of("/status/fps")) >= 4)
    assert ear.last("/status/fps") == (17.5,) and ear.last("/status/chunk") == (42,)
    assert ear.last("/status/beat") == (3.25,)
    assert not ear.of("/status/latency") and not ear.of("/status/bpm")
    assert len(ear.of("/status/fps")) < 60


def test_targets_named_at_the_start(params, open_server, ears):
    ear, other = ears(), ears()
    server = open_server([f"127.0.0.1:{ear.port}", f"localhost:{other.port}/petals/*"])
    assert wait_until(lambda: ear.of("/prompt") and other.of("/petals/gain")) and not other.of("/prompt")
    client = Client(server.port)
    client.send("/petals/gain", 3.0)
    assert wait_until(lambda: ear.last("/petals/gain") == (3.0,) and other.last("/petals/gain") == (3.0,))
    ear.socket.sendto(encode("/petals/gain", 4.0), ("127.0.0.1", server.port))  # its own: it knows
    assert wait_until(lambda: other.last("/petals/gain") == (4.0,))
    assert ear.last("/petals/gain") == (3.0,)


def test_everybody_who_sends_can_be_told(params, open_server, ears):
    ear = ears()
    server = open_server(["sender", f"sender:{ear.port}/brush/gain"])
    client = Client(server.port)
    own = ears(client)
    client.send("/petals/gain", 3.0)
    assert wait_until(lambda: own.last("/prompt") == ("water",) and ear.last("/brush/gain") == (0.0,))
    params.set("brush.gain", 0.5, "page")
    assert wait_until(lambda: own.last("/brush/gain") == (0.5,) and ear.last("/brush/gain") == (0.5,))


def test_unsubscribing_and_expiring(params, open_server, ears, monkeypatch):
    server = open_server()
    client = Client(server.port)
    client.send("/unsubscribe")
    assert "there is no subscription from this address" in client.answer().args[0]
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.of("/prompt"))
    client.send("/unsubscribe")
    assert wait_until(lambda: len(server.feedback) == 0)
    monkeypatch.setattr("instrument.osc.server.EXPIRES", 0.6)
    monkeypatch.setattr(osc_feedback, "EXPIRES", 0.6)
    client.send("/subscribe")
    for _ in range(8):  # any message keeps it alive
        time.sleep(0.2)
        client.send("/bender/ping")
    assert len(server.feedback) == 1
    assert wait_until(lambda: len(server.feedback) == 0)
    before = len(ear.of("/petals/gain"))
    params.set("petals.gain", 7.0, "page")
    time.sleep(0.1)
    assert len(ear.of("/petals/gain")) == before


def test_a_program_that_comes_back_from_another_port_is_told_once(params, open_server, ears):
    server, ear = open_server(), ears()
    for _ in range(3):
        client = Client(server.port)
        client.send("/subscribe", ear.port)
        client.send("/bender/ping")
        assert client.answer().address == "/bender/pong"
        client.close()
    assert len(server.feedback) == 1
    assert wait_until(lambda: ear.of("/status/fps"))
    before = len(ear.of("/petals/gain"))
    params.set("petals.gain", 7.0, "page")
    assert wait_until(lambda: ear.last("/petals/gain") == (7.0,)) and len(ear.of("/petals/gain")) == before + 1


@pytest.mark.parametrize("args", [(0,), (70000,), ("petals",), (None,), (9001, 9002), (True,), ("/[a",), ([9001],)])
def test_a_subscription_that_cannot_be(open_server, args):
    server = open_server()
    client = Client(server.port)
    client.send("/subscribe", *args)
    address, (text,) = client.answer()
    assert address == "/error" and text.startswith("/subscribe: ") and len(server.feedback) == 0


def test_listeners_are_limited(open_server):
    server = open_server()
    clients = [Client(server.port) for _ in range(33)]
    for client in clients:
        client.send("/subscribe", "/none")
    assert wait_until(lambda: server.received == 33)
    assert len(server.feedback) == 32
    assert "32 programs are told already" in clients[-1].answer().args[0]
    for client in clients:
        client.close()


def test_a_new_patch_is_told_too(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.of("/prompt"))
    with params.together():
        params.remove("brush.gain")
        params.add("ink.gain", ControlSpec(0, 4, 2))
    assert wait_until(lambda: ear.last("/ink/gain") == (2.0,))
    params.set("ink.gain", 3, "page")
    assert wait_until(lambda: ear.last("/ink/gain") == (3.0,))


def test_a_trigger_that_comes_with_a_patch_is_no_event(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.of("/prompt"))
    with params.together():
        params.add("thump.fire", TriggerSpec())
        params.add("thump.depth", ControlSpec(0, 1, 0.5))
    assert wait_until(lambda: ear.last("/thump/depth") == (0.5,)) and not ear.of("/thump/fire")
    params.trigger("thump.fire", "page")
    assert wait_until(lambda: ear.of("/thump/fire") == [()])


def test_a_receiver_that_starts_late_has_everything_before_long(params, open_server, ears, monkeypatch):
    monkeypatch.setattr(osc_feedback, "AGAIN", 0.5)
    port = free_port()
    server = open_server([f"127.0.0.1:{port}"])
    assert wait_until(lambda: not any(held.subscription.waiting for held in server.feedback._listeners.values()))
    late = ears(port=port)
    assert wait_until(lambda: late.last("/petals/gain") == (1.0,) and late.last("/prompt") == ("water",))
    assert not late.of("/panic")


def test_whoever_never_asked_makes_room_for_who_does(params, open_server, ears):
    server = open_server(["sender"])
    passing = [Client(server.port) for _ in range(40)]
    for client in passing:
        client.send("/petals/gain", 3.0)
    assert wait_until(lambda: server.received == 40 and len(server.feedback) == 32)
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe")
    assert wait_until(lambda: ear.last("/prompt") == ("water",)) and not ear.of("/error")
    assert len(server.feedback) == 32
    for client in passing:
        client.send("/petals/gain", 2.0)
    params.set("brush.gain", 0.75, "page")
    assert wait_until(lambda: ear.last("/brush/gain") == (0.75,)), "who asked stays, however many pass by"
    for client in passing:
        client.close()


def test_status_values():
    assert status_values(STATUS) == {"/status/fps": 17.5, "/status/chunk": 42, "/status/beat": 3.25}
    assert status_values({"fps": True, "chunks": "many"}) == {}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("192.168.0.5:9001", ("192.168.0.5", 9001, ())),
        ("[::1]:9001", ("::1", 9001, ())),
        ("sender", ("sender", 0, ())),
        ("sender:9001", ("sender", 9001, ())),
        ("localhost:9001/bend/*/amount/n", ("localhost", 9001, ("/bend/*/amount/n",))),
    ],
)
def test_targets(text, target):
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["", "9001", "host", "host:", "host:0", "host:70000", "a:b:1", "h:1/[x", "/petals"])
def test_targets_that_cannot_be(text, params):
    with pytest.raises(OscPortError, match="--osc-out"):
        Target.parse(text)


def test_targets_of_one_place_are_one():
    targets = Target.parse_all(["h:1/a", "h:1/b", "h:2", "h:2/a"])
    assert targets == [Target("h", 1, ("/a", "/b")), Target("h", 2)]


def test_a_target_that_does_not_exist_is_named_and_the_port_is_free_again(params):
    server = OscServer(params, port=0)
    with pytest.raises(OscPortError, match=r"--osc-out no\.such\.host\.invalid:9001 cannot be reached"):
        server.start(["no.such.host.invalid:9001"])
    again = OscServer(params, port=server.port)
    again.start()
    client = Client(again.port)
    client.send("/petals/gain", 3)
    assert heard(params, "petals.gain", 3)
    again.close()
    client.close()
