from __future__ import annotations

import pytest

from holdfast.keeper.connection import Connection
from holdfast.keeper.endpoint import Endpoint, Farewells


def connections(count: int) -> list[Connection]:
    return [Connection(serial, b"", None) for serial in range(count)]


def test_an_endpoint_has_not_been_begun_again_at_first() -> None:
    endpoint = Endpoint(b"scope", closes=True)
    assert (endpoint.record, endpoint.closes) == (b"scope", True)
    assert (endpoint.resumed, endpoint.is_given_up) == (0, False)


@pytest.mark.parametrize(("count", "ticks"), [(1, 1), (1, 10), (10, 1), (7, 3), (100, 7), (3, 0)])
def test_all_are_closed_in_the_time_there_is_and_in_equal_shares(count: int, ticks: int) -> None:
    farewells, waiting = Farewells(ticks), connections(count)
    for connection in waiting:
        farewells.put(connection)
    assert len(farewells) == count
    shares = [farewells.tick() for _ in range(max(ticks, 1))]
    assert [each for share in shares for each in share] == waiting
    assert max(map(len, shares)) == -(-count // max(ticks, 1))
    assert (farewells.tick(), len(farewells)) == ([], 0)


def test_those_who_come_later_have_the_whole_time_again() -> None:
    farewells = Farewells(4)
    first, second = connections(2)
    farewells.put(first)
    assert farewells.tick() == [first]
    farewells.put(second)
    assert farewells.tick() == [second]


def test_time_that_is_up_leaves_nobody_behind() -> None:
    farewells = Farewells(2)
    for connection in connections(4):
        farewells.put(connection)
    farewells.tick()
    for connection in connections(4):
        farewells.put(connection)
    assert [len(farewells.tick()) for _ in range(3)] == [3, 3, 0]
