"""Clients' sockets in memory, `keeper/ports.py:ClientSockets`, and a keeper of such.

Shell. A client's end is a `Peer`: what the keeper has in the place of a descriptor, and what the
test has in the place of a connection. A client answers close frames at once and always reads; so
nothing waits here, and a handshake of closing takes no time.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

from holdfast.config import KeeperLimits
from holdfast.keeper.switchboard import Switchboard
from holdfast.ledger.dispatcher import CALM
from holdfast.testing.session import Pulse
from holdfast.web.headers import Headers
from holdfast.web.response import Response
from holdfast.web.url import URL
from holdfast.wire import control
from holdfast.wire.codec import decode_metadata
from holdfast.wire.identity import KEY_BYTES, NODE_BYTES, ConnectionIds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger
    from holdfast.testing.session import Session

# RFC 6455 section 7.4.1: for reporting only, never on the wire.
VANISHED = 1006

# As the frame decoder says it.
TOO_BIG = (1009, "the message is too big")


class Peer:
    """The client's end of one connection.

    Args:
        path: what it has asked for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self.path = path
        self.pulse = Pulse(loop)
        self.id = ""
        # Of the 101; None before it.
        self.headers: Headers | None = None
        # Instead of the 101, where the keeper itself refuses.
        self.refusal: Response | None = None
        self.inbox: deque[str | bytes] = deque()
        self.is_paused = False
        # The client has left before its handshake was answered.
        self.has_left = False
        # The worker was lost with the socket in its hand.
        self.is_lost = False
        # What it will be closed with, when what it sent before has been answered.
        self.violation: tuple[int, str] | None = None
        # Code and reason, as the client sees them.
        self.closed: tuple[int, str] | None = None
        # The close event has been handled, and the ledger has forgotten the connection.
        self.is_forgotten = False
        # Both are there from the 101 on.
        self.sockets: MemorySockets
        self.connection: Connection | None = None
        self.address_key = ""

    def __repr__(self) -> str:
        return f"<Peer {self.path} {self.connection!r}>"

    @property
    def is_answered(self) -> bool:
        """True when the handshake has come to an end, good or bad, after the socket was given."""
        return self.headers is not None or self.refusal is not None or self.is_lost

    @property
    def is_busy(self) -> bool:
        """True while something of it is not acknowledged."""
        return self.connection is not None and self.connection.mailbox.count > 0

    def send(self, data: str | bytes) -> None:
        """Send a message."""
        self.sockets.receive_message(self, data)

    def close(self, code: int, reason: str) -> None:
        """Close; or with 1006, vanish. The server answers with the same code."""
        self.sockets.receive_close(self, code, reason)

    # --- for the kit ----------------------------------------------------------------------------

    def lose(self) -> None:
        """The worker that had the socket in its hand is gone."""
        self.is_lost = True
        self.pulse.beat()


class MemorySockets:
    """All clients' ends of one keeper.

    Args:
        ids: of connections.
        on_fact: called when the ledger was told something about a client: the turn may end.
        on_left: called with the `guest` of each connection that has closed.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: KeeperLimits,
        loop: asyncio.AbstractEventLoop,
        ids: ConnectionIds,
        *,
        on_fact: Callable[[], None],
        on_left: Callable[[str], None],
    ) -> None:
        self.hits: Counter[str] = Counter()
        self.received = 0
        self._ledger = ledger
        self._limits = limits
        self._loop = loop
        self._ids = ids
        self._on_fact = on_fact
        self._on_left = on_left
        # Those that have closed, and whose close events were not handled.
        self._closing: set[Peer] = set()

    # --- facts about clients --------------------------------------------------------------------

    def receive_message(self, peer: Peer, data: str | bytes) -> None:
        assert peer.connection is not None
        if peer.violation is not None:
            return  # Nothing of it is read any more.
        size = len(data) if isinstance(data, bytes) else len(data.encode())
        if size <= self._limits.max_message:
            self._ledger.receive_message(peer.connection, data)
        else:
            self.hits["max_message"] += 1
            self._receive_violation(peer, peer.connection, *TOO_BIG)
        self._on_fact()

    def _receive_violation(
        self, peer: Peer, connection: Connection, code: int, reason: str
    ) -> None:
        if self._ledger.receive_violation(connection, code, reason):
            self._end(peer, code, reason)
        else:
            peer.violation = (code, reason)
            self._loop.call_later(self._limits.close_timeout, self._give_up_answers, connection)

    def receive_close(self, peer: Peer, code: int, reason: str) -> None:
        # What has closed, or is about to be failed, is not read; that it is gone is noticed.
        if peer.closed is None and (peer.violation is None or code == VANISHED):
            self._tell_closed(peer, code, reason)
            self._on_fact()

    def _give_up_answers(self, connection: Connection) -> None:
        """What the client sent before it broke a rule takes too long to answer."""
        if connection.socket is not None:
            self._ledger.receive_close(connection, VANISHED, "")
            self.end(connection)
            self._on_fact()

    def _tell_closed(self, peer: Peer, code: int, reason: str) -> None:
        assert peer.connection is not None
        self._ledger.receive_close(peer.connection, code, reason)
        self._end(peer, code, reason)

    def _end(self, peer: Peer, code: int, reason: str) -> None:
        assert peer.connection is not None
        peer.connection.socket = None
        peer.closed = (code, reason)
        peer.pulse.beat()
        self._closing.add(peer)
        self._on_left(peer.address_key)

    # --- keeper/ports.py:ClientSockets ----------------------------------------------------------

    def adopt(
        self,
        given: Peer,
        /,
        connection: Connection,
        response: bytes,
        leftover: bytes,
        *,
        address_key: str,
        bits: int,
    ) -> None:
        connection.socket = given
        given.sockets, given.connection, given.address_key = self, connection, address_key
        given.id = self._ids.encode(connection.serial)
        given.headers = _parse_headers(response)
        given.pulse.beat()
        if given.has_left:
            self._tell_closed(given, VANISHED, "")

    def refuse(self, given: Peer, status: int, /) -> None:
        given.refusal = Response(status=status)
        given.pulse.beat()

    def write(self, connection: Connection, data: str | bytes) -> None:
        peer: Peer | None = connection.socket
        if peer is not None:
            peer.inbox.append(data)
            peer.pulse.beat()

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        for connection in connections:
            self.write(connection, data)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Send a close frame, which the client answers at once with the same."""
        peer: Peer | None = connection.socket
        if peer is not None and peer.violation is not None:
            self.end(connection)
        elif peer is not None:
            self._tell_closed(peer, code, reason)

    def end(self, connection: Connection) -> None:
        peer: Peer | None = connection.socket
        if peer is not None and peer.violation is not None:
            self._end(peer, *peer.violation)

    def pause_reading(self, connection: Connection) -> None:
        self._pause(connection, True)

    def resume_reading(self, connection: Connection) -> None:
        self._pause(connection, False)

    def _pause(self, connection: Connection, is_paused: bool) -> None:
        peer: Peer | None = connection.socket
        if peer is not None:
            peer.is_paused = is_paused
            peer.pulse.beat()

    def flush(self) -> None:
        """Forget those whose close events were handled."""
        for peer in [peer for peer in self._closing if not peer.is_busy]:
            self._closing.discard(peer)
            peer.is_forgotten = True
            peer.pulse.beat()

    def tick(self, now: float) -> None:
        """Deadlines are the loop's."""

    def evict(self, sockets: Iterable[Any], enough: int) -> int:
        return 0  # Clients always read; nothing is held for them.


