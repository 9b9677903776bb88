"""One client's descriptor.

Shell. Private. The record that the parts of `keeper/sockets.py` work on: small, since an idle
connection is one of these and one `ledger/connection.py:Connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.framing.close_codes import VANISHED
from holdfast.framing.closing import GONE, OPEN
from holdfast.keeper.poller import READABLE, WRITABLE

if TYPE_CHECKING:
    from holdfast.framing.closing import Fact, Stage
    from holdfast.framing.decoder import Decoder
    from holdfast.ledger.connection import Connection

# epoll(7): EPOLLERR and EPOLLHUP, which are reported in any case.
HUNG_UP = 0x008 | 0x010


class SocketOwner:
    """Who is told what happens to a socket. Not a Protocol: a compiler can call it directly."""

    def read(self, sock: Socket) -> None:
        """There are bytes to read, or their end."""
        raise NotImplementedError

    def resume_writing(self, sock: Socket) -> None:
        """The kernel takes bytes again."""
        raise NotImplementedError

    def hang_up(self, sock: Socket) -> None:
        """The client is gone."""
        raise NotImplementedError

    def advance(self, sock: Socket, fact: Fact, code: int = VANISHED, reason: str = "") -> None:
        """Something has happened that `framing/closing.py` has a rule for."""
        raise NotImplementedError

    def watch(self, sock: Socket) -> None:
        """What the socket waits for may have changed."""
        raise NotImplementedError

    def forget(self, sock: Socket) -> None:
        """The socket is released."""
        raise NotImplementedError


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

    def __init__(
        self, fd: int, connection: Connection, owner: SocketOwner, address_key: str
    ) -> None:
        self.fd = fd
        self.connection = connection
        self.owner = owner
        # The window for compressed messages (RFC 7692), 0 for none; so for the decoder's kind.
        self.bits = 0
        # What `keeper/admission.py` wants back.
        self.address_key = address_key
        self.stage: Stage = OPEN
        # It had more to say last time than one read takes (`keeper/read_scheduler.py`). A new one
        # counts as such: many may come at once.
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
            if self.stage is GONE:
                return
        if events & HUNG_UP:
            self.owner.hang_up(self)
        elif events & READABLE:
            self.owner.read(self)
