"""I-5.7: who may come in."""

from __future__ import annotations

import pytest

from holdfast.keeper.admission import Admission, Refusal

NOW = 1000.0


def admission(most: int = 0, per_address: int = 0, per_second: int = 0) -> Admission:
    return Admission(most=most, most_per_address=per_address, most_per_second=per_second)


def enter(door: Admission, address: str = "192.0.2.1", now: float = NOW) -> str:
    address_key = door.enter(address, now)
    assert isinstance(address_key, str), address_key
    return address_key


def refusal(door: Admission, address: str = "192.0.2.1", now: float = NOW) -> Refusal:
    refused = door.enter(address, now)
    assert isinstance(refused, Refusal)
    return refused


def test_without_limits_everybody_may_come() -> None:
    door = admission()
    assert {enter(door) for _ in range(1000)} == {""}


# -- in all


def test_connection_over_max_connections_is_refused() -> None:
    door = admission(most=2)
    enter(door)
    enter(door)
    assert refusal(door) == (
        503, "there are 2 connections (--max-connections)", "max_connections"
    )  # fmt: skip
    assert door.hits == {"max_connections": 1}


def test_who_leaves_makes_room() -> None:
    door = admission(most=1)
    address_key = enter(door)
    refusal(door)
    door.leave(address_key)
    enter(door)


# -- per address


def test_connection_over_address_limit_is_refused() -> None:
    door = admission(per_address=2)
    enter(door)
    enter(door)
    refused = refusal(door)
    assert (refused.status, refused.limit) == (429, "max_connections_per_address")
    assert "192.0.2.1 has 2 connections" in refused.why
    enter(door, "192.0.2.2")


def test_leaving_frees_a_place_of_its_address() -> None:
    door = admission(per_address=1)
    address_key = enter(door)
    door.leave(address_key)
    address_key = enter(door)
    refusal(door)
    door.leave(address_key)


def test_leaving_frees_exactly_one_place() -> None:
    door = admission(per_address=2)
    address_key = enter(door)
    enter(door)
    door.leave(address_key)
    enter(door)
    refusal(door)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff"),
        ("2001:db8:0:0:1::", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
        ("unix", "unix"),
    ],
)
def test_what_one_customer_has_counts_as_one_address(one: str, other: str) -> None:
    door = admission(per_address=1)
    enter(door, one)
    refusal(door, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("192.0.2.1", "192.0.2.2"),
        ("not an address", "nor this"),
    ],
)
def test_others_have_an_address_of_their_own(one: str, other: str) -> None:
    door = admission(per_address=1)
    enter(door, one)
    enter(door, other)


def test_a_client_without_an_address_is_not_counted_for_one() -> None:
    door = admission(per_address=1)
    enter(door, "")
    enter(door, "")


# -- per second


def test_handshake_rate_allows_a_seconds_burst() -> None:
    door = admission(per_second=3)
    for _ in range(3):
        enter(door)
    refused = refusal(door)
    assert (refused.status, refused.limit) == (503, "max_handshakes")


def test_time_lets_more_in() -> None:
    door = admission(per_second=2)
    enter(door)
    enter(door)
    refusal(door, now=NOW + 0.4)
    enter(door, now=NOW + 0.5)
    refusal(door, now=NOW + 0.6)


def test_a_quiet_time_is_not_saved_up() -> None:
    door = admission(per_second=2)
    enter(door)
    enter(door, now=NOW + 100)
    enter(door, now=NOW + 100)
    refusal(door, now=NOW + 100)


# -- memory


def test_without_memory_nobody_may_come() -> None:
    door = admission()
    door.is_short_of_memory = True
    refused = refusal(door)
    assert (refused.status, refused.limit) == (503, "max_memory")
    door.is_short_of_memory = False
    enter(door)


def test_one_that_was_refused_is_not_counted() -> None:
    door = admission(most=1, per_address=5, per_second=1)
    door.is_short_of_memory = True
    for _ in range(10):
        refusal(door)
    door.is_short_of_memory = False
    enter(door)
