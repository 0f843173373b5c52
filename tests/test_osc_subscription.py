"""What one listener is still to be told: never its own changes, never an old value last. One socket at the end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.osc import feedback as osc_feedback
from instrument.osc.codec import decode
from instrument.osc.feedback import Change, Subscription, ends
from instrument.osc.router import address_of
from instrument.parameters.params import BadValue
from pipelines.spec import ControlSpec
from tests.oscing import some_params
from tests.querying import on_socket


def test_what_is_said_again_is_never_ones_own():
    params = some_params()
    subscription = Subscription(params, "me")
    params.set("petals.gain", 3, "me")
    for part in range(8):
        subscription.remind(1 / 8)
        assert len(subscription._pending) <= part * len(params) / 8 + 2, "in even portions"
    told = [decode(message)[0].messages[0].address for message in subscription.take()]
    assert sorted(told) == sorted(address_of(id) for id in params.ids() if id not in ("petals.gain", "panic"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["me", "page", "midi"]), st.integers(0, 8) | st.none()), max_size=40))
def test_whatever_happens_the_last_word_of_another_is_told_and_never_ones_own(moves):
    params = some_params()
    subscription, changes = Subscription(params, "me"), osc_feedback.Changes(params)
    subscription.tell_all()
    told = dict.fromkeys(["/petals/gain"], None)

    def beat():
        subscription.note(changes.take())
        for message in subscription.take():
            ((_, ((address, args),)),) = decode(message)
            if address == "/petals/gain":
                assert params["petals.gain"].origin != "me" or told["/petals/gain"] is None
                told[address] = args[0]

    beat()
    for origin, value in moves:
        if value is None:
            beat()
        else:
            params.set("petals.gain", value, origin)
    beat()
    if params["petals.gain"].origin != "me":
        assert told["/petals/gain"] == params["petals.gain"].base
    assert not subscription.waiting


def test_a_full_state_is_told_in_portions():
    params = some_params()
    for number in range(300):
        params.add(f"many.a{number}", ControlSpec(0, 1, 0))
    subscription = Subscription(params, "me")
    subscription.tell_all()
    portions = []
    while subscription.waiting:
        portions.append(len(subscription.take()))
    assert max(portions) <= 64 and sum(portions) == len(params) - 1


def test_listening_to_single_addresses():
    params = some_params()
    subscription = Subscription(params, "me", (), switches_as=bool)
    for address in ("/freeze", "/petals/gain/n", "/none/yet", "/panic"):
        subscription.listen(address)
    assert sorted(decode(m)[0].messages[0] for m in subscription.take()) == [
        ("/freeze", (False,)),
        ("/petals/gain/n", (0.5,)),
    ]
    params.add("none.yet", ControlSpec(0, 1, 0.25))
    subscription.note([Change("none.yet", "")])
    assert decode(subscription.take()[0])[0].messages[0] == ("/none/yet", (0.25,))
    subscription.ignore("/none/yet")
    subscription.note([Change("none.yet", "")])
    assert not subscription.take()
    with pytest.raises(BadValue, match="more than 1024 addresses"):
        for number in range(1100):
            subscription.listen(f"/x/{number}")


def test_half_of_a_range_set_by_another_is_told_though_the_other_half_is_ones_own():
    params = some_params()
    subscription, changes = Subscription(params, "me", ("/petals/layers",)), osc_feedback.Changes(params)
    params.set("petals.layers.width", 4, "page")
    params.set("petals.layers.center", 10, "me")
    subscription.note(changes.take())
    assert [decode(m)[0].messages[0] for m in subscription.take()] == [("/petals/layers", (8.0, 12.0))]
    params.set("petals.layers.center", 12, "me")
    subscription.note(changes.take())
    assert not subscription.waiting


def test_ends_of_a_range_lie_within_what_can_be():
    params = some_params()
    params.set("petals.layers.center", 1)
    params.set("petals.layers.width", 10)
    assert ends(params, "petals.layers") == [0, 6]
    assert ends(params, "petals.layers", normalised=True) == [0, pytest.approx(6 / 29)]


def test_a_client_that_was_not_taken_at_its_word_is_told_what_counts():
    async def play(socket, params):
        await socket.command("LISTEN", "/count")
        await socket.until(lambda: socket.messages == [("/count", 2)])
        for told, value in enumerate((77.0, 78.0, 8.6), 2):
            await socket.send("/count", value)
            await socket.until(lambda told=told: len(socket.messages) == told)
        assert socket.messages[1:] == [("/count", 9)] * 3
        await socket.send("/count", 4)
        await socket.settle()
        params.set("count", 5, "midi")
        await socket.until(lambda: socket.messages[-1] == ("/count", 5))
        assert ("/count", 4) not in socket.messages

    on_socket(play)
