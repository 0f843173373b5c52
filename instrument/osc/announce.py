"""mDNS: programs on the network find the show by name, `_oscjson._tcp` (OSCQuery) and `_osc._udp`.

Only the interfaces that are served are used: loopback by default, so then nothing leaves this machine. Takes place in a
thread of its own, because claiming a name takes a second. Without a network that carries it the show goes on.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable

from instrument.addresses import EVERYWHERE, served_addresses
from instrument.osc.query import NAME

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds to say goodbye


class Announcement:
    """Announces from `start()` to `close()`; a port of None is not announced."""

    def __init__(
        self,
        host: str,
        page_port: int | None,
        osc_port: int | None,
        notices: Callable[[str], None] | None = None,
    ) -> None:
        self._host = host
        self._services = [("_oscjson._tcp.local.", page_port), ("_osc._udp.local.", osc_port)]
        self._notices = notices or log.warning
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mdns", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take the names back; harmless twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            self._announce()
        except Exception as problem:  # no multicast here, a name that cannot be had: the show does not need it
            self._notices(f"not announced by mDNS ({type(problem).__name__}: {problem}); give clients the port by hand")

    def _announce(self) -> None:
        from zeroconf import InterfaceChoice, IPVersion, ServiceInfo, Zeroconf

        addresses = served_addresses(self._host)
        version = IPVersion.V6Only if all(":" in address for address in addresses) else IPVersion.V4Only
        interfaces = InterfaceChoice.All if self._host in EVERYWHERE else addresses
        packed = [ipaddress.ip_address(address).packed for address in addresses]
        with Zeroconf(interfaces=interfaces, ip_version=version) as mdns:
            for kind, port in self._services:
                if port is None or self._stopping.is_set():
                    continue
                server = f"{NAME.lower()}-{port}.local."  # not this machine's own name, which is another program's
                info = ServiceInfo(kind, f"{NAME}.{kind}", addresses=packed, port=port, server=server)
                mdns.register_service(info, allow_name_change=True)
            self._stopping.wait()
