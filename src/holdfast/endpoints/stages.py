"""The life of one endpoint in one worker, as one table.

Pure. An endpoint talks ASGI; its connection lives in the keeper. The owner of an endpoint keeps an
`EndpointStage`. It tells `step` what has happened, and tells others what comes back, in order. The
table knows neither messages nor tasks nor sockets.

    CONNECTING ──▶ ACCEPTING ──▶ OPEN ──▶ CLOSED ──▶ ENDED ──▶ OVER
         │                       ▲  │
         ▼                       │  ├──▶ GONE ──▶ DISCONNECTED ──▶ OVER
     ANSWERING ──▶ REFUSED    RESUMING
                                    └──▶ LEAVING ──▶ RELEASED

Rules:

1. An endpoint begins in CONNECTING, with a request that wants a WebSocket, or in RESUMING, with a
   connection that another worker has had. A client that waits for an answer to its request gets it
   over HTTP; a client that has a connection notices nothing of the second accept.
2. An endpoint that ends with an open connection closes it. It is over when the client has closed
   too: until then, messages of the client are acknowledged and read by nobody.
3. The endpoint is told once that its connection has ended: with its own code where it closed the
   connection itself, with the client's where the client did, with 1006 where no code came.
4. The keeper is told once to close the connection, and never after the client has closed it.
5. All that was delivered is acknowledged when the endpoint has ended, the client's close included.
6. An endpoint that leaves releases its connection instead, and acknowledges nothing more: another
   worker resumes the endpoint. An endpoint may leave while it knows of no end of its connection.
   LATE and GONE are such stages: the other worker tells the endpoint that its client has closed.
7. A connection is lost when the client leaves before its request is answered, or when there is no
   keeper any more. Nobody resumes the endpoint then.

An endpoint's own fact that is not in the table is the endpoint's mistake. Any other fact that is
not in the table changes nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias


class EndpointStage(Enum):
    """How far an endpoint has come."""

    CONNECTING = "connecting"
    """The endpoint has not answered the request for a WebSocket."""
    ACCEPTING = "accepting"
    """The endpoint has accepted; the keeper has not taken the socket yet."""
    ANSWERING = "answering"
    """The endpoint is sending an HTTP response instead."""
    REFUSED = "refused"
    """The request has an HTTP response; there is no connection."""
    RESUMING = "resuming"
    """The endpoint has a connection and has not accepted a second time."""
    DENYING = "denying"
    """The endpoint is sending an HTTP response instead of its second accept: to nobody."""
    OPEN = "open"
    """Messages go both ways."""
    CLOSED = "closed"
    """The endpoint has closed the connection; the client has not answered."""
    LATE = "late"
    """As RESUMING, but the connection has ended. Messages from before wait for the accept."""
    GONE = "gone"
    """The client has closed, and the endpoint does not know."""
    DISCONNECTED = "disconnected"
    """The connection has ended and no other worker is going to have it."""
    LEAVING = "leaving"
    """The endpoint is cancelled, and another worker shall resume it."""
    ENDED = "ended"
    """The endpoint has ended; the client has not answered the close."""
    OVER = "over"
    """The endpoint has ended, and so has its connection."""
    RELEASED = "released"
    """The endpoint has ended, and its connection is another worker's."""


class EndpointFact(Enum):
    """What happens to an endpoint."""

    # What the endpoint does.
    ACCEPTS = 1
    SENDS = 2
    CLOSES = 3
    RESPONDS = 4
    """It begins an HTTP response instead of a connection."""
    CONTINUES = 5
    """It sends a part of that response, but not the last one."""
    COMPLETES = 6
    IS_TOLD = 7
    """It has received that its connection has ended."""
    ENDS = 8
    # What becomes of its connection.
    ADOPTED = 9
    """The keeper has taken the socket."""
    CLIENT_CLOSED = 10
    LOST = 11
    # What its worker does.
    LEAVES = 12


class Tell(Enum):
    """Whom to tell what, with the code and the reason that came with the fact."""

    DISCONNECT = 1
    """Tell the endpoint that its connection has ended, behind all messages that came before."""
    CLOSE = 2
    """Tell the keeper to close the connection."""
    ACKNOWLEDGE = 3
    """Tell the keeper that everything it has delivered was handled."""
    RELEASE = 4
    """Tell the keeper that another worker may have the connection."""


# Named here, so that owners compare with a plain name.
CONNECTING: Final = EndpointStage.CONNECTING
ACCEPTING: Final = EndpointStage.ACCEPTING
ANSWERING: Final = EndpointStage.ANSWERING
REFUSED: Final = EndpointStage.REFUSED
RESUMING: Final = EndpointStage.RESUMING
DENYING: Final = EndpointStage.DENYING
OPEN: Final = EndpointStage.OPEN
CLOSED: Final = EndpointStage.CLOSED
LATE: Final = EndpointStage.LATE
GONE: Final = EndpointStage.GONE
DISCONNECTED: Final = EndpointStage.DISCONNECTED
LEAVING: Final = EndpointStage.LEAVING
ENDED: Final = EndpointStage.ENDED
OVER: Final = EndpointStage.OVER
RELEASED: Final = EndpointStage.RELEASED

