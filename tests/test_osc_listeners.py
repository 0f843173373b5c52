"""Who is told, and where: programs that subscribe, targets named at the start, whoever sends; how they come and go."""

import pytest

from instrument.osc import feedback as osc_feedback
from instrument.osc.codec import encode
from instrument.osc.server import OscServer
from instrument.osc.target import OscPortError, Target
from pipelines.spec import ControlSpec
from tests.oscing import Client, heard, some_params, wait_until


@pytest.fixture
def params():
    return some_params()


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


def test_what_is_wanted_by_name_and_is_not_there_is_said_and_told_once_it_comes(params, open_server, ears):
    server = open_server()
    client = Client(server.port)
    ear = ears(client)
    client.send("/subscribe", "/petals/gian", "/petals/gain/n", "/status/fps", "/status/fsp", "/nothing/*", "/panic")
    assert wait_until(lambda: ear.of("/notice"))
    [[words]] = ear.of("/notice")
    lacking = "/petals/gian (did you mean /petals/gain?), /status/fsp (did you mean /status/fps?)"
    assert words == f"/subscribe: not there now, and told as soon as it is: {lacking}"
    params.add("petals.gian", ControlSpec(0, 1, 0.25))
    params.set("petals.gian", 0.5, "page")
    assert wait_until(lambda: ear.last("/petals/gian") == (0.5,))
    client.send("/subscribe", "/petals/gian")
    client.send("/subscribe")
    client.send("/subscribe", *(f"/{number}" for number in range(20)))
    assert wait_until(lambda: len(ear.of("/notice")) == 2), "nothing lacks where nothing is named"
    assert ear.last("/notice")[0].endswith("/6, /7, and 12 more")


def test_a_port_that_was_named_can_be_named_again_to_end_it(params, open_server, ears):
    ear, named = ears(), ears()
    server = open_server([f"127.0.0.1:{named.port}"])
    client, other = Client(server.port), Client(server.port)
    client.send("/subscribe", ear.port)
    assert wait_until(lambda: ear.of("/prompt"))
    other.send("/unsubscribe", named.port)
    assert f"no subscription of this address with port {named.port}" in other.answer().args[0], "the start named it"
    other.send("/unsubscribe", ear.port)
    assert wait_until(lambda: len(server.feedback) == 1)


def test_unsubscribing_and_expiring(params, open_server, ears, monkeypatch):
    server = open_server()
    client, other = Client(server.port), Client(server.port)
    client.send("/unsubscribe")
    assert "there is no subscription from this address" in client.answer().args[0]
    ear, stays = ears(client), ears(other)
    client.send("/subscribe")
    assert wait_until(lambda: ear.of("/prompt"))
    client.send("/unsubscribe")
    assert wait_until(lambda: len(server.feedback) == 0)
    for each in (client, other):
        each.send("/subscribe")
    assert wait_until(lambda: len(server.feedback) == 2)
    client.send("/unsubscribe", "/prompt")
    assert wait_until(lambda: "cannot hold '/prompt'" in (ear.last("/error") or ("",))[0]), "a part cannot end alone"
    assert len(server.feedback) == 2
    first = server.feedback._listeners[client.origin]
    before = first.expires
    client.send("/bender/ping")  # any message keeps it alive
    assert wait_until(lambda: first.expires > before) and len(server.feedback) == 2
    monkeypatch.setattr(osc_feedback, "EXPIRES", 0.01)
    client.send("/bender/ping")
    assert wait_until(lambda: len(server.feedback) == 1), "and silence does not"
    before = ear.of("/petals/gain")
    params.set("petals.gain", 7.0, "page")
    assert wait_until(lambda: stays.last("/petals/gain") == (7.0,))
    assert ear.of("/petals/gain") == before


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
