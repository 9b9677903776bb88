"""I-5.6: who is silent is asked, and given up if there is no answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.keeper.keepalive import DEAD, Keepalive, Look

FD = 7


def keepalive(interval: float = 10.0, timeout: float = 5.0, tick: float = 1.0) -> Keepalive:
    return Keepalive(interval=interval, timeout=timeout, tick=tick)


def turn(wheel: Keepalive, times: int) -> list[int]:
    return [fd for _ in range(times) for fd in wheel.turn()]


def test_time_is_a_count_of_ticks() -> None:
    wheel = keepalive()
    assert wheel.now == 0
    turn(wheel, 3)
    assert wheel.now == 3


def test_a_new_connection_is_looked_at_after_the_interval() -> None:
    wheel = keepalive()
    wheel.put(FD, wheel.first_look())
    assert turn(wheel, 9) == []
    assert turn(wheel, 1) == [FD]
    assert turn(wheel, 100) == []


def test_many_may_be_due_in_one_tick() -> None:
    wheel = keepalive()
    for fd in (3, 4, 5):
        wheel.put(fd, 2)
    assert list(turn(wheel, 2)) == [3, 4, 5]


def test_without_an_interval_nobody_is_looked_at() -> None:
    assert keepalive(interval=0).first_look() == 0


@pytest.mark.parametrize(("seconds", "ticks"), [(1.0, 4), (1.1, 5), (0.01, 1)])
def test_an_interval_is_never_shorter_than_it_should_be(seconds: float, ticks: int) -> None:
    assert keepalive(interval=seconds, tick=0.25).first_look() == ticks


def test_a_client_that_was_heard_since_is_left_alone() -> None:
    wheel = keepalive()
    turn(wheel, 10)
    assert wheel.judge(heard=4, asked=0) == Look(ping=False, asked=0, due=14)


def test_a_silent_client_is_pinged_and_looked_at_when_its_time_is_up() -> None:
    wheel = keepalive()
    turn(wheel, 10)
    assert wheel.judge(heard=0, asked=0) == Look(ping=True, asked=10, due=15)


def test_a_client_that_has_answered_is_looked_at_an_interval_after_its_answer() -> None:
    wheel = keepalive()
    turn(wheel, 15)
    assert wheel.judge(heard=11, asked=10) == Look(ping=False, asked=0, due=21)


def test_an_answer_within_the_same_tick_is_one() -> None:
    wheel = keepalive()
    turn(wheel, 20)
    assert wheel.judge(heard=10, asked=10) == Look(ping=True, asked=20, due=25)


def test_a_client_that_has_not_answered_is_dead() -> None:
    wheel = keepalive()
    turn(wheel, 15)
    assert wheel.judge(heard=0, asked=10) == Look(False, 10, DEAD)


def test_pong_timeout_may_exceed_ping_interval() -> None:
    wheel = keepalive(interval=2, timeout=5)
    turn(wheel, 2)
    assert wheel.judge(heard=0, asked=0) == Look(ping=True, asked=2, due=4)
    turn(wheel, 2)
    assert wheel.judge(heard=0, asked=2) == Look(ping=True, asked=2, due=6)
    turn(wheel, 2)
    assert wheel.judge(heard=0, asked=2) == Look(ping=True, asked=2, due=7)
    turn(wheel, 1)
    assert wheel.judge(heard=0, asked=2).due == DEAD


@given(
    heard=st.lists(st.integers(1, 200), max_size=20),
    interval=st.integers(1, 30),
    timeout=st.integers(1, 40),
)
def test_only_silent_clients_time_out(heard: list[int], interval: int, timeout: int) -> None:
    wheel = keepalive(interval=interval, timeout=timeout)
    wheel.put(FD, wheel.first_look())
    last = asked = first_ping = 0
    for now in range(1, 300):
        looks = list(wheel.turn())
        for fd in looks:
            look = wheel.judge(last, asked)
            if look.due == DEAD:
                assert now - first_ping == timeout, "it had time left"
                return
            assert now < look.due <= max(last, now) + interval
            if look.ping and first_ping <= last:
                first_ping = now
                assert now - last == interval, "it is asked too early, or too late"
            asked = look.asked
            wheel.put(fd, look.due)
        assert now - last < interval + timeout, "a dead client was not found out"
        if now in heard:
            last = now


# -- where only an answer counts


def test_the_answer_to_a_question_is_one() -> None:
    wheel = keepalive()
    turn(wheel, 300)
    question = wheel.question()
    assert wheel.is_answer(question)
    turn(wheel, 15)
    assert wheel.is_answer(question)


def test_stale_pong_does_not_count() -> None:
    wheel = keepalive()
    question = wheel.question()
    turn(wheel, 16)
    assert not wheel.is_answer(question)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0\0\7", b"\0\0\0\0\0"])
def test_what_nobody_asked_is_no_answer(payload: bytes) -> None:
    assert not keepalive().is_answer(payload)
