"""One client's descriptor.

Shell. Private. The record that `keeper/sockets.py` works on: small, since an idle connection is
one of these and one `ledger/connection.py:Connection`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from holdfast.keeper.poller import READABLE, WRITABLE

if TYPE_CHECKING:
    from holdfast.framing.decoder import Decoder
    from holdfast.keeper.sockets import Sockets
    from holdfast.ledger.connection import Connection

# epoll(7): EPOLLERR and EPOLLHUP, which are reported in any case.
HUNG_UP = 0x008 | 0x010


class Stage(IntEnum):
    """How far a socket is from its end."""

    OPEN = 0
    CLOSING = 1  # our close frame is out; waiting for the peer's
    FINISHING = 2  # nothing is read any more; closes when the last byte is written
    LINGERING = 3  # we have shut down writing; the peer's last bytes are thrown away
    GONE = 4


# Looked up once: a member of an enum costs more than a name, and these are asked for per message.
OPEN, CLOSING, FINISHING, LINGERING, GONE = Stage


class Socket:
    """One client's descriptor."""

    __slots__ = (
        "address_key",
        "asked",
        "bits",
        "connection",
        "decoder",
        "due",
        "fd",
        "heard",
        "is_greedy",
        "outbound",
        "owner",
        "stage",
    )

    def __init__(self, fd: int, connection: Connection, owner: Sockets, address_key: str) -> None:
        self.fd = fd
        self.connection = connection
        self.owner = owner
        # The window for compressed messages (RFC 7692), 0 for none; so for the decoder's kind.
        self.bits = 0
        # What `keeper/admission.py` wants back.
        self.address_key = address_key
        self.stage: Stage = OPEN
        # It had more to say last time than one read takes; `keeper/read_scheduler.py` is about that. Of a
        # new one nobody knows, and many may come at once.
        self.is_greedy = True
        # Ticks: when the client was heard last, when it was asked what it has not answered, and
        # when to look again.
        self.heard = self.asked = self.due = 0
        # Only while a frame or a fragmented message is incomplete.
        self.decoder: Decoder | None = None
        # What this turn produced, or what the kernel did not take yet.
        self.outbound: bytes | list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Socket fd {self.fd} {self.stage.name.lower()} {self.connection!r}>"

    def on_ready(self, events: int) -> None:
        if events == READABLE:
            self.owner.read(self)
            return
        if events & WRITABLE:
            self.owner.resume_writing(self)
        if events & HUNG_UP:
            self.owner.hang_up(self)
        elif events & READABLE:
            self.owner.read(self)
