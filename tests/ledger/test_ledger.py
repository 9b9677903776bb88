from __future__ import annotations

import gc
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from holdfast.config import KeeperLimits
from holdfast.core.ports import Metadata
from holdfast.ledger import commands as do
from holdfast.ledger.connection import Connection
from holdfast.ledger.dispatcher import CALM
from holdfast.ledger.ledger import TICK, Ledger
from holdfast.ledger.mailbox import PIPELINE, Closed
from holdfast.ledger.worker_pool import SLACK
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.codec import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.ledger.worker_pool import Worker

from holdfast.ledger.ledger import Counts

Delivery = wire.Delivery

ABOUT = encode_metadata(Metadata("http://localhost/", None, frozenset()))


def ledger_with(*workers: int, messages: int = 64, size: int = 1000) -> tuple[Ledger, list[Worker]]:
    """Return a ledger that prefers generation 1, and workers of it with these numbers."""
    ledger = Ledger(KeeperLimits(mailbox_messages=messages, mailbox_bytes=size))
    ledger.prefer(1)
    return ledger, [ledger.worker_ready(number, 1) for number in workers]


def handover(serial: int, *actions: wire.Action, about: bytes = ABOUT) -> wire.Handover:
    return wire.Handover(
        serial,
        b"key",
        None,
        [],
        about,
        b"",
        list(actions),
        lost=False,
        address="",
        extensions=b"",
        endpoint=b"",
        closes=False,
    )


def connect(ledger: Ledger, serial: int = 7, *actions: wire.Action) -> Connection:
    return connect_at(ledger, None, serial, *actions)


def connect_at(
    ledger: Ledger, worker: Worker | None, serial: int = 7, *actions: wire.Action
) -> Connection:
    """Have a connection adopted that this worker has handed over."""
    connection = ledger.adopt(handover(serial, *actions), worker)
    assert connection is not None
    return connection


def send(ledger: Ledger, connection: Connection, *messages: str | bytes) -> None:
    for message in messages:
        ledger.receive_message(connection, message)


def ack(
    ledger: Ledger,
    worker: Worker,
    serial: int,
    number: int,
    *actions: wire.Action,
    attempt: int = 1,
    count: int = 1,
) -> None:
    ledger.receive_ack(worker, wire.Ack(serial, number, attempt, list(actions), count))


def deliveries(ledger: Ledger) -> list[tuple[int, Delivery]]:
    """Run the commands; return what is delivered, each with the number of its worker."""
    return [
        (command.worker, delivery)
        for command in ledger.take_commands()
        if isinstance(command, do.DeliverTo)
        for delivery in command.deliveries
    ]


def delivered(ledger: Ledger) -> list[tuple[int, int, int, int]]:
    """Run the commands; return worker, connection, number and attempt of what is delivered."""
    return [(w, d.connection, d.number, d.attempt) for w, d in deliveries(ledger)]


def has_dropped(ledger: Ledger, worker: Worker) -> bool:
    drops = [each for each in ledger.take_commands() if isinstance(each, do.DropWorker)]
    return [drop.worker for drop in drops] == [worker.number]


# What must not be found in an empty ledger.
KEPT = (Connection, wire.DeliverText, wire.DeliverBinary, wire.DeliverClose, Closed)


def reachable(root: object) -> list[object]:
    """Return all that an object keeps in memory."""
    found, seen = [root], {id(root)}
    for each in found:
        for held in gc.get_referents(each):
            if id(held) not in seen and not isinstance(held, type | ModuleType | FunctionType):
                seen.add(id(held))
                found.append(held)
    return found


# Adoption.


def test_upgrade_listeners_messages_come_first() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger, 7, wire.SendText(7, "welcome"), wire.SendText(7, "you are 7"))
    send(ledger, connection, "a")
    assert ledger.take_commands()[:2] == [
        do.WriteMessage(connection, "welcome"),
        do.WriteMessage(connection, "you are 7"),
    ]


def test_an_adopted_connection_is_held_and_counted() -> None:
    ledger, _ = ledger_with()
    assert len(ledger) == 0
    connect(ledger, 7)
    assert (len(ledger), ledger.counts.accepted) == (1, 1)


def test_all_connections_can_be_gone_through() -> None:
    ledger, _ = ledger_with()
    connections = [connect(ledger, 7), connect(ledger, 8)]
    assert list(ledger) == connections


def test_a_handover_of_a_serial_that_is_held_is_refused() -> None:
    ledger, _ = ledger_with()
    connect(ledger, 7)
    assert ledger.adopt(handover(7), None) is None
    assert (len(ledger), ledger.counts.accepted) == (1, 1)


def test_a_handover_with_senseless_details_is_refused() -> None:
    ledger, _ = ledger_with()
    assert (
        ledger.adopt(handover(7, wire.PublishText("room", "a", 0, 0), about=b"\xc0"), None) is None
    )
    assert (len(ledger), ledger.take_commands()) == (0, [])


def test_messages_go_first_to_the_worker_that_handed_the_connection_over() -> None:
    ledger, (_, second) = ledger_with(1, 2)
    connection = connect_at(ledger, second)
    send(ledger, connection, "a")
    assert delivered(ledger) == [(2, 7, 1, 1)]


def test_a_connection_may_come_from_a_worker_that_has_been_lost_since() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    ledger.worker_lost(worker)
    send(ledger, connect_at(ledger, worker), "a")
    assert delivered(ledger) == [(2, 7, 1, 1)]


# Deliveries.


@pytest.mark.parametrize("is_first", [True, False])
def test_a_message_is_delivered_with_all_the_state_it_needs(is_first: bool) -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect_at(ledger, None if is_first else worker, 7, wire.Attach(7, b"state"))
    send(ledger, connection, "hé")
    assert deliveries(ledger) == [(1, wire.DeliverText(7, 1, 1, "hé", ABOUT, b"state", seen=0))]
    ack(ledger, worker, 7, 1)
    send(ledger, connection, b"\xff")
    assert deliveries(ledger) == [
        (1, wire.DeliverBinary(7, 2, 1, b"\xff", ABOUT, b"state", seen=1))
    ]


def test_text_and_binary_messages_are_delivered_as_what_they_are() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger, 7), "a", b"b")
    send(ledger, connect_at(ledger, worker, 8), b"c", "d")
    kinds = [(type(delivery), delivery.number) for _, delivery in deliveries(ledger)]
    text, binary = wire.DeliverText, wire.DeliverBinary
    assert kinds == [(text, 1), (binary, 2), (binary, 1), (text, 2)]


def test_a_close_is_delivered_with_its_code_and_reason() -> None:
    ledger, _ = ledger_with(1)
    ledger.receive_close(connect(ledger), 4000, "bye")
    assert deliveries(ledger) == [(1, wire.DeliverClose(7, 1, 1, 4000, "bye", ABOUT, b"", seen=0))]


def test_deliveries_of_a_turn_are_one_command() -> None:
    ledger, _ = ledger_with(1)
    send(ledger, connect(ledger, 7), "a", "b")
    send(ledger, connect(ledger, 8), "c")
    commands = ledger.take_commands()
    assert [type(command) for command in commands] == [do.DeliverTo]


def test_commands_are_taken_once() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    assert delivered(ledger) == [(1, 7, 1, 1)]
    assert ledger.take_commands() == []
    send(ledger, connection, "b")
    assert delivered(ledger) == [(1, 7, 2, 1)]


def test_messages_of_one_connection_are_in_flight_together_at_one_worker() -> None:
    ledger, _ = ledger_with(1, 2)
    send(ledger, connect(ledger), "a", "b", "c")
    assert delivered(ledger) == [(1, 7, 1, 1), (1, 7, 2, 1), (1, 7, 3, 1)]


def test_more_than_a_few_wait_for_acknowledgements() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), *map(str, range(PIPELINE + 1)))
    assert len(delivered(ledger)) == PIPELINE
    ack(ledger, worker, 7, 1)
    assert delivered(ledger) == [(1, 7, PIPELINE + 1, 1)]


def test_the_close_comes_behind_unhandled_messages() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger)
    send(ledger, connection, "a", "b")
    ledger.receive_close(connection, 1000, "")
    ledger.worker_ready(1, 1)
    kinds = [type(delivery) for _, delivery in deliveries(ledger)]
    assert kinds == [wire.DeliverText, wire.DeliverText, wire.DeliverClose]


def test_nothing_comes_after_the_close() -> None:
    # Neither a message nor another close.
    ledger, _ = ledger_with(1)
    connection = connect(ledger)
    ledger.receive_close(connection, 1000, "")
    ledger.receive_close(connection, 1006, "")
    send(ledger, connection, "late")
    assert delivered(ledger) == [(1, 7, 1, 1)]


def test_a_connection_is_forgotten_with_the_acknowledgement_of_its_close() -> None:
    ledger, (worker,) = ledger_with(1)
    ledger.receive_close(connect(ledger), 1000, "")
    assert len(ledger) == 1
    ack(ledger, worker, 7, 1)
    assert len(ledger) == 0


def test_nothing_is_kept_of_a_forgotten_connection() -> None:
    # Neither a subscription nor its number, to know that it has been.
    serial = 0x1234_5678_9ABC
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger, serial, wire.Subscribe(serial, "room"))
    send(ledger, connection, "a")
    ledger.receive_close(connection, 1000, "")
    assert serial in reachable(ledger)
    ack(ledger, worker, serial, 1, wire.Attach(serial, b"state"))
    ack(ledger, worker, serial, 2)
    ledger.take_commands()
    kept = reachable(ledger)
    assert not [each for each in kept if isinstance(each, KEPT)]
    assert serial not in kept


def test_a_forgotten_connection_has_nothing_to_say() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    ledger.receive_close(connection, 1000, "")
    ack(ledger, worker, 7, 1)
    ledger.take_commands()
    send(ledger, connection, "late")
    ledger.receive_close(connection, 1000, "")
    assert ledger.take_commands() == []
    assert not [each for each in reachable(ledger) if isinstance(each, KEPT)]


# The commit.


