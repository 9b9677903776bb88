"""What the ledger asks its shell to do.

Pure. The shell runs them in order; a command about a socket that is gone does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

# At run time the fields are not checked: these values never leave the process.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.connection import Connection
    from holdfast.wire.control import FromKeeper
    from holdfast.wire.messages import Delivery, Drained, Probe, Publish

__all__ = [
    "CloseSocket",
    "Command",
    "DeliverTo",
    "DropWorker",
    "EndSocket",
    "EndpointGivenUp",
    "PauseReading",
    "PublishTo",
    "Quarantined",
    "ResumeReading",
    "SendTo",
    "TellSupervisor",
    "WriteMany",
    "WriteMessage",
]


class DeliverTo(Struct, frozen=True, gc=False):
    """Send deliveries to a worker: all that this turn has for it."""

    worker: int
    deliveries: list[Delivery]


class WriteMessage(Struct, frozen=True, gc=False):
    """Send one message to one client."""

    connection: Connection
    data: str | bytes


class WriteMany(Struct, frozen=True, gc=False):
    """Send one message to many clients: encode it once."""

    connections: Sequence[Connection]
    data: str | bytes


class PublishTo(Struct, frozen=True, gc=False):
    """Send one publication to the workers that listen."""

    workers: Sequence[int]
    publication: Publish


class CloseSocket(Struct, frozen=True, gc=False):
    """Begin the closing handshake, behind what was written before."""

    connection: Connection
    code: int
    reason: str


class EndSocket(Struct, frozen=True, gc=False):
    """What the client sent before it broke the protocol is answered: fail the connection now."""

    connection: Connection


class PauseReading(Struct, frozen=True, gc=False):
    """Read nothing more from this client until ResumeReading: its mailbox is full."""

    connection: Connection


class ResumeReading(Struct, frozen=True, gc=False):
    connection: Connection


class SendTo(Struct, frozen=True, gc=False):
    """Send a message to a worker that is neither a delivery nor a publication."""

    worker: int
    message: Drained | Probe


class TellSupervisor(Struct, frozen=True, gc=False):
    """Send a message to the supervisor."""

    message: FromKeeper


class DropWorker(Struct, frozen=True, gc=False):
    """This worker broke the contract: cut its links, say why, have it replaced."""

    worker: int
    why: str


class Quarantined(Struct, frozen=True, gc=False):
    """A message was put aside: it was in hand each time a worker was lost. To be logged."""

    connection: Connection
    number: int
    size: int
    attempts: int


class EndpointGivenUp(Struct, frozen=True, gc=False):
    """An endpoint is not begun again: each worker that tried was lost. To be logged."""

    connection: Connection
    attempts: int


Command: TypeAlias = (
    DeliverTo
    | WriteMessage
    | WriteMany
    | PublishTo
    | CloseSocket
    | EndSocket
    | PauseReading
    | ResumeReading
    | SendTo
    | TellSupervisor
    | DropWorker
    | Quarantined
    | EndpointGivenUp
)
