from __future__ import annotations

import pytest

from holdfast.ledger.connection import Connection
from holdfast.ledger.endpoint import Endpoint, StaggeredClose


def connections(count: int) -> list[Connection]:
    return [Connection(serial, b"", None) for serial in range(count)]


def test_an_endpoint_has_not_been_begun_again_at_first() -> None:
    endpoint = Endpoint(b"scope", closes=True)
    assert (endpoint.record, endpoint.closes) == (b"scope", True)
    assert (endpoint.resumed, endpoint.is_given_up) == (0, False)


@pytest.mark.parametrize(("count", "ticks"), [(1, 1), (1, 10), (10, 1), (7, 3), (100, 7), (3, 0)])
def test_closes_are_spread_evenly_over_time(count: int, ticks: int) -> None:
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
