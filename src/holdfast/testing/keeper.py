"""The keeper without sockets: the real ledger, between clients and workers in this process.

Shell. What `keeper/switchboard.py` and `keeper/sockets.py` do with descriptors, this does with
`Peer` objects: it tells the ledger what happens and runs its commands, to their end after each
fact.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.config import KeeperLimits
from holdfast.framing.handshake import encode_response
from holdfast.ledger import commands as do
from holdfast.ledger.dispatcher import CALM
from holdfast.ledger.ledger import Ledger
from holdfast.testing.session import Pulse
from holdfast.web.headers import Headers
from holdfast.web.response import Response
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.identity import ConnectionIds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from msgspec import Struct

    from holdfast.inprocess.pipe import Pipe
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.worker_pool import Worker
    from holdfast.testing.session import Session

log = logging.getLogger("holdfast.keeper")

# RFC 6455 section 7.4.1: for reporting only, never on the wire.
VANISHED = 1006

# As the frame decoder says it.
TOO_BIG = (1009, "the message is too big")

# The number of a connection, and of a channel object, begins with that of its worker.
WORKER_SHIFT = 32  # bits


class Peer:
    """The client's end of one connection: what the keeper has in the place of a socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self.path = path
        self.pulse = Pulse(loop)
        self.connection: Connection | None = None
        self.id = ""
        # Of the 101; None before it.
        self.headers: Headers | None = None
        # Instead of the 101, where the keeper itself refuses.
        self.refusal: Response | None = None
        self.inbox: deque[str | bytes] = deque()
        self.is_paused = False
        # The worker was lost with the socket in its hand.
        self.is_lost = False
        # Code and reason, as the client sees them.
        self.closed: tuple[int, str] | None = None
        # The close event has been handled, and the ledger has forgotten the connection.
        self.is_forgotten = False
        # The client has left before its handshake was answered.
        self.has_left = False

    def __repr__(self) -> str:
        return f"<Peer {self.path} {self.connection!r}>"

    @property
    def is_answered(self) -> bool:
        """True when the handshake has come to an end, good or bad, after the socket was given."""
        return self.headers is not None or self.refusal is not None or self.is_lost

    def open(self, connection: Connection, id: str, response: bytes) -> None:
        self.connection = connection
        self.id = id
        self.headers = _parse_headers(response)
        connection.socket = self
        self.pulse.beat()

    def receive(self, data: str | bytes) -> None:
        self.inbox.append(data)
        self.pulse.beat()

    def end(self, code: int, reason: str) -> None:
        assert self.connection is not None
        self.connection.socket = None
        self.closed = (code, reason)
        self.pulse.beat()


class KeeperLink:
    """What the keeper has of one worker.

    Args:
        to_worker: the way to it.
    """

    def __init__(self, worker: int, to_worker: Pipe[wire.ToWorker]) -> None:
        self.worker = worker
        self.to_worker = to_worker
        # What the ledger knows it as, once its application is loaded.
        self.ready: Worker | None = None


