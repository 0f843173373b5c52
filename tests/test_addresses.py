"""Addresses of this computer: those a server is reached by, and words for hosts where none can listen."""

import errno
import socket

import pytest

from instrument.addresses import served_addresses, wrong_host


def test_addresses_that_are_served():
    assert served_addresses("127.0.0.1") == served_addresses("localhost") == ["127.0.0.1"]
    assert served_addresses("0.0.0.0") and all(socket.inet_aton(ip) for ip in served_addresses("0.0.0.0"))
    with pytest.raises(OSError):
        served_addresses("no.such.host.invalid")


def test_what_is_wrong_with_a_host_is_said_with_those_that_would_do():
    words = wrong_host("192.0.2.1", OSError(errno.EADDRNOTAVAIL, "no"))
    assert words.startswith("192.0.2.1 is not an address of this computer; choose another --host: 127.0.0.1")
    assert words.endswith("or 0.0.0.0 for all of them")
    assert "by the name 'no.such'" in wrong_host("no.such", socket.gaierror())
    assert wrong_host("127.0.0.1", OSError(errno.EADDRINUSE, "taken")) == wrong_host("x", OverflowError()) == ""
