"""Who may come in: limits on connections, in all, per address, and per second.

Pure. Asked before a connection is adopted; a refusal is an HTTP response, since the handshake has
not been answered yet. What a limit does not need is not kept: without one per address, no address
is remembered.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

# What one customer of a provider gets (RFC 6177); any address in it costs him nothing.
CUSTOMER = 64  # bits of an IPv6 address


class Refusal(NamedTuple):
    """Why a client may not come in."""

    status: int  # of the HTTP response
    why: str  # what the log says
    limit: str  # the name of the setting


class Admission:
    """Counts who is in, and says who may come.

    Args:
        most: connections in all; 0 for no limit. So for the others:
        most_per_address: connections per IPv4 address or IPv6 network of 64 bits.
        most_per_second: connections that come in during one second.
    """

    def __init__(self, *, most: int, most_per_address: int, most_per_second: int) -> None:
        self.is_short_of_memory = False
        """Set by whoever measures it; refuses everybody."""
        self.hits: Counter[str] = Counter()
        """How many were refused, by the name of the setting that is the reason."""
        self._most = most
        self._most_per_address = most_per_address
        self._most_per_second = most_per_second
        self._count = 0
        self._guests: Counter[str] = Counter()
        # A bucket that holds one second's worth.
        self._tokens = float(most_per_second)
        self._filled_at = 0.0

    def enter(self, address: str, now: float) -> Refusal | str:
        """Let one in, or refuse it. Return the refusal, or what to give `leave` when it goes.

        Args:
            address: the client's; "" if it is not known.
            now: seconds, of any clock that only goes forward.
        """
        refusal = self._judge(address, now)
        if refusal is not None:
            self.hits[refusal.limit] += 1
            return refusal
        self._count += 1
        if self._most_per_second:
            self._tokens -= 1
        address_key = ""
        if self._most_per_address and address:
            address_key = _customer(address)
            self._guests[address_key] += 1
        return address_key

    def leave(self, address_key: str) -> None:
        """One that came in is gone."""
        self._count -= 1
        if address_key:
            self._guests[address_key] -= 1
            if not self._guests[address_key]:
                del self._guests[address_key]

    def _judge(self, address: str, now: float) -> Refusal | None:
        if self.is_short_of_memory:
            return Refusal(503, "the keeper is short of memory (--max-memory)", "max_memory")
        if self._most and self._count >= self._most:
            why = f"there are {self._most} connections (--max-connections)"
            return Refusal(503, why, "max_connections")
        most = self._most_per_address
        if most and address and self._guests[customer := _customer(address)] >= most:
            why = f"{customer} has {most} connections (--max-connections-per-address)"
            return Refusal(429, why, "max_connections_per_address")
        if self._most_per_second:
            passed = now - self._filled_at
            self._filled_at = now
            most = self._most_per_second
            self._tokens = min(self._tokens + passed * most, float(most))
            if self._tokens < 1:
                why = f"more than {most} came in one second (--max-handshakes)"
                return Refusal(503, why, "max_handshakes")
        return None


def _customer(address: str) -> str:
    """Return who has this address: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # A proxy's name for it, which is as good.
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((parsed.packed, CUSTOMER), strict=False))
    return str(parsed)
