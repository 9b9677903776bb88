"""Which delivery goes to which worker, and when.

Pure. The ledger tells it that a connection has something to deliver, or that workers came or went;
it takes deliveries from mailboxes and appends commands. Rules 1 and 3 to 6 of `ledger/ledger.py`
are kept here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.ledger import commands as do
from holdfast.ledger.mailbox import Closed, Resume
from holdfast.ledger.worker_pool import WorkerPool, WorkerState
from holdfast.wire import control
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.ledger.connection import Connection, Endpoint
    from holdfast.ledger.mailbox import Content
    from holdfast.ledger.worker_pool import Worker

# Ticks without the loss of a worker before last attempts are made: about a second.
CALM = 4

DRAINING = WorkerState.DRAINING


class Dispatcher:
    """Sends out what waits in mailboxes.

    Args:
        max_attempts: how often a delivery is attempted.
        commands: what has to be done is appended here.
    """

    def __init__(self, max_attempts: int, commands: list[do.Command]) -> None:
        self.staff = WorkerPool()
        self._max_attempts = max_attempts
        self._commands = commands
        # Connections with deliveries waiting for a worker, in the order they began to wait.
        self._stalled: dict[Connection, None] = {}
        # Those whose next delivery has killed workers before: at most one at a worker.
        self._suspects: dict[Connection, None] = {}
        # Ticks until last attempts are made.
        self._unrest = 0
        self._has_called = False

    @property
    def waiting(self) -> int:
        """Connections that have something to deliver and no worker to take it."""
        return len(self._stalled) + len(self._suspects)

    def tick(self) -> None:
        """Look for workers whose loops stand; to be called a few times a second."""
        self._unrest = max(self._unrest - 1, 0)
        for worker in self.staff.find_silent():
            self._commands.append(do.SendTo(worker.number, wire.Probe()))
        self.let_go()

    def be_alarmed(self) -> None:
        """A worker was lost: no last attempts for a while."""
        self._unrest = CALM

    # --- deliveries -----------------------------------------------------------------------------

    def pump(self, connection: Connection) -> None:
        """Send out what can go."""
        if connection.endpoint is not None:
            self._pump_attended(connection, connection.endpoint)
            return
        mailbox, worker = connection.mailbox, connection.worker
        if mailbox.is_last_chance(self._max_attempts):
            worker = self._choose_for_suspect(connection)
            if worker is None:
                return
            connection.worker = worker
            worker.has_suspect = True
        elif worker is None or worker.load >= worker.welcome:
            worker = self._choose_worker(connection)
            if worker is None:
                return
            connection.worker = worker
        while (taken := mailbox.take()) is not None:
            self._deliver(connection, worker, *taken)

    def _pump_attended(self, connection: Connection, endpoint: Endpoint) -> None:
        """The same for a connection that an endpoint attends: it stays where that is."""
        mailbox, worker = connection.mailbox, connection.worker
        if endpoint.is_given_up:
            return
        if worker is None:
            mailbox.put_resume()
            if mailbox.is_last_chance(self._max_attempts):
                worker = self._choose_for_suspect(connection)
            else:
                worker = self._choose_worker(connection)
            if worker is None:
                return
            connection.worker = worker
        elif worker.state is DRAINING and not endpoint.closes:
            return  # Its worker is about to let go of it.
        if mailbox.is_last_chance(self._max_attempts):
            if self._unrest or worker.has_suspect:
                self._suspects[connection] = None
                return
            worker.has_suspect = True
        while (taken := mailbox.take()) is not None:
            self._deliver(connection, worker, *taken)

    def pump_suspects(self) -> None:
        """Make the last attempts that can be made now."""
        for connection in list(self._suspects):
            if self._unrest or self.staff.choose_for_suspect() is None:
                return
            del self._suspects[connection]
            self.pump(connection)

    def let_go(self) -> None:
        """Others may get deliveries now: let waiting connections go."""
        if self.staff.serving:
            self._has_called = False
            if self._stalled:
                stalled, self._stalled = self._stalled, {}
                for connection in stalled:
                    self.pump(connection)
            self.pump_suspects()

    def call_worker(self) -> None:
        """Something waits and no worker is there to take it."""
        if not self.staff.serving and not self._has_called:
            self._has_called = True
            self._commands.append(do.TellSupervisor(control.WorkWaits()))

    def begin_deliveries(self, worker: Worker) -> list[wire.Delivery]:
        """Make the list that this turn's deliveries for a worker go into, as a command."""
        deliveries: list[wire.Delivery] = []
        worker.deliveries = deliveries
        self._commands.append(do.DeliverTo(worker.number, deliveries))
        return deliveries

    def _deliver(
        self, connection: Connection, worker: Worker, number: int, attempt: int, content: Content
    ) -> None:
        worker.load += 1
        deliveries = worker.deliveries
        if deliveries is None:
            deliveries = self.begin_deliveries(worker)
        serial, seen = connection.serial, worker.acks
        about, attachment = connection.about, connection.attachment
        delivery: wire.Delivery
        if type(content) is str:
            delivery = wire.DeliverText(serial, number, attempt, content, about, attachment, seen)
        elif type(content) is bytes:
            delivery = wire.DeliverBinary(serial, number, attempt, content, about, attachment, seen)
        elif type(content) is Closed:
            delivery = wire.DeliverClose(serial, number, attempt, *content, about, attachment, seen)
        else:
            assert type(content) is Resume
            endpoint = connection.endpoint
            assert endpoint is not None
            endpoint.resumed += 1
            delivery = wire.DeliverResume(
                serial,
                number,
                attempt,
                endpoint.record,
                endpoint.resumed,
                about,
                attachment,
                seen,
            )
        deliveries.append(delivery)

    def _choose_worker(self, connection: Connection) -> Worker | None:
        last = connection.worker
        if connection.mailbox.is_in_flight:
            # Rules 1 and 3: all in flight at one worker. When that one takes nothing new, the
            # rest waits for its acknowledgements, each of which comes back here.
            return last if last is not None and last.is_serving else None
        worker = self.staff.choose(last)
        if worker is None:
            self._stalled[connection] = None
            self.call_worker()
        return worker

    def _choose_for_suspect(self, connection: Connection) -> Worker | None:
        """Return a worker for a last attempt: one that has no other such, and only when calm."""
        worker = None if self._unrest else self.staff.choose_for_suspect()
        if worker is None:
            self._suspects[connection] = None
            self.call_worker()
        return worker
