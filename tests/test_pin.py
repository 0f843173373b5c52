"""The PIN: how a browser enters it, how often wrong ones may be tried, how long it lets one in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.surface.pin import DIGITS, SESSIONS, Bucket, Pin, TooManyTries, _basic, is_loopback, new_pin
from instrument.surface.server import Surface
from tests.strangers import EVERYWHERE, PIN, SOCKETS, UPGRADE, get, password, say, serving


def enter(surface: Surface, pin: str, *headers: tuple[str, str], field: str = "pin"):
    body = f"{field}={pin}".encode()
    lines = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(body))), *headers]
    head = "POST /pin HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
    return say(surface, head, body)


def test_a_browser_enters_it_once():
    with serving(PIN) as surface:
        status, _, body = get(surface, "/pin")
        assert status == 200 and b"<form" in body
        status, headers, _ = enter(surface, "111111")
        assert status == 403 and "set-cookie" not in headers
        status, headers, _ = enter(surface, PIN)
        assert (status, headers["location"]) == (303, ["/"])
        (cookie,) = headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and f"bender_{surface.port}=" in cookie
        pair = cookie.split(";")[0]
        for path in EVERYWHERE:
            assert get(surface, path, ("Cookie", pair))[0] == 200, path
        for path in SOCKETS:
            assert get(surface, path, *UPGRADE, ("Cookie", pair))[0] == 101, path
        assert get(surface, "/ws", *UPGRADE, ("Cookie", pair), ("Origin", "http://evil.example"))[0] == 403
        for wrong in (pair[:-1], pair + "x", f"bender_{surface.port}=", f"bender_{surface.port}=\xff"):
            assert get(surface, "/api/params", ("Cookie", wrong))[0] in (400, 401)
    with serving(PIN) as again:
        assert get(again, "/api/params", ("Cookie", pair))[0] == 401  # sessions end with the show


def test_a_page_elsewhere_cannot_try_pins():
    with serving(PIN) as surface:
        assert enter(surface, PIN, ("Origin", "http://evil.example"))[0] == 403
        assert enter(surface, PIN, ("Origin", "null"))[0] == 403
        assert enter(surface, PIN, ("Sec-Fetch-Site", "cross-site"))[0] == 403
        assert "set-cookie" in enter(surface, PIN, ("Origin", "http://127.0.0.1"))[1]


def test_wrong_forms_are_refused_and_harm_nothing():
    with serving(PIN) as surface:
        assert enter(surface, PIN, field="nip")[0] == 403
        assert enter(surface, "%ff%00%f0")[0] == 403
        assert enter(surface, "1" * 5000)[0] == 413
        assert enter(surface, PIN)[0] == 303


def test_tries_are_few_and_the_right_one_waits_with_the_wrong():
    with serving(PIN) as surface:
        statuses = [get(surface, "/api/status", password(f"{n:06}"))[0] for n in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        status, headers, _ = get(surface, "/api/status", password(PIN))
        assert status == 429 and 0 < int(headers["retry-after"][0]) <= 12
        status, _, body = enter(surface, PIN)
        assert status == 429 and b"Wait" in body


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_address_does_not_shut_out_another_but_many_together_are_slowed():
    clock = Clock()
    pin = Pin(PIN, clock)
    for _ in range(5):
        assert not pin.is_right("000000", "10.0.0.1")
    with pytest.raises(TooManyTries):
        pin.is_right(PIN, "10.0.0.1")
    assert pin.is_right(PIN, "10.0.0.2")
    clock.now += 10.5
    assert pin.is_right(PIN, "10.0.0.1")
    wrong = 0
    for n in range(3000):  # an attacker with as many addresses as he likes, for ten minutes
        clock.now += 0.2
        try:
            wrong += not pin.is_right(f"{n:06}", f"10.1.{n // 250}.{n % 250}")
        except TooManyTries:
            continue
    assert wrong <= 20 + 600 / 3 + 1
    assert len(pin._tries) <= 1024


def test_right_ones_cost_no_tries():
    clock = Clock()
    pin = Pin(PIN, clock)
    assert all(pin.is_right(PIN, "10.0.0.1") for _ in range(100))


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=200))
def test_a_bucket_never_gives_more_than_its_size_and_its_rate(moves):
    clock = Clock()
    bucket, spent, began = Bucket(5, 10.0, clock), 0, clock.now
    for pause, tries in moves:
        clock.now += pause
        if tries and not bucket.wait():
            bucket.spend()
            spent += 1
    assert spent <= 5 + (clock.now - began) / 10.0 + 1e-6


@given(st.text(max_size=80))
def test_no_header_breaks_the_reading_of_passwords(text):
    assert _basic(text) is None or isinstance(_basic(text), str)
    assert _basic(f"Basic {text}") is None or isinstance(_basic(f"Basic {text}"), str)


def test_pins_and_hosts():
    pins = {new_pin() for _ in range(50)}
    assert len(pins) > 40 and all(len(pin) == DIGITS and pin.isdecimal() for pin in pins)
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost") and is_loopback("127.8.8.8")
    assert (
        not is_loopback("0.0.0.0")
        and not is_loopback("192.168.1.7")
        and not is_loopback("::")
        and not is_loopback("box")
    )


def test_sessions_are_bounded():
    pin = Pin(PIN)
    for _ in range(3 * SESSIONS):
        pin._new_session()
    assert len(pin._sessions) == SESSIONS
