"""The opening handshake, seen from the server (RFC 6455 section 4.2).

Pure: no socket, no clock, no event loop. The HTTP side of a worker or of an ASGI host asks
`is_upgrade_request` of every request and `check_request` of those that want a WebSocket; whoever
owns the socket afterwards writes what `encode_response` returns.

Headers are as in ASGI: pairs of bytes, names in lower case, one pair per header line.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import sha1
from typing import Final, NamedTuple, TypeAlias

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3: a constant of the protocol
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64, and nothing but 16
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_LINE_BREAKER = re.compile(rb"[\r\n\0]")  # RFC 9110 section 5.5: what ends a header, or may

# What the handshake itself decides: a second opinion would make the client fail the connection.
_OWN_HEADERS = frozenset(
    [
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    ]
)


class Refusal(NamedTuple):
    """Why a request gets no WebSocket, as the HTTP response to send instead."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]


_NOT_GET = Refusal(405, "A WebSocket handshake must be a GET request.", (("Allow", "GET"),))
_NOT_HTTP_11 = Refusal(400, "A WebSocket handshake needs HTTP/1.1.", ())
# Section 4.4: the answer names the versions that would do. RFC 9110 section 15.5.22 wants the
# Upgrade header in every 426.
_WRONG_VERSION = Refusal(
    426,
    "Only version 13 of the WebSocket protocol is spoken here.",
    (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade")),
)
_WRONG_KEY = Refusal(
    400, "A WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.", ()
)
# Its bytes would be taken for the first frames.
_HAS_BODY = Refusal(400, "A WebSocket handshake must not have a body.", ())


def is_upgrade_request(headers: Headers) -> bool:
    """True when the request asks for a WebSocket, however badly: see `check_request`."""
    # Upgrade first: hardly any request has that header, nearly every one has a Connection.
    return _has_token(headers, b"upgrade", b"websocket") and _has_token(
        headers, b"connection", b"upgrade"
    )


def check_request(method: str, http_version: str, headers: Headers) -> Refusal | None:
    """Return why this upgrade request cannot have a WebSocket, or None if it can."""
    if method != "GET":
        return _NOT_GET
    if http_version != "1.1":  # 1.0 has no Upgrade, and later versions have no Connection
        return _NOT_HTTP_11
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        return _WRONG_VERSION
    if _find_key(headers) is None:
        return _WRONG_KEY
    if _values(headers, b"transfer-encoding") or set(_values(headers, b"content-length")) - {b"0"}:
        return _HAS_BODY
    return None


def offered_subprotocols(headers: Headers) -> list[str]:
    """Return the subprotocols that the client offers, most preferred first.

    What is not a token, as section 4.1 wants it, cannot be agreed on and is left out.
    """
    offers = _list_members(headers, b"sec-websocket-protocol")
    return [offer.decode("ascii") for offer in offers if _TOKEN.fullmatch(offer)]


def websocket_key(headers: Headers) -> bytes:
    """Return the key of a request that passed `check_request`; raise ValueError for any other."""
    key = _find_key(headers)
    if key is None:
        raise ValueError("the request has no valid Sec-WebSocket-Key")
    return key


def accept_key(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that proves this server read the key (section 4.2.2)."""
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def encode_response(
    key: bytes, *, subprotocol: str | None, headers: Headers, extensions: bytes | None = None
) -> bytes:
    """Return the head of the 101 response, with these headers after those of the handshake.

    `extensions` are those agreed on: the value of the Sec-WebSocket-Extensions header, as in
    `deflate.Agreement`. By default there are none.

    Raises ValueError for a subprotocol or a name that is not a token, for a value that would end
    its line, and for a header that is the handshake's own.
    """
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_key(key),
    ]
    if subprotocol is not None:
        if not _TOKEN.fullmatch(subprotocol.encode()):
            raise ValueError(f"the subprotocol {subprotocol!r} is not a token")
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    if extensions is not None:
        lines.append(_encode_line(b"Sec-WebSocket-Extensions", extensions))
    lines += [_encode_header(name, value) for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _encode_header(name: bytes, value: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"the header name {name!r} is not a token")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"the header {name!r} belongs to the handshake")
    return _encode_line(name, value)


def _encode_line(name: bytes, value: bytes) -> bytes:
    if _LINE_BREAKER.search(value):
        raise ValueError(f"the value of the header {name!r} contains a control character")
    return name + b": " + value


def _find_key(headers: Headers) -> bytes | None:
    keys = _values(headers, b"sec-websocket-key")
    return keys[0] if len(keys) == 1 and _KEY.fullmatch(keys[0]) else None


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for key, value in headers if key == name]


def _list_members(headers: Headers, name: bytes) -> list[bytes]:
    """Return the members of a comma-separated list, which may go over several lines."""
    # RFC 9110 section 5.6.1: empty members do not count.
    members = b",".join(_values(headers, name)).split(b",")
    return [member for each in members if (member := each.strip(b" \t"))]


def _has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    return any(member.lower() == token for member in _list_members(headers, name))
