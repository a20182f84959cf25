"""How often an address may be wrong about a token."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FAILURES = 10  # that an address may have within WINDOW
WINDOW = 300.0  # seconds
_ADDRESSES = 20_000  # that are remembered


class Throttle:
    """Counts failed logins. Safe with threads; of IPv6 a network of 64 bits counts as one address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until the address may try again; 0 if it may now."""
        now = self._clock()
        with self._lock:
            recent = [at for at in self._failures.get(_network(address), ()) if now - at < WINDOW]
        return recent[-FAILURES] + WINDOW - now if len(recent) >= FAILURES else 0.0

    def failed(self, address: str) -> None:
        """It was wrong."""
        now, key = self._clock(), _network(address)
        with self._lock:
            recent = [at for at in self._failures.pop(key, ()) if now - at < WINDOW]
            self._failures[key] = [*recent, now][-FAILURES:]
            while len(self._failures) > _ADDRESSES:
                self._failures.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((parsed, 64), strict=False))