def test_an_acknowledgement_applies_all_its_actions_in_order() -> None:
    ledger, (worker,) = ledger_with(1)
    one, other = connect(ledger, 7), connect(ledger, 8)
    send(ledger, one, "a")
    ledger.take_commands()
    to_other = wire.SendText(8, "y")
    ack(ledger, worker, 7, 1, wire.SendText(7, "x"), to_other, wire.SendBinary(7, b"z"))
    writes = [do.WriteMessage(one, "x"), do.WriteMessage(other, "y"), do.WriteMessage(one, b"z")]
    assert ledger.take_commands() == writes


def test_events_that_ended_in_one_turn_are_committed_together() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a", "b", "c")
    ledger.take_commands()
    ack(ledger, worker, 7, 2, wire.SendText(7, "x"), wire.SendText(7, "y"), count=2)
    assert ledger.take_commands() == [
        do.WriteMessage(connection, "x"),
        do.WriteMessage(connection, "y"),
    ]
    assert worker.load == 1
    ledger.worker_lost(worker)
    ledger.worker_ready(2, 1)
    assert delivered(ledger) == [(2, 7, 3, 2)]


def test_before_its_acknowledgement_an_event_leaves_no_trace() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    send(ledger, connect(ledger), "a")
    ledger.take_commands()
    ledger.worker_lost(worker)
    ack(ledger, worker, 7, 1, wire.SendText(7, "too late"))
    assert delivered(ledger) == [(2, 7, 1, 2)]


def test_the_next_delivery_carries_what_the_last_acknowledgement_attached() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ack(ledger, worker, 7, 1, wire.Attach(7, b"state"))
    ledger.take_commands()
    send(ledger, connection, "b")
    assert deliveries(ledger) == [(1, wire.DeliverText(7, 2, 1, "b", ABOUT, b"state", seen=1))]


def test_a_delivery_tells_how_many_acknowledgements_of_its_worker_it_knows_of() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger, 7), "a", "b")
    ack(ledger, worker, 7, 2, count=2)
    send(ledger, connect(ledger, 8), "c")
    assert [delivery.seen for _, delivery in deliveries(ledger)] == [0, 0, 2]


def test_a_redelivery_carries_the_state_as_of_now() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    send(ledger, connect(ledger), "a", "b")
    ack(ledger, worker, 7, 1, wire.Attach(7, b"state"))
    ledger.take_commands()
    ledger.worker_lost(worker)
    assert deliveries(ledger) == [(2, wire.DeliverText(7, 2, 2, "b", ABOUT, b"state", seen=0))]


def test_actions_outside_an_event_are_applied_at_once() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger)
    ledger.receive_actions([wire.SendText(7, "tick"), wire.Close(7, 1000, "bye")])
    expected = [do.WriteMessage(connection, "tick"), do.CloseSocket(connection, 1000, "bye")]
    assert ledger.take_commands() == expected


def any_action(serial: int) -> list[wire.Action]:
    return [
        wire.SendText(serial, "a"),
        wire.SendBinary(serial, b"a"),
        wire.Close(serial, 1000, ""),
        wire.Attach(serial, b"a"),
        wire.Subscribe(serial, "room"),
        wire.Unsubscribe(serial, "room"),
        wire.PublishText("room", "a", 0, 0),
        wire.PublishBinary("room", b"a", 0, 0),
        wire.PublishJson("room", "{}", 0, 0),
    ]


def test_actions_on_a_connection_that_is_not_held_do_nothing() -> None:
    # Whoever kept a handle of it. I-R3-4, I-4.10: nor are they kept until it may come.
    ledger, _ = ledger_with()
    ledger.receive_actions(any_action(0x1234_5678_9ABC))
    assert ledger.take_commands() == []
    assert 0x1234_5678_9ABC not in reachable(ledger)


def test_nothing_is_written_to_a_client_behind_its_close_frame() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger, 7, wire.Subscribe(7, "room"))
    send(ledger, connection, "a")
    ledger.receive_actions([wire.Close(7, 1000, "")])
    ledger.take_commands()
    ledger.receive_actions(any_action(7))
    ack(ledger, worker, 7, 1, *any_action(7))
    assert ledger.take_commands() == []


def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    # Not even what is published to its own channels.
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger, 7, wire.Subscribe(7, "room"))
    send(ledger, connection, "a")
    ledger.receive_close(connection, 1006, "")
    ledger.take_commands()
    ack(ledger, worker, 7, 1, *any_action(7))
    assert ledger.take_commands() == []


def test_a_client_that_is_being_closed_is_still_listened_to() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger, 7, wire.Close(7, 1000, ""))
    send(ledger, connection, "a")
    ledger.receive_close(connection, 1000, "")
    assert delivered(ledger) == [(1, 7, 1, 1), (1, 7, 2, 1)]


# Publications.


@pytest.mark.parametrize(
    ("action", "data"),
    [
        (wire.PublishText("room", "a", 0, 0), "a"),
        (wire.PublishBinary("room", b"a", 0, 0), b"a"),
        (wire.PublishJson("room", "{}", 0, 0), "{}"),
    ],
)
def test_a_publication_is_one_command_for_all_subscribers(
    action: wire.Action, data: str | bytes
) -> None:
    ledger, _ = ledger_with()
    members = [connect(ledger, serial, wire.Subscribe(serial, "room")) for serial in (3, 1, 2)]
    connect(ledger, 4, wire.Subscribe(4, "another room"))
    ledger.receive_actions([action])
    assert ledger.take_commands() == [do.WriteMany(members, data)]


def test_a_publication_reaches_who_is_subscribed_at_that_point() -> None:
    # At most once; who comes later has missed it.
    ledger, _ = ledger_with()
    connection = connect(ledger)
    publish = wire.PublishText("room", "a", 0, 0)
    subscribe, unsubscribe = wire.Subscribe(7, "room"), wire.Unsubscribe(7, "room")
    ledger.receive_actions([publish, subscribe, publish, unsubscribe, publish])
    assert ledger.take_commands() == [do.WriteMany([connection], "a")]


def test_a_publication_before_the_socket_came_leaves_the_subscription_alone() -> None:
    # The upgrade listener had subscribed when somebody posted to a channel without members.
    ledger, (worker,) = ledger_with(1)
    coming = handover(7, wire.Subscribe(7, "room"))
    ledger.receive_actions([wire.PublishText("room", "too early", 0, 0)])
    connection = ledger.adopt(coming, worker)
    assert connection is not None
    ledger.receive_actions([wire.PublishText("room", "in time", 0, 0)])
    assert ledger.take_commands() == [do.WriteMany([connection], "in time")]


def test_resubscribed_connection_is_subscribed() -> None:
    # In one event, in two, or with a publication in between.
    ledger, (worker,) = ledger_with(1)
    subscribe, unsubscribe = wire.Subscribe(7, "room"), wire.Unsubscribe(7, "room")
    publish = wire.PublishText("room", "a", 0, 0)
    connection = connect(ledger, 7, subscribe, unsubscribe, subscribe)
    send(ledger, connection, "x", "y")
    ledger.take_commands()
    ack(ledger, worker, 7, 1, unsubscribe, publish)
    assert ledger.take_commands() == []
    ack(ledger, worker, 7, 2, subscribe, publish)
    assert ledger.take_commands() == [do.WriteMany([connection], "a")]


def test_a_publication_that_nobody_hears_wakes_nobody() -> None:
    ledger, _ = ledger_with(1)
    ledger.receive_close(connect(ledger, 7, wire.Subscribe(7, "room")), 1006, "")
    connect(ledger, 8, wire.Subscribe(8, "room"), wire.Close(8, 1000, ""))
    ledger.take_commands()
    ledger.receive_actions([wire.PublishText("room", "a", 0, 0)])
    assert ledger.take_commands() == []


def test_publication_skips_connection_closed_before_it() -> None:
    # Though it was subscribed when the listener ran.
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger, 7, wire.Subscribe(7, "room"))
    send(ledger, connection, "x")
    ledger.take_commands()
    ack(ledger, worker, 7, 1, wire.Close(7, 4000, ""), wire.PublishText("room", "a", 0, 0))
    assert ledger.take_commands() == [do.CloseSocket(connection, 4000, "")]


def test_channels_know_nothing_of_each_other() -> None:
    ledger, _ = ledger_with()
    both = connect(ledger, 3, wire.Subscribe(3, "a"), wire.Subscribe(3, "b"))
    one = connect(ledger, 7, wire.Subscribe(7, "a"))
    publish = [wire.PublishText(name, f"to {name}", 0, 0) for name in "ab"]
    ledger.receive_actions(publish)
    assert ledger.take_commands() == [
        do.WriteMany([both, one], "to a"),
        do.WriteMany([both], "to b"),
    ]
    ledger.receive_actions([wire.Unsubscribe(3, "a"), *publish])
    assert ledger.take_commands() == [do.WriteMany([one], "to a"), do.WriteMany([both], "to b")]


@pytest.mark.parametrize("subscribed", ["room*", "*", "room.>", "ROOM", " room", "roo", "room\0"])
def test_a_channel_is_heard_by_its_exact_name_only(subscribed: str) -> None:
    ledger, _ = ledger_with()
    connect(ledger, 7, wire.Subscribe(7, subscribed))
    ledger.listen(1, subscribed)
    ledger.receive_actions([wire.PublishText("room", "a", 0, 0)])
    assert ledger.take_commands() == []


def test_a_publication_may_leave_out_one_connection() -> None:
    ledger, _ = ledger_with()
    one, _ = (connect(ledger, serial, wire.Subscribe(serial, "room")) for serial in (3, 7))
    ledger.receive_actions([wire.PublishText("room", "a", 0, 7)])
    assert ledger.take_commands() == [do.WriteMany([one], "a")]


def test_a_publication_reaches_the_workers_that_listen() -> None:
    # Whether their application is loaded yet or not; and the poster's worker too, which
    # knows who of its channel objects posted.
    ledger, _ = ledger_with()
    ledger.listen(2, "room")
    ledger.listen(1, "room")
    ledger.listen(3, "another room")
    connection = connect(ledger, 7, wire.Subscribe(7, "room"))
    publish = wire.PublishJson("room", "{}", 5, 0)
    ledger.receive_actions([publish])
    assert ledger.take_commands() == [
        do.WriteMany([connection], "{}"),
        do.PublishTo([2, 1], publish),
    ]


