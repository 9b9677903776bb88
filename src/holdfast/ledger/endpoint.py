"""What the keeper knows of an endpoint: the coroutine that attends a connection, in some worker.

Pure. An ordinary connection wakes listeners message by message and needs no worker in between. The
WebSocket endpoint of a mounted ASGI application runs as long as its connection, in one worker; when
that worker leaves or is lost, the endpoint is begun again in another.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.ledger.connection import Connection


class Endpoint:
    """Of one attended connection; ordinary ones have none."""

    __slots__ = ("closes", "is_given_up", "record", "resumed")

    def __init__(self, record: bytes, *, closes: bool) -> None:
        self.record = record
        """What a worker needs to begin it again; only workers know what it means."""
        self.closes = closes
        """It is not to be begun again: its connection closes instead."""
        self.resumed = 0
        """How often it was begun again."""
        self.is_given_up = False
        """Nobody attends the connection any more, and nobody will: it is about to close."""


class StaggeredClose:
    """Spreads closes over a time, or all clients come again in the same moment.

    Args:
        ticks: over how many calls of `tick` those who are put in are spread.
    """

    def __init__(self, ticks: int) -> None:
        self._ticks = max(ticks, 1)
        self._left = 0
        self._waiting: deque[Connection] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, connection: Connection) -> None:
        """Have the connection closed, at some time."""
        self._waiting.append(connection)
        self._left = self._ticks

    def tick(self) -> list[Connection]:
        """Return those to close now."""
        if not self._waiting:
            return []
        share = ceil(len(self._waiting) / max(self._left, 1))
        self._left -= 1
        return [self._waiting.popleft() for _ in range(share)]
