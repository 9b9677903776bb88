from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.keeper.rates import Rates

NOW = 1000.0


def spend(rates: Rates, client: str, frames: int, bytes: int, now: float) -> float:
    """Return when the client is read again: what is over a second's worth has to be waited for."""
    return now + max(rates.spend(client, frames, bytes, now) - 1, 0)


def test_without_limits_there_is_nothing_to_ask() -> None:
    assert not Rates(frames=0, bytes=0)
    assert Rates(frames=1, bytes=0)
    assert Rates(frames=0, bytes=1)


def test_a_second_s_worth_may_come_at_once() -> None:
    rates = Rates(frames=10, bytes=0)
    assert spend(rates, "a", 10, 10_000, NOW) == pytest.approx(NOW)


def test_one_frame_more_has_to_wait_until_it_is_due() -> None:
    rates = Rates(frames=10, bytes=0)
    assert spend(rates, "a", 11, 0, NOW) == pytest.approx(NOW + 0.1)


def test_one_byte_more_has_to_wait_until_it_is_due() -> None:
    rates = Rates(frames=0, bytes=1000)
    assert spend(rates, "a", 5000, 1000, NOW) == pytest.approx(NOW)
    assert spend(rates, "b", 5000, 1001, NOW) == pytest.approx(NOW + 0.001)


def test_the_stricter_limit_counts() -> None:
    rates = Rates(frames=10, bytes=100)
    assert spend(rates, "a", 20, 400, NOW) == pytest.approx(NOW + 3)
    assert spend(rates, "b", 50, 200, NOW) == pytest.approx(NOW + 4)


def test_what_was_spent_is_earned_again() -> None:
    rates = Rates(frames=10, bytes=0)
    spend(rates, "a", 10, 0, NOW)
    assert spend(rates, "a", 5, 0, NOW + 0.5) == pytest.approx(NOW + 0.5)
    assert spend(rates, "a", 10, 0, NOW + 100) == pytest.approx(NOW + 100)


def test_clients_do_not_pay_for_each_other() -> None:
    rates = Rates(frames=1, bytes=0)
    spend(rates, "a", 100, 0, NOW)
    assert spend(rates, "b", 1, 0, NOW) == pytest.approx(NOW)


def test_one_that_left_leaves_nothing_behind() -> None:
    rates = Rates(frames=1, bytes=0)
    spend(rates, "a", 100, 0, NOW)
    rates.forget("a")
    rates.forget("never came")
    assert spend(rates, "a", 1, 0, NOW) == pytest.approx(NOW)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 3)), max_size=60))
def test_whoever_waits_as_told_never_exceeds_the_rate(sent: list[tuple[int, float]]) -> None:
    rates = Rates(frames=10, bytes=0)
    now, total = NOW, 0
    for frames, pause in sent:
        now = spend(rates, "a", frames, 0, now) + pause
        total += frames
        # The bucket holds one second's worth.
        assert total <= (now - NOW) * 10 + 10 + 1e-6
