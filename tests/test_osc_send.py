"""From a shell to a show that plays: `bender send` and `bender get` over a real socket."""

import socket
import threading

import pytest

from instrument.__main__ import main
from instrument.osc.codec import encode
from instrument.osc.send import SendError, get, send
from instrument.osc.server import OscServer
from instrument.parameters.answers import Tell
from pipelines.spec import TriggerSpec
from tests.oscing import free_port, some_params, wait_until


@pytest.fixture
def params():
    return some_params()


@pytest.fixture
def place(params):
    server = OscServer(params, port=0, notices=lambda text: None, status=lambda: {"fps": 17.5})
    server.start()
    yield "127.0.0.1", server.port
    assert wait_until(lambda: not len(server.feedback)), "who only asked once is not told for ever"
    server.close()


@pytest.mark.parametrize(
    ("id", "values", "read", "value"),
    [
        ("petals.gain", ["2.5"], "petals.gain", 2.5),
        ("/petals/gain/n", ["1"], "petals.gain", 8),
        ("petals.gain/n", ["0"], "petals.gain", 0),
        ("bend.1.amount", ["3"], "petals.gain", 3),
        ("petals.layers", ["2", "4"], "petals.layers.center", 3),
        ("count", ["7"], "count", 7),
        ("mode", ["sum"], "mode", "sum"),
        ("freeze", [], "freeze", True),
        ("prompt", ["black", "water", "7"], "prompt", "black water 7"),
        ("prompt", ["infinity", "mirrors", "007"], "prompt", "infinity mirrors 007"),
        ("prompt", ["nan", "1_000"], "prompt", "nan 1_000"),
        ("petals.gain", ["+.5"], "petals.gain", 0.5),
        ("petals.gain", ["25e-1"], "petals.gain", 2.5),
    ],
)
def test_every_kind_of_value_is_set(place, params, id, values, read, value):
    send(id, values, place)
    assert params[read].base == value


def test_a_trigger_is_fired(place, params):
    send("panic", [], place)
    assert params.drain() == ["panic"]


def test_values_are_read(place, params):
    params.set("petals.gain", 2.5)
    assert get("petals.gain", place) == ["petals.gain 2.5"]
    assert sorted(get("*.gain", place)) == ["brush.gain 0", "petals.gain 2.5"]
    assert get("petals.layers", place) == ["petals.layers 0 29"]
    assert get("/status/fps", place) == ["status.fps 17.5"]
    every = {parameter.id for parameter in params if not isinstance(parameter.spec, TriggerSpec)}
    assert {line.split()[0] for line in get("*", place)} == every


def test_what_cannot_be_is_said_in_the_shows_own_words(place, params):
    with pytest.raises(SendError, match=r"no parameter 'petals\.gian'; did you mean 'petals\.gain'\?"):
        send("petals.gian", ["1"], place)
    with pytest.raises(SendError, match=r"petals\.gain cannot be 'loud'; send a number from 0 to 8"):
        send("petals.gain", ["loud"], place)
    with pytest.raises(SendError, match="this show has no such value"):
        get("petals.gian", place)
    with pytest.raises(SendError, match="opens a"):
        get("{petals", place)


def test_without_a_show_it_says_so():
    port = free_port()
    with pytest.raises(SendError, match=rf"no show answers at 127\.0\.0\.1:{port}; start bender play"):
        send("petals.gain", ["1"], ("127.0.0.1", port))
    with pytest.raises(SendError, match="cannot be sent to"):
        send("petals.gain", ["1"], ("no.such.host.invalid", port))


def test_the_commands(place, params, capsys):
    where = ["--osc-port", str(place[1])]
    assert main(["send", "petals.layers.center", "4", *where]) == 0
    assert main(["send", "petals.gain", "-1", *where]) == 0, "numbers below 0 are no options; this one is clamped"
    assert params["petals.gain"].base == 0
    assert capsys.readouterr().out == "taken as: petals.gain 0\n"
    assert main(["get", "petals.layers.center", *where]) == 0
    assert capsys.readouterr().out == "petals.layers.center 4\n"
    assert main(["send", "petals.gian", "1", *where]) == 2
    assert "did you mean 'petals.gain'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("id", "values", "taken"),
    [
        ("petals.gain", ["99"], ["petals.gain 8"]),
        ("bend.1.amount", ["-3"], ["bend.1.amount 0"]),
        ("petals.gain/n", ["1.5"], ["petals.gain.n 1"]),
        ("petals.layers", ["2", "99"], ["petals.layers 2 29"]),
        ("count", ["3.4"], ["count 3"]),
        ("mode", ["0.8"], ["mode sum"]),
        ("petals.gain", ["2.5"], []),
        ("mode", ["1"], []),
        ("freeze", ["7"], []),
        ("prompt", ["ice"], []),
        ("panic", [], []),
    ],
)
def test_a_value_that_is_not_taken_as_it_is_is_told(place, id, values, taken):
    assert send(id, values, place, 2.0 if taken else 0.2) == (taken, [])


def test_of_the_same_value_again_nothing_is_told_however_many_listen(place, params):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.connect(place)
        other.send(encode("/subscribe"))
        for _ in range(3):
            assert send("petals.gain", ["2.5"], place, 0.2) == ([], [])
        other.send(encode("/unsubscribe"))


def test_what_is_found_out_later_is_an_error_too(place, params, capsys):
    def refuse(value, origin):
        late = Tell(lambda text: None, params.answers)
        threading.Timer(0.2, late, (f"no such patch: {value}", origin)).start()

    params.watchers["prompt"] = refuse
    where = ["--osc-port", str(place[1])]
    assert main(["send", "prompt", "undertwo", "--wait", "60", *where]) == 2, "as soon as it is there"
    assert capsys.readouterr().err == "bender: no such patch: undertwo\n"
    assert main(["send", "prompt", "undertwo", "--wait", "0", *where]) == 0, "who does not wait is not told"


def test_what_is_to_be_known_though_all_went_well_is_printed(place, params, capsys):
    late = Tell(lambda text: None, params.answers)
    where = ["--osc-port", str(place[1])]
    params.watchers["prompt"] = lambda value, origin: late.notice(f"{value} is not what one would think", origin)
    assert main(["send", "prompt", "ice", "--wait", "0.5", *where]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "bender: ice is not what one would think\n")

    def both(value, origin):
        late.notice("one is odd", origin)
        late(f"{value} is broken", origin)

    params.watchers["prompt"] = both
    assert main(["send", "prompt", "fire", *where]) == 2
    assert capsys.readouterr().err == "bender: fire is broken; one is odd\n"
