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
5. Memory is bounded: a full mailbox stops reading.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from holdfast.broadcast.subscriptions import Subscriptions
from holdfast.core.errors import UnknownDelivery
from holdfast.keeper import commands as do
from holdfast.keeper.connection import Connection, State
from holdfast.keeper.mailbox import Closed, Delivery
from holdfast.wire import messages as wire
from holdfast.wire.codec import decode_about, encode_about, is_about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Counts", "Ledger", "Limits", "Worker", "WorkerState"]

# A worker may have this many deliveries in flight more than the least busy one before a
# connection leaves it. Moving costs nothing but cache warmth, so the slack is small.
SLACK = 32

INTERNAL_ERROR = 1011


class Limits(NamedTuple):
    """See `config.py:KeeperSettings`, where the defaults have their reasons."""

    mailbox_messages: int
    mailbox_bytes: int
    max_attempts: int


class WorkerState(IntEnum):
    """ready → draining → gone; ready, with the wrong generation, gets nothing either."""

    READY = 0
    DRAINING = 1
    GONE = 2


class Worker:
    """A worker as the keeper sees it."""

    __slots__ = ("generation", "load", "number", "state")

    def __init__(self, number: int, generation: int) -> None:
        self.number = number
        self.generation = generation
        self.state = WorkerState.READY
        self.load = 0  # deliveries in flight

    def __repr__(self) -> str:
        return (
            f"<Worker {self.number} generation {self.generation} "
            f"{self.state.name.lower()} load {self.load}>"
        )


class Counts:
    """What has happened since the keeper started."""

    __slots__ = ("accepted", "deliveries", "quarantined", "redeliveries")

    def __init__(self) -> None:
        self.accepted = 0
        self.deliveries = 0
        self.redeliveries = 0
        self.quarantined = 0


