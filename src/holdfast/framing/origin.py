"""Whose pages may open a WebSocket (RFC 6455 section 10.2).

Pure. Browsers let any page open a WebSocket to any server and send the server's cookies along; the
same-origin policy does not apply. So a handshake that carries a session could come from anybody's
page. What tells is the Origin header: browsers always send it and pages cannot change it. Other
clients need not send one, and could send what they like: they have nobody's cookies.
"""

from __future__ import annotations

import re
from typing import Final

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

# RFC 6454 section 6.2: scheme, host, and a port that is not the scheme's own; an opaque origin is
# "null". A host is a name, an IPv4 address, or an IPv6 address in brackets.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{1,5}))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{0,5}))?")
_PATTERN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<any>\*\.)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>\d{1,5}|\*))?"
)


class OriginPolicy:
    """Says which origins may open a WebSocket: the server's own, and those that match a pattern.

    Args:
        patterns: origins such as "https://example.com" and "https://example.com:8443";
            "https://*.example.com" for all names below that one, "http://localhost:*" for any
            port, "null" for pages without an origin (files, sandboxed frames), "*" for all.

    Raises:
        ValueError: a pattern is none of these; names it.
    """

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self._allows_all = "*" in patterns
        self._allows_null = "null" in patterns
        self._matchers = [_compile(each) for each in patterns if each not in ("*", "null")]

    def allows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Tell whether the handshake with these headers comes from a page that may send it.

        One without an Origin is not from a page. One with several is from nobody we know.
        """
        if self._allows_all:
            return True
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return True
        if len(origins) > 1:
            return False
        origin = origins[0].decode("latin-1").strip(" \t").lower()
        if origin == "null":
            return self._allows_null
        return _is_own(origin, headers) or any(each.fullmatch(origin) for each in self._matchers)


def _is_own(origin: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether the origin is where the request went, by its Host header.

    The scheme is not compared: behind a proxy that ends TLS, the server need not know it.
    """
    match = _ORIGIN.fullmatch(origin)
    hosts = [value for name, value in headers if name == b"host"]
    if match is None or len(hosts) != 1:
        return False
    host = _HOST.fullmatch(hosts[0].decode("latin-1").strip(" \t").lower())
    if host is None or host["host"] != match["host"]:
        return False
    default = _DEFAULT_PORTS.get(match["scheme"])
    return (host["port"] or default) == (match["port"] or default)


def _compile(pattern: str) -> re.Pattern[str]:
    match = _PATTERN.fullmatch(pattern.lower())
    if match is None:
        raise ValueError(
            f"{pattern!r} is not an origin: write scheme://host, scheme://host:port, "
            "scheme://*.host, null or *, without a path"
        )
    below = r"[a-z0-9_.-]+\." if match["any"] else ""
    port = match["port"]
    default = _DEFAULT_PORTS.get(match["scheme"])
    if port == "*":
        tail = r"(?::\d{1,5})?"
    elif port is None or port == default:
        # Browsers leave out the scheme's own port.
        tail = f"(?::{default})?" if default else ""
    else:
        tail = f":{port}"
    return re.compile(re.escape(match["scheme"]) + "://" + below + re.escape(match["host"]) + tail)
