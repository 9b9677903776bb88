"""Whose bytes are read now, how many of them, and whose later (I-5.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import KeeperLimits
from holdfast.framing.decoder import Decoder
from holdfast.framing.frames import Ping, Pong
from holdfast.keeper.read_scheduler import (
    AT_ONCE,
    IN_HAND,
    LATEST,
    READ_SIZE,
    SHARE,
    SOON,
    ReadScheduler,
    payload,
)
from holdfast.keeper.socket import Socket
from holdfast.ledger.connection import Connection
from tests.flow.raw import BINARY, client_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.framing.frames import Event

NOW = 1000.0
MIB = 1024 * 1024


def client(*, greedy: bool = False, bits: int = 0) -> Socket:
    sock = Socket(7, Connection(7, b"", None), cast("Any", None), "")
    sock.is_greedy, sock.bits = greedy, bits
    return sock


def in_a_message(sock: Socket, size: int) -> Socket:
    """Have so many bytes of a message of 1 MiB come."""
    sock.decoder = Decoder(max_message=MIB)
    sock.decoder.receive(client_frame(bytes(MIB), BINARY)[: 14 + size])
    return sock


def unrated() -> ReadScheduler:
    return ReadScheduler(KeeperLimits())


def rated(frames: int = 0, size: int = 0) -> ReadScheduler:
    return ReadScheduler(KeeperLimits(max_message_rate=frames, max_byte_rate=size))


def put_off(scheduler: ReadScheduler, count: int) -> list[Socket]:
    """Have so many greedy clients wait, after one has used up the share of this turn."""
    first = client(greedy=True)
    assert scheduler.admit(first, NOW)
    scheduler.note(first, READ_SIZE, is_full=True, took=SHARE)
    clients = [client(greedy=True) for _ in range(count)]
    assert not any(scheduler.admit(each, NOW) for each in clients)
    return clients


# -- how much


def test_a_client_that_is_not_greedy_is_read_in_large_pieces() -> None:
    assert unrated().first_read == unrated().size(client()) == READ_SIZE
    assert unrated().size(in_a_message(client(), 100)) == READ_SIZE


def test_where_messages_are_counted_a_read_brings_few_of_them() -> None:
    assert rated(frames=10).first_read == rated(frames=10).size(client()) == 512
    assert rated(size=10).size(client()) == READ_SIZE


def test_greedy_client_is_read_in_smaller_pieces() -> None:
    assert unrated().size(client(greedy=True)) < READ_SIZE
    assert unrated().size(in_a_message(client(greedy=True), 100_000)) == READ_SIZE


def test_of_a_large_message_the_pieces_grow() -> None:
    scheduler = rated(frames=10)
    sizes = [scheduler.size(in_a_message(client(), size)) for size in (0, 512, 10_000, 100_000)]
    assert sizes == [512, 512 + 4 * 512, 512 + 4 * 10_000, READ_SIZE]


def test_compressed_input_is_read_in_small_pieces() -> None:
    assert unrated().size(client(bits=15)) == 2048
    assert unrated().size(in_a_message(client(bits=15), 100_000)) == 2048
    assert rated(frames=10).size(client(bits=15)) == 512


# -- who is greedy


def test_new_client_is_greedy_until_first_read() -> None:
    scheduler, sock = unrated(), Socket(7, Connection(7, b"", None), cast("Any", None), "")
    assert sock.is_greedy
    scheduler.note(sock, READ_SIZE, is_full=False)
    assert not sock.is_greedy


def test_full_reads_make_a_client_greedy() -> None:
    scheduler, sock = unrated(), client()
    scheduler.note(sock, READ_SIZE, is_full=True)
    assert sock.is_greedy
    scheduler.note(sock, READ_SIZE, is_full=False)
    assert not sock.is_greedy


def test_small_partial_message_is_not_greedy() -> None:
    scheduler, sock = rated(frames=10), in_a_message(client(), 498)
    scheduler.note(sock, 512, is_full=True)
    assert not sock.is_greedy


def test_large_partial_message_is_greedy() -> None:
    scheduler, sock = unrated(), in_a_message(client(), 100_000)
    scheduler.note(sock, READ_SIZE, is_full=True)
    assert sock.is_greedy


def test_who_sends_heads_and_nothing_with_them_is_greedy() -> None:
    scheduler, sock = rated(frames=10), in_a_message(client(), 10)
    scheduler.note(sock, 512, is_full=True)
    assert sock.is_greedy


def test_who_may_compress_is_greedy_all_the_time() -> None:
    scheduler, sock = unrated(), client(bits=15)
    scheduler.note(sock, 2048, is_full=False)
    assert sock.is_greedy


# -- the greedy take turns


def test_the_greedy_share_a_part_of_each_turn() -> None:
    scheduler = unrated()
    assert not scheduler.has_any
    waiting = put_off(scheduler, 2)
    assert scheduler.has_any
    assert all(scheduler.holds_back(each) and scheduler.is_waiting(each) for each in waiting)
    assert scheduler.end_turn(NOW) == waiting
    assert not any(scheduler.holds_back(each) for each in waiting)
    assert scheduler.admit(waiting[0], NOW)


def test_client_that_was_read_queues_last() -> None:
    scheduler = unrated()
    waiting = put_off(scheduler, 1)
    greedy = client(greedy=True)
    assert scheduler.note(greedy, READ_SIZE, is_full=True)
    assert scheduler.end_turn(NOW) == [*waiting, greedy]
    assert not scheduler.note(greedy, READ_SIZE, is_full=True)  # Nobody else waits.


def test_each_turn_reads_the_first_few() -> None:
    scheduler = unrated()
    waiting = put_off(scheduler, AT_ONCE + 3)
    assert scheduler.end_turn(NOW) == waiting[:AT_ONCE]
    assert scheduler.end_turn(NOW) == waiting[AT_ONCE:]
    assert scheduler.end_turn(NOW) == ()


def test_one_that_is_gone_does_not_wait() -> None:
    scheduler = unrated()
    gone, other = put_off(scheduler, 2)
    scheduler.forget(gone)
    assert scheduler.end_turn(NOW) == [other]


# -- others do not wait behind the greedy


def heavy(scheduler: ReadScheduler, *, now: float = NOW, size: int = IN_HAND + 1) -> Connection:
    """Have a worker get a large message; it has it until its mailbox is empty."""
    connection = Connection(1, b"", None)
    connection.mailbox.put_and_take("large")
    scheduler.hand_over(connection, size, now)
    return connection


def light(scheduler: ReadScheduler, *, now: float = NOW, count: int = 1) -> Connection:
    """Have a worker get a small message, or several of one client."""
    connection = Connection(2, b"", None)
    for _ in range(count):
        connection.mailbox.put("small")
    scheduler.note_small(connection, now)
    return connection


def acknowledge(connection: Connection) -> None:
    while (taken := connection.mailbox.take()) is not None:
        connection.mailbox.ack(taken[0], 1)


def test_greedy_client_alone_does_not_wait() -> None:
    scheduler = unrated()
    heavy(scheduler)
    assert scheduler.is_full
    assert scheduler.admit(client(greedy=True), NOW)


def test_greedy_clients_wait_for_pending_answers() -> None:
    scheduler, greedy = unrated(), client(greedy=True)
    heavy(scheduler)
    small = light(scheduler)
    assert not scheduler.admit(greedy, NOW)
    assert scheduler.end_turn(NOW) == ()
    acknowledge(small)
    assert scheduler.end_turn(NOW + SOON / 2) == [greedy]


def test_while_answers_come_late_the_greedy_go_on_waiting() -> None:
    scheduler, greedy = unrated(), client(greedy=True)
    heavy(scheduler)
    small = light(scheduler)
    assert not scheduler.admit(greedy, NOW)
    acknowledge(small)
    late = NOW + 2 * SOON
    assert scheduler.end_turn(late) == ()
    # What they had in hand has long arrived by then.
    assert scheduler.end_turn(late + LATEST) == [greedy]


def test_greedy_clients_go_on_when_workers_finish() -> None:
    scheduler, greedy = unrated(), client(greedy=True)
    large = heavy(scheduler)
    light(scheduler)
    assert not scheduler.admit(greedy, NOW)
    mailbox = large.mailbox
    mailbox.ack(1, 1)
    assert scheduler.end_turn(NOW) == [greedy]
    assert not scheduler.is_full


def test_slow_listener_delays_greedy_clients_briefly() -> None:
    scheduler, greedy = unrated(), client(greedy=True)
    heavy(scheduler, now=NOW + LATEST)
    light(scheduler)
    assert not scheduler.admit(greedy, NOW)
    assert scheduler.end_turn(NOW + 1.1 * LATEST) == [greedy]
    assert scheduler.is_full  # That one is newer.


def test_reads_of_one_client_are_added() -> None:
    scheduler = unrated()
    connection = heavy(scheduler, size=IN_HAND)
    assert not scheduler.is_full
    scheduler.hand_over(connection, 8192, NOW)
    assert scheduler.is_full
    acknowledge(connection)
    connection.mailbox.ack(1, 1)
    scheduler.end_turn(NOW)
    assert not scheduler.is_full
    assert not scheduler.has_any


def test_small_messages_do_not_count() -> None:
    scheduler = unrated()
    heavy(scheduler, size=4096)
    assert not scheduler.has_any


def test_pipelined_messages_do_not_measure_answer_time() -> None:
    scheduler = unrated()
    heavy(scheduler)
    light(scheduler, count=2)
    assert scheduler.admit(client(greedy=True), NOW)
    light(scheduler)
    light(scheduler, now=NOW + 1)  # One at a time is looked at.
    assert not scheduler.admit(client(greedy=True), NOW)


# -- rates


def charge(
    scheduler: ReadScheduler,
    sock: Socket,
    size: int,
    events: Sequence[Event] = (),
    *,
    growth: int = 0,
) -> float:
    return scheduler.charge(sock, size, events, growth, NOW)


def test_client_over_rate_is_not_read() -> None:
    scheduler, sock = rated(frames=10), client()
    assert charge(scheduler, sock, 70, ["x"] * 10) == 1
    assert not scheduler.holds_back(sock)
    assert charge(scheduler, sock, 70, ["x"] * 10) == 2
    assert scheduler.holds_back(sock)
    assert not scheduler.is_waiting(sock)
    assert scheduler.due(NOW + 0.9) == []
    assert scheduler.due(NOW + 1) == [sock]
    assert not scheduler.holds_back(sock)


def test_one_that_has_left_is_not_waited_for() -> None:
    scheduler, sock = rated(frames=10), client()
    charge(scheduler, sock, 700, ["x"] * 100)
    scheduler.forget(sock)
    assert scheduler.due(NOW + 100) == []
    assert charge(scheduler, sock, 7, ["x"]) == pytest.approx(0.1)


def test_fragments_count_like_messages() -> None:
    # 100 of them, of nothing, then 100 with 10 bytes each.
    assert charge(rated(frames=10), client(), 800) == 10
    assert charge(rated(frames=10), client(), 1800, growth=1000) == 10
    # And 100 which the last completes.
    assert charge(rated(frames=10), client(), 1800, ["x" * 1500], growth=-500) == 10


@pytest.mark.parametrize(
    "event", ["x" * 100, "é" * 50, b"x" * 100, Ping(b"x" * 100), Pong(b"x" * 100)]
)
def test_a_frame_with_much_in_it_counts_as_one(event: Event) -> None:
    assert payload([event]) == 100
    assert charge(rated(frames=10), client(), 106, [event]) == pytest.approx(0.1)


def test_large_message_counts_once_in_pieces() -> None:
    scheduler, sock = rated(frames=10), client()
    assert charge(scheduler, sock, 512, growth=498) == pytest.approx(0.1)
    assert charge(scheduler, sock, 50_000, growth=50_000) == pytest.approx(0.1)
    assert charge(scheduler, sock, 1000, [b"x" * 51_498], growth=-50_498) == pytest.approx(0.2)


def test_a_compressed_message_counts_as_what_it_says() -> None:
    assert charge(rated(size=1000), client(bits=15), 100, [b"\0" * 5000]) == 5
    assert charge(rated(frames=10), client(bits=15), 100, [b"\0" * 5000]) == pytest.approx(0.1)
    assert charge(rated(size=1000), client(bits=15), 100) == pytest.approx(0.1)


def test_fragments_of_a_compressed_message_count_too() -> None:
    assert charge(rated(frames=10), client(bits=15), 800) == 10
    # One that grows by more than what it came in has no heads to be seen.
    assert charge(rated(frames=10), client(bits=15), 800, growth=40_000) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 2 * SHARE)),
        max_size=60,
    )
)
def test_whoever_waits_is_read_again_and_in_order(acts: list[tuple[int, bool, float]]) -> None:
    scheduler, now = unrated(), NOW
    clients = [client(greedy=True) for _ in range(6)]
    waiting: list[Socket] = []
    for index, is_full, took in acts:
        sock = clients[index]
        if sock not in waiting:
            if scheduler.admit(sock, now):
                if scheduler.note(sock, READ_SIZE, is_full=is_full, took=took):
                    waiting.append(sock)
                sock.is_greedy = True
            else:
                waiting.append(sock)
        assert [each for each in waiting if scheduler.is_waiting(each)] == waiting
        now += took
        if took > SHARE:
            assert list(scheduler.end_turn(now)) == waiting
            waiting.clear()
    assert list(scheduler.end_turn(now)) == waiting
