"""What keeper and worker say to each other on the stream link.

Pure. Each message is an array with a tag in front: small on the wire, and checked field by field
when it is decoded, so that nothing malformed gets further than `wire/stream.py`.

A connection is named by its serial. A delivery and its acknowledgement carry (number, attempt):
a worker given up for lost may still answer late, while another already works on the message.
Text and binary are kinds of their own, as in RFC 6455, so that the decoder can check them.
`gc=False` on what is made per message: none of it can be part of a cycle, and the garbage
collector need not look at it.
"""

from __future__ import annotations

from typing import TypeAlias, final

from msgspec import Struct

__all__ = [
    "VERSION",
    "Ack",
    "Act",
    "Action",
    "Alive",
    "Answer",
    "Attach",
    "Close",
    "Deliver",
    "DeliverBinary",
    "DeliverClose",
    "DeliverResume",
    "DeliverText",
    "Delivery",
    "Drained",
    "FromWorker",
    "Handover",
    "Hello",
    "Listen",
    "LookUp",
    "LookUpResult",
    "Pressure",
    "Probe",
    "PublicationsLost",
    "Publish",
    "PublishBinary",
    "PublishJson",
    "PublishText",
    "Ready",
    "Refused",
    "Release",
    "Search",
    "SearchResult",
    "Send",
    "SendBinary",
    "SendText",
    "Subscribe",
    "ToWorker",
    "Unlisten",
    "Unsubscribe",
    "Welcome",
]

# Raised with every change of this file: keeper and workers of different versions refuse each
# other instead of guessing.
VERSION = 5


# --- actions: what a listener asked for; they travel inside Ack, Act and Handover ---------------


class SendText(Struct, frozen=True, array_like=True, tag=1, gc=False):
    connection: int
    data: str


class SendBinary(Struct, frozen=True, array_like=True, tag=2, gc=False):
    connection: int
    data: bytes


