"""What listeners are told: over real sockets, throttled, never their own changes, and never an old value last."""

import time

import pytest

from instrument.osc import feedback as osc_feedback
from instrument.osc.feedback import status_values
from pipelines.spec import ControlSpec, TriggerSpec
from tests.oscing import STATUS, Client, free_port, some_params, wait_until


@pytest.fixture
def params():
    return some_params()


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


def test_how_it_plays_is_told_a_few_times_a_second(open_server, ears):
    ear = ears()
    open_server([f"127.0.0.1:{ear.port}"])
    assert wait_until(lambda: len(ear.of("/status/fps")) >= 4)
    assert ear.last("/status/fps") == (17.5,) and ear.last("/status/chunk") == (42,)
    assert ear.last("/status/beat") == (3.25,)
    assert not ear.of("/status/latency") and not ear.of("/status/bpm")
    assert len(ear.of("/status/fps")) < 60


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


def test_status_values():
    assert status_values(STATUS) == {"/status/fps": 17.5, "/status/chunk": 42, "/status/beat": 3.25}
    assert status_values({"fps": True, "chunks": "many", "outputs_told": 3}) == {}
    told = {"outputs_told": "dummy plays", "recording_s": 4.5}
    assert status_values(told) == {"/status/outputs": "dummy plays", "/status/recording": 4.5}
