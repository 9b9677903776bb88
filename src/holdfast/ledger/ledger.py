"""Connections, workers, what is in flight between them, and what follows from what happens.

Pure: facts in, commands out. No method awaits, reads a clock, or raises for somebody else's
misdeed; that becomes a command (`CloseSocket`, `DropWorker`).

Calling contract: call the methods for what happened, in order; then take the commands and run
them all, in order. Facts of one turn of the loop may be told together.

Rules:

1. Deliveries of a connection go out in order, all in flight at one worker; the close is last.
2. An acknowledgement is the commit point: all its actions are applied and the delivery is
   forgotten. What a lost worker had in flight goes back to the front, one attempt older.
3. Only workers of the preferred generation get deliveries. What is in flight at an older one is
   waited for first, so that no two generations ever work on one connection.
4. A delivery goes to the worker that had the connection last, unless that one is much busier
   than the least busy.
5. The last attempt at a delivery shares its worker with no other such, and waits until no worker
   has been lost for a while: so that who is in hand when somebody else's message kills a worker,
   or when all workers are killed one after the other, is not put aside for it.
6. A worker whose loop stands gets nothing new as long as another's turns.
7. Memory is bounded: a full mailbox stops reading.
8. An attended connection stays with the worker that has its endpoint, until that one lets go of it
   or is lost; then its endpoint is begun again elsewhere, before anything else is delivered.
"""

from __future__ import annotations

import sys
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from holdfast.errors import UnknownDelivery
from holdfast.framing.close_codes import GOING_AWAY, INTERNAL_ERROR, SERVICE_RESTART
from holdfast.ledger import commands as do
from holdfast.ledger.connection import Connection, Endpoint, StaggeredClose, State
from holdfast.ledger.dispatcher import Dispatcher
from holdfast.ledger.mailbox import Closed, Resume
from holdfast.ledger.pubsub import PubSub
from holdfast.ledger.worker_pool import Worker, WorkerState
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.codec import is_about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.config import KeeperLimits
    from holdfast.ledger.mailbox import Content

# Seconds between two calls of `Ledger.tick`. A worker whose loop stands is noticed after two or
# three of these. For the deadlines of connections, which are seconds long, it is exact enough.
TICK = 0.25

# Looked up once: a member of an enum costs more than a name, and these are asked for per message.
OPEN, CLOSING, CLOSED = State
READY, DRAINING, GONE = WorkerState


class Counts:
    """What has happened since the keeper started; `holdfast status` shows it."""

    __slots__ = ("accepted", "pauses", "quarantined", "redeliveries")

    def __init__(self) -> None:
        self.accepted = 0
        """Connections that were adopted."""
        self.pauses = 0
        """Times that nothing more was read from a client since its mailbox was full."""
        self.redeliveries = 0
        """Deliveries that were in flight at a worker when it was lost."""
        self.quarantined = 0
        """Messages that were put aside."""