class Close(Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Close the connection behind everything sent before."""

    connection: int
    code: int
    reason: str


class Attach(Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Replace the attachment."""

    connection: int
    attachment: bytes


class Subscribe(Struct, frozen=True, array_like=True, tag=5, gc=False):
    connection: int
    channel: str


class Unsubscribe(Struct, frozen=True, array_like=True, tag=6, gc=False):
    connection: int
    channel: str


class PublishText(Struct, frozen=True, array_like=True, tag=7, gc=False):
    """A publication: for every connection that is subscribed to the channel, and for every worker
    that listens. The keeper sends the message on to those workers as it came.

    `poster` names the channel object that shall not hear it: its worker's number and its own, or
    0. `exclude` is the serial of a connection that shall not get it, or 0; it is for the keeper.
    """

    channel: str
    data: str
    poster: int
    exclude: int


class PublishBinary(Struct, frozen=True, array_like=True, tag=8, gc=False):
    channel: str
    data: bytes
    poster: int
    exclude: int


class PublishJson(Struct, frozen=True, array_like=True, tag=9, gc=False):
    """As text to connections; to be parsed by workers."""

    channel: str
    data: str
    poster: int
    exclude: int


Send: TypeAlias = SendText | SendBinary
Publish: TypeAlias = PublishText | PublishBinary | PublishJson
Action: TypeAlias = Send | Close | Attach | Subscribe | Unsubscribe | Publish


# --- worker → keeper ----------------------------------------------------------------------------


class Hello(Struct, frozen=True, array_like=True, tag=1):
    """The first message of a worker."""

    version: int


class Ready(Struct, frozen=True, array_like=True, tag=5):
    """The application is loaded: deliveries may come."""

    generation: int


class Ack(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The commit point: apply the actions, all of them, and forget the deliveries.

    It covers `count` deliveries, the last of which is `number`, that ended in one turn: they are
    committed together. More than one only at their first attempt.
    """

    connection: int
    number: int
    attempt: int
    actions: list[Action]
    count: int


class Act(Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Apply the actions: from outside an event, or flushed before its end."""

    actions: list[Action]


class Handover(Struct, frozen=True, array_like=True, tag=4):
    """Adopt a connection. Its descriptor is already waiting on the handover link.

    `lost` says that the client had vanished before the descriptor could be given: there is none,
    and the connection opens only to close.
    """

    serial: int
    key: bytes
    subprotocol: str | None
    headers: list[tuple[bytes, bytes]]
    about: bytes
    leftover: bytes
    actions: list[Action]
    lost: bool
    # The client's address, as far as it is known, for limits; and its Sec-WebSocket-Extensions.
    address: str
    extensions: bytes
    # Not empty: the connection is attended by an endpoint, which has begun in this worker and shall
    # be resumed in another one with these bytes (`DeliverResume`).
    endpoint: bytes
    # What becomes of an attended connection whose worker leaves or is lost: False, its endpoint is
    # resumed elsewhere; True, it is closed with 1012.
    closes: bool


class Listen(Struct, frozen=True, array_like=True, tag=6):
    """Send publications on the channel to this worker."""

    channel: str


class Unlisten(Struct, frozen=True, array_like=True, tag=7):
    channel: str


class Search(Struct, frozen=True, array_like=True, tag=8):
    """Which connections are there, or are subscribed to the channel? At most `limit`, or 0."""

    query: int
    channel: str | None
    limit: int


class LookUp(Struct, frozen=True, array_like=True, tag=9):
    """What is known of these connections?"""

    query: int
    serials: list[int]


class Alive(Struct, frozen=True, array_like=True, tag=10):
    """The answer to Probe: the worker's loop turns."""


class Release(Struct, frozen=True, array_like=True, tag=11):
    """The endpoint of this connection has ended here, and is to be resumed elsewhere.

    What was delivered and not acknowledged was not received by it, and is delivered there for the
    first time.
    """

    connection: int


FromWorker: TypeAlias = (
    Hello | Ready | Ack | Act | Handover | Listen | Unlisten | Search | LookUp | Alive | Release
)


# --- keeper → worker ----------------------------------------------------------------------------


class Welcome(Struct, frozen=True, array_like=True, tag=1):
    """The keeper's answer to Hello: what connection ids are made of."""

    version: int
    node: bytes
    key: bytes


class DeliverText(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """One message of a connection, for the nth time, with all the state it needs.

    The state is as of the last acknowledgement that the keeper has seen, and `seen` tells which
    one: how many of this worker's there were. A worker that has acknowledged more since, for this
    connection, knows better.
    """

    connection: int
    number: int
    attempt: int
    data: str
    about: bytes
    attachment: bytes
    seen: int


class DeliverBinary(Struct, frozen=True, array_like=True, tag=3, gc=False):
    connection: int
    number: int
    attempt: int
    data: bytes
    about: bytes
    attachment: bytes
    seen: int


@final
class DeliverClose(Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The last delivery of a connection."""

    connection: int
    number: int
    attempt: int
    code: int
    reason: str
    about: bytes
    attachment: bytes
    seen: int


class Refused(Struct, frozen=True, array_like=True, tag=5):
    """A handover was not adopted; its client got an HTTP error."""

    serial: int
    why: str  # what the worker did wrong; empty: nothing, a limit of the keeper is reached


class Drained(Struct, frozen=True, array_like=True, tag=6):
    """The keeper has drained this worker: no delivery is in flight and none will come."""


class PublicationsLost(Struct, frozen=True, array_like=True, tag=12):
    """So many publications could not be sent to this worker: it did not read for too long."""

    count: int


class SearchResult(Struct, frozen=True, array_like=True, tag=10):
    """The answer to Search, oldest connection first."""

    query: int
    serials: list[int]


class LookUpResult(Struct, frozen=True, array_like=True, tag=11):
    """The answer to LookUp, without the connections that are gone."""

    query: int
    found: list[tuple[int, bytes, bytes, bool]]


class Probe(Struct, frozen=True, array_like=True, tag=13):
    """Does the worker's loop turn? The keeper asks if the worker has deliveries and acknowledges
    none; the supervisor asks every few seconds.
    """


class DeliverResume(Struct, frozen=True, array_like=True, tag=14):
    """Begin the endpoint of an attended connection again: its worker has gone.

    It is acknowledged like a message, when the endpoint has got as far as to wait for one; then
    come the messages that were not acknowledged before. `resumed` counts: 1 for the first time.
    """

    connection: int
    number: int
    attempt: int
    endpoint: bytes
    resumed: int
    about: bytes
    attachment: bytes
    seen: int


class Pressure(Struct, frozen=True, array_like=True, tag=15):
    """The client of an attended connection does not read what is sent to it; or it does again."""

    connection: int
    is_high: bool


Deliver: TypeAlias = DeliverText | DeliverBinary
Delivery: TypeAlias = DeliverText | DeliverBinary | DeliverClose | DeliverResume
Answer: TypeAlias = SearchResult | LookUpResult
ToWorker: TypeAlias = (
    Welcome
    | Deliver
    | DeliverClose
    | DeliverResume
    | Pressure
    | Refused
    | Drained
    | Publish
    | PublicationsLost
    | Answer
    | Probe
)
