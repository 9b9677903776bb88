from __future__ import annotations

import pytest

from holdfast.supervisor.back_off import BACK_OFF_MOST, YOUNG, BackOff


def test_nothing_waits_before_anything_has_died() -> None:
    back_off = BackOff()
    assert not back_off.is_waiting
    assert back_off.is_over(0.0)


def test_the_first_death_is_followed_at_once() -> None:
    back_off = BackOff()
    back_off.note_death(0.0, 100.0)
    assert back_off.is_waiting
    assert back_off.is_over(100.0)
    assert not back_off.is_waiting


def test_each_young_death_doubles_the_delay_up_to_a_limit() -> None:
    back_off, delays = BackOff(), []
    for _ in range(11):
        back_off.note_death(YOUNG - 0.1, 100.0)
        assert back_off.until is not None
        delays.append(round(back_off.until - 100.0, 3))
        assert back_off.is_over(back_off.until)
    assert delays == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]


def test_a_start_waits_until_it_is_due() -> None:
    back_off = BackOff()
    for _ in range(2):
        back_off.note_death(0.0, 100.0)
    assert not back_off.is_over(100.05)
    assert back_off.until == pytest.approx(100.1)
    assert back_off.is_over(100.1)
    assert back_off.until is None


def test_a_death_at_a_good_age_begins_again() -> None:
    back_off = BackOff()
    for _ in range(8):
        back_off.note_death(0.0, 100.0)
    assert back_off.is_over(200.0)
    back_off.note_death(YOUNG, 200.0)
    assert back_off.is_over(200.0)


def test_death_does_not_hasten_waiting_start() -> None:
    back_off = BackOff()
    for _ in range(10):
        back_off.note_death(0.0, 100.0)
    back_off.note_death(YOUNG, 101.0)
    assert back_off.until == 100.0 + BACK_OFF_MOST


def test_the_past_can_be_forgotten() -> None:
    back_off = BackOff()
    for _ in range(10):
        back_off.note_death(0.0, 100.0)
    back_off.forget()
    assert not back_off.is_waiting
    back_off.note_death(0.0, 100.0)
    assert back_off.is_over(100.0)