Next: TypeAlias = tuple[EndpointStage, tuple[Tell, ...]]

TABLE: Final[dict[tuple[EndpointStage, EndpointFact], Next]] = {
    # A request waits for its answer.
    (CONNECTING, EndpointFact.ACCEPTS): (ACCEPTING, ()),
    (CONNECTING, EndpointFact.CLOSES): (REFUSED, (Tell.DISCONNECT,)),
    (CONNECTING, EndpointFact.RESPONDS): (ANSWERING, ()),
    (CONNECTING, EndpointFact.LOST): (DISCONNECTED, (Tell.DISCONNECT,)),
    (CONNECTING, EndpointFact.ENDS): (OVER, ()),
    (ACCEPTING, EndpointFact.ADOPTED): (OPEN, ()),
    (ACCEPTING, EndpointFact.CLIENT_CLOSED): (GONE, (Tell.DISCONNECT,)),
    (ACCEPTING, EndpointFact.LOST): (DISCONNECTED, (Tell.DISCONNECT,)),
    (ACCEPTING, EndpointFact.ENDS): (OVER, ()),
    (ANSWERING, EndpointFact.CONTINUES): (ANSWERING, ()),
    (ANSWERING, EndpointFact.COMPLETES): (REFUSED, (Tell.DISCONNECT,)),
    (ANSWERING, EndpointFact.LOST): (DISCONNECTED, (Tell.DISCONNECT,)),
    (ANSWERING, EndpointFact.ENDS): (OVER, ()),
    (REFUSED, EndpointFact.ENDS): (OVER, ()),
    # A connection waits for the second accept.
    (RESUMING, EndpointFact.ACCEPTS): (OPEN, ()),
    (RESUMING, EndpointFact.CLOSES): (CLOSED, (Tell.CLOSE, Tell.DISCONNECT)),
    (RESUMING, EndpointFact.RESPONDS): (DENYING, (Tell.CLOSE, Tell.DISCONNECT)),
    (RESUMING, EndpointFact.CLIENT_CLOSED): (LATE, (Tell.DISCONNECT,)),
    (RESUMING, EndpointFact.LOST): (LATE, (Tell.DISCONNECT,)),
    (RESUMING, EndpointFact.LEAVES): (LEAVING, ()),
    (RESUMING, EndpointFact.ENDS): (ENDED, (Tell.CLOSE, Tell.ACKNOWLEDGE)),
    (DENYING, EndpointFact.CONTINUES): (DENYING, ()),
    (DENYING, EndpointFact.COMPLETES): (CLOSED, ()),
    (DENYING, EndpointFact.CLIENT_CLOSED): (DISCONNECTED, ()),
    (DENYING, EndpointFact.LOST): (DISCONNECTED, ()),
    (DENYING, EndpointFact.ENDS): (ENDED, (Tell.ACKNOWLEDGE,)),
    (LATE, EndpointFact.ACCEPTS): (GONE, ()),
    (LATE, EndpointFact.LEAVES): (LEAVING, ()),
    (LATE, EndpointFact.ENDS): (OVER, (Tell.ACKNOWLEDGE,)),
    # A connection is there.
    (OPEN, EndpointFact.SENDS): (OPEN, ()),
    (OPEN, EndpointFact.CLOSES): (CLOSED, (Tell.CLOSE, Tell.DISCONNECT)),
    (OPEN, EndpointFact.CLIENT_CLOSED): (GONE, (Tell.DISCONNECT,)),
    (OPEN, EndpointFact.LOST): (DISCONNECTED, (Tell.DISCONNECT,)),
    (OPEN, EndpointFact.LEAVES): (LEAVING, ()),
    (OPEN, EndpointFact.ENDS): (ENDED, (Tell.CLOSE, Tell.ACKNOWLEDGE)),
    # A connection ends.
    (CLOSED, EndpointFact.CLIENT_CLOSED): (DISCONNECTED, ()),
    (CLOSED, EndpointFact.LOST): (DISCONNECTED, ()),
    (CLOSED, EndpointFact.ENDS): (ENDED, (Tell.ACKNOWLEDGE,)),
    (GONE, EndpointFact.IS_TOLD): (DISCONNECTED, ()),
    (GONE, EndpointFact.LOST): (DISCONNECTED, ()),
    (GONE, EndpointFact.LEAVES): (LEAVING, ()),
    (GONE, EndpointFact.ENDS): (OVER, (Tell.ACKNOWLEDGE,)),
    (DISCONNECTED, EndpointFact.ENDS): (OVER, (Tell.ACKNOWLEDGE,)),
    # An endpoint ends.
    (LEAVING, EndpointFact.LOST): (DISCONNECTED, ()),
    (LEAVING, EndpointFact.ENDS): (RELEASED, (Tell.RELEASE,)),
    (ENDED, EndpointFact.CLIENT_CLOSED): (OVER, (Tell.ACKNOWLEDGE,)),
    (ENDED, EndpointFact.LOST): (OVER, ()),
}


def step(stage: EndpointStage, fact: EndpointFact) -> Next:
    """Return the next stage, and what to tell."""
    return TABLE.get((stage, fact), (stage, ()))
