"""`framing/handshake.py`: requests and answers that somebody made up to do harm.

What must hold:

- questions about a request never raise, whatever its headers;
- a request that passes `check_request` has a key;
- subprotocols that were offered can be agreed on;
- `encode_response` raises nothing but ValueError, and its answer has exactly the lines it was asked
  for: none was smuggled in, and none of the handshake's own comes twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzzing.choices import Choices
from holdfast.framing import handshake

if TYPE_CHECKING:
    from holdfast.framing.handshake import Headers

__all__ = ["fuzz"]

NAMES = (
    b"upgrade", b"connection", b"sec-websocket-version", b"sec-websocket-key",
    b"sec-websocket-protocol", b"sec-websocket-extensions", b"sec-websocket-accept", b"host",
    b"content-length", b"transfer-encoding", b"set-cookie", b"Upgrade",
)  # fmt: skip
VALUES = (
    b"websocket", b"WebSocket", b"upgrade", b"keep-alive, Upgrade", b"13", b"8, 13",
    b"dGhlIHNhbXBsZSBub25jZQ==", b"chat, superchat", b"0", b"chunked", b" ", b"",
    b"a\r\nSet-Cookie: b=1", b"\t,,websocket ,",
)  # fmt: skip
METHODS = ("GET", "POST", "get", "CONNECT", "")
VERSIONS = ("1.1", "1.0", "2", "")
OWN = (b"upgrade:", b"connection:", b"sec-websocket-accept:", b"sec-websocket-protocol:")


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    method, version = choices.pick(METHODS), choices.pick(VERSIONS)
    request, response = headers(choices), headers(choices)
    key = ask(method, version, request)
    offers = handshake.offered_subprotocols(request)
    for offer in offers:
        answer(key, offer, [])
    # Not only text that UTF-8 can carry: an application may come by a lone surrogate.
    subprotocol = choices.chunk().decode(errors="surrogateescape") if choices.flag() else None
    try:
        answer(key, subprotocol, response)
    except ValueError:
        pass


def headers(choices: Choices) -> list[tuple[bytes, bytes]]:
    return [
        (
            choices.pick(NAMES) if choices.flag() else choices.chunk(),
            choices.pick(VALUES) if choices.flag() else choices.chunk(),
        )
        for _ in range(choices.number(9))
    ]


def ask(method: str, version: str, request: Headers) -> bytes:
    """Ask all there is to ask; return the request's key, or another."""
    assert isinstance(handshake.is_upgrade_request(request), bool)
    if handshake.check_request(method, version, request) is None:
        return handshake.websocket_key(request)
    try:
        return handshake.websocket_key(request)
    except ValueError:
        return b"dGhlIHNhbXBsZSBub25jZQ=="


def answer(key: bytes, subprotocol: str | None, response: Headers) -> None:
    """Make a 101 and read it as a suspicious client would."""
    encoded = handshake.encode_response(key, subprotocol=subprotocol, headers=response)
    head, end, behind = encoded.partition(b"\r\n\r\n")
    assert end, encoded
    assert not behind, encoded
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert len(lines) == 4 + (subprotocol is not None) + len(response), encoded
    for line in lines:
        assert not set(line) & set(b"\r\n\0"), line
    for line in lines[1:]:
        name = line.partition(b":")[0]
        assert name, line
        assert not set(name) & set(b" \t"), line
    for own in OWN:
        expected = own != b"sec-websocket-protocol:" or subprotocol is not None
        assert sum(line.lower().startswith(own) for line in lines) == expected, encoded
