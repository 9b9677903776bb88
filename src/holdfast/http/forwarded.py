"""Who is at the other end, when there is a proxy in between.

Pure. A proxy appends the address that it sees to X-Forwarded-For, so the end of that list was
written by the proxies nearest to this server, and its beginning by anybody. It is read from the
end, as far as those who wrote it are trusted. What is not an address was written by nobody who is;
it never reaches an application.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# Proxies in a row. Each entry costs a few µs to read, and a header has room for thousands.
MAX_HOPS = 32

# With a port or without; IPv6 addresses in brackets if with one.
_IPV4 = re.compile(r"([0-9.]{7,15})(?::([0-9]{1,5}))?")
_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?")
_IPV6 = re.compile(r"([0-9A-Fa-f:.]{2,45})()")

_SCHEMES = frozenset(("http", "https", "ws", "wss"))


class Proxies:
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto count.

    Args:
        trusted: addresses and networks, with commas between them; "*" for everybody.

    Raises:
        ValueError: there is something else among them.
    """

    def __init__(self, trusted: str) -> None:
        names = [name.strip() for name in trusted.split(",") if name.strip()]
        self._trusts_all = "*" in names
        self._networks: list[IPv4Network | IPv6Network] = [
            # Not strict: 10.0.0.1/8 is understood as 10.0.0.0/8.
            ip_network(name, strict=False)
            for name in names
            if name != "*"
        ]

    def trusts(self, host: str | None) -> bool:
        """Tell whether the other end of a connection is a proxy to believe.

        Args:
            host: its address; None if it has none.
        """
        if self._trusts_all:
            return True
        address = None if host is None else _parse(host)
        return address is not None and self._trusts(address[0])

    def client(
        self, peer: tuple[str, int] | None, fields: Sequence[bytes]
    ) -> tuple[str, int] | None:
        """Return who sent a request that a trusted proxy passed on.

        The last address that is not itself a trusted proxy's; the first, if all are.

        Args:
            peer: the proxy: what is returned if it does not say anything usable.
            fields: the values of X-Forwarded-For.
        """
        client = peer
        entries = b",".join(fields).decode("latin-1").rsplit(",", MAX_HOPS)
        for entry in reversed(entries[-MAX_HOPS:]):
            parsed = _parse(entry.strip(" \t"))
            if parsed is None:
                break
            address, port = parsed
            client = (str(address), port)
            if not (self._trusts_all or self._trusts(address)):
                break
        return client

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def forwarded_scheme(fields: Sequence[bytes]) -> str | None:
    """Return what the nearest proxy says in X-Forwarded-Proto; None if that is no scheme of HTTP's.

    Args:
        fields: its values.
    """
    scheme = fields[-1].decode("latin-1").lower()
    return scheme if scheme in _SCHEMES else None


def _parse(text: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    match = _IPV4.fullmatch(text) or _BRACKETS.fullmatch(text) or _IPV6.fullmatch(text)
    if match is None:
        return None
    host, port = match.groups()
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if int(port or 0) > 65535:
        return None
    # How a socket of both versions names a client of IPv4.
    return getattr(address, "ipv4_mapped", None) or address, int(port or 0)