def test_a_worker_that_listens_no_more_hears_no_more() -> None:
    ledger, _ = ledger_with()
    for worker in (1, 2, 3):
        ledger.listen(worker, "room")
    ledger.unlisten(1, "room")
    ledger.unlisten(1, "a room it never listened to")
    ledger.link_lost(2)
    publish = wire.PublishText("room", "a", 0, 0)
    ledger.receive_actions([publish])
    assert ledger.take_commands() == [do.PublishTo([3], publish)]


def test_publication_without_worker_calls_one() -> None:
    ledger, (worker,) = ledger_with(1)
    ledger.listen(1, "room")
    ledger.worker_lost(worker)
    ledger.link_lost(1)
    ledger.take_commands()
    publish = wire.PublishText("room", "a", 0, 0)
    ledger.receive_actions([publish, publish])
    assert ledger.take_commands() == [do.TellSupervisor(control.WorkWaits())]
    ledger.listen(2, "room")
    assert ledger.take_commands() == [do.PublishTo([2], publish)] * 2


def test_a_worker_that_has_finished_hears_no_more() -> None:
    ledger, (worker,) = ledger_with(1)
    ledger.listen(1, "room")
    send(ledger, connect(ledger), "a")
    ledger.drain(1)
    publish = wire.PublishText("room", "a", 0, 0)
    ledger.take_commands()
    ledger.receive_actions([publish])
    assert ledger.take_commands() == [do.PublishTo([1], publish)]
    ack(ledger, worker, 7, 1)
    ledger.receive_actions([publish])
    assert ledger.take_commands() == [
        do.SendTo(1, wire.Drained()),
        do.TellSupervisor(control.WorkWaits()),
    ]


# Workers that are called, retired, or stand.


def test_a_worker_is_called_once_until_one_comes() -> None:
    ledger, _ = ledger_with()
    send(ledger, connect(ledger, 7), "a")
    send(ledger, connect(ledger, 8), "b")
    assert ledger.take_commands() == [do.TellSupervisor(control.WorkWaits())]
    worker = ledger.worker_ready(1, 1)
    assert delivered(ledger) == [(1, 7, 1, 1), (1, 8, 1, 1)]
    ledger.worker_lost(worker)
    assert do.TellSupervisor(control.WorkWaits()) in ledger.take_commands()


def test_a_retired_worker_finishes_and_gets_nothing_new() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    connection = connect_at(ledger, first)
    send(ledger, connection, "a", "b")
    ledger.take_commands()
    ledger.drain(1)
    send(ledger, connection, "c")
    assert ledger.take_commands() == []
    ack(ledger, first, 7, 2, count=2)
    assert delivered(ledger) == [(2, 7, 3, 1)]


def test_idle_worker_retires_at_once() -> None:
    ledger, _ = ledger_with(1, 2)
    ledger.drain(1)
    ledger.drain(1)
    ledger.drain(404)
    assert ledger.take_commands() == [do.SendTo(1, wire.Drained())]


def test_silent_worker_gets_nothing_new() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    connection = connect_at(ledger, first, 7)
    send(ledger, connection, "a")
    ledger.take_commands()
    ledger.tick()
    assert ledger.take_commands() == [do.SendTo(1, wire.Probe())]
    ledger.tick()
    send(ledger, connection, "b")
    send(ledger, connect_at(ledger, first, 8), "c")
    assert delivered(ledger) == [(2, 8, 1, 1)]
    ack(ledger, first, 7, 1)
    assert delivered(ledger) == [(2, 7, 2, 1)]


def test_a_worker_that_answers_is_asked_again() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    send(ledger, connect_at(ledger, worker), "a")
    ledger.take_commands()
    for _ in range(3):
        ledger.tick()
        assert ledger.take_commands() == [do.SendTo(1, wire.Probe())]
        ledger.receive_alive(worker)


# The last attempt.


def lost_twice(*serials: int) -> Ledger:
    """Return a ledger whose connections have a message each that was in hand at two crashes."""
    ledger, _ = ledger_with()
    for serial in serials:
        send(ledger, connect(ledger, serial), "a")
    for number in (101, 102):
        ledger.worker_lost(ledger.worker_ready(number, 1))
    calm_down(ledger)
    ledger.take_commands()
    return ledger


def calm_down(ledger: Ledger) -> None:
    for _ in range(CALM):
        ledger.tick()


def test_last_attempts_wait_until_no_worker_was_lost_for_a_while() -> None:
    # Whoever kills all workers, one after the other, has nothing against this message.
    ledger, _ = ledger_with()
    connection = connect(ledger)
    send(ledger, connection, "a")
    for number in range(1, 9):
        worker = ledger.worker_ready(number, 1)
        assert delivered(ledger) == ([(number, 7, 1, number)] if number < 3 else [])
        ledger.worker_lost(worker)
    ledger.worker_ready(9, 1)
    for _ in range(CALM - 1):
        ledger.tick()
        assert delivered(ledger) == []
    ledger.tick()
    assert delivered(ledger) == [(9, 7, 1, 3)]


def test_last_attempts_are_made_one_at_a_time_at_each_worker() -> None:
    ledger = lost_twice(7, 8, 9)
    assert ledger.waiting == 3
    first, second = ledger.worker_ready(1, 1), ledger.worker_ready(2, 1)
    assert delivered(ledger) == [(1, 7, 1, 3), (2, 8, 1, 3)]
    assert ledger.waiting == 1
    ack(ledger, second, 8, 1, attempt=3)
    assert delivered(ledger) == [(2, 9, 1, 3)]
    ack(ledger, first, 7, 1, attempt=3)
    assert delivered(ledger) == []


def test_neighbour_of_poison_is_not_quarantined() -> None:
    ledger = lost_twice(7, 8)
    killed = ledger.worker_ready(1, 1)
    assert delivered(ledger) == [(1, 7, 1, 3)]
    ledger.worker_lost(killed)
    quarantined = [c for c in ledger.take_commands() if isinstance(c, do.Quarantined)]
    assert [each.connection.serial for each in quarantined] == [7]
    ledger.worker_ready(2, 1)
    calm_down(ledger)
    assert (2, 8, 1, 3) in delivered(ledger)


def test_new_messages_do_not_wait_for_last_attempts() -> None:
    ledger = lost_twice(7, 8)
    ledger.worker_ready(1, 1)
    ledger.take_commands()
    send(ledger, connect(ledger, 9), "b")
    assert delivered(ledger) == [(1, 9, 1, 1)]


# Questions.


def test_connections_are_found_oldest_first() -> None:
    ledger, _ = ledger_with()
    for serial in (3, 1, 2):
        connect(ledger, serial, wire.Subscribe(serial, "room"))
    connect(ledger, 9)
    ledger.receive_actions([wire.Unsubscribe(1, "room")])
    assert ledger.search(None, 0) == [3, 1, 2, 9]
    assert ledger.search("room", 0) == [3, 2]
    assert ledger.search("another room", 0) == []


def test_as_many_connections_are_found_as_were_asked_for() -> None:
    ledger, _ = ledger_with()
    for serial in (3, 1, 2):
        connect(ledger, serial, wire.Subscribe(serial, "room"))
    assert ledger.search(None, 2) == [3, 1]
    assert ledger.search("room", 1) == [3]
    assert ledger.search(None, 4) == [3, 1, 2]
    # A worker that asks nonsense gets an answer all the same.
    for nonsense in (-1, -(2**63), 2**63, 2**64 - 1):
        assert ledger.search(None, nonsense) == [3, 1, 2]


def test_look_up_tells_the_present_state() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger, 7, wire.Subscribe(7, "room"), wire.Attach(7, b"data"))
    assert ledger.look_up([404, 7]) == [(7, connection.about, b"data", False)]
    assert decode_metadata(connection.about).channels == {"room"}


@pytest.mark.parametrize("how", ["by the application", "by the client"])
def test_a_connection_that_closes_is_found_until_its_close_was_handled(how: str) -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    if how == "by the application":
        ledger.receive_actions([wire.Close(7, 1000, "")])
    else:
        ledger.receive_close(connection, 1000, "")
    assert ledger.look_up(ledger.search(None, 0)) == [(7, connection.about, b"", True)]
    ledger.receive_close(connection, 1000, "")
    ack(ledger, worker, 7, 1)
    assert ledger.search(None, 0) == []


def channels_told(ledger: Ledger) -> list[set[str]]:
    return [set(decode_metadata(delivery.about).channels) for _, delivery in deliveries(ledger)]


def test_a_delivery_tells_the_channels_of_its_connection() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger, 7, wire.Subscribe(7, "a"), wire.Subscribe(7, "b"))
    send(ledger, connection, "x")
    ledger.receive_actions([wire.Unsubscribe(7, "a")])
    send(ledger, connection, "y")
    assert channels_told(ledger) == [{"a", "b"}, {"b"}]


def test_close_event_tells_late_channel_changes() -> None:
    # Whoever announced itself to a channel takes its leave of the same one.
    ledger, (worker,) = ledger_with(1, messages=4)
    connection = connect(ledger, 7, wire.Subscribe(7, "a"), wire.Subscribe(7, "b"))
    send(ledger, connection, *"x" * PIPELINE)
    ledger.receive_close(connection, 1006, "")
    ledger.take_commands()
    ack(ledger, worker, 7, 1, wire.Unsubscribe(7, "a"), wire.Subscribe(7, "c"))
    assert channels_told(ledger) == [{"b", "c"}]


# Wrong acknowledgements.


