"""What the supervisor and its processes say to each other on the control link.

Pure. Same form and same checks as `wire/messages.py`. Rare messages: no tuning here. Probe and
Alive are those of the stream link: supervisor and keeper ask a worker the same.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from holdfast.errors import BrokenWire
from holdfast.wire.messages import Alive, Probe

__all__ = [
    "AddWorker",
    "Busy",
    "CloseAll",
    "Connect",
    "ControlDecoder",
    "Counted",
    "Drain",
    "DrainWorker",
    "Empty",
    "Failed",
    "FromKeeper",
    "FromWorker",
    "Idle",
    "KeeperStatus",
    "Loaded",
    "Prefer",
    "Quiesce",
    "Quiet",
    "Report",
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
    """Accept no more requests and finish those that run; deliveries go on. Say Quiet."""


class Drain(Message, frozen=True, tag=3):
    """Take nothing new, finish what is there, then leave. The keeper says Drained when no delivery
    is there any more.
    """


class Connect(Message, frozen=True, tag=5):
    """Another keeper is there; the worker's ends of its two links come with this message."""


ToWorker: TypeAlias = Serve | Quiesce | Drain | Connect | Probe


# --- worker → supervisor ------------------------------------------------------------------------


class Loaded(Message, frozen=True, tag=1):
    """The application is loaded (and installed and activated, by a generation's first worker)."""


class Failed(Message, frozen=True, tag=2):
    """The application could not be started; the worker leaves."""

    summary: str
    traceback: str


class Quiet(Message, frozen=True, tag=3):
    """The worker accepts nothing more."""


class Retiring(Message, frozen=True, tag=5):
    """The worker has done enough: it serves until another does, and is drained then."""

    why: str


class Idle(Message, frozen=True, tag=6):
    """The worker has had nothing to do for a while."""


class Busy(Message, frozen=True, tag=7):
    """The worker has something to do again."""


class Counted(Message, frozen=True, tag=8):
    """What the worker has refused over HTTP since it said so last, by the limit's name."""

    hits: dict[str, int]


FromWorker: TypeAlias = Loaded | Failed | Quiet | Retiring | Idle | Busy | Counted | Alive


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


class DrainWorker(Message, frozen=True, tag=5):
    """Drain one worker: deliver nothing new to it, and say Drained to it when it has finished."""

    worker: int


ToKeeper: TypeAlias = AddWorker | Prefer | CloseAll | Report | DrainWorker


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


FromKeeper: TypeAlias = WorkerDropped | KeeperStatus | Empty | WorkWaits


def encode_control(message: Struct) -> bytes:
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
