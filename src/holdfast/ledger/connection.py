"""What the keeper knows of one connection, and of its endpoint if it has one.

Pure. The ledger changes it; the shell keeps its socket in `socket` and looks at nothing else.
All of it but `socket` and `worker` is plain data, so that a connection could be handed to another
keeper together with its descriptor.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from math import ceil
from typing import TYPE_CHECKING

from holdfast.ledger.mailbox import Mailbox

if TYPE_CHECKING:
    from typing import Any

    from holdfast.ledger.worker_pool import Worker


class Endpoint:
    """The endpoint of a mounted ASGI application that talks to one connection, in some worker.

    Ordinary connections have none: their messages wake listeners one by one. An endpoint runs as
    long as its connection. When its worker leaves or is lost, another worker begins it again.
    """

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


class State(IntEnum):
    """open → closing (we asked to close) → closed; or open → closed."""

    OPEN = 0
    CLOSING = 1
    CLOSED = 2


class Connection:
    """One connection, from its adoption to the acknowledgement of its close event."""

    __slots__ = (
        "about",
        "attachment",
        "endpoint",
        "is_paused",
        "mailbox",
        "serial",
        "socket",
        "state",
        "worker",
    )

    def __init__(self, serial: int, about: bytes, worker: Worker | None) -> None:
        self.serial = serial
        self.about = about
        self.attachment = b""
        self.state = State.OPEN
        self.is_paused = False
        self.mailbox = Mailbox()
        # None for most: nobody attends them between two messages.
        self.endpoint: Endpoint | None = None
        # The worker that has deliveries in flight, or had the last one: the next goes there too
        # if it can.
        self.worker = worker
        # The shell's; None when there is none. The ledger never looks at it.
        self.socket: Any = None

    def __repr__(self) -> str:
        return f"<Connection {self.serial:#x} {self.state.name.lower()} {self.mailbox!r}>"


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
