"""A WebSocket client of bare bytes, for what a proper library would not do."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Frame", "RawClient", "client_frame", "handshake"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Frame(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big")


def handshake(path: str = "/echo", *lines: str) -> bytes:
    """A proper request for a WebSocket, with more header lines where wanted."""
    head = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *lines,
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def client_frame(payload: bytes | str, opcode: int | None = None, *, fin: bool = True) -> bytes:
    """One masked frame."""
    if opcode is None:
        opcode = TEXT if isinstance(payload, str) else BINARY
    data = payload.encode() if isinstance(payload, str) else payload
    size, first = len(data), (0x80 if fin else 0) | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(size, "big")


class RawClient:
    """A TCP connection with a receive buffer and a timeout on everything."""

    def __init__(self, port: int, *, timeout: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._received = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def open(self, path: str = "/echo", *lines: str) -> bytes:
        """Do the handshake; return the head of the response, which must be a 101."""
        self.send(handshake(path, *lines))
        head = self.receive_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return head

    def receive_head(self) -> bytes:
        """The head of a response, with its empty line."""
        while b"\r\n\r\n" not in self._received:
            self._fill()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def receive_frame(self) -> Frame:
        first, second = self._take(2)
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return Frame(first & 0x0F, self._take(size))

    def receive_rest(self) -> bytes:
        """Everything until the server closes."""
        while True:
            try:
                self._fill()
            except EOFError:
                rest, self._received = self._received, b""
                return rest

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._fill()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the server closed; unread so far: {self._received!r}")
        self._received += data
