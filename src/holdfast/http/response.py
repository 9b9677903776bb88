"""How a response goes out over HTTP/1.1: its head, and the framing of its body (RFC 9112).

Pure. What an application says in ASGI's two messages comes in, bytes for the connection come out.
How the end of a body is told depends on the request and on the response:

    a response                               has its body framed by
    to HEAD, or with status 204 or 304       nothing: no body is sent, whatever the application says
    with Content-Length                      that length, and not a byte more or less
    to a client of HTTP/1.1                  chunks
    to a client of HTTP/1.0                  the end of the connection
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from holdfast.web.http_errors import reason_phrase

if TYPE_CHECKING:
    from collections.abc import Iterable

# A final response has a status from 200 on (RFC 9110 section 15.2). Some have no name.
_NAMED = frozenset(HTTPStatus)
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {reason_phrase(status) if status in _NAMED else ''}\r\n".encode()
    for status in range(200, 600)
}

_WITHOUT_BODY = (204, 304)

# The fields that say something about the connection or the framing.
_OF_THE_CONNECTION = frozenset((b"connection", b"content-length", b"transfer-encoding"))

# RFC 9110 section 5: a name is a token, a value has no control character but the tab. To delete
# what may be there, and to look what is left, is faster than a pattern by far.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_ALLOWED = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F) + b"\t"


class Framing(Enum):
    """What tells the client where the body of a response ends."""

    NONE = "there is no body"
    LENGTH = "Content-Length"
    CHUNKED = "the last chunk"
    CLOSE = "the end of the connection"


NONE, LENGTH, CHUNKED, CLOSE = Framing


class ResponseEncoder:
    """One response. First `start`, then `go_on` until `is_complete`.

    Args:
        method: of the request.
        version: of HTTP, that of the request: "1.1" or "1.0".
        closes: whether the connection ends with this response. Changes if the application says so.
    """

    # What is as here in nearly every response costs nothing per response.
    framing: Framing | None = None
    is_complete = False
    _left = 0  # bytes of the Content-Length

    def __init__(self, method: str, version: str, *, closes: bool) -> None:
        self._method = method
        self._version = version
        self.closes = closes

    def start(
        self, status: int, fields: Iterable[tuple[bytes, bytes]], server_fields: bytes = b""
    ) -> bytes:
        """Return the head.

        Args:
            server_fields: a line of the server's own.

        Raises:
            RuntimeError: it would be none.
        """
        line = _STATUS_LINES.get(status)
        if line is None:
            raise RuntimeError(f"a response has a status from 200 to 599, not {status}")
        lines: list[bytes] = []
        length: int | None = None
        says_close = False
        for name, value in fields:
            start, is_of_the_connection = _start_line(name)
            if is_of_the_connection:
                if start == b"content-length: ":
                    length = _length(value, length)
                    if status == 204:
                        continue  # RFC 9110 section 8.6
                elif start == b"transfer-encoding: ":
                    continue  # ASGI: framing is the server's.
                else:
                    says_close = says_close or _has_close(value)
            lines += (start, value, b"\r\n")
        block = b"".join(lines)
        if block.translate(None, _ALLOWED) != b"\r\n" * (len(lines) // 3):
            raise RuntimeError("a header field of the response has a control character")
        framing = self.framing = self._choose(status, length)
        if not (self.closes or says_close) and (framing is LENGTH or framing is NONE):
            return b"".join((line, server_fields, block, b"\r\n"))
        self.closes = self.closes or says_close or framing is CLOSE
        close = b"connection: close\r\n" if self.closes and not says_close else b""
        chunked = b"transfer-encoding: chunked\r\n" if framing is CHUNKED else b""
        return b"".join((line, server_fields, block, close, chunked, b"\r\n"))

    def _choose(self, status: int, length: int | None) -> Framing:
        if self._method == "HEAD" or status in _WITHOUT_BODY:
            return NONE
        if length is not None:
            self._left = length
            return LENGTH
        # RFC 9112 section 6.1: a client of 1.0 knows no chunks.
        return CHUNKED if self._version == "1.1" else CLOSE

    def go_on(self, data: bytes, *, more: bool) -> bytes:
        """Return what is sent for a part of the body.

        Args:
            more: False for the last part.

        Raises:
            RuntimeError: it is not as long as Content-Length says; it cannot be completed then.
        """
        framing = self.framing
        if framing is LENGTH:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                word = "longer" if self._left < 0 else "shorter"
                raise RuntimeError(f"the response is {word} than its Content-Length")
        elif framing is CHUNKED:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not more:
                data += b"0\r\n\r\n"
        elif framing is NONE:
            data = b""
        self.is_complete = not more
        return data


# Applications use the same few names again and again.
@lru_cache(1024)
def _start_line(name: bytes) -> tuple[bytes, bool]:
    """Return the start of a field's line, and whether it is one of the connection."""
    name = name.lower()
    if _TOKEN.fullmatch(name) is None:
        raise RuntimeError(f"{name!r} is not the name of a header field")
    return name + b": ", name in _OF_THE_CONNECTION


def _length(value: bytes, other: int | None) -> int:
    if not value.isdigit() or other not in (None, int(value)):
        raise RuntimeError("the response has no single number for its Content-Length")
    return int(value)


def _has_close(value: bytes) -> bool:
    return any(token.strip().lower() == b"close" for token in value.split(b","))
