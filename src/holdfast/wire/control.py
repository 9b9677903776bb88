"""What the supervisor and its processes say to each other on the control link.

Pure. Same form and same checks as `wire/messages.py`. Rare messages: no tuning here.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from holdfast.errors import BrokenWire

__all__ = [
    "AddWorker",
    "Alive",
    "Ask",
    "Busy",
    "CloseAll",
    "Connect",
    "ControlDecoder",
    "Counted",
    "Drain",
    "Empty",
    "Failed",
    "FromKeeper",
    "FromWorker",
    "Idle",
    "KeeperStatus",
    "Prefer",
    "Quiesce",
    "Quiet",
    "Ready",
    "Report",
    "Retire",
    "Retiring",
    "Serve",
    "ToKeeper",
    "ToWorker",
    "WorkWaits",
    "WorkerDropped",
    "encode_control",
]

T = TypeVar("T")


class Message(Struct, frozen=True, array_like=True):
    """Base of the control messages: arrays with a tag in front."""


# --- supervisor → worker ------------------------------------------------------------------------


class Serve(Message, frozen=True, tag=1):
    """Accept requests from now on."""


class Quiesce(Message, frozen=True, tag=2):
    """Accept no more requests, finish those that run; deliveries go on."""


class Drain(Message, frozen=True, tag=3):
    """Finish what is in hand, then leave."""


class Ask(Message, frozen=True, tag=4):
    """Answer with Alive."""


class Connect(Message, frozen=True, tag=5):
    """Another keeper is there; the worker's ends of its two links come with this message."""


ToWorker: TypeAlias = Serve | Quiesce | Drain | Ask | Connect


# --- worker → supervisor ------------------------------------------------------------------------


class Ready(Message, frozen=True, tag=1):
    """The application is loaded (and installed and activated, by a generation's first worker)."""


class Failed(Message, frozen=True, tag=2):
    """The application could not be started; the worker leaves."""

    summary: str
    traceback: str


class Quiet(Message, frozen=True, tag=3):
    """The worker accepts nothing more."""


class Alive(Message, frozen=True, tag=4):
    """The answer to Ask: the worker's loop turns."""


class Retiring(Message, frozen=True, tag=5):
    """The worker has done enough, and wants to be replaced."""

    why: str


class Idle(Message, frozen=True, tag=6):
    """The worker has had nothing to do for a while."""


class Busy(Message, frozen=True, tag=7):
    """The worker has something to do again."""


class Counted(Message, frozen=True, tag=8):
    """What the worker has refused over HTTP since it said so last, by the limit's name."""

    hits: dict[str, int]


FromWorker: TypeAlias = Ready | Failed | Quiet | Alive | Retiring | Idle | Busy | Counted


# --- supervisor → keeper ------------------------------------------------------------------------


class AddWorker(Message, frozen=True, tag=1):
    """A worker was started; the keeper's ends of its two links come with this message."""

    worker: int
    generation: int


class Prefer(Message, frozen=True, tag=2):
    """Deliver to this generation; drain the others."""

    generation: int


class CloseAll(Message, frozen=True, tag=3):
    """Close every connection; say Empty when the last close event was acknowledged."""

    code: int
    reason: str


class Report(Message, frozen=True, tag=4):
    """Answer with KeeperStatus."""


class Retire(Message, frozen=True, tag=5):
    """Deliver nothing new to this worker."""

    worker: int


ToKeeper: TypeAlias = AddWorker | Prefer | CloseAll | Report | Retire


# --- keeper → supervisor ------------------------------------------------------------------------


class WorkerDropped(Message, frozen=True, tag=2):
    """A worker broke the contract; it is cut off and has to be replaced."""

    worker: int
    why: str


class KeeperStatus(Message, frozen=True, tag=3):
    """Counts since the keeper started, but for `connections` and `waiting`, which are current."""

    connections: int
    waiting: int
    accepted: int
    deliveries: int
    redeliveries: int
    quarantined: int
    # Of the keeper, in bytes; 0 if it is not known.
    memory: int
    # How often each limit has made a difference, by the name of its setting.
    hits: dict[str, int]


class Empty(Message, frozen=True, tag=4):
    """No connection is left."""


class WorkWaits(Message, frozen=True, tag=5):
    """Something waits for a worker, and none serves."""


FromKeeper: TypeAlias = Ready | WorkerDropped | KeeperStatus | Empty | WorkWaits


def encode_control(message: Message) -> bytes:
    """Return one packet; the control link keeps packets apart by itself."""
    return msgspec.msgpack.encode(message)


class ControlDecoder(Generic[T]):
    """Decodes the packets of one direction."""

    def __init__(self, messages: object) -> None:
        """`messages` is the union of what may come, as one of the aliases above."""
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(messages)

    def decode(self, packet: bytes) -> T:
        """
        Raises:
            BrokenWire: the packet is none of the expected messages.
        """
        try:
            return self._decoder.decode(packet)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BrokenWire(f"not a message of this control link: {error}") from error
