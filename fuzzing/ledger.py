"""`ledger/ledger.py`: what workers may say, right or wrong, for connections there are or are not.

All that a worker says goes through the wire first, as in the keeper: what the wire lets through,
the ledger has to bear. What must hold:

- nothing raises, and what comes out are commands that can be carried out;
- the deliveries of a connection are in order, all in flight at one worker;
- an acknowledgement is either one of what is in flight, or its worker is cut off;
- the ledger knows how much each worker has in hand;
- nothing is written to a connection behind its close.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from msgspec import inspect

from fuzzing.choices import Choices
from fuzzing.messages import like, nearly
from holdfast.config import KeeperLimits
from holdfast.core.ports import Metadata
from holdfast.errors import BrokenWire
from holdfast.ledger import commands as do
from holdfast.ledger.connection import State
from holdfast.ledger.ledger import Ledger
from holdfast.ledger.worker_pool import WorkerState
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_metadata
from holdfast.wire.stream import BatchEncoder, BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.ledger.connection import Connection
    from holdfast.ledger.worker_pool import Worker

__all__ = ["fuzz"]

COMMANDS = get_args(do.Command)
ABOUT = encode_metadata(Metadata("http://localhost/", None, frozenset()))
MESSAGE = inspect.type_info(wire.FromWorker)
ACTIONS = inspect.type_info(list[wire.Action])
MOST = 200  # facts in a row


def fuzz(data: bytes) -> None:
    keeper = Keeper(Choices(data))
    for _ in range(MOST):
        if keeper.choices.is_over:
            break
        keeper.choices.pick(keeper.facts)()
    keeper.run_commands()


class Keeper:
    """Tells the ledger what the shell would, and checks what it wants done."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.ledger = Ledger(
            KeeperLimits(
                mailbox_messages=choices.number(4) + 1,
                mailbox_bytes=64,
                max_attempts=choices.number(3) + 1,
            )
        )
        self.workers: list[Worker] = []
        self.connections: list[Connection] = []
        self.by_serial: dict[int, Connection] = {}
        # By connection: worker, number and attempt of what is in flight, oldest first.
        self.in_flight: dict[int, list[tuple[int, int, int]]] = {}
        self.next_number: dict[int, int] = {}
        self.dropped: set[int] = set()
        self.closed: set[Connection] = set()
        # Those that have broken the protocol: nothing more of them is read.
        self.broken: set[Connection] = set()
        self.facts: tuple[Callable[[], None], ...] = (
            self.add_worker,
            self.receive_message,
            self.receive_message,
            self.ack_rightly,
            self.ack_rightly,
            self.adopt,
            self.run_commands,
            self.receive_close,
            self.say_anything,
            self.say_bytes,
            self.lose_worker,
            self.prefer,
            self.retire,
            self.ledger.tick,
            self.close_all,
            self.run_short_of_memory,
            self.receive_violation,
        )

    # --- facts ----------------------------------------------------------------------------------

    def add_worker(self) -> None:
        number = len(self.workers) + 1
        self.workers.append(self.ledger.worker_ready(number, self.choices.number(4)))

    def receive_message(self) -> None:
        if self.connections:
            connection = self.choices.pick(self.connections[-256:])
            data = self.choices.text() if self.choices.flag() else self.choices.chunk()
            if connection not in self.broken:
                self.ledger.receive_message(connection, data)

    def receive_close(self) -> None:
        if self.connections:
            connection = self.choices.pick(self.connections[-256:])
            self.ledger.receive_close(connection, self.choices.integer(), self.choices.text())

    def receive_violation(self) -> None:
        if self.connections:
            connection = self.choices.pick(self.connections[-256:])
            code, reason = self.choices.integer(), self.choices.text()
            if connection not in self.broken:
                self.broken.add(connection)
                # True: nothing of it waits for an answer, and it has closed.
                had_any = connection.state is State.OPEN and connection.mailbox.count
                assert self.ledger.receive_violation(connection, code, reason) == (not had_any)

    def adopt(self) -> None:
        serial, endpoint = self.choices.integer(), self.choices.pick((b"", b"endpoint"))
        self.hear(
            self.worker(),
            wire.Handover(
                serial,
                key=b"",
                subprotocol=None,
                headers=[],
                about=ABOUT,
                leftover=b"",
                actions=[],
                lost=False,
                address="",
                extensions=b"",
                endpoint=endpoint,
                closes=self.choices.flag(),
            ),
        )

    def ack_rightly(self) -> None:
        self.run_commands()
        busy = [serial for serial, flying in self.in_flight.items() if flying]
        if busy:
            serial = self.choices.pick(busy[-256:])
            flying = self.in_flight[serial]
            attempt = flying[0][2]
            count = 1 if attempt > 1 else self.choices.number(len(flying)) + 1
            worker, number, _ = flying[count - 1]
            ack = wire.Ack(serial, number, attempt, self.actions(), count)
            self.hear(self.workers[worker - 1], ack)

    def say_anything(self) -> None:
        worker, message = self.worker(), msgspec.msgpack.encode([nearly(MESSAGE, self.choices)])
        self.hear_bytes(worker, len(message).to_bytes(4, "little") + message)

    def say_bytes(self) -> None:
        body = self.choices.chunk()
        self.hear_bytes(self.worker(), len(body).to_bytes(4, "little") + body)

    def lose_worker(self) -> None:
        worker = self.worker()
        if worker is not None:
            self.run_commands()
            self.lose(worker)

    def prefer(self) -> None:
        self.ledger.prefer(self.choices.number(4))

    def retire(self) -> None:
        self.ledger.drain(self.choices.number(8))

    def close_all(self) -> None:
        self.ledger.close_all(1001, "")

    def run_short_of_memory(self) -> None:
        self.ledger.is_short_of_memory = self.choices.flag()

    # --- what workers say -----------------------------------------------------------------------

    def worker(self) -> Worker | None:
        """Return a worker, gone ones included; None for one that is not ready."""
        if self.choices.number(8) == 7 or not self.workers:
            return None
        return self.choices.pick(self.workers[-256:])

    def actions(self) -> list[wire.Action]:
        raw = msgspec.msgpack.encode(like(ACTIONS, self.choices))
        return msgspec.msgpack.decode(raw, type=list[wire.Action])

    def hear(self, worker: Worker | None, message: wire.FromWorker) -> None:
        self.hear_bytes(worker, bytes(BatchEncoder().encode([message])))

    def hear_bytes(self, worker: Worker | None, batch: bytes) -> None:
        reader: BatchReader[wire.FromWorker] = BatchReader(wire.FromWorker)
        try:
            messages = reader.receive(batch)
        except BrokenWire:
            if worker is not None:
                self.run_commands()
                self.lose(worker)
            return
        for message in messages:
            self.dispatch(worker, message)

    def dispatch(self, worker: Worker | None, message: wire.FromWorker) -> None:
        """Do as `keeper/switchboard.py:Switchboard` does."""
        number = 0 if worker is None else worker.number
        match message:
            case wire.Ack():
                if worker is not None:
                    self.receive_ack(worker, message)
            case _ if number in self.dropped:
                pass
            case wire.Act():
                self.ledger.receive_actions(message.actions)
            case wire.Handover():
                self.take_over(worker, message)
            case wire.Alive():
                if worker is not None:
                    self.ledger.receive_alive(worker)
            case _:
                self.dispatch_rare(number, worker, message)

    def dispatch_rare(self, number: int, worker: Worker | None, message: wire.FromWorker) -> None:
        match message:
            case wire.Hello() | wire.Ready():
                pass  # These the shell answers by itself, or `add_worker` plays them.
            case wire.Release():
                if worker is not None:
                    self.release(worker, message.connection)
            case wire.Listen():
                self.ledger.listen(number, message.channel)
            case wire.Unlisten():
                self.ledger.unlisten(number, message.channel)
            case wire.Search():
                serials = self.ledger.search(message.channel, message.limit)
                msgspec.msgpack.encode(wire.SearchResult(message.query, serials))
            case wire.LookUp():
                found = self.ledger.look_up(message.serials)
                msgspec.msgpack.encode(wire.LookUpResult(message.query, found))
            case _:
                raise NotImplementedError(message)

    def take_over(self, worker: Worker | None, handover: wire.Handover) -> None:
        # Commands name connections by serials, and here one may come again (in truth, never).
        self.run_commands()
        connection = self.ledger.adopt(handover, worker)
        if connection is not None:
            self.connections.append(connection)
            self.by_serial[connection.serial] = connection
            self.in_flight[connection.serial] = []
            self.next_number[connection.serial] = 1
            if handover.lost:
                self.ledger.receive_close(connection, 1006, "")

    def receive_ack(self, worker: Worker, ack: wire.Ack) -> None:
        # What is not sent yet cannot be acknowledged.
        self.run_commands()
        flying = self.in_flight.get(ack.connection, [])
        covered = flying[: ack.count] if ack.count > 0 else []
        is_right = (
            len(covered) == ack.count > 0
            and covered[-1] == (worker.number, ack.number, ack.attempt)
            and worker.number not in self.dropped
        )
        was_gone = worker.state is WorkerState.GONE
        self.ledger.receive_ack(worker, ack)
        if is_right:
            del flying[: ack.count]
            self.next_number[ack.connection] = ack.number + 1
            assert worker.state is not WorkerState.GONE
        else:
            assert worker.state is WorkerState.GONE, ack
            if not was_gone:
                self.lose(worker)

    def release(self, worker: Worker, serial: int) -> None:
        self.run_commands()
        connection = self.by_serial.get(serial)
        was_there = connection is not None and connection.worker is worker
        self.ledger.release(worker, serial)
        if worker.state is not WorkerState.GONE and was_there:
            self.in_flight[serial] = []

    def lose(self, worker: Worker) -> None:
        """Do as the shell does when a link ends; told again, it changes nothing."""
        for serial, flying in self.in_flight.items():
            if flying and flying[0][0] == worker.number:
                self.in_flight[serial] = []
        self.dropped.add(worker.number)
        self.ledger.link_lost(worker.number)
        self.ledger.worker_lost(worker)

    # --- what the ledger wants --------------------------------------------------------------------

    def run_commands(self) -> None:
        while commands := self.ledger.take_commands():
            # What is put aside comes first: a DeliverTo before it may contain what comes behind it,
            # for it is filled until the turn ends.
            for command in sorted(commands, key=lambda each: not isinstance(each, do.Quarantined)):
                assert isinstance(command, COMMANDS), command
                self.run(command)
        load = Counter(worker for flying in self.in_flight.values() for worker, _, _ in flying)
        for worker in self.workers:
            assert worker.number in self.dropped or worker.load == load[worker.number], worker

    def run(self, command: Any) -> None:
        match command:
            case do.DeliverTo():
                self.deliver(command)
            case do.Quarantined():
                assert command.number == self.next_number[command.connection.serial]
                self.next_number[command.connection.serial] += 1
            case do.DropWorker():
                assert 0 < command.worker <= len(self.workers), command
                worker = self.workers[command.worker - 1]
                if command.worker not in self.dropped:
                    self.lose(worker)
            case do.WriteMessage():
                assert command.connection not in self.closed, command
            case do.WriteMany():
                assert not self.closed.intersection(command.connections), command
            case do.CloseSocket():
                assert command.connection.state is not State.OPEN
                self.closed.add(command.connection)

    def deliver(self, command: do.DeliverTo) -> None:
        reader: BatchReader[wire.ToWorker] = BatchReader(wire.ToWorker)
        batch = bytes(BatchEncoder().encode(command.deliveries))
        assert reader.receive(batch) == command.deliveries
        worker = command.worker
        assert 0 < worker <= len(self.workers), command
        if worker in self.dropped:
            return  # nobody is there to get it; it was requeued when the worker was lost
        for each in command.deliveries:
            flying = self.in_flight[each.connection]
            if isinstance(each, wire.DeliverResume):
                # It takes the number of the last delivery, which is done with.
                assert not flying, (each, flying)
                assert 0 <= self.next_number[each.connection] - each.number <= 1, each
                self.next_number[each.connection] = each.number
            expected = self.next_number[each.connection] + len(flying)
            assert each.number == expected, (each, flying)
            assert all(one[0] == worker for one in flying), (each, flying)
            flying.append((worker, each.number, each.attempt))