class Ledger:
    """The heart of the keeper."""

    def __init__(self, limits: Limits) -> None:
        self.counts = Counts()
        self._limits = limits
        self._connections: dict[int, Connection] = {}
        self._workers: dict[int, Worker] = {}
        self._generation = 0
        # Those that may get deliveries; kept apart because it is asked for per message.
        self._serving: list[Worker] = []
        # Connections with deliveries waiting for a worker, in the order they began to wait.
        self._stalled: dict[Connection, None] = {}
        self._subscriptions: Subscriptions[Connection] = Subscriptions()
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
        }

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """Connections that have something to deliver and no worker to take it."""
        return len(self._stalled)

    def take_commands(self) -> list[do.Command]:
        """Return what follows from the facts told so far, and forget it."""
        taken = self._commands
        if taken:
            self._commands = []
        return taken

    # --- facts about clients --------------------------------------------------------------------

    def adopt(self, handover: wire.Handover, worker: int) -> Connection | None:
        """A worker gave a connection; return it, or None if the handover makes no sense.

        The caller answers the handshake before it runs the commands: they begin with what the
        upgrade listener sent.
        """
        if handover.serial in self._connections or not is_about(handover.about):
            return None
        connection = Connection(handover.serial, handover.about, self._workers.get(worker))
        self._connections[handover.serial] = connection
        self.counts.accepted += 1
        self._apply_all(handover.actions)
        if self._is_emptying:
            self._close(wire.Close(connection.serial, 1001, ""))
        return connection

    def receive_message(self, connection: Connection, data: str | bytes) -> None:
        if connection.state is State.CLOSED:
            return
        mailbox = connection.mailbox
        mailbox.put(data)
        self._pump(connection)
        if not connection.is_paused and self._is_full(connection):
            connection.is_paused = True
            self._commands.append(do.PauseReading(connection))

    def receive_close(self, connection: Connection, code: int, reason: str) -> None:
        """The socket is gone, for whatever reason; told again, it changes nothing."""
        if connection.state is State.CLOSED:
            return
        connection.state = State.CLOSED
        self._subscriptions.drop(connection)
        connection.mailbox.put(Closed(code, reason))
        self._pump(connection)

    # --- facts about workers --------------------------------------------------------------------

    def worker_ready(self, number: int, generation: int) -> None:
        """A worker has said hello. It gets deliveries when its generation is preferred."""
        worker = Worker(number, generation)
        self._workers[number] = worker
        if generation < self._generation:
            # It was started for a generation that has been replaced in the meantime.
            self._drain(worker)
        self._serve()

    def prefer(self, generation: int) -> None:
        """Deliver to this generation from now on, and drain the older ones."""
        self._generation = max(generation, self._generation)
        for worker in list(self._workers.values()):
            if worker.generation < self._generation and worker.state is WorkerState.READY:
                self._drain(worker)
        self._serve()

    def receive_ack(self, number: int, ack: wire.Ack) -> None:
        """A worker has finished a delivery: commit."""
        worker = self._workers.get(number)
        connection = self._connections.get(ack.connection)
        if worker is None:
            return
        if connection is None or connection.worker is not worker:
            self._drop(worker, f"acknowledged a message of connection {ack.connection:#x}, "
                               "which it does not have")  # fmt: skip
            return
        try:
            delivery = connection.mailbox.ack(ack.number, ack.attempt)
        except UnknownDelivery as error:
            self._drop(worker, f"acknowledged wrongly: {error}")
            return
        worker.load -= 1
        self._apply_all(ack.actions)
        if isinstance(delivery.content, Closed):
            self._forget(connection)
        else:
            self._pump(connection)
            if connection.is_paused and self._has_room(connection):
                connection.is_paused = False
                self._commands.append(do.ResumeReading(connection))
        if worker.state is WorkerState.DRAINING and not worker.load:
            self._commands.append(do.TellDrained(number))

    def receive_actions(self, actions: Iterable[wire.Action]) -> None:
        """A worker asks for something outside an event, or flushes before its end."""
        self._apply_all(actions)

    def worker_lost(self, number: int) -> None:
        """A worker's link has ended: what it had in flight is delivered again."""
        worker = self._workers.pop(number, None)
        if worker is None:
            return
        worker.state = WorkerState.GONE
        self._serving = [other for other in self._serving if other is not worker]
        # A scan, so that no message pays for keeping an index that only this needs.
        for connection in list(self._connections.values()):
            if connection.worker is worker:
                connection.worker = None
                self._redeliver(connection)

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection, now and as they come; report when none is left."""
        self._is_emptying = True
        for connection in list(self._connections.values()):
            self._close(wire.Close(connection.serial, code, reason))
        self._report_if_empty()

    # --- deliveries -----------------------------------------------------------------------------

    def _pump(self, connection: Connection) -> None:
        """Send out what can go."""
        worker = self._worker_for(connection)
        if worker is None:
            return
        while (delivery := connection.mailbox.take()) is not None:
            connection.worker = worker
            worker.load += 1
            self.counts.deliveries += 1
            message = _message(connection, delivery)
            self._commands.append(do.DeliverTo(worker.number, message))

    def _worker_for(self, connection: Connection) -> Worker | None:
        last = connection.worker
        is_serving = (
            last is not None
            and last.generation == self._generation
            and last.state is WorkerState.READY
        )
        if last is not None and connection.mailbox.is_in_flight:
            # Rule 1 and rule 3: all in flight at one worker. When that one takes nothing new, the
            # rest waits for its acknowledgements, each of which comes back here.
            return last if is_serving else None
        if is_serving and last is not None and last.load < SLACK:
            return last
        if not self._serving:
            self._stalled[connection] = None
            return None
        least = min(self._serving, key=_load)
        if is_serving and last is not None and last.load <= least.load + SLACK:
            return last
        return least

    def _redeliver(self, connection: Connection) -> None:
        self.counts.redeliveries += connection.mailbox.requeue()
        poison = connection.mailbox.abandon(self._limits.max_attempts)
        if poison is not None:
            self._quarantine(connection, poison)
        self._pump(connection)

    def _quarantine(self, connection: Connection, poison: Delivery) -> None:
        self.counts.quarantined += 1
        content, attempts = poison.content, poison.attempt - 1
        size = 0 if isinstance(content, Closed) else len(content)
        self._commands.append(do.Quarantined(connection, poison.number, size, attempts))
        if isinstance(content, Closed):
            self._forget(connection)
        else:
            self._close(wire.Close(connection.serial, INTERNAL_ERROR, ""))

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.serial]
        self._stalled.pop(connection, None)
        self._report_if_empty()

    def _report_if_empty(self) -> None:
        if self._is_emptying and not self._connections:
            self._commands.append(do.ReportEmpty())

    def _is_full(self, connection: Connection) -> bool:
        mailbox, limits = connection.mailbox, self._limits
        return len(mailbox) >= limits.mailbox_messages or mailbox.size >= limits.mailbox_bytes

    def _has_room(self, connection: Connection) -> bool:
        # Half empty, not just below full: pausing and resuming costs system calls.
        mailbox, limits = connection.mailbox, self._limits
        return (
            len(mailbox) * 2 <= limits.mailbox_messages and mailbox.size * 2 <= limits.mailbox_bytes
        )

    # --- workers --------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Find out who gets deliveries now, and let waiting connections go."""
        self._serving = [
            worker
            for worker in self._workers.values()
            if worker.state is WorkerState.READY and worker.generation == self._generation
        ]
        if self._serving:
            stalled, self._stalled = self._stalled, {}
            for connection in stalled:
                self._pump(connection)

    def _drain(self, worker: Worker) -> None:
        worker.state = WorkerState.DRAINING
        if not worker.load:
            self._commands.append(do.TellDrained(worker.number))

    def _drop(self, worker: Worker, why: str) -> None:
        self._commands.append(do.DropWorker(worker.number, why))
        self.worker_lost(worker.number)

    # --- actions --------------------------------------------------------------------------------

    def _apply_all(self, actions: Iterable[wire.Action]) -> None:
        for action in actions:
            self._apply[type(action)](action)

    def _send(self, action: wire.Send) -> None:
        connection = self._connections.get(action.connection)
        # Nothing follows a close frame (RFC 6455 section 5.5.1).
        if connection is not None and connection.state is State.OPEN:
            self._commands.append(do.WriteMessage(connection, action.data))

    def _close(self, action: wire.Close) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None and connection.state is State.OPEN:
            connection.state = State.CLOSING
            self._commands.append(do.CloseSocket(connection, action.code, action.reason))

    def _attach(self, action: wire.Attach) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            connection.attachment = action.attachment

    def _subscribe(self, action: wire.Subscribe) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None and connection.state is not State.CLOSED:
            self._subscriptions.add(action.channel, connection)
            self._note_channels(connection)

    def _unsubscribe(self, action: wire.Unsubscribe) -> None:
        connection = self._connections.get(action.connection)
        if connection is not None:
            self._subscriptions.remove(action.channel, connection)
            self._note_channels(connection)

    def _note_channels(self, connection: Connection) -> None:
        channels = frozenset(self._subscriptions.channels(connection))
        about = decode_about(connection.about)
        connection.about = encode_about(about._replace(channels=channels))

    def _publish(self, action: wire.Publish) -> None:
        members = [
            connection
            for connection in self._subscriptions.members(action.channel)
            if connection.state is State.OPEN
        ]
        if members:
            self._commands.append(do.WriteMany(members, action.data))


def _load(worker: Worker) -> int:
    return worker.load


def _message(connection: Connection, delivery: Delivery) -> wire.Deliver | wire.DeliverClose:
    content = delivery.content
    if isinstance(content, Closed):
        return wire.DeliverClose(
            connection.serial,
            delivery.number,
            delivery.attempt,
            content.code,
            content.reason,
            connection.about,
            connection.attachment,
        )
    number, attempt = delivery.number, delivery.attempt
    about, attachment = connection.about, connection.attachment
    if isinstance(content, str):
        return wire.DeliverText(connection.serial, number, attempt, content, about, attachment)
    return wire.DeliverBinary(connection.serial, number, attempt, content, about, attachment)
