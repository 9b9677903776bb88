from __future__ import annotations

import pytest

from holdfast.ledger.connection import Connection, Endpoint, StaggeredClose, State


def test_a_new_connection_is_open_and_read_from_and_has_no_attachment() -> None:
    connection = Connection(1, b"about", None)
    assert (connection.state, connection.is_paused) == (State.OPEN, False)
    assert (connection.about, connection.attachment) == (b"about", b"")
    assert (connection.mailbox.count, connection.socket, connection.worker) == (0, None, None)


def test_states_only_go_forward() -> None:
    assert State.OPEN < State.CLOSING < State.CLOSED


def test_repr_shows_serial_state_and_mailbox() -> None:
    connection = Connection(255, b"", None)
    connection.state = State.CLOSING
    connection.mailbox.put("abc")
    shown = "<Connection 0xff closing <Mailbox 1 waiting, 0 in flight, 3 bytes>>"
    assert repr(connection) == shown


def test_an_idle_connection_takes_no_dictionary() -> None:
    connection = Connection(1, b"", None)
    with pytest.raises(AttributeError):
        connection.extra = 1  # type: ignore[attr-defined]


def connections(count: int) -> list[Connection]:
    return [Connection(serial, b"", None) for serial in range(count)]


def test_an_endpoint_has_not_been_begun_again_at_first() -> None:
    endpoint = Endpoint(b"scope", closes=True)
    assert (endpoint.record, endpoint.closes) == (b"scope", True)
    assert (endpoint.resumed, endpoint.is_given_up) == (0, False)


@pytest.mark.parametrize(("count", "ticks"), [(1, 1), (1, 10), (10, 1), (7, 3), (100, 7), (3, 0)])
def test_all_are_closed_in_the_time_there_is_and_in_equal_shares(count: int, ticks: int) -> None:
    staggered_close, waiting = StaggeredClose(ticks), connections(count)
    for connection in waiting:
        staggered_close.put(connection)
    assert len(staggered_close) == count
    shares = [staggered_close.tick() for _ in range(max(ticks, 1))]
    assert [each for share in shares for each in share] == waiting
    assert max(map(len, shares)) == -(-count // max(ticks, 1))
    assert (staggered_close.tick(), len(staggered_close)) == ([], 0)


def test_those_who_come_later_have_the_whole_time_again() -> None:
    staggered_close = StaggeredClose(4)
    first, second = connections(2)
    staggered_close.put(first)
    assert staggered_close.tick() == [first]
    staggered_close.put(second)
    assert staggered_close.tick() == [second]


def test_time_that_is_up_leaves_nobody_behind() -> None:
    staggered_close = StaggeredClose(2)
    for connection in connections(4):
        staggered_close.put(connection)
    staggered_close.tick()
    for connection in connections(4):
        staggered_close.put(connection)
    assert [len(staggered_close.tick()) for _ in range(3)] == [3, 3, 0]