@pytest.mark.parametrize(
    ("serial", "number", "attempt", "why"),
    [
        (404, 1, 1, "it acknowledged for 0x194, a connection it does not have"),
        (8, 1, 1, "it acknowledged for 0x8, a connection it does not have"),
        (9, 1, 1, "it acknowledged wrongly: delivery 1, attempt 1, is not in flight"),
        (7, 2, 1, "it acknowledged wrongly: delivery 2, attempt 1, is not in flight"),
        (7, 1, 2, "it acknowledged wrongly: delivery 1, attempt 2, is not in flight"),
    ],
    ids=["unknown", "another worker's", "idle", "out of order", "attempt that never was"],
)
def test_wrong_acknowledgement_drops_the_worker(
    serial: int, number: int, attempt: int, why: str
) -> None:
    ledger, (worker, other) = ledger_with(1, 2)
    for each, holder, messages in ((7, worker, "ab"), (8, other, "ab"), (9, worker, "")):
        connection = connect_at(ledger, holder, each)
        send(ledger, connection, *messages)
    ledger.take_commands()
    ack(ledger, worker, serial, number, wire.SendText(7, "wrong"), attempt=attempt)
    drop, redelivery = ledger.take_commands()
    assert drop == do.DropWorker(1, why)
    assert isinstance(redelivery, do.DeliverTo)
    assert [(d.connection, d.number, d.attempt) for d in redelivery.deliveries] == [(7, 1, 2)]


@pytest.mark.parametrize(("number", "count"), [(2, 3), (1, 2), (1, 0), (0, -1)])
def test_excess_acknowledgement_drops_the_worker(number: int, count: int) -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a", "b")
    ack(ledger, worker, 7, number, count=count)
    assert has_dropped(ledger, worker)


def test_a_worker_that_acknowledges_twice_is_dropped() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a")
    ack(ledger, worker, 7, 1)
    ack(ledger, worker, 7, 1, wire.SendText(7, "twice"))
    assert has_dropped(ledger, worker)


def test_a_worker_that_acknowledges_a_close_twice_is_dropped() -> None:
    ledger, (worker,) = ledger_with(1)
    ledger.receive_close(connect(ledger), 1000, "")
    ack(ledger, worker, 7, 1)
    ack(ledger, worker, 7, 1)
    assert has_dropped(ledger, worker)


def test_a_dropped_worker_is_dropped_once_and_not_listened_to_any_more() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a")
    ack(ledger, worker, 7, 2)
    ack(ledger, worker, 7, 2)
    ack(ledger, worker, 7, 1, wire.SendText(7, "late"))
    ledger.worker_lost(worker)
    assert has_dropped(ledger, worker)


# Lost workers.


def test_lost_delivery_is_redelivered_with_next_attempt() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    send(ledger, connect(ledger), "a", "b")
    ledger.take_commands()
    ledger.worker_lost(worker)
    assert delivered(ledger) == [(2, 7, 1, 2)]


def test_a_redelivery_is_alone_until_it_is_acknowledged() -> None:
    ledger, (worker, other) = ledger_with(1, 2)
    connection = connect(ledger)
    send(ledger, connection, "a", "b")
    ledger.take_commands()
    ledger.worker_lost(worker)
    send(ledger, connection, "c", "d")
    assert delivered(ledger) == [(2, 7, 1, 2)]
    ack(ledger, other, 7, 1, attempt=2)
    assert delivered(ledger) == [(2, 7, 2, 2)]
    ack(ledger, other, 7, 2, attempt=2)
    assert delivered(ledger) == [(2, 7, 3, 1), (2, 7, 4, 1)]


def test_close_comes_once_after_redelivery() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ledger.worker_lost(first)
    ledger.take_commands()
    ledger.receive_close(connection, 1006, "")
    assert delivered(ledger) == []
    ack(ledger, second, 7, 1, attempt=2)
    assert deliveries(ledger) == [(2, wire.DeliverClose(7, 2, 1, 1006, "", ABOUT, b"", seen=1))]
    ack(ledger, second, 7, 2)
    assert (len(ledger), ledger.take_commands()) == (0, [])


def test_without_a_worker_deliveries_wait_for_the_next() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ledger.take_commands()
    ledger.worker_lost(worker)
    send(ledger, connection, "b")
    assert (delivered(ledger), ledger.waiting) == ([], 1)
    ledger.worker_ready(2, 1)
    assert (delivered(ledger), ledger.waiting) == ([(2, 7, 1, 2)], 0)


def test_waiting_connections_go_in_order() -> None:
    ledger, _ = ledger_with()
    for connection in [connect(ledger, serial) for serial in (9, 7, 8)]:
        send(ledger, connection, "a")
    ledger.worker_ready(1, 1)
    assert [serial for _, serial, _, _ in delivered(ledger)] == [9, 7, 8]


def test_a_connection_without_anything_to_deliver_does_not_wait_for_a_worker() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a")
    ack(ledger, worker, 7, 1)
    ledger.worker_lost(worker)
    assert ledger.waiting == 0


def test_losing_a_worker_touches_no_connection_of_another() -> None:
    ledger, (worker, other) = ledger_with(1, 2)
    connection = connect_at(ledger, other)
    send(ledger, connection, "a")
    ledger.take_commands()
    ledger.worker_lost(worker)
    assert ledger.take_commands() == []
    ack(ledger, other, 7, 1)
    assert ledger.take_commands() == []


def test_a_worker_is_lost_once() -> None:
    ledger, (worker, other) = ledger_with(1, 2)
    send(ledger, connect(ledger), "a")
    ledger.worker_lost(worker)
    ledger.take_commands()
    ledger.worker_lost(worker)
    assert ledger.take_commands() == []
    ack(ledger, other, 7, 1, attempt=2)
    assert ledger.take_commands() == []


def test_a_worker_may_be_lost_in_the_turn_of_its_delivery() -> None:
    ledger, (worker, _) = ledger_with(1, 2)
    send(ledger, connect(ledger), "a")
    ledger.worker_lost(worker)
    assert delivered(ledger) == [(1, 7, 1, 1), (2, 7, 1, 2)]


def test_redeliveries_are_counted() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a", "b")
    ledger.worker_lost(worker)
    assert ledger.counts.redeliveries == 2


# Poison.


def lose_workers(ledger: Ledger, count: int) -> list[do.Command]:
    """Lose worker after worker; return what follows from the loss of the last one."""
    for number in range(100, 100 + count):
        worker = ledger.worker_ready(number, 1)
        calm_down(ledger)
        ledger.take_commands()
        ledger.worker_lost(worker)
    return ledger.take_commands()


def test_message_is_quarantined_after_three_deaths() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger)
    send(ledger, connection, "poison")
    assert lose_workers(ledger, 3) == [
        do.Quarantined(connection, number=1, size=6, attempts=3),
        do.CloseSocket(connection, 1011, ""),
    ]
    assert ledger.counts.quarantined == 1


def test_what_came_behind_a_poison_is_delivered() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger)
    send(ledger, connection, "poison", "b")
    lose_workers(ledger, 3)
    ledger.receive_close(connection, 1011, "")
    worker = ledger.worker_ready(1, 1)
    assert delivered(ledger) == [(1, 7, 2, 2)]
    ack(ledger, worker, 7, 2, attempt=2)
    assert [type(delivery) for _, delivery in deliveries(ledger)] == [wire.DeliverClose]


def test_a_poisonous_close_is_put_aside_and_its_connection_forgotten() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger, 7, wire.Subscribe(7, "room"))
    ledger.receive_close(connection, 1006, "")
    (quarantined,) = lose_workers(ledger, 3)
    assert isinstance(quarantined, do.Quarantined)
    assert (len(ledger), ledger.waiting) == (0, 0)


def test_a_connection_that_is_closing_is_not_closed_again_for_a_poison() -> None:
    ledger, _ = ledger_with()
    connection = connect(ledger)
    send(ledger, connection, "poison")
    ledger.receive_actions([wire.Close(7, 1000, "")])
    (quarantined,) = lose_workers(ledger, 3)
    assert isinstance(quarantined, do.Quarantined)


def test_quarantine_resumes_a_paused_client() -> None:
    # Its answer to the close frame is still to come.
    ledger, _ = ledger_with(messages=1)
    connection = connect(ledger)
    send(ledger, connection, "poison")
    assert lose_workers(ledger, 3)[-1] == do.ResumeReading(connection)


# Generations.


def test_a_worker_gets_nothing_before_its_generation_is_preferred() -> None:
    ledger, _ = ledger_with()
    send(ledger, connect(ledger), "a")
    ledger.worker_ready(1, 2)
    assert delivered(ledger) == []
    ledger.prefer(2)
    assert delivered(ledger) == [(1, 7, 1, 1)]


def test_a_generation_may_be_preferred_before_it_has_a_worker() -> None:
    ledger, _ = ledger_with(1)
    ledger.prefer(2)
    send(ledger, connect(ledger), "a")
    assert delivered(ledger) == []
    ledger.worker_ready(2, 2)
    assert delivered(ledger) == [(2, 7, 1, 1)]


def test_an_older_generation_is_drained_when_nothing_is_in_flight() -> None:
    ledger, _ = ledger_with(1, 2)
    ledger.prefer(2)
    assert ledger.take_commands() == [do.SendTo(1, wire.Drained()), do.SendTo(2, wire.Drained())]