class Ledger:
    """The heart of the keeper."""

    def __init__(self, limits: KeeperLimits) -> None:
        self.counts = Counts()
        self._limits = limits
        self._connections: dict[int, Connection] = {}
        self._commands: list[do.Command] = []
        self._dispatcher = Dispatcher(limits.max_attempts, self._commands)
        self._pump = self._dispatcher.pump
        self._staff = self._dispatcher.staff
        self.is_short_of_memory = False
        """Set by whoever measures it: nothing more is read from who has anything waiting."""
        self._pubsub = PubSub()
        # Those whose clients have broken the protocol, and have answers to come: how they end.
        self._ending: dict[Connection, Closed] = {}
        # Attended connections that close when their worker leaves, and those about to.
        self._closers = 0
        self._staggered_close = StaggeredClose(ceil(limits.close_spread / TICK))
        self._is_emptying = False
        self._apply: dict[type[wire.Action], Callable[[Any], None]] = {
            wire.SendText: self._send,
            wire.SendBinary: self._send,
            wire.Close: self._close,
            wire.Attach: self._attach,
            wire.Subscribe: self._subscribe,
            wire.Unsubscribe: self._unsubscribe,
            wire.PublishText: self._publish,
            wire.PublishBinary: self._publish,
            wire.PublishJson: self._publish,
        }

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections.values())

    @property
    def waiting(self) -> int:
        """Connections that have something to deliver and no worker to take it."""
        return self._dispatcher.waiting

    def take_commands(self) -> list[do.Command]:
        """Return what follows from the facts told so far, and forget it."""
        commands = self._commands
        taken = commands[:]
        if taken:
            commands.clear()
            self._staff.end_turn()
        return taken

    # --- facts about clients --------------------------------------------------------------------

    def adopt(self, handover: wire.Handover, worker: Worker | None) -> Connection | None:
        """A worker gave a connection; return it, or None if the handover makes no sense.

        The caller answers the handshake before it runs the commands: they begin with what the
        upgrade listener sent.
        """
        if handover.serial in self._connections or not is_about(handover.about):
            return None
        connection = Connection(handover.serial, handover.about, worker)
        self._connections[handover.serial] = connection
        self.counts.accepted += 1
        self.receive_actions(handover.actions)
        if handover.endpoint:
            connection.endpoint = Endpoint(handover.endpoint, closes=handover.closes)
            self._closers += handover.closes
            if worker is None:
                self._find_another(connection)
        if self._is_emptying:
            self._close(wire.Close(connection.serial, GOING_AWAY, ""))
        return connection

    def receive_message(self, connection: Connection, data: str | bytes) -> None:
        mailbox, worker = connection.mailbox, connection.worker
        if (
            not mailbox.count
            and worker is not None
            and worker.load < worker.welcome
            and connection.state is not CLOSED
        ):
            # By far the most common: nothing waits, and the last worker takes it.
            number = mailbox.put_and_take(data)
            worker.load += 1
            deliveries = worker.deliveries
            if deliveries is None:
                deliveries = self._dispatcher.begin_deliveries(worker)
            kind = wire.DeliverText if type(data) is str else wire.DeliverBinary
            deliveries.append(
                kind(
                    connection.serial,
                    number,
                    1,
                    data,  # type: ignore[arg-type]
                    connection.about,
                    connection.attachment,
                    worker.acks,
                )
            )
        elif connection.state is not CLOSED and not _is_given_up(connection):
            mailbox.put(data)
            self._pump(connection)
            limits = self._limits
            if (
                mailbox.count >= limits.mailbox_messages
                or mailbox.size >= limits.mailbox_bytes
                or self.is_short_of_memory
            ):
                self._pause(connection)

    def receive_close(self, connection: Connection, code: int, reason: str) -> None:
        """The socket is gone, for whatever reason; told again, it changes nothing."""
        if connection.state is CLOSED:
            return
        connection.state = CLOSED
        connection.mailbox.put(self._ending.pop(connection, Closed(code, reason)))
        if _is_given_up(connection):
            self._forget(connection)
        else:
            self._pump(connection)

    def receive_violation(self, connection: Connection, code: int, reason: str) -> bool:
        """The client has broken the protocol, and nothing more of it is read.

        What it sent before is answered first (RFC 6455 section 7.1.7 leaves that open; Autobahn
        calls anything else not strict): False says that there is something. Then `EndSocket`
        follows, or whoever has waited long enough calls `receive_close`. True: it has closed.
        """
        if connection.state is not OPEN or not connection.mailbox.count:
            self.receive_close(connection, code, reason)
            return True
        self._ending[connection] = Closed(code, reason)
        connection.is_paused = True  # so that the last acknowledgement is noticed
        return False

    # --- facts about workers --------------------------------------------------------------------

    def worker_ready(self, number: int, generation: int) -> Worker:
        """A worker has loaded its application; deliveries come when its generation is preferred."""
        worker = Worker(number, generation)
        self._staff.add(worker)
        self._pubsub.settle()
        if generation < self._staff.generation:
            # It was started for a generation that has been replaced in the meantime.
            self._drain(worker)
        self._serve()
        return worker

    def prefer(self, generation: int) -> None:
        """Deliver to this generation from now on, and drain the older ones."""
        for worker in self._staff.prefer(generation):
            self._drain(worker)
        self._serve()

    def drain(self, number: int) -> None:
        """Give this worker nothing new, and tell it when it has finished."""
        worker = self._staff.get(number)
        if worker is not None and worker.state is READY:
            self._drain(worker)
            self._serve()

    def receive_alive(self, worker: Worker) -> None:
        """A worker has answered a Probe: its loop turns."""
        worker.is_probed = False

    def tick(self) -> None:
        """Look for workers whose loops stand; to be called a few times a second."""
        self._dispatcher.tick()
        for connection in self._staggered_close.tick():
            self._close(wire.Close(connection.serial, SERVICE_RESTART, ""))

    def receive_ack(self, worker: Worker, ack: wire.Ack) -> None:
        """A worker has finished a delivery: commit."""
        connection = self._connections.get(ack.connection)
        if connection is None or connection.worker is not worker:
            self._refuse_ack(worker, f"for {ack.connection:#x}, a connection it does not have")
            return
        count = ack.count
        try:
            content = connection.mailbox.ack(ack.number, ack.attempt, count)
        except UnknownDelivery as error:
            self._refuse_ack(worker, f"wrongly: {error}")
            return
        worker.load -= count
        worker.acks += count
        for action in ack.actions:
            # By far the most common: a reply to whoever sent the message.
            if type(action) is wire.SendText and action.connection == connection.serial:
                if connection.state is OPEN:
                    self._commands.append(do.WriteMessage(connection, action.data))
            else:
                self._apply[type(action)](action)
        if connection.mailbox.count or connection.is_paused or type(content) is Closed:
            self._move_on(connection, content)
        if ack.attempt > 1 and ack.attempt >= self._limits.max_attempts:
            worker.has_suspect = False
            self._dispatcher.pump_suspects()
        if not worker.load and not worker.is_serving:
            self._tell_if_drained(worker)

    def receive_actions(self, actions: Iterable[wire.Action]) -> None:
        """A worker asks for something outside an event, or flushes before its end."""
        for action in actions:
            self._apply[type(action)](action)

    def worker_lost(self, worker: Worker) -> None:
        """A worker's link has ended: what it had in flight is delivered again."""
        if not self._staff.remove(worker):
            return
        worker.state = GONE
        if worker.load:  # else it has left in order
            self._dispatcher.be_alarmed()
        # A scan, so that no message pays for keeping an index that only this needs.
        for connection in list(self._connections.values()):
            if connection.worker is worker:
                connection.worker = None
                self._redeliver(connection)

    def release(self, worker: Worker, serial: int) -> None:
        """A worker lets go of a connection that it attends: its endpoint is begun elsewhere."""
        connection = self._connections.get(serial)
        if connection is None or connection.worker is not worker or connection.endpoint is None:
            if worker.state is not GONE:
                self._drop(worker, f"it released {serial:#x}, which it does not attend")
            return
        untouched = connection.mailbox.put_back()
        worker.load -= untouched
        if untouched and connection.mailbox.is_last_chance(self._limits.max_attempts):
            worker.has_suspect = False
            self._dispatcher.pump_suspects()
        connection.worker = None
        self._find_another(connection)
        if not worker.load and not worker.is_serving:
            self._tell_if_drained(worker)

    def listen(self, worker: int, channel: str) -> None:
        """A worker wants to hear what is published on a channel."""
        self._commands += self._pubsub.listen(worker, channel)

    def unlisten(self, worker: int, channel: str) -> None:
        self._pubsub.unlisten(worker, channel)

    def link_lost(self, worker: int) -> None:
        """Nobody can be told anything over this worker's link any more."""
        self._pubsub.unlisten_all(worker)

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection, now and as they come; report when none is left."""
        self._is_emptying = True
        for connection in list(self._connections.values()):
            self._close(wire.Close(connection.serial, code, reason))
        self._report_if_empty()

    # --- questions ------------------------------------------------------------------------------

    def search(self, channel: str | None, limit: int) -> list[int]:
        """Return the serials of at most `limit` (0: all) connections, oldest first.

        With a channel: of those subscribed to it, in the order they subscribed.
        """
        found: Iterable[Connection] = (
            self._connections.values() if channel is None else self._pubsub.members(channel)
        )
        end = limit if 0 < limit <= sys.maxsize else None  # a worker may ask nonsense
        return [connection.serial for connection in islice(found, end)]

    def look_up(self, serials: Iterable[int]) -> list[tuple[int, bytes, bytes, bool]]:
        """Return serial, details, attachment and whether it has closed, of those there are."""
        known = map(self._connections.get, serials)
        return [
            (c.serial, c.about, c.attachment, c.state is not OPEN) for c in known if c is not None
        ]

    def _refuse_ack(self, worker: Worker, why: str) -> None:
        # One that has been dropped may have had more to say in the same batch.
        if worker.state is not GONE:
            self._drop(worker, f"it acknowledged {why}")

    # --- deliveries -----------------------------------------------------------------------------

    def _move_on(self, connection: Connection, done: Content) -> None:
        if isinstance(done, Closed):
            self._forget(connection)
            return
        if connection.mailbox.count:
            self._pump(connection)
        if connection in self._ending:
            if not connection.mailbox.count:
                self._commands.append(do.EndSocket(connection))
                self.receive_close(connection, 0, "")
        elif connection.is_paused:
            self._resume_if_room(connection)

    def _redeliver(self, connection: Connection) -> None:
        mailbox = connection.mailbox
        self.counts.redeliveries += mailbox.requeue()
        poison = mailbox.abandon(self._limits.max_attempts)
        if poison is None:
            if connection.endpoint is not None:
                self._find_another(connection)
            elif mailbox.count:
                self._pump(connection)
        elif type(poison[1]) is Resume:
            attempts = self._limits.max_attempts
            self._commands.append(do.EndpointGivenUp(connection, attempts))
            self._give_up(connection)
            self._close(wire.Close(connection.serial, INTERNAL_ERROR, ""))
        else:
            self._quarantine(connection, *poison)
            self._move_on(connection, poison[1])

    def _find_another(self, connection: Connection) -> None:
        """An attended connection has no worker: another one begins its endpoint again."""
        endpoint = connection.endpoint
        assert endpoint is not None
        if endpoint.closes:
            self._give_up(connection)
            self._staggered_close.put(connection)
        else:
            self._pump(connection)

    def _give_up(self, connection: Connection) -> None:
        """Nobody will attend this connection any more; what it sends is for nobody."""
        assert connection.endpoint is not None
        connection.endpoint.is_given_up = True
        if connection.mailbox.clear():
            self._forget(connection)
        elif connection.is_paused:
            self._resume_if_room(connection)

    def _quarantine(self, connection: Connection, number: int, content: Content) -> None:
        self.counts.quarantined += 1
        attempts = self._limits.max_attempts
        self._commands.append(do.Quarantined(connection, number, len(content), attempts))
        self._close(wire.Close(connection.serial, INTERNAL_ERROR, ""))

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.serial]
        endpoint = connection.endpoint
        if endpoint is not None:
            self._closers -= endpoint.closes
        # Not before: the close event is told all channels, and may come after a last change.
        self._pubsub.drop(connection)
        self._report_if_empty()

    def _report_if_empty(self) -> None:
        if self._is_emptying and not self._connections:
            self._commands.append(do.TellSupervisor(control.Empty()))

    def _pause(self, connection: Connection) -> None:
        if not connection.is_paused:
            connection.is_paused = True
            self.counts.pauses += 1
            self._commands.append(do.PauseReading(connection))

    def _resume_if_room(self, connection: Connection) -> None:
        # Half empty, not just below full: pausing and resuming costs system calls.
        mailbox, limits = connection.mailbox, self._limits
        is_half_empty = mailbox.count * 2 <= limits.mailbox_messages
        if is_half_empty and mailbox.size * 2 <= limits.mailbox_bytes:
            connection.is_paused = False
            self._commands.append(do.ResumeReading(connection))

    # --- workers --------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Others get deliveries now: let waiting connections go."""
        self._staff.refresh()
        self._dispatcher.let_go()

    def _drain(self, worker: Worker) -> None:
        worker.state = DRAINING
        if self._closers:
            for connection in self._connections.values():
                endpoint = connection.endpoint
                if connection.worker is worker and endpoint is not None and endpoint.closes:
                    self._staggered_close.put(connection)
        self._tell_if_drained(worker)

    def _tell_if_drained(self, worker: Worker) -> None:
        if worker.state is DRAINING and not worker.load:
            self._commands.append(do.SendTo(worker.number, wire.Drained()))
            # What is published from now on may wait for another.
            self._pubsub.unlisten_all(worker.number)

    def _drop(self, worker: Worker, why: str) -> None:
        self._commands.append(do.DropWorker(worker.number, why))
        self.worker_lost(worker)

    # --- actions --------------------------------------------------------------------------------

    def _send(self, action: wire.Send) -> None:
        connection = self._connections.get(action.connection)
        # Nothing follows a close frame (RFC 6455 section 5.5.1).
        if connection is not None and connection.state is OPEN:
            self._commands.append(do.WriteMessage(connection, action.data))

    def _close(self, action: wire.Close) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None and connection.state is OPEN:
            connection.state = CLOSING
            self._commands.append(do.CloseSocket(connection, action.code, action.reason))

    def _attach(self, action: wire.Attach) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            connection.attachment = action.attachment

    def _subscribe(self, action: wire.Subscribe) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            self._pubsub.subscribe(connection, action.channel)

    def _unsubscribe(self, action: wire.Unsubscribe) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            self._pubsub.unsubscribe(connection, action.channel)

    def _publish(self, action: wire.Publish) -> None:
        self._commands += self._pubsub.publish(action)
        if self._pubsub.has_waiting:
            self._dispatcher.call_worker()


def _is_given_up(connection: Connection) -> bool:
    return connection.endpoint is not None and connection.endpoint.is_given_up