def _parse_headers(response: bytes) -> Headers:
    """Return the fields of a response's head, behind its first line."""
    lines = response.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    pairs = (line.partition(b": ") for line in lines)
    return Headers.from_raw([(name.lower(), value) for name, _, value in pairs])


class MemoryKeeper:
    """A switchboard whose clients are in memory.

    Args:
        on_waiting: called when something waits for a worker and there is none; and when it still
            does while clients do more: no supervisor tries anew by itself.
        on_dropped: called with the number of a worker that broke the contract, and why.
    """

    def __init__(
        self,
        session: Session,
        *,
        on_waiting: Callable[[], None],
        on_dropped: Callable[[int, str], None],
    ) -> None:
        self._session = session
        self._on_waiting = on_waiting
        self._on_dropped = on_dropped
        node, key = secrets.token_bytes(NODE_BYTES), secrets.token_bytes(KEY_BYTES)
        self.switchboard = Switchboard(
            KeeperLimits(max_memory=0),  # Memory is the test's.
            node,
            key,
            self._hear,
            sockets=partial(self._open_sockets, ConnectionIds(node, key)),
            shares_channels=True,
        )

    def _open_sockets(self, ids: ConnectionIds, switchboard: Switchboard) -> MemorySockets:
        return MemorySockets(
            switchboard.ledger,
            switchboard.limits,
            self._session.loop,
            ids,
            on_fact=self._end_client_turn,
            on_left=switchboard.admission.leave,
        )

    @property
    def open_connections(self) -> int:
        return sum(connection.socket is not None for connection in self.switchboard.ledger)

    @property
    def is_empty(self) -> bool:
        """True when no connection is left, and no close event."""
        return not len(self.switchboard.ledger)

    def in_flight(self) -> list[str]:
        """Return the paths of connections with something that no worker has acknowledged."""
        busy = [each for each in self.switchboard.ledger if each.mailbox.count]
        return [URL(decode_metadata(connection.about).url).pathname for connection in busy]

    def prefer(self, generation: int) -> None:
        self.switchboard.prefer(generation)
        self.switchboard.end_turn()

    def close_all(self, code: int, reason: str) -> None:
        self.switchboard.close_all(code, reason)
        self._end_client_turn()

    def tick(self, now: float) -> None:
        """The time has jumped."""
        self.switchboard.tick(now)
        self.switchboard.end_turn()

    def calm_down(self, ticks: int = CALM) -> None:
        """After a loss: let the ticks pass that the ledger waits for before it makes last attempts.

        There is one per turn of the loop, and not a few in a second.
        """
        if ticks:
            session = self._session
            self.tick(session.loop.time())
            session.loop.call_soon(self.calm_down, ticks - 1, context=session.context)

    def _end_client_turn(self) -> None:
        self.switchboard.end_turn()
        self._session.changed.beat()
        if self.switchboard.is_waited_for:
            self._on_waiting()

    def _hear(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.WorkWaits):
            self._on_waiting()
        elif isinstance(message, control.WorkerDropped):
            self._on_dropped(message.worker, message.why)
