"""The closing handshake of one connection (RFC 6455 section 7), as one table.

Pure. A socket's owner keeps a `Stage` per connection. It tells `step` what has happened and does
what comes back, in order. The table knows neither which side it plays nor what a socket is: the
same one serves sockets of our own, those of an ASGI server and those in memory.

Rules:

1. Either side begins with a Close frame, and the other answers with one (section 5.5.1). Whoever
   began waits for the answer; the connection then ends.
2. A Close frame is the last frame that is sent (section 5.5.1). So only what happens in OPEN and
   ANSWERING sends one, and both stages end with it.
3. The application is told once that the connection has ended: with the code of the Close frame that
   came, with the code of the violation, or with our own code where we fail the connection; VANISHED
   where no Close frame came (section 7.1.5).
4. A peer that breaks the protocol is not heard any more, and gets a Close frame with the code
   (section 7.1.7). What it sent before is answered first: section 7.1.7 leaves that open, but
   Autobahn calls anything else not strict. Whatever ends ANSWERING, the code of the violation is
   the one that is sent and told.
5. Where we fail the connection, what still comes from the peer is read and thrown away until its
   end: closing a socket with unread bytes makes TCP send a reset, and a reset can destroy our Close
   frame on its way (section 7.1.1 asks for the same order: shut down writing, read, close).
6. Nobody waits for ever: a timer runs in every stage between OPEN and GONE.

What is not in the table changes nothing: a Close frame that comes twice, an application that closes
what has closed.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, TypeAlias


class Stage(IntEnum):
    """How far a connection is from its end. What comes is understood in the first two only."""

    OPEN = 0
    CLOSING = 1
    """Our Close frame is out, and the peer's is awaited."""
    ANSWERING = 2
    """The peer has broken the protocol; what it sent before is still being answered."""
    FINISHING = 3
    """Both Close frames have been sent; the last bytes are written."""
    LINGERING = 4
    """We have failed the connection; the last bytes are written, and the peer's thrown away."""
    GONE = 5


class Fact(Enum):
    """What happens to a connection."""

    WE_CLOSE = 1
    """The application, or the server as it stops, closes."""
    WE_FAIL = 2
    """We end the connection ourselves, and say why."""
    WE_DROP = 3
    """We end the connection ourselves, and the peer would not take a Close frame."""
    PEER_CLOSES = 4
    """A Close frame came."""
    PEER_VIOLATES = 5
    """Something came that breaks the protocol or a limit."""
    PEER_GONE = 6
    """Nothing comes from the peer and nothing reaches it any more."""
    ANSWERED = 7
    """What the peer sent before its violation is answered."""
    WRITTEN = 8
    """All bytes that were to be written are written. May be told in any stage."""
    DEADLINE = 9
    """The time of a timer is over."""


class Do(Enum):
    """What a socket's owner does about it, with the code and the reason that came with the fact."""

    SEND_CLOSE = 1
    """Send a Close frame, behind all that was to be written before."""
    ECHO_CLOSE = 2
    """The same in answer to the peer's: with its code, and without a reason (section 5.5.1)."""
    TELL = 3
    """Tell the application that the connection has ended."""
    ASK = 4
    """Tell of the violation. Tell ANSWERED at once if nothing is to be answered."""
    START_TIMER = 5
    """Tell DEADLINE after the time that a peer gets to close. Timers are not stopped."""
    FINISH = 6
    """Throw away what still comes. Tell WRITTEN when all bytes are written."""
    SHUT_DOWN_WRITING = 7
    """Tell the peer's TCP that nothing more comes from here."""
    RELEASE = 8
    """Close the socket and forget it."""


# Named here, so that owners compare with a plain name: a member of an enum costs more than that.
OPEN: Final = Stage.OPEN
CLOSING: Final = Stage.CLOSING
ANSWERING: Final = Stage.ANSWERING
FINISHING: Final = Stage.FINISHING
LINGERING: Final = Stage.LINGERING
GONE: Final = Stage.GONE

Step: TypeAlias = tuple[Stage, tuple[Do, ...]]

TABLE: Final[dict[tuple[Stage, Fact], Step]] = {
    (OPEN, Fact.WE_CLOSE): (CLOSING, (Do.SEND_CLOSE, Do.START_TIMER)),
    (OPEN, Fact.WE_FAIL): (LINGERING, (Do.SEND_CLOSE, Do.TELL, Do.START_TIMER, Do.FINISH)),
    (OPEN, Fact.WE_DROP): (GONE, (Do.TELL, Do.RELEASE)),
    (OPEN, Fact.PEER_CLOSES): (FINISHING, (Do.ECHO_CLOSE, Do.TELL, Do.START_TIMER, Do.FINISH)),
    (OPEN, Fact.PEER_VIOLATES): (ANSWERING, (Do.START_TIMER, Do.ASK)),
    (OPEN, Fact.PEER_GONE): (GONE, (Do.TELL, Do.RELEASE)),
    (CLOSING, Fact.WE_FAIL): (LINGERING, (Do.TELL, Do.FINISH)),
    (CLOSING, Fact.WE_DROP): (GONE, (Do.TELL, Do.RELEASE)),
    (CLOSING, Fact.PEER_CLOSES): (FINISHING, (Do.TELL, Do.FINISH)),
    (CLOSING, Fact.PEER_VIOLATES): (LINGERING, (Do.TELL, Do.FINISH)),
    (CLOSING, Fact.PEER_GONE): (GONE, (Do.TELL, Do.RELEASE)),
    (CLOSING, Fact.DEADLINE): (GONE, (Do.TELL, Do.RELEASE)),
    (ANSWERING, Fact.ANSWERED): (LINGERING, (Do.SEND_CLOSE, Do.TELL, Do.FINISH)),
    (ANSWERING, Fact.WE_CLOSE): (LINGERING, (Do.SEND_CLOSE, Do.TELL, Do.FINISH)),
    (ANSWERING, Fact.WE_FAIL): (LINGERING, (Do.SEND_CLOSE, Do.TELL, Do.FINISH)),
    (ANSWERING, Fact.WE_DROP): (GONE, (Do.TELL, Do.RELEASE)),
    (ANSWERING, Fact.PEER_GONE): (GONE, (Do.TELL, Do.RELEASE)),
    # The peer is there all the same, and gets its Close frame in a time of its own.
    (ANSWERING, Fact.DEADLINE): (LINGERING, (Do.SEND_CLOSE, Do.TELL, Do.START_TIMER, Do.FINISH)),
    (FINISHING, Fact.WRITTEN): (GONE, (Do.RELEASE,)),
    (FINISHING, Fact.WE_DROP): (GONE, (Do.RELEASE,)),
    (FINISHING, Fact.PEER_GONE): (GONE, (Do.RELEASE,)),
    (FINISHING, Fact.DEADLINE): (GONE, (Do.RELEASE,)),
    (LINGERING, Fact.WRITTEN): (LINGERING, (Do.SHUT_DOWN_WRITING,)),
    (LINGERING, Fact.WE_DROP): (GONE, (Do.RELEASE,)),
    (LINGERING, Fact.PEER_GONE): (GONE, (Do.RELEASE,)),
    (LINGERING, Fact.DEADLINE): (GONE, (Do.RELEASE,)),
}


def step(stage: Stage, fact: Fact) -> Step:
    """Return the next stage, and what is to be done."""
    return TABLE.get((stage, fact), (stage, ()))
