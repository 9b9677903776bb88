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
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from holdfast.core.errors import UnknownDelivery
from holdfast.keeper import commands as do
from holdfast.keeper.connection import Connection, State
from holdfast.keeper.counts import Counts
from holdfast.keeper.exchange import Exchange
from holdfast.keeper.mailbox import Closed
from holdfast.keeper.staff import Staff
from holdfast.keeper.worker import Worker, WorkerState
from holdfast.wire import messages as wire
from holdfast.wire.codec import is_about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.config import KeeperLimits
    from holdfast.keeper.mailbox import Content

__all__ = ["Ledger"]

INTERNAL_ERROR = 1011

# Ticks without the loss of a worker before last attempts are made: about a second.
CALM = 4

# Looked up once: a member of an enum costs more than a name, and these are asked for per message.
OPEN, CLOSING, CLOSED = State
READY, DRAINING, GONE = WorkerState


class Ledger:
    """The heart of the keeper."""

    def __init__(self, limits: KeeperLimits) -> None:
        self.counts = Counts()
        self._limits = limits
        self._connections: dict[int, Connection] = {}
        self._staff = Staff()
        # Connections with deliveries waiting for a worker, in the order they began to wait.
        self._stalled: dict[Connection, None] = {}
        # Those whose next delivery has killed workers before: at most one at a worker.
        self._suspects: dict[Connection, None] = {}
        self.is_short_of_memory = False
        """Set by whoever measures it: nothing more is read from who has anything waiting."""
        # Ticks until last attempts are made.
        self._unrest = 0
        self._exchange = Exchange()
        self._has_called = False
        self._is_emptying = False
        self._commands: list[do.Command] = []
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
        return len(self._stalled) + len(self._suspects)

    def take_commands(self) -> list[do.Command]:
        """Return what follows from the facts told so far, and forget it."""
        taken = self._commands
        if taken:
            self._commands = []
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
        if self._is_emptying:
            self._close(wire.Close(connection.serial, 1001, ""))
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
                deliveries = self._begin_deliveries(worker)
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
        elif connection.state is not CLOSED:
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
        connection.mailbox.put(Closed(code, reason))
        self._pump(connection)

    # --- facts about workers --------------------------------------------------------------------

    def worker_ready(self, number: int, generation: int) -> Worker:
        """A worker has loaded its application; deliveries come when its generation is preferred."""
        worker = Worker(number, generation)
        self._staff.add(worker)
        self._exchange.settle()
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

    def retire(self, number: int) -> None:
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
        self._unrest = max(self._unrest - 1, 0)
        for worker in self._staff.find_silent():
            self._commands.append(do.Probe(worker.number))
        self._let_go()

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
            self._pump_suspects()
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
            self._unrest = CALM
        # A scan, so that no message pays for keeping an index that only this needs.
        for connection in list(self._connections.values()):
            if connection.worker is worker:
                connection.worker = None
                self._redeliver(connection)

    def listen(self, worker: int, channel: str) -> None:
        """A worker wants to hear what is published on a channel."""
        self._commands += self._exchange.listen(worker, channel)

    def unlisten(self, worker: int, channel: str) -> None:
        self._exchange.unlisten(worker, channel)

    def link_lost(self, worker: int) -> None:
        """Nobody can be told anything over this worker's link any more."""
        self._exchange.deafen(worker)

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
            self._connections.values() if channel is None else self._exchange.members(channel)
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

    def _pump(self, connection: Connection) -> None:
        """Send out what can go."""
        mailbox, worker = connection.mailbox, connection.worker
        if mailbox.is_last_chance(self._limits.max_attempts):
            self._pump_suspect(connection)
            return
        if worker is None or worker.load >= worker.welcome:
            worker = self._choose_worker(connection)
            if worker is None:
                return
            connection.worker = worker
        while (taken := mailbox.take()) is not None:
            self._deliver(connection, worker, *taken)

    def _pump_suspect(self, connection: Connection) -> None:
        """Send out a delivery for the last time, to a worker that has no other such."""
        worker = None if self._unrest else self._staff.choose_for_suspect()
        if worker is None:
            self._suspects[connection] = None
            self._call_worker()
            return
        connection.worker = worker
        worker.has_suspect = True
        taken = connection.mailbox.take()
        assert taken is not None
        self._deliver(connection, worker, *taken)

    def _pump_suspects(self) -> None:
        while self._suspects and not self._unrest and self._staff.choose_for_suspect():
            connection = next(iter(self._suspects))
            del self._suspects[connection]
            self._pump(connection)

    def _deliver(
        self, connection: Connection, worker: Worker, number: int, attempt: int, content: Content
    ) -> None:
        worker.load += 1
        deliveries = worker.deliveries
        if deliveries is None:
            deliveries = self._begin_deliveries(worker)
        serial, seen = connection.serial, worker.acks
        about, attachment = connection.about, connection.attachment
        delivery: wire.Deliver | wire.DeliverClose
        if type(content) is str:
            delivery = wire.DeliverText(serial, number, attempt, content, about, attachment, seen)
        elif type(content) is bytes:
            delivery = wire.DeliverBinary(serial, number, attempt, content, about, attachment, seen)
        else:
            assert type(content) is Closed
            delivery = wire.DeliverClose(serial, number, attempt, *content, about, attachment, seen)
        deliveries.append(delivery)

    def _begin_deliveries(self, worker: Worker) -> list[wire.Deliver | wire.DeliverClose]:
        """Make the list that this turn's deliveries for a worker go into, as a command."""
        deliveries: list[wire.Deliver | wire.DeliverClose] = []
        worker.deliveries = deliveries
        self._commands.append(do.DeliverTo(worker.number, deliveries))
        return deliveries

    def _move_on(self, connection: Connection, done: Content) -> None:
        if isinstance(done, Closed):
            self._forget(connection)
            return
        if connection.mailbox.count:
            self._pump(connection)
        if connection.is_paused:
            self._resume_if_room(connection)

    def _choose_worker(self, connection: Connection) -> Worker | None:
        last = connection.worker
        if connection.mailbox.is_in_flight:
            # Rules 1 and 3: all in flight at one worker. When that one takes nothing new, the
            # rest waits for its acknowledgements, each of which comes back here.
            return last if last is not None and last.is_serving else None
        worker = self._staff.choose(last)
        if worker is None:
            self._stalled[connection] = None
            self._call_worker()
        return worker

    def _redeliver(self, connection: Connection) -> None:
        mailbox = connection.mailbox
        self.counts.redeliveries += mailbox.requeue()
        poison = mailbox.abandon(self._limits.max_attempts)
        if poison is not None:
            self._quarantine(connection, *poison)
            self._move_on(connection, poison[1])
        elif mailbox.count:
            self._pump(connection)

    def _quarantine(self, connection: Connection, number: int, content: Content) -> None:
        self.counts.quarantined += 1
        attempts = self._limits.max_attempts
        self._commands.append(do.Quarantined(connection, number, len(content), attempts))
        self._close(wire.Close(connection.serial, INTERNAL_ERROR, ""))

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.serial]
        # Not before: the close event is told all channels, and may come after a last change.
        self._exchange.drop(connection)
        self._report_if_empty()

    def _report_if_empty(self) -> None:
        if self._is_emptying and not self._connections:
            self._commands.append(do.ReportEmpty())

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
        self._let_go()

    def _let_go(self) -> None:
        if self._staff.serving:
            self._has_called = False
            if self._stalled:
                stalled, self._stalled = self._stalled, {}
                for connection in stalled:
                    self._pump(connection)
            self._pump_suspects()

    def _call_worker(self) -> None:
        """Something waits and no worker is there to take it."""
        if not self._staff.serving and not self._has_called:
            self._has_called = True
            self._commands.append(do.CallWorker())

    def _drain(self, worker: Worker) -> None:
        worker.state = DRAINING
        self._tell_if_drained(worker)

    def _tell_if_drained(self, worker: Worker) -> None:
        if worker.state is DRAINING and not worker.load:
            self._commands.append(do.TellDrained(worker.number))
            # What is published from now on may wait for another.
            self._exchange.deafen(worker.number)

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
            self._exchange.subscribe(connection, action.channel)

    def _unsubscribe(self, action: wire.Unsubscribe) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            self._exchange.unsubscribe(connection, action.channel)

    def _publish(self, action: wire.Publish) -> None:
        self._commands += self._exchange.publish(action)
        if self._exchange.has_waiting:
            self._call_worker()
