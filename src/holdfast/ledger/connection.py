"""What the keeper knows of one connection: one small record.

Pure. The ledger changes it; the shell keeps its socket in `socket` and looks at nothing else.
All of it but `socket` and `worker` is plain data, so that a connection could be handed to another
keeper together with its descriptor.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from holdfast.ledger.mailbox import Mailbox

if TYPE_CHECKING:
    from typing import Any

    from holdfast.ledger.endpoint import Endpoint
    from holdfast.ledger.worker import Worker


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
