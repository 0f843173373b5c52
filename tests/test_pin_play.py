"""`bender play --host` as a process of its own: the terminal shows a PIN, and nobody plays without it."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request

import pytest

from instrument.__main__ import main
from tests.playing import PATIENCE, Playing


def status(url: str, pin: str | None) -> int:
    request = urllib.request.Request(f"{url}api/status")
    if pin is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"bender:{pin}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_an_opened_page_asks_for_the_pin_that_the_terminal_shows(tmp_path) -> None:
    with Playing(tmp_path, "--host", "0.0.0.0", "--no-mdns") as show:
        pin = show.sheet["PIN"].split()[0]
        assert len(pin) == 6 and pin.isdecimal()
        assert status(show.sheet["page"], None) == 401 and status(show.sheet["page"], "nothing") == 401
        assert status(show.sheet["page"], pin) == 200


def test_a_page_of_this_machine_alone_asks_for_none_unless_told_to(tmp_path) -> None:
    with Playing(tmp_path) as show:
        assert "PIN" not in show.sheet and status(show.sheet["page"], None) == 200
    with Playing(tmp_path, "--pin", "open sesame") as show:
        assert status(show.sheet["page"], None) == 401 and status(show.sheet["page"], "open sesame") == 200


@pytest.mark.parametrize("pin", ["123", "", " 1234", "x" * 65, "schlüssel"])
def test_a_pin_that_cannot_be_is_refused(pin, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["play", "--pin", pin])
    assert "a PIN has 4 to 64 letters, digits or signs" in capsys.readouterr().err