def test_drained_generation_finishes_its_deliveries() -> None:
    ledger, (old,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a", "b")
    ledger.worker_ready(2, 2)
    ledger.take_commands()
    ledger.prefer(2)
    send(ledger, connection, "c")
    ack(ledger, old, 7, 1)
    assert ledger.take_commands() == []
    ack(ledger, old, 7, 2)
    deliver, drained = ledger.take_commands()
    assert isinstance(deliver, do.DeliverTo)
    assert (deliver.worker, drained) == (2, do.SendTo(1, wire.Drained()))


def test_prefer_stops_deliveries_to_older_generation() -> None:
    ledger, (old, _) = ledger_with(1, 2)
    at_rest, other = connect_at(ledger, old, 7), connect_at(ledger, old, 8)
    busy = occupy(ledger, old, SLACK)
    send(ledger, other, "a")
    ledger.prefer(2)
    ledger.take_commands()
    finish(ledger, busy)
    send(ledger, at_rest, "b")
    assert delivered(ledger) == []


def test_a_connection_at_rest_moves_to_the_new_generation_at_once() -> None:
    ledger, (old,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ack(ledger, old, 7, 1)
    ledger.worker_ready(2, 2)
    ledger.prefer(2)
    ledger.take_commands()
    send(ledger, connection, "b")
    assert delivered(ledger) == [(2, 7, 2, 1)]


def test_a_message_for_a_drained_worker_waits_until_the_new_generation_is_there() -> None:
    ledger, (old,) = ledger_with(1)
    send(ledger, connect(ledger), *"x" * (PIPELINE + 1))
    ledger.prefer(2)
    for number in range(1, PIPELINE + 1):
        ack(ledger, old, 7, number)
    assert ledger.take_commands()[-1] == do.SendTo(1, wire.Drained())
    assert ledger.waiting == 1
    ledger.worker_ready(2, 2)
    assert delivered(ledger) == [(2, 7, PIPELINE + 1, 1)]


def test_draining_workers_losses_go_to_new_generation() -> None:
    ledger, (old,) = ledger_with(1)
    send(ledger, connect(ledger), "a")
    ledger.worker_ready(2, 2)
    ledger.prefer(2)
    ledger.take_commands()
    ledger.worker_lost(old)
    assert delivered(ledger) == [(2, 7, 1, 2)]


def test_worker_of_old_generation_is_drained() -> None:
    ledger, _ = ledger_with()
    ledger.prefer(2)
    send(ledger, connect(ledger), "a")
    ledger.worker_ready(1, 1)
    assert ledger.take_commands() == [
        do.TellSupervisor(control.WorkWaits()),
        do.SendTo(1, wire.Drained()),
    ]


def test_there_is_no_way_back_to_an_older_generation() -> None:
    ledger, _ = ledger_with(1)
    ledger.prefer(2)
    ledger.prefer(1)
    ledger.worker_ready(2, 1)
    ledger.worker_ready(3, 2)
    send(ledger, connect(ledger), "a")
    assert delivered(ledger) == [(3, 7, 1, 1)]


def test_preferring_the_same_generation_again_changes_nothing() -> None:
    ledger, _ = ledger_with(1)
    ledger.prefer(2)
    ledger.take_commands()
    ledger.prefer(2)
    assert ledger.take_commands() == []


# The choice of a worker.


def occupy(ledger: Ledger, worker: Worker, load: int) -> list[Connection]:
    """Have this many deliveries in flight at the worker, of connections that are returned."""
    busy = []
    for done in range(0, load, PIPELINE):
        busy.append(connect_at(ledger, worker, 1000 + len(ledger)))
        send(ledger, busy[-1], *"x" * min(PIPELINE, load - done))
    ledger.take_commands()
    return busy


def finish(ledger: Ledger, busy: list[Connection]) -> None:
    for connection in busy:
        count = connection.mailbox.count
        assert connection.worker is not None
        ack(ledger, connection.worker, connection.serial, count, count=count)


def test_idle_workers_share_the_connections_that_move_to_them() -> None:
    ledger, workers = ledger_with(1, 2)
    for serial in range(4):
        send(ledger, connect(ledger, serial), "a")
        (worker, _, _, _), *_ = delivered(ledger)
        assert worker == 1 + serial % 2
        ack(ledger, workers[worker - 1], serial, 1)


def test_a_connection_stays_with_its_worker() -> None:
    ledger, (_, second) = ledger_with(1, 2)
    connection = connect_at(ledger, second)
    for number in range(1, 4):
        send(ledger, connection, "a")
        assert delivered(ledger) == [(2, 7, number, 1)]
        ack(ledger, second, 7, number)


def test_a_connection_without_a_worker_goes_to_the_least_busy() -> None:
    ledger, (first, *_) = ledger_with(1, 2)
    occupy(ledger, first, 1)
    send(ledger, connect(ledger), "a")
    assert delivered(ledger) == [(2, 7, 1, 1)]


@pytest.mark.parametrize(
    ("load", "least", "goes_to"), [(SLACK, 0, 1), (SLACK + 1, 0, 2), (SLACK + 1, 1, 1)]
)
def test_a_connection_leaves_a_worker_that_is_much_busier(
    load: int, least: int, goes_to: int
) -> None:
    ledger, (first, second) = ledger_with(1, 2)
    connection = connect_at(ledger, first)
    occupy(ledger, first, load)
    occupy(ledger, second, least)
    send(ledger, connection, "a")
    assert delivered(ledger) == [(goes_to, 7, 1, 1)]


def test_a_busy_time_does_not_change_how_much_busier_a_worker_may_be() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    connection = connect_at(ledger, first)
    finish(ledger, [*occupy(ledger, first, 200), *occupy(ledger, second, 200)])
    occupy(ledger, first, SLACK + 1)
    send(ledger, connection, "a")
    assert delivered(ledger) == [(2, 7, 1, 1)]


def test_connection_in_flight_keeps_its_worker() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    connection = connect_at(ledger, first)
    send(ledger, connection, "a")
    occupy(ledger, first, SLACK)
    send(ledger, connection, "b")
    assert delivered(ledger) == [(1, 7, 2, 1)]


def test_what_is_finished_is_no_load() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    occupy(ledger, second, 1)
    for serial in range(7, 7 + SLACK):
        connection = connect_at(ledger, first, serial)
        send(ledger, connection, "a")
        ack(ledger, first, serial, 1)
    assert (first.load, second.load) == (0, 1)


# Backpressure.


def test_a_full_mailbox_stops_reading_once() -> None:
    ledger, _ = ledger_with(messages=2)
    connection = connect(ledger)
    send(ledger, connection, "a")
    assert ledger.take_commands() == [do.TellSupervisor(control.WorkWaits())]
    send(ledger, connection, "b", "c")
    assert ledger.take_commands() == [do.PauseReading(connection)]


def test_a_mailbox_is_full_of_bytes_too() -> None:
    ledger, _ = ledger_with(size=10)
    connection = connect(ledger)
    send(ledger, connection, b"x" * 9)
    assert ledger.take_commands() == [do.TellSupervisor(control.WorkWaits())]
    send(ledger, connection, b"x")
    assert ledger.take_commands() == [do.PauseReading(connection)]


def paused(**limits: int) -> tuple[Ledger, Worker, Connection]:
    """Return a ledger, its worker and a connection with four messages of ten bytes in flight."""
    ledger, (worker,) = ledger_with(1, **limits)
    connection = connect(ledger)
    send(ledger, connection, *[b"x" * 10] * 4)
    assert do.PauseReading(connection) in ledger.take_commands()
    return ledger, worker, connection


@pytest.mark.parametrize("limits", [{"messages": 4}, {"size": 40}])
def test_reading_goes_on_when_the_mailbox_is_half_empty(limits: dict[str, int]) -> None:
    ledger, worker, connection = paused(**limits)
    ack(ledger, worker, 7, 1)
    assert ledger.take_commands() == []
    ack(ledger, worker, 7, 2)
    assert ledger.take_commands() == [do.ResumeReading(connection)]
    ack(ledger, worker, 7, 3)
    assert ledger.take_commands() == []


@pytest.mark.parametrize("messages", [["x" * 1000], ["x" * 500] * 2])
def test_reading_goes_on_when_all_that_filled_the_mailbox_is_done(messages: list[str]) -> None:
    ledger, _ = ledger_with(size=1000)
    connection = connect(ledger)
    send(ledger, connection, *messages)
    worker = ledger.worker_ready(1, 1)
    ledger.take_commands()
    ack(ledger, worker, 7, len(messages), count=len(messages))
    assert ledger.take_commands() == [do.ResumeReading(connection)]


def test_a_full_mailbox_takes_the_close() -> None:
    ledger, worker, connection = paused(messages=4)
    ledger.receive_close(connection, 1006, "")
    assert delivered(ledger) == [(1, 7, 5, 1)]
    for number in range(1, 6):
        ack(ledger, worker, 7, number)
    assert len(ledger) == 0


def test_a_forgotten_connection_is_not_read_from_again() -> None:
    ledger, _ = ledger_with(messages=1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ledger.receive_close(connection, 1006, "")
    worker = ledger.worker_ready(1, 1)
    ledger.take_commands()
    ack(ledger, worker, 7, 2, count=2)
    assert ledger.take_commands() == []


# The end.


def test_close_all_closes_every_connection_that_is_open() -> None:
    ledger, _ = ledger_with()
    one, two = connect(ledger, 1), connect(ledger, 2)
    connect(ledger, 3, wire.Close(3, 1000, ""))
    ledger.take_commands()
    ledger.close_all(1001, "bye")
    expected = [do.CloseSocket(one, 1001, "bye"), do.CloseSocket(two, 1001, "bye")]
    assert ledger.take_commands() == expected


def test_the_end_is_reported_when_the_last_close_event_is_acknowledged() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    ledger.close_all(1001, "")
    ledger.receive_close(connection, 1001, "")
    assert do.TellSupervisor(control.Empty()) not in ledger.take_commands()
    ack(ledger, worker, 7, 1)
    assert ledger.take_commands() == [do.TellSupervisor(control.Empty())]


def test_the_end_is_reported_at_once_when_there_is_no_connection() -> None:
    ledger, _ = ledger_with()
    ledger.close_all(1001, "")
    assert ledger.take_commands() == [do.TellSupervisor(control.Empty())]


def test_the_end_is_reported_when_the_last_close_event_was_put_aside() -> None:
    ledger, _ = ledger_with()
    ledger.receive_close(connect(ledger), 1006, "")
    ledger.close_all(1001, "")
    assert lose_workers(ledger, 3)[-1] == do.TellSupervisor(control.Empty())


def test_a_connection_that_comes_during_the_end_is_closed_at_once() -> None:
    ledger, _ = ledger_with()
    connect(ledger, 1)
    ledger.close_all(1001, "")
    ledger.take_commands()
    late = connect(ledger, 2, wire.SendText(2, "welcome"))
    assert ledger.take_commands() == [
        do.WriteMessage(late, "welcome"),
        do.CloseSocket(late, 1001, ""),
    ]


def test_without_an_end_an_empty_ledger_reports_nothing() -> None:
    ledger, (worker,) = ledger_with(1)
    ledger.receive_close(connect(ledger), 1000, "")
    ledger.take_commands()
    ack(ledger, worker, 7, 1)
    assert ledger.take_commands() == []


# Clients that break the protocol.


def test_violation_with_empty_mailbox_closes() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger)
    assert ledger.receive_violation(connection, 1002, "why")
    ((_, close),) = deliveries(ledger)
    assert isinstance(close, wire.DeliverClose)
    assert (close.code, close.reason) == (1002, "why")


def test_messages_before_a_violation_are_answered() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a", "b")
    assert not ledger.receive_violation(connection, 1002, "why")
    ledger.take_commands()
    ack(ledger, worker, 7, 1, wire.SendText(7, "x"))
    assert ledger.take_commands() == [do.WriteMessage(connection, "x")]
    ack(ledger, worker, 7, 2, wire.SendText(7, "y"))
    write, end, deliver = ledger.take_commands()
    assert (write, end) == (do.WriteMessage(connection, "y"), do.EndSocket(connection))
    assert isinstance(deliver, do.DeliverTo)
    ack(ledger, worker, 7, 3)
    assert len(ledger) == 0


def test_late_answers_do_not_change_a_violation() -> None:
    ledger, _ = ledger_with(1)
    connection = connect(ledger)
    send(ledger, connection, "a")
    ledger.receive_violation(connection, 1002, "why")
    ledger.take_commands()
    ledger.receive_close(connection, 1006, "")
    ((_, close),) = deliveries(ledger)
    assert isinstance(close, wire.DeliverClose)
    assert (close.code, close.reason) == (1002, "why")


def test_violating_connection_is_not_read_again() -> None:
    ledger, (worker,) = ledger_with(1, messages=2)
    connection = connect(ledger)
    send(ledger, connection, "a", "b", "c")
    ledger.receive_violation(connection, 1002, "why")
    ledger.take_commands()
    ack(ledger, worker, 7, 2, count=2)
    assert do.ResumeReading(connection) not in ledger.take_commands()


# Connections that an endpoint attends.


def attend(
    ledger: Ledger, worker: Worker | None, serial: int = 7, *, closes: bool = False
) -> Connection:
    """Have a connection adopted whose endpoint has begun in this worker."""
    record = msgspec.structs.replace(handover(serial), endpoint=b"scope", closes=closes)
    connection = ledger.adopt(record, worker)
    assert connection is not None
    return connection


def kinds(ledger: Ledger) -> list[tuple[int, type[Delivery], int, int]]:
    """Run the commands; return worker, kind, number and attempt of what is delivered."""
    return [(w, type(d), d.number, d.attempt) for w, d in deliveries(ledger)]


def calm(ledger: Ledger) -> None:
    for _ in range(CALM):
        ledger.tick()


def test_attended_connection_keeps_its_busy_worker() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    for serial in range(100, 100 + 3 * SLACK):
        send(ledger, connect_at(ledger, first, serial), "a")
    connection = attend(ledger, first)
    ledger.take_commands()
    send(ledger, connection, "a", "b")
    assert kinds(ledger) == [(1, wire.DeliverText, 1, 1), (1, wire.DeliverText, 2, 1)]


def test_the_endpoint_of_a_lost_worker_is_begun_again_before_anything_else() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    connection = attend(ledger, first)
    send(ledger, connection, "a", "b")
    ledger.take_commands()
    ledger.worker_lost(first)
    ((number, resume),) = deliveries(ledger)
    assert (number, resume) == (
        2, wire.DeliverResume(7, 0, 1, b"scope", 1, ABOUT, b"", seen=0)
    )  # fmt: skip
    ack(ledger, second, 7, 0)
    assert kinds(ledger) == [(2, wire.DeliverText, 1, 2)]
    ack(ledger, second, 7, 1, attempt=2)
    assert kinds(ledger) == [(2, wire.DeliverText, 2, 2)]


def test_an_endpoint_is_begun_again_though_nothing_waits() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    attend(ledger, first)
    ledger.worker_lost(first)
    assert kinds(ledger) == [(2, wire.DeliverResume, 0, 1)]
    ack(ledger, second, 7, 0)
    ledger.worker_lost(second)
    ledger.worker_ready(3, 1)
    ((_, resume),) = deliveries(ledger)
    assert isinstance(resume, wire.DeliverResume)
    assert (resume.number, resume.attempt, resume.resumed) == (0, 1, 2)


def test_a_connection_whose_worker_was_never_ready_is_attended_by_another() -> None:
    ledger, _ = ledger_with(1)
    attend(ledger, None)
    assert kinds(ledger) == [(1, wire.DeliverResume, 0, 1)]


def test_without_a_worker_an_attended_connection_waits_and_calls_for_one() -> None:
    ledger, (worker,) = ledger_with(1)
    attend(ledger, worker)
    ledger.worker_lost(worker)
    assert ledger.take_commands() == [do.TellSupervisor(control.WorkWaits())]
    assert ledger.waiting == 1
    ledger.worker_ready(2, 1)
    assert kinds(ledger) == [(2, wire.DeliverResume, 0, 1)]


def test_draining_worker_gets_no_endpoint_messages() -> None:
    ledger, (first,) = ledger_with(1)
    connection = attend(ledger, first)
    send(ledger, connection, "a")
    ledger.take_commands()
    ledger.worker_ready(2, 2)
    ledger.prefer(2)
    send(ledger, connection, "b")
    assert kinds(ledger) == []


def test_released_deliveries_keep_their_attempt() -> None:
    ledger, (first,) = ledger_with(1)
    connection = attend(ledger, first)
    send(ledger, connection, "a", "b")
    second = ledger.worker_ready(2, 2)
    ledger.prefer(2)
    ack(ledger, first, 7, 1)
    ledger.take_commands()
    ledger.release(first, 7)
    commands = ledger.take_commands()
    assert do.SendTo(1, wire.Drained()) in commands
    sent = [each for each in commands if isinstance(each, do.DeliverTo)]
    assert [(to.worker, [type(d) for d in to.deliveries]) for to in sent] == [
        (2, [wire.DeliverResume, wire.DeliverText])
    ]
    ack(ledger, second, 7, 2, count=2)
    assert (first.load, second.load) == (0, 0)
    assert ledger.counts.redeliveries == 0


def test_release_of_foreign_connection_drops_worker() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    attend(ledger, first)
    connect_at(ledger, second, 8)
    for serial in (7, 8, 99):
        ledger.release(second, serial)
        assert has_dropped(ledger, second) == (serial == 7)


def test_a_worker_that_releases_one_keeps_the_others() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    for serial in (7, 8):
        send(ledger, attend(ledger, first, serial), "a")
    ledger.drain(1)
    ledger.take_commands()
    ledger.release(first, 7)
    assert do.SendTo(1, wire.Drained()) not in ledger.take_commands()
    ledger.release(first, 8)
    assert do.SendTo(1, wire.Drained()) in ledger.take_commands()


def test_a_worker_may_release_while_others_of_its_generation_serve() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    attend(ledger, first)
    ledger.drain(1)
    ledger.take_commands()
    ledger.release(first, 7)
    assert kinds(ledger) == [(2, wire.DeliverResume, 0, 1)]


def test_endpoint_is_given_up_after_three_deaths() -> None:
    ledger, (first,) = ledger_with(1)
    connection = attend(ledger, first)
    worker = first
    for number in (2, 3, 4):
        ledger.worker_lost(worker)
        worker = ledger.worker_ready(number, 1)
        calm(ledger)
        assert kinds(ledger) == [(number, wire.DeliverResume, 0, number - 1)]
    send(ledger, connection, "for nobody")
    ledger.worker_lost(worker)
    assert ledger.take_commands() == [
        do.EndpointGivenUp(connection, 3),
        do.CloseSocket(connection, 1011, ""),
    ]
    ledger.worker_ready(5, 1)
    send(ledger, connection, "late")
    assert ledger.take_commands() == []
    ledger.receive_close(connection, 1011, "")
    assert ledger.take_commands() == []
    assert (len(ledger), ledger.waiting) == (0, 0)


def test_given_up_connection_is_read_again() -> None:
    ledger, (first,) = ledger_with(1, messages=2)
    connection = attend(ledger, first, closes=True)
    send(ledger, connection, "a", "b")
    assert connection.is_paused
    ledger.take_commands()
    ledger.worker_lost(first)
    assert ledger.take_commands() == [do.ResumeReading(connection)]


def test_gone_client_is_forgotten_when_given_up() -> None:
    ledger, (first,) = ledger_with(1)
    connection = attend(ledger, first, closes=True)
    ledger.receive_close(connection, 1006, "")
    ledger.worker_lost(first)
    assert len(ledger) == 0
    ledger.take_commands()
    calm(ledger)
    assert [each for each in ledger.take_commands() if isinstance(each, do.CloseSocket)] == []


def test_endpoints_last_attempt_runs_alone() -> None:
    ledger, (first,) = ledger_with(1)
    for serial in (7, 8):
        attend(ledger, first, serial)
    worker = first
    for number in (2, 3):
        ledger.worker_lost(worker)
        worker = ledger.worker_ready(number, 1)
        assert len(kinds(ledger)) == 2
    ledger.worker_lost(worker)
    last = ledger.worker_ready(4, 1)
    assert kinds(ledger) == []
    calm(ledger)
    assert delivered(ledger) == [(4, 7, 0, 3)]
    ack(ledger, last, 7, 0, attempt=3)
    assert delivered(ledger) == [(4, 8, 0, 3)]


def test_endpoint_messages_last_attempt_runs_alone() -> None:
    ledger, (first,) = ledger_with(1)
    connections = [attend(ledger, first, serial) for serial in (7, 8)]
    for connection in connections:
        send(ledger, connection, "poison")
    worker = first
    for number in (2, 3):
        ledger.worker_lost(worker)
        worker = ledger.worker_ready(number, 1)
        ledger.take_commands()
        for serial in (7, 8):
            ack(ledger, worker, serial, 0)
    assert kinds(ledger) == []
    calm(ledger)
    assert delivered(ledger) == [(3, 7, 1, 3)]
    assert ledger.waiting == 1
    ledger.drain(3)
    ledger.release(worker, 7)
    assert not worker.has_suspect


def test_resumed_endpoint_hears_its_client_left() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    connection = attend(ledger, first)
    ledger.worker_lost(first)
    ledger.receive_close(connection, 1006, "")
    assert [kind for _, kind, _, _ in kinds(ledger)] == [wire.DeliverResume, wire.DeliverClose]


def test_a_close_that_kills_three_workers_ends_its_connection() -> None:
    ledger, (worker,) = ledger_with(1)
    connection = attend(ledger, worker)
    ledger.receive_close(connection, 1006, "")
    for number in (2, 3):
        ledger.worker_lost(worker)
        worker = ledger.worker_ready(number, 1)
        ledger.take_commands()
        ack(ledger, worker, 7, 0)
        calm(ledger)
        assert delivered(ledger) == [(number, 7, 1, number)]
    ledger.worker_lost(worker)
    assert do.Quarantined(connection, 1, 2, 3) in ledger.take_commands()
    assert len(ledger) == 0


def test_closing_endpoint_closes_with_lost_worker() -> None:
    ledger, (first, _) = ledger_with(1, 2)
    connections = [attend(ledger, first, serial, closes=True) for serial in range(1, 101)]
    ledger.worker_lost(first)
    assert ledger.take_commands() == []
    shares = []
    for _ in range(int(5 / TICK)):
        ledger.tick()
        shares.append([each.connection for each in ledger.take_commands()])  # type: ignore[union-attr]
    assert [each for share in shares for each in share] == connections
    assert max(map(len, shares)) == 5
    for connection in connections:
        ledger.receive_close(connection, 1012, "")
    assert (len(ledger), ledger.take_commands()) == (0, [])


def test_closing_endpoint_is_served_until_closed() -> None:
    ledger, (first, second) = ledger_with(1, 2)
    connection = attend(ledger, first, closes=True)
    attend(ledger, first, 8)
    attend(ledger, second, 9, closes=True)
    ledger.drain(1)
    send(ledger, connection, "a")
    assert kinds(ledger) == [(1, wire.DeliverText, 1, 1)]
    ack(ledger, first, 7, 1)
    ledger.tick()
    assert do.CloseSocket(connection, 1012, "") in ledger.take_commands()
    ledger.receive_close(connection, 1012, "")
    assert kinds(ledger) == [(1, wire.DeliverClose, 2, 1)]
    ack(ledger, first, 7, 2)
    assert len(ledger) == 2


def test_repr_shows_what_a_worker_has_to_do() -> None:
    ledger, (worker,) = ledger_with(1)
    send(ledger, connect(ledger), "a")
    assert repr(worker) == "<Worker 1 generation 1 ready load 1>"
    ledger.prefer(2)
    assert repr(worker) == "<Worker 1 generation 1 draining load 1>"


# Against a model: any number of clients and workers, and whatever may happen to them.

MAX_MESSAGES, MAX_BYTES, MAX_ATTEMPTS = 20, 40, 3
READ = 12  # messages that a client gets rid of in one turn, at most


texts, binaries = st.text(max_size=5), st.binary(max_size=5)
rooms = st.lists(st.sampled_from("ab"), max_size=2, unique=True)


@dataclass(eq=False)
class Peer:
    """A worker, seen from outside."""

    handle: Worker
    in_flight: list[Delivery] = field(default_factory=list)
    is_drained: bool = False
    is_lost: bool = False
    is_retired: bool = False
    is_standing: bool = False  # it neither acknowledges nor answers

    def is_serving(self, generation: int) -> bool:
        is_there = not (self.is_lost or self.is_retired)
        return is_there and self.handle.generation == generation

    def has_suspect(self) -> bool:
        return any(each.attempt >= MAX_ATTEMPTS for each in self.in_flight)


@dataclass(eq=False)
class Client:
    """A client and what the keeper owes it."""

    connection: Connection
    sent: list[str | bytes | Closed] = field(default_factory=list)  # number 1 is the first
    next: int = 1  # the oldest that no worker has finished with
    in_flight: int = 0
    holder: Peer | None = None  # who has it in flight
    attempts: dict[int, int] = field(default_factory=dict)
    attachment: bytes = b""
    accepts: bool = True  # no close frame was asked for, and the client is there
    is_gone: bool = False
    is_paused: bool = False
    is_forgotten: bool = False
    expected: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    @property
    def serial(self) -> int:
        return self.connection.serial

    @property
    def pending(self) -> int:
        return len(self.sent) - self.next + 1

    def attempt(self, number: int) -> int:
        return self.attempts.get(number, 1)

    def expect(self, what: str, *, ends: bool = False) -> None:
        if self.accepts:
            self.expected.append(what)
            self.accepts = not ends

    def finish(self) -> None:
        """The oldest is done with, for good or for bad."""
        self.is_forgotten = isinstance(self.sent[self.next - 1], Closed)
        self.next += 1


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(
            KeeperLimits(
                mailbox_messages=MAX_MESSAGES, mailbox_bytes=MAX_BYTES, max_attempts=MAX_ATTEMPTS
            )
        )
        self.generation = 1
        self.peers: list[Peer] = []
        self.clients: list[Client] = []
        self.room: dict[str, list[Client]] = {"a": [], "b": []}
        self.quarantined: list[tuple[Client, int]] = []
        self.dropped: list[Peer] = []
        self.unrest = 0
        self.is_emptying = self.is_reported_empty = False

    @initialize()
    def start(self) -> None:
        self.ledger.prefer(1)
        self.hello(0)

    # What is there to choose from.

    def live(self) -> list[Client]:
        return [client for client in self.clients if not client.is_forgotten]

    def workers(self) -> list[Peer]:
        return [peer for peer in self.peers if not peer.is_lost]

    def busy(self) -> list[Peer]:
        return [peer for peer in self.workers() if peer.in_flight and not peer.is_standing]

    def serving(self) -> list[Peer]:
        """Who may get deliveries: those the ledger knows to stand only if there are no others."""
        serving = [peer for peer in self.peers if peer.is_serving(self.generation)]
        return [peer for peer in serving if not peer.handle.is_blocked] or serving

    # What clients do.

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from([None, *(peer.handle for peer in self.workers())]))
        serial = len(self.clients) + 1
        subscribe: list[wire.Action] = [wire.Subscribe(serial, c) for c in data.draw(rooms)]
        actions = [*subscribe, wire.SendText(serial, "welcome")]
        connection = connect_at(self.ledger, handle, serial, *actions)
        self.clients.append(Client(connection))
        self.apply(actions)
        if self.is_emptying:
            self.clients[-1].expect("close 1001", ends=True)
        self.run()

    @precondition(lambda self: self.live())
    @rule(data=st.data(), messages=st.lists(texts | binaries, min_size=1, max_size=READ))
    def send(self, data: st.DataObject, messages: list[str | bytes]) -> None:
        client = data.draw(st.sampled_from(self.live()))
        assume(not client.is_paused and not client.is_gone)
        client.sent += messages
        for message in messages:
            self.ledger.receive_message(client.connection, message)
        self.run()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), code=st.sampled_from([1000, 1006]))
    def vanish(self, data: st.DataObject, code: int) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if not client.is_gone:
            client.sent.append(Closed(code, ""))
        client.is_gone, client.accepts = True, False
        self.ledger.receive_close(client.connection, code, "")
        self.ledger.receive_message(client.connection, "late")
        self.run()

    # What workers do.

    @rule(ahead=st.integers(-1, 1))
    def hello(self, ahead: int) -> None:
        number = len(self.peers) + 1
        self.peers.append(Peer(self.ledger.worker_ready(number, self.generation + ahead)))
        self.run()

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), times=st.integers(1, 4), count=st.integers(1, READ))
    def acknowledge(self, data: st.DataObject, times: int, count: int) -> None:
        peer = data.draw(st.sampled_from(self.busy()))
        for _ in range(times):
            # Connections are independent: the worker may finish any of them first.
            if serials := sorted({delivery.connection for delivery in peer.in_flight}):
                serial = data.draw(st.sampled_from(serials))
                self.finish(peer, serial, self.draw_actions(data), count)

    def finish(self, peer: Peer, serial: int, actions: list[wire.Action], count: int = 1) -> None:
        done = [each for each in peer.in_flight if each.connection == serial][:count]
        for delivery in done:
            peer.in_flight.remove(delivery)
            # All hear of it, so that an effect that comes twice, or never, is noticed.
            actions.append(wire.PublishText("a", f"{serial}/{delivery.number}", 0, 0))
        self.apply(actions)
        self.note_finished(self.clients[serial - 1], len(done))
        ack = wire.Ack(serial, done[-1].number, done[-1].attempt, actions, len(done))
        self.ledger.receive_ack(peer.handle, ack)
        self.run()

    def note_finished(self, client: Client, count: int) -> None:
        for _ in range(count):
            client.finish()
        client.in_flight -= count
        if not client.in_flight:
            client.holder = None
        if client.is_forgotten:
            self.forget(client)

    @rule(data=st.data())
    def act_outside_an_event(self, data: st.DataObject) -> None:
        actions = self.draw_actions(data)
        self.apply(actions)
        self.ledger.receive_actions(actions)
        self.run()

    @precondition(lambda self: self.workers())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.workers()))
        self.mark_lost(peer)
        self.ledger.worker_lost(peer.handle)
        self.run()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), stands=st.booleans())
    def stand(self, data: st.DataObject, stands: bool) -> None:
        peer = data.draw(st.sampled_from(self.workers()))
        if peer.is_standing and not stands:
            self.ledger.receive_alive(peer.handle)  # what it was asked in the meantime
        peer.is_standing = stands

    @rule(times=st.integers(1, 3))
    def time_passes(self, times: int) -> None:
        for _ in range(times):
            self.unrest = max(self.unrest - 1, 0)
            self.ledger.tick()
            self.run()
        for peer in self.workers():
            assert peer.is_standing or not peer.handle.is_blocked
            # One tick to see that nothing comes, one to ask, one to see that there is no answer.
            assert times < 3 or peer.handle.is_blocked == (
                peer.is_standing and bool(peer.in_flight)
            )

    @precondition(lambda self: self.workers() and self.clients)
    @rule(
        data=st.data(),
        number=st.integers(-1, 2),
        attempt=st.integers(-1, 1),
        count=st.integers(-1, 3),
    )
    def acknowledge_wrongly(
        self, data: st.DataObject, number: int, attempt: int, count: int
    ) -> None:
        peer = data.draw(st.sampled_from(self.workers()))
        client = data.draw(st.sampled_from(self.clients))
        is_right = client.holder is peer and 0 < count <= client.in_flight
        assume(not (is_right and number == count - 1 and attempt == 0))
        number, attempt = client.next + number, client.attempt(client.next) + attempt
        self.mark_lost(peer)
        self.dropped.append(peer)
        wrong = wire.Ack(
            client.serial, number, attempt, [wire.PublishText("a", "wrong", 0, 0)], count
        )
        self.ledger.receive_ack(peer.handle, wrong)
        self.run()
        assert self.dropped == []

    @precondition(lambda self: any(peer.is_lost and peer.in_flight for peer in self.peers))
    @rule(data=st.data())
    def acknowledge_late(self, data: st.DataObject) -> None:
        lost = [peer for peer in self.peers if peer.is_lost and peer.in_flight]
        peer = data.draw(st.sampled_from(lost))
        late = data.draw(st.sampled_from(peer.in_flight))
        actions: list[wire.Action] = [wire.PublishText("a", "late", 0, 0)]
        ack = wire.Ack(late.connection, late.number, late.attempt, actions, 1)
        self.ledger.receive_ack(peer.handle, ack)
        assert self.ledger.take_commands() == []

    # What the supervisor does.

    @precondition(lambda self: self.workers())
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.workers()))
        peer.is_retired = True
        self.ledger.drain(peer.handle.number)
        self.run()

    @rule()
    def prefer_the_next(self) -> None:
        self.generation += 1
        self.ledger.prefer(self.generation)
        self.run()

    @precondition(lambda self: len(self.clients) > 4)
    @rule()
    def close_all(self) -> None:
        self.is_emptying = True
        for client in self.live():
            client.expect("close 1001", ends=True)
        self.ledger.close_all(1001, "")
        self.run()

    # What should follow.

    def draw_actions(self, data: st.DataObject) -> list[wire.Action]:
        serials = st.integers(1, len(self.clients) + 1)
        return data.draw(
            st.lists(
                st.one_of(
                    st.builds(wire.SendText, serials, st.just("text")),
                    st.builds(wire.Attach, serials, st.binary(max_size=2)),
                    st.builds(wire.Subscribe, serials, st.sampled_from("ab")),
                    st.builds(wire.Unsubscribe, serials, st.sampled_from("ab")),
                    st.builds(
                        wire.PublishText,
                        st.sampled_from("ab"),
                        st.just("news"),
                        st.just(0),
                        st.just(0),
                    ),
                    st.builds(wire.Close, serials, st.just(4000), st.just("")),
                ),
                max_size=2,
            )
        )

    def apply(self, actions: Iterable[wire.Action]) -> None:
        for action in actions:
            if isinstance(action, wire.PublishText):
                for member in self.room[action.channel]:
                    member.expect(action.data)
            else:
                assert not isinstance(action, wire.PublishBinary | wire.PublishJson)
                for client in self.live():
                    if client.serial == action.connection:
                        self.apply_to(client, action)

    def apply_to(self, client: Client, action: wire.Action) -> None:
        match action:
            case wire.SendText(_, text):
                client.expect(text)
            case wire.Close(_, code):
                client.expect(f"close {code}", ends=True)
            case wire.Attach(_, attachment):
                client.attachment = attachment
            case wire.Subscribe(_, channel) if client not in self.room[channel]:
                self.room[channel].append(client)
            case wire.Unsubscribe(_, channel) if client in self.room[channel]:
                self.room[channel].remove(client)

    def mark_lost(self, peer: Peer) -> None:
        peer.is_lost = True
        if peer.in_flight:
            self.unrest = CALM
        for client in self.live():
            if client.holder is peer:
                for number in range(client.next, client.next + client.in_flight):
                    client.attempts[number] = client.attempt(number) + 1
                client.in_flight, client.holder = 0, None
                if client.attempt(client.next) > MAX_ATTEMPTS:
                    self.put_aside(client)

    def put_aside(self, client: Client) -> None:
        self.quarantined.append((client, client.next))
        client.finish()
        client.expect("close 1011", ends=True)
        if client.is_forgotten:
            self.forget(client)

    def forget(self, client: Client) -> None:
        for members in self.room.values():
            if client in members:
                members.remove(client)

    # What does follow.

    def run(self) -> None:
        for command in self.ledger.take_commands():
            self.follow(command)
        for client in self.clients:
            assert client.written == client.expected

    def follow(self, command: do.Command) -> None:
        match command:
            case do.DeliverTo(number, deliveries):
                peer = self.peers[number - 1]
                assert peer in self.serving()
                for delivery in deliveries:
                    self.check_delivery(peer, self.clients[delivery.connection - 1], delivery)
            case do.WriteMessage(connection, data):
                self.write([connection], data)
            case do.WriteMany(connections, data):
                self.write(connections, data)
            case do.CloseSocket(connection, code, _):
                self.write([connection], f"close {code}")
            case _:
                self.follow_rare(command)

    def follow_rare(self, command: do.Command) -> None:
        match command:
            case do.PauseReading(connection) | do.ResumeReading(connection):
                client = self.clients[connection.serial - 1]
                assert not client.is_forgotten
                assert client.is_paused == isinstance(command, do.ResumeReading)
                client.is_paused = not client.is_paused
            case do.SendTo(number, wire.Drained()):
                peer = self.peers[number - 1]
                assert not peer.in_flight
                assert not peer.is_drained
                assert peer.handle.generation < self.generation or peer.is_retired
                peer.is_drained = True
            case do.SendTo(number, wire.Probe()):
                peer = self.peers[number - 1]
                assert peer.in_flight
                if not peer.is_standing:
                    self.ledger.receive_alive(peer.handle)
            case do.TellSupervisor(control.WorkWaits()):
                assert not self.serving()
                assert [client for client in self.live() if client.pending]
            case do.DropWorker(number, _):
                assert self.dropped.pop() is self.peers[number - 1]
            case do.Quarantined(connection, number, _, attempts):
                self.quarantined.remove((self.clients[connection.serial - 1], number))
                assert attempts == MAX_ATTEMPTS
            case do.TellSupervisor(control.Empty()):
                assert self.is_emptying
                self.is_reported_empty = True
            case _:
                raise AssertionError(command)

    def check_delivery(self, peer: Peer, client: Client, delivery: Delivery) -> None:
        number = client.next + client.in_flight
        assert not client.is_forgotten
        assert delivery.number == number
        assert content_of(delivery) == client.sent[number - 1]
        assert delivery.attempt == client.attempt(number)
        assert delivery.attachment == client.attachment
        assert decode_metadata(delivery.about).channels == {
            name for name, members in self.room.items() if client in members
        }
        # Never two workers at once; so none of a new generation before the last ack of the old.
        assert client.holder in (None, peer)
        # A last attempt is the only one at its worker.
        assert delivery.attempt < MAX_ATTEMPTS or not (peer.has_suspect() or self.unrest)
        client.holder = peer
        client.in_flight += 1
        peer.in_flight.append(delivery)

    def write(self, connections: Sequence[Connection], data: object) -> None:
        for connection in connections:
            client = self.clients[connection.serial - 1]
            assert not client.is_forgotten
            client.written.append(str(data))

    # What always holds.

    @invariant()
    def what_may_go_goes(self) -> None:
        serving = self.serving()
        are_all_suspicious = all(peer.has_suspect() for peer in serving)
        for client in self.live():
            holder = client.holder
            if holder is None:
                is_last = client.attempt(client.next) >= MAX_ATTEMPTS
                is_waiting_rightly = not serving or (
                    is_last and (are_all_suspicious or self.unrest > 0)
                )
                assert not client.pending or is_waiting_rightly
            elif holder in serving and not holder.handle.is_blocked:
                is_redelivery = client.attempt(client.next) > 1
                assert client.in_flight == min(1 if is_redelivery else PIPELINE, client.pending)

    @invariant()
    def who_waits_is_counted(self) -> None:
        waiting = [client for client in self.live() if client.pending and not client.in_flight]
        assert self.ledger.waiting == len(waiting)
        assert len(self.ledger) == len(self.live())

    @invariant()
    def memory_is_bounded(self) -> None:
        for client in self.live():
            count, size = client.connection.mailbox.count, client.connection.mailbox.size
            assert count == client.pending < MAX_MESSAGES + READ + 1
            if not client.is_gone:
                assert client.is_paused or (count < MAX_MESSAGES and size < MAX_BYTES)
                assert not client.is_paused or count * 2 > MAX_MESSAGES or size * 2 > MAX_BYTES

    @invariant()
    def who_is_done_is_told(self) -> None:
        for peer in self.workers():
            is_old = peer.handle.generation < self.generation
            has_to_go = is_old or peer.is_retired
            assert peer.is_drained == (has_to_go and not peer.in_flight)
        assert self.quarantined == []
        if self.is_emptying and not self.live():
            assert self.is_reported_empty

    def teardown(self) -> None:
        """Whatever has happened: in the end all is delivered, and nothing is left."""
        self.hello(0)
        for peer in self.workers():
            if peer.is_standing:
                peer.is_standing = False
                self.ledger.receive_alive(peer.handle)
        for client in self.clients:
            if not client.is_gone:
                client.is_gone, client.accepts = True, False
                client.sent.append(Closed(1000, ""))
                self.ledger.receive_close(client.connection, 1000, "")
        self.run()
        self.time_passes(CALM)
        while busy := self.busy():
            self.finish(busy[0], busy[0].in_flight[0].connection, [])
        for client in self.clients:
            assert client.next == len(client.sent) + 1
            assert client.is_forgotten
        assert (len(self.ledger), self.ledger.waiting) == (0, 0)
        assert not [each for each in reachable(self.ledger) if isinstance(each, KEPT)]


def content_of(delivery: Delivery) -> str | bytes | Closed:
    if isinstance(delivery, wire.DeliverClose):
        return Closed(delivery.code, delivery.reason)
    assert not isinstance(delivery, wire.DeliverResume)
    return delivery.data


# A failure takes hypothesis up to five minutes to shrink to something that can be read.
TestLedgerAgainstItsModel = pytest.mark.timeout(400)(LedgerMachine.TestCase)


def test_nothing_has_happened_at_first() -> None:
    counts = Counts()
    assert {name: getattr(counts, name) for name in Counts.__slots__} == {
        "accepted": 0,
        "pauses": 0,
        "quarantined": 0,
        "redeliveries": 0,
    }
