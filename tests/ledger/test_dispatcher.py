"""Which delivery goes to which worker: mailboxes in, deliveries out.

What follows from it for connections is in `test_ledger.py`, with a model of ordinary ones; here is
one of attended ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.config import KeeperLimits
from holdfast.core.ports import Metadata
from holdfast.ledger import commands as do
from holdfast.ledger.connection import Connection, Endpoint
from holdfast.ledger.dispatcher import CALM, Dispatcher
from holdfast.ledger.ledger import Ledger
from holdfast.ledger.mailbox import Closed
from holdfast.ledger.worker_pool import SLACK, Worker, WorkerState
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_metadata

if TYPE_CHECKING:
    from holdfast.ledger.mailbox import Content

ATTEMPTS = 3
ABOUT = encode_metadata(Metadata("http://localhost/", None, frozenset()))


class Desk:
    """A dispatcher with workers of generation 1."""

    def __init__(self, *workers: int) -> None:
        self.commands: list[do.Command] = []
        self.dispatcher = Dispatcher(ATTEMPTS, self.commands)
        self.dispatcher.staff.prefer(1)
        self.workers = [self.hire(number) for number in workers]

    def hire(self, number: int) -> Worker:
        worker = Worker(number, 1)
        self.dispatcher.staff.add(worker)
        return worker

    def dismiss(self, worker: Worker, *connections: Connection) -> None:
        self.dispatcher.staff.remove(worker)
        worker.state = WorkerState.GONE
        for connection in connections:
            connection.worker = None
            connection.mailbox.requeue()
            self.dispatcher.pump(connection)

    def put(self, connection: Connection, *contents: Content) -> None:
        for content in contents:
            connection.mailbox.put(content)
        self.dispatcher.pump(connection)

    def calm_down(self) -> None:
        for _ in range(CALM):
            self.dispatcher.tick()

    def taken(self) -> list[do.Command]:
        taken = self.commands[:]
        self.commands.clear()
        self.dispatcher.staff.end_turn()
        return taken

    def delivered(self) -> list[tuple[int, wire.Delivery]]:
        return [
            (command.worker, delivery)
            for command in self.taken()
            if isinstance(command, do.DeliverTo)
            for delivery in command.deliveries
        ]


def connection_at(worker: Worker | None, serial: int = 7) -> Connection:
    return Connection(serial, ABOUT, worker)


def attended_at(worker: Worker | None, serial: int = 7) -> Connection:
    connection = connection_at(worker, serial)
    connection.endpoint = Endpoint(b"scope", closes=False)
    return connection


def test_each_content_becomes_the_delivery_it_is() -> None:
    desk = Desk(1)
    connection = attended_at(None)
    connection.attachment = b"state"
    desk.put(connection, "a", b"b", Closed(1000, "bye"))
    rest = (ABOUT, b"state", 0)
    assert desk.delivered() == [
        (1, wire.DeliverResume(7, 0, 1, b"scope", 1, *rest)),
        (1, wire.DeliverText(7, 1, 1, "a", *rest)),
        (1, wire.DeliverBinary(7, 2, 1, b"b", *rest)),
        (1, wire.DeliverClose(7, 3, 1, 1000, "bye", *rest)),
    ]


def test_deliveries_of_a_turn_are_one_command() -> None:
    desk = Desk(1)
    for serial in (7, 8):
        desk.put(connection_at(None, serial), "a")
    assert [type(each) for each in desk.taken()] == [do.DeliverTo]


def test_the_last_worker_gets_the_next_delivery_unless_it_is_much_busier() -> None:
    # The model differs: there, workers take turns, whatever each has to do, and a connection
    # keeps its own for life.
    desk = Desk(1, 2)
    first, second = desk.workers
    desk.put(connection_at(second), "a")
    first.load = second.load + SLACK + 1
    desk.put(connection_at(first, 8), "b")
    assert [number for number, _ in desk.delivered()] == [2, 2]


def test_connection_waits_for_its_drained_worker() -> None:
    desk = Desk(1, 2)
    connection = connection_at(desk.workers[0])
    desk.put(connection, "a")
    desk.taken()
    desk.workers[0].state = WorkerState.DRAINING
    desk.dispatcher.staff.refresh()
    desk.put(connection, "b")
    assert desk.taken() == []


def test_without_workers_one_is_called() -> None:
    desk = Desk()
    for serial in (7, 8):
        desk.put(connection_at(None, serial), "a")
    assert desk.taken() == [do.TellSupervisor(control.WorkWaits())]
    assert desk.dispatcher.waiting == 2
    desk.dispatcher.let_go()  # nobody has come
    assert desk.dispatcher.waiting == 2
    desk.hire(1)
    desk.dispatcher.let_go()
    assert [each.connection for _, each in desk.delivered()] == [7, 8]


def test_a_worker_is_called_again_when_it_has_come_and_gone() -> None:
    desk = Desk()
    desk.dispatcher.call_worker()
    desk.dispatcher.call_worker()
    worker = desk.hire(1)
    desk.dispatcher.let_go()
    desk.dispatcher.call_worker()
    desk.dismiss(worker)
    desk.dispatcher.call_worker()
    assert desk.taken() == [do.TellSupervisor(control.WorkWaits())] * 2


@pytest.mark.parametrize("make", [connection_at, attended_at])
def test_last_attempts_run_alone_when_calm(
    make: type[Connection],
) -> None:
    desk = Desk(1)
    connections = [make(desk.workers[0], serial) for serial in (7, 8)]  # type: ignore[call-arg,arg-type]
    for connection in connections:
        desk.put(connection, "poison")
    worker = desk.workers[0]
    for number in (2, 3):
        desk.dispatcher.be_alarmed()
        desk.dismiss(worker, *connections)
        worker = desk.hire(number)
        desk.dispatcher.let_go()
        for connection in connections:
            if connection.endpoint is not None:
                connection.mailbox.ack(0, 1)
                desk.dispatcher.pump(connection)
    desk.taken()
    for _ in range(CALM - 1):
        desk.dispatcher.tick()
    assert desk.delivered() == []
    desk.dispatcher.tick()
    ((_, last),) = desk.delivered()
    assert (last.connection, last.attempt) == (7, ATTEMPTS)
    assert desk.dispatcher.waiting == 1
    desk.dispatcher.pump_suspects()
    assert desk.delivered() == []
    worker.has_suspect = False
    desk.dispatcher.pump_suspects()
    ((_, last),) = desk.delivered()
    assert (last.connection, last.attempt) == (8, ATTEMPTS)


def test_a_last_attempt_that_nobody_can_make_calls_a_worker() -> None:
    desk = Desk(1)
    connection = connection_at(desk.workers[0])
    desk.put(connection, "poison")
    worker = desk.workers[0]
    for number in (2, 3):
        desk.dismiss(worker, connection)
        worker = desk.hire(number)
        desk.dispatcher.let_go()
    desk.taken()
    desk.dismiss(worker)
    connection.worker = None
    connection.mailbox.put_back()
    desk.dispatcher.pump(connection)
    assert desk.taken() == [do.TellSupervisor(control.WorkWaits())]


def test_the_last_attempt_of_an_endpoint_waits_for_calm_too() -> None:
    desk = Desk(1)
    connection = attended_at(None)
    desk.dispatcher.pump(connection)
    worker = desk.workers[0]
    for number in (2, 3):
        desk.dispatcher.be_alarmed()
        desk.dismiss(worker, connection)
        worker = desk.hire(number)
        desk.dispatcher.let_go()
    desk.taken()
    desk.calm_down()
    ((_, last),) = desk.delivered()
    assert isinstance(last, wire.DeliverResume)
    assert last.attempt == ATTEMPTS


def test_blocked_worker_is_probed_and_avoided() -> None:
    desk = Desk(1)
    desk.put(connection_at(desk.workers[0]), "a")
    desk.taken()
    desk.dispatcher.tick()
    assert desk.taken() == [do.SendTo(1, wire.Probe())]


def test_one_that_nobody_attends_any_more_gets_nothing() -> None:
    desk = Desk(1)
    connection = attended_at(None)
    assert connection.endpoint is not None
    connection.endpoint.is_given_up = True
    desk.put(connection, "a")
    assert desk.taken() == []


def test_closing_endpoint_is_served_while_worker_drains() -> None:
    desk = Desk(1)
    connection = attended_at(desk.workers[0])
    desk.workers[0].state = WorkerState.DRAINING
    desk.put(connection, "a")
    assert desk.taken() == []
    connection.endpoint = Endpoint(b"scope", closes=True)
    desk.put(connection, "b")
    assert [each.number for _, each in desk.delivered()] == [1, 2]


# Against a model: endpoints that are begun, released, killed and begun again.


@dataclass(eq=False)
class EndpointTask:
    """A worker, seen from outside."""

    handle: Worker
    in_hand: list[wire.Delivery] = field(default_factory=list)
    attends: set[int] = field(default_factory=set)
    is_draining: bool = False
    is_lost: bool = False


@dataclass(eq=False)
class Guest:
    """A client, and what its endpoint has received."""

    connection: Connection
    sent: list[object] = field(default_factory=list)
    received: list[object] = field(default_factory=list)  # acknowledged
    begun: int = 0
    is_gone: bool = False
    is_over: bool = False  # its close was acknowledged, or it was put aside


class EndpointMachine(RuleBasedStateMachine):
    """Each message is received once, in order, by an endpoint that was begun in that worker."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(KeeperLimits())
        self.ledger.prefer(1)
        self.generation = 1
        self.attendants: list[EndpointTask] = []
        self.guests: list[Guest] = []
        self.put_aside: list[Guest] = []

    @initialize()
    def start(self) -> None:
        self.hire()

    def there(self) -> list[EndpointTask]:
        return [each for each in self.attendants if not each.is_lost]

    @rule()
    def hire(self) -> None:
        number = len(self.attendants) + 1
        self.attendants.append(EndpointTask(self.ledger.worker_ready(number, self.generation)))
        self.run()

    @rule(data=st.data())
    def come(self, data: st.DataObject) -> None:
        there = [each for each in self.there() if not each.is_draining]
        endpoint_task = data.draw(st.sampled_from([None, *there]))
        serial = len(self.guests) + 1
        record = wire.Handover(
            serial, b"", None, [], ABOUT, b"", [], False, "", b"", b"scope", False
        )
        worker = None if endpoint_task is None else endpoint_task.handle
        connection = self.ledger.adopt(record, worker)
        assert connection is not None
        self.guests.append(Guest(connection))
        if endpoint_task is not None:
            endpoint_task.attends.add(serial)
        self.run()

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), count=st.integers(1, 20))
    def send(self, data: st.DataObject, count: int) -> None:
        address_key = data.draw(st.sampled_from(self.guests))
        if not address_key.is_gone and not address_key.connection.is_paused:
            for _ in range(count):
                text = str(len(address_key.sent))
                if not address_key.is_over:
                    address_key.sent.append(text)
                self.ledger.receive_message(address_key.connection, text)
            self.run()

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        address_key = data.draw(st.sampled_from(self.guests))
        if not address_key.is_gone:
            address_key.is_gone = True
            address_key.sent.append(Closed(1000, ""))
        self.ledger.receive_close(address_key.connection, 1000, "")
        self.run()

    @precondition(lambda self: any(each.in_hand for each in self.there()))
    @rule(data=st.data(), times=st.integers(1, 20))
    def acknowledge(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            busy = [each for each in self.there() if each.in_hand]
            if busy:
                self.finish_one(data.draw(st.sampled_from(busy)))

    def finish_one(self, endpoint_task: EndpointTask) -> None:
        done = endpoint_task.in_hand.pop(0)
        address_key = self.guests[done.connection - 1]
        if isinstance(done, wire.DeliverClose):
            address_key.is_over = True
            endpoint_task.attends.discard(done.connection)
        if not isinstance(done, wire.DeliverResume):
            address_key.received.append(content_of(done))
        ack = wire.Ack(done.connection, done.number, done.attempt, [], 1)
        self.ledger.receive_ack(endpoint_task.handle, ack)
        self.run()

    @precondition(lambda self: self.there())
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        endpoint_task = data.draw(st.sampled_from(self.there()))
        endpoint_task.is_draining = True
        self.ledger.drain(endpoint_task.handle.number)
        self.run()

    @rule()
    def prefer_the_next(self) -> None:
        self.generation += 1
        for endpoint_task in self.there():
            endpoint_task.is_draining = True
        self.ledger.prefer(self.generation)
        self.run()

    @precondition(lambda self: any(each.is_draining and each.attends for each in self.there()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        draining = [each for each in self.there() if each.is_draining and each.attends]
        endpoint_task = data.draw(st.sampled_from(draining))
        serial = data.draw(st.sampled_from(sorted(endpoint_task.attends)))
        self.let_go(endpoint_task, serial)
        self.ledger.release(endpoint_task.handle, serial)
        self.run()

    def let_go(self, endpoint_task: EndpointTask, serial: int) -> None:
        endpoint_task.attends.discard(serial)
        endpoint_task.in_hand = [
            each for each in endpoint_task.in_hand if each.connection != serial
        ]

    @precondition(lambda self: self.there())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        endpoint_task = data.draw(st.sampled_from(self.there()))
        endpoint_task.is_lost = True
        endpoint_task.attends.clear()
        endpoint_task.in_hand.clear()
        self.ledger.worker_lost(endpoint_task.handle)
        self.run()

    @rule(times=st.integers(1, CALM))
    def time_passes(self, times: int) -> None:
        for _ in range(times):
            self.ledger.tick()
            self.run()

    # What follows.

    def run(self) -> None:
        for command in self.ledger.take_commands():
            match command:
                case do.DeliverTo(number, deliveries):
                    for delivery in deliveries:
                        self.receive(self.attendants[number - 1], delivery)
                case do.EndpointGivenUp(connection, attempts) | do.Quarantined(
                    connection, _, _, attempts
                ):
                    assert attempts == ATTEMPTS
                    # It is closed with 1011; what it said last is lost, and it is said.
                    address_key = self.guests[connection.serial - 1]
                    address_key.is_over = True
                    self.put_aside.append(address_key)
                case do.DropWorker():
                    raise AssertionError(command)
                case do.SendTo(number, wire.Probe()):
                    self.ledger.receive_alive(self.attendants[number - 1].handle)
                case _:
                    pass

    def receive(self, endpoint_task: EndpointTask, delivery: wire.Delivery) -> None:
        assert not endpoint_task.is_lost
        serial = delivery.connection
        address_key = self.guests[serial - 1]
        holders = [each for each in self.there() if serial in each.attends]
        if isinstance(delivery, wire.DeliverResume):
            assert not endpoint_task.is_draining
            assert holders == []
            address_key.begun += 1
            assert delivery.resumed == address_key.begun
            endpoint_task.attends.add(serial)
        else:
            assert holders == [endpoint_task]
            assert not endpoint_task.is_draining
            waiting = [
                each
                for each in endpoint_task.in_hand
                if each.connection == serial and not isinstance(each, wire.DeliverResume)
            ]
            if address_key not in self.put_aside:
                expected = address_key.sent[len(address_key.received) + len(waiting)]
                assert content_of(delivery) == expected
        endpoint_task.in_hand.append(delivery)

    @invariant()
    def nobody_is_left_alone_while_somebody_serves(self) -> None:
        if any(not each.is_draining for each in self.there()):
            attended = {serial for each in self.there() for serial in each.attends}
            alone = [
                address_key
                for address_key in self.guests
                if not address_key.is_over and address_key.connection.serial not in attended
            ]
            assert self.ledger.waiting >= len(alone)

    def teardown(self) -> None:
        self.hire()
        for endpoint_task in self.there():
            if endpoint_task.is_draining:
                for serial in sorted(endpoint_task.attends):
                    self.let_go(endpoint_task, serial)
                    self.ledger.release(endpoint_task.handle, serial)
        for address_key in self.guests:
            if not address_key.is_gone:
                address_key.is_gone = True
                address_key.sent.append(Closed(1000, ""))
                self.ledger.receive_close(address_key.connection, 1000, "")
        self.run()
        self.time_passes(CALM)
        while busy := [each for each in self.there() if each.in_hand]:
            self.finish_one(busy[0])
        for address_key in self.guests:
            assert address_key.is_over
            if address_key not in self.put_aside:
                assert address_key.received == address_key.sent
        assert (len(self.ledger), self.ledger.waiting) == (0, 0)


def content_of(delivery: wire.Delivery) -> object:
    if isinstance(delivery, wire.DeliverClose):
        return Closed(delivery.code, delivery.reason)
    assert isinstance(delivery, wire.DeliverText)
    return delivery.data


TestEndpoints = pytest.mark.timeout(400)(EndpointMachine.TestCase)
