"""A client of /orders: tells the application what to do, over its connection."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed

from tests.conformance.hosts import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.conformance.hosts import Running

__all__ = ["Member", "join"]


class Member:
    """One connection, by name."""

    def __init__(self, name: str, ws: ClientConnection) -> None:
        self.name = name
        self.ws = ws

    def tell(self, do: str, **details: Any) -> None:
        """Give an order."""
        self.ws.send(json.dumps({"do": do, **details}))

    def ask(self, do: str, **details: Any) -> str | bytes:
        """Give an order; return the answer."""
        self.tell(do, **details)
        return self.receive()

    def receive(self) -> str | bytes:
        return self.ws.recv(TIMEOUT)

    def receive_close(self) -> tuple[int, str]:
        """Return code and reason of the close that comes next, as the client sees it."""
        try:
            message = self.ws.recv(TIMEOUT)
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                return 1006, ""
            return closed.rcvd.code, closed.rcvd.reason
        raise AssertionError(f"not closed, but {message!r}")


@contextmanager
def join(server: Running, name: str, path: str = "/orders", **options: Any) -> Iterator[Member]:
    with server.connect(f"{path}?name={quote(name)}", **options) as ws:
        yield Member(name, ws)