class Keeper:
    """Holds the connections of one TestClient.

    Args:
        on_waiting: called when something waits for a worker and there is none; and when it still
            does while clients do more.
        on_dropped: called with the number of a worker that broke the contract, and why.
    """

    def __init__(
        self,
        session: Session,
        *,
        on_waiting: Callable[[], None],
        on_dropped: Callable[[int, str], None],
    ) -> None:
        limits = KeeperLimits()
        self._max_message = limits.max_message
        self._ledger = Ledger(limits)
        node, key = os.urandom(5), os.urandom(32)
        self._welcome = wire.Welcome(wire.VERSION, node, key)
        self._ids = ConnectionIds(node, key)
        self._session = session
        self._on_waiting = on_waiting
        self._on_dropped = on_dropped
        self._links: dict[int, KeeperLink] = {}
        # Given by a worker, not adopted yet: what waits on the handover link.
        self._given: dict[int, Peer] = {}
        self._peers: set[Peer] = set()
        self._closing: set[Peer] = set()
        self._run: dict[type[do.Command], Callable[[Any], None]] = {
            do.DeliverTo: self._deliver,
            do.WriteMessage: lambda c: self._write(c.connection, c.data),
            do.WriteMany: self._write_many,
            do.PublishTo: self._publish,
            do.CloseSocket: self._close,
            do.PauseReading: lambda c: self._pause(c.connection, True),
            do.ResumeReading: lambda c: self._pause(c.connection, False),
            do.SendTo: lambda c: self._tell(c.worker, c.message),
            do.TellSupervisor: self._tell_supervisor,
            do.DropWorker: lambda c: self.drop_worker(c.worker, c.why),
            do.Quarantined: _log_quarantined,
            do.EndpointGivenUp: lambda _: None,
        }
        self._rare: dict[type[wire.FromWorker], Callable[[KeeperLink, Any], None]] = {
            wire.Hello: lambda link, _: link.to_worker.send(self._welcome),
            wire.Listen: lambda link, m: self._ledger.listen(link.worker, m.channel),
            wire.Unlisten: lambda link, m: self._ledger.unlisten(link.worker, m.channel),
            wire.Search: self._search,
            wire.LookUp: self._look_up,
            wire.Alive: self._note_alive,
            wire.Release: self._release,
        }

    # --- questions ------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        return sum(peer.closed is None for peer in self._peers)

    @property
    def is_empty(self) -> bool:
        """True when no connection is left, and no close event."""
        return not len(self._ledger) and not self._given

    def busy_peers(self) -> list[Peer]:
        """Those with something that no worker has acknowledged."""
        return [peer for peer in self._peers if _is_busy(peer)]

    @property
    def is_busy(self) -> bool:
        return bool(self._given) or any(map(_is_busy, self._peers))

    # --- facts about clients --------------------------------------------------------------------

    def give(self, serial: int, peer: Peer) -> None:
        """A worker gives a connection; its record follows over the link."""
        self._given[serial] = peer

    def receive_message(self, peer: Peer, data: str | bytes) -> None:
        assert peer.connection is not None
        size = len(data) if isinstance(data, bytes) else len(data.encode())
        if size > self._max_message:
            self._end(peer, *TOO_BIG)
        else:
            self._ledger.receive_message(peer.connection, data)
        self._end_turn(by_client=True)

    def receive_close(self, peer: Peer, code: int, reason: str) -> None:
        """The client closes; or with 1006, it has vanished. The server answers with its code."""
        if peer.closed is None:
            self._end(peer, code, reason)
            self._end_turn(by_client=True)

    # --- the supervisor's orders ----------------------------------------------------------------

    def add_worker(self, link: KeeperLink) -> None:
        self._links[link.worker] = link

    def lose_worker(self, number: int) -> None:
        """A worker's link has ended, after what it had sent before."""
        link = self._links.pop(number, None)
        if link is None:
            return
        self._ledger.link_lost(number)
        if link.ready is not None:
            self._ledger.worker_lost(link.ready)
        # Descriptors that were given without a record go down with the link.
        for serial in [serial for serial in self._given if serial >> WORKER_SHIFT == number]:
            peer = self._given.pop(serial)
            peer.is_lost = True
            peer.pulse.beat()
        self._end_turn()
        self._calm_down(CALM)

    def drop_worker(self, number: int, why: str) -> None:
        log.error("worker %d was cut off: %s", number, why)
        self._on_dropped(number, why)

    def prefer(self, generation: int) -> None:
        self._ledger.prefer(generation)
        self._end_turn()

    def close_all(self, code: int, reason: str) -> None:
        self._ledger.close_all(code, reason)
        self._end_turn(by_client=True)

    def tick(self, now: float) -> None:
        """The time has jumped."""
        self._ledger.tick()
        self._end_turn()

    def _calm_down(self, ticks: int) -> None:
        """Let so many ticks pass, one per turn of the loop instead of a few in a second.

        After a loss the ledger waits for them before it makes last attempts.
        """
        if ticks:
            self._ledger.tick()
            self._end_turn()
            again, session = ticks - 1, self._session
            session.loop.call_soon(self._calm_down, again, context=session.context)

    # --- facts about workers --------------------------------------------------------------------

    def receive(self, link: KeeperLink, messages: list[wire.FromWorker]) -> None:
        for message in messages:
            if type(message) is wire.Ack:
                if link.ready is not None:
                    self._ledger.receive_ack(link.ready, message)
            elif link.worker not in self._links:
                return
            elif type(message) is wire.Act:
                self._ledger.receive_actions(message.actions)
            elif type(message) is wire.Handover:
                self._adopt(link, message)
            elif type(message) is wire.Ready:
                self._make_ready(link, message)
            else:
                self._rare[type(message)](link, message)
            self._run_commands()
        self._end_turn()

    def _make_ready(self, link: KeeperLink, ready: wire.Ready) -> None:
        if link.ready is None:
            link.ready = self._ledger.worker_ready(link.worker, ready.generation)
        else:
            self.drop_worker(link.worker, "it became ready twice")

    def _search(self, link: KeeperLink, query: wire.Search) -> None:
        serials = self._ledger.search(query.channel, query.limit)
        link.to_worker.send(wire.SearchResult(query.query, serials))

    def _look_up(self, link: KeeperLink, query: wire.LookUp) -> None:
        found = self._ledger.look_up(query.serials)
        link.to_worker.send(wire.LookUpResult(query.query, found))

    def _note_alive(self, link: KeeperLink, _: wire.Alive) -> None:
        if link.ready is not None:
            self._ledger.receive_alive(link.ready)

    def _release(self, link: KeeperLink, release: wire.Release) -> None:
        if link.ready is not None:
            self._ledger.release(link.ready, release.connection)

    def _adopt(self, link: KeeperLink, handover: wire.Handover) -> None:
        peer = self._given.pop(handover.serial, None)
        if peer is None:
            why = "it announced a connection without giving its socket"
            self.drop_worker(link.worker, why)
            return
        try:
            response = encode_response(
                handover.key, subprotocol=handover.subprotocol, headers=handover.headers
            )
        except ValueError as error:
            self._refuse(link, handover.serial, peer, str(error))
            return
        connection = self._ledger.adopt(handover, link.ready)
        if connection is None:
            why = "its serial or its details make no sense"
            self._refuse(link, handover.serial, peer, why)
            return
        peer.open(connection, self._ids.encode(connection.serial), response)
        self._peers.add(peer)
        if handover.lost or peer.has_left:
            self._end(peer, VANISHED, "")

    def _refuse(self, link: KeeperLink, serial: int, peer: Peer, why: str) -> None:
        log.error("connection %#x from worker %d was refused: %s", serial, link.worker, why)
        link.to_worker.send(wire.Refused(serial, why))
        peer.refusal = Response(status=503)
        peer.pulse.beat()

    # --- commands -------------------------------------------------------------------------------

    def _end_turn(self, *, by_client: bool = False) -> None:
        self._run_commands()
        for peer in [peer for peer in self._closing if not _is_busy(peer)]:
            self._closing.discard(peer)
            self._peers.discard(peer)
            peer.is_forgotten = True
            peer.pulse.beat()
        self._session.changed.beat()
        if by_client and self._ledger.waiting:
            self._on_waiting()

    def _run_commands(self) -> None:
        while commands := self._ledger.take_commands():
            for command in commands:
                self._run[type(command)](command)

    def _deliver(self, command: do.DeliverTo) -> None:
        link = self._links.get(command.worker)
        if link is not None:
            link.to_worker.send_all(command.deliveries)

    def _publish(self, command: do.PublishTo) -> None:
        """Tell one worker: all of this process share the channel objects that listen."""
        action = command.publication
        workers = [worker for worker in command.workers if worker in self._links]
        if workers:
            worker = max(workers)
            # Told as if it was posted there: or the one that posted would hear itself.
            number = action.poster & ((1 << WORKER_SHIFT) - 1)
            poster = (worker << WORKER_SHIFT) + number if number else 0
            self._links[worker].to_worker.send(replace(action, poster=poster))

    def _tell(self, worker: int, message: Struct) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.to_worker.send(message)

    def _tell_supervisor(self, command: do.TellSupervisor) -> None:
        # The other thing that it may be told, that no connection is left, is asked of `is_empty`.
        if isinstance(command.message, control.WorkWaits):
            self._on_waiting()

    def _write(self, connection: Connection, data: str | bytes) -> None:
        if connection.socket is not None:
            connection.socket.receive(data)

    def _write_many(self, command: do.WriteMany) -> None:
        for connection in command.connections:
            self._write(connection, command.data)

    def _close(self, command: do.CloseSocket) -> None:
        """Send a close frame, which the client answers at once with the same."""
        peer: Peer | None = command.connection.socket
        if peer is not None:
            self._end(peer, command.code, command.reason)

    def _end(self, peer: Peer, code: int, reason: str) -> None:
        assert peer.connection is not None
        self._ledger.receive_close(peer.connection, code, reason)
        self._closing.add(peer)
        peer.end(code, reason)

    def _pause(self, connection: Connection, is_paused: bool) -> None:
        if connection.socket is not None:
            connection.socket.is_paused = is_paused
            connection.socket.pulse.beat()


def _is_busy(peer: Peer) -> bool:
    return peer.connection is not None and peer.connection.mailbox.count > 0


def _parse_headers(response: bytes) -> Headers:
    """Return the fields of a response's head, behind its first line."""
    lines = response.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    pairs = (line.partition(b": ") for line in lines)
    return Headers.from_raw([(name.lower(), value) for name, _, value in pairs])


def _log_quarantined(command: do.Quarantined) -> None:
    log.error(
        "message %d of connection %#x (%d bytes) was put aside: %d workers were lost over it",
        command.number,
        command.connection.serial,
        command.size,
        command.attempts,
    )
