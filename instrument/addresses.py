"""Addresses of this computer: under which a server is reached, and what is wrong with one where none can listen.

Knows nothing of ports or of who serves.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

EVERYWHERE = ("0.0.0.0", "::", "")  # hosts that mean every address there is


def served_addresses(host: str) -> list[str]:
    """The IP addresses under which a server bound to `host` is reached from other computers, or where there is none,
    from this one. Raises OSError for a name nobody knows."""
    if host not in EVERYWHERE:
        return [socket.getaddrinfo(host, None)[0][4][0]]
    import ifaddr

    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [ip for ip in found if not ipaddress.ip_address(ip).is_loopback] or ["127.0.0.1"]


def wrong_host(host: str, problem: Exception) -> str:
    """What is wrong with `host` itself where nothing can listen on it, and the remedy; empty where it is not that."""
    if isinstance(problem, socket.gaierror):
        words = f"no computer is known by the name '{host}'"
    elif isinstance(problem, OSError) and problem.errno == errno.EADDRNOTAVAIL:
        words = f"{host} is not an address of this computer"
    else:
        return ""
    own = ", ".join(dict.fromkeys(["127.0.0.1", *served_addresses("0.0.0.0")]))
    return f"{words}; choose another --host: {own}, or 0.0.0.0 for all of them"
