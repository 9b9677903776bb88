from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.keeper.rates import Rates

NOW = 1000.0


def test_without_limits_there_is_nothing_to_ask() -> None:
    assert not Rates(frames=0, bytes=0)
    assert Rates(frames=1, bytes=0)
    assert Rates(frames=0, bytes=1)


def test_a_second_s_worth_may_come_at_once() -> None:
    rates = Rates(frames=10, bytes=0)
    assert rates.spend("a", 10, 10_000, NOW) == NOW


def test_one_frame_more_has_to_wait_until_it_is_due() -> None:
    rates = Rates(frames=10, bytes=0)
    assert rates.spend("a", 11, 0, NOW) == NOW + 0.1


def test_one_byte_more_has_to_wait_until_it_is_due() -> None:
    rates = Rates(frames=0, bytes=1000)
    assert rates.spend("a", 5000, 1000, NOW) == NOW
    assert rates.spend("b", 5000, 1001, NOW) == NOW + 0.001


def test_the_stricter_limit_counts() -> None:
    rates = Rates(frames=10, bytes=100)
    assert rates.spend("a", 20, 400, NOW) == NOW + 3
    assert rates.spend("b", 50, 200, NOW) == NOW + 4


def test_what_was_spent_is_earned_again() -> None:
    rates = Rates(frames=10, bytes=0)
    rates.spend("a", 10, 0, NOW)
    assert rates.spend("a", 5, 0, NOW + 0.5) == NOW + 0.5
    assert rates.spend("a", 10, 0, NOW + 100) == NOW + 100


def test_clients_do_not_pay_for_each_other() -> None:
    rates = Rates(frames=1, bytes=0)
    rates.spend("a", 100, 0, NOW)
    assert rates.spend("b", 1, 0, NOW) == NOW


def test_one_that_left_leaves_nothing_behind() -> None:
    rates = Rates(frames=1, bytes=0)
    rates.spend("a", 100, 0, NOW)
    rates.forget("a")
    rates.forget("never came")
    assert rates.spend("a", 1, 0, NOW) == NOW


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 3)), max_size=60))
def test_whoever_waits_as_told_never_exceeds_the_rate(sent: list[tuple[int, float]]) -> None:
    rates = Rates(frames=10, bytes=0)
    now, total = NOW, 0
    for frames, pause in sent:
        now = rates.spend("a", frames, 0, now) + pause
        total += frames
        # The bucket holds one second's worth.
        assert total <= (now - NOW) * 10 + 10 + 1e-6
