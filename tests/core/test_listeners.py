from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from holdfast.core.listeners import (
    Listener,
    Row,
    check_event_type,
    with_listener,
    without_listener,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def first(event: object) -> None: ...


def second(event: object) -> None: ...


class Handler:
    def handle_event(self, event: object) -> None: ...


def test_a_listener_goes_to_the_end_of_the_row() -> None:
    row = with_listener(with_listener((), first), second, "close")
    assert row == (Listener(first, first, "continue"), Listener(second, second, "close"))


def test_a_listener_is_in_a_row_once() -> None:
    row = with_listener(with_listener((), first), second)
    assert with_listener(row, first, "close") is row


def test_a_row_that_somebody_runs_through_does_not_change() -> None:
    row: Row = with_listener((), first)
    with_listener(row, second)
    without_listener(row, first)
    assert row == (Listener(first, first, "continue"),)


def test_an_object_may_listen() -> None:
    handler = Handler()
    (listener,) = with_listener((), handler)
    assert listener.registered is handler
    assert listener.call == handler.handle_event


def test_what_cannot_be_called_cannot_listen() -> None:
    with pytest.raises(TypeError, match=r"handle_event method; int is neither"):
        with_listener((), 5)


class Yielding:
    def handle_event(self, event: object) -> Iterator[None]:
        yield

    async def later(self, event: object) -> AsyncIterator[None]:
        yield


@pytest.mark.parametrize("listener", [Yielding(), Yielding().later, partial(Yielding().later, 5)])
def test_what_yields_cannot_listen(listener: object) -> None:
    # Not a line of it would ever run, and nobody would say so.
    with pytest.raises(TypeError, match=r"^a listener does not yield: "):
        with_listener((), listener)


@pytest.mark.parametrize("type_", [5, None, b"fetch", ["fetch"], first])
def test_the_type_of_an_event_is_text(type_: object) -> None:
    kind = type(type_).__name__
    with pytest.raises(TypeError, match=f"^the type of an event is a str, not {kind}$"):
        check_event_type(type_)
    check_event_type("any text")


def test_a_listener_is_taken_out_again() -> None:
    row = with_listener(with_listener((), first), second)
    assert without_listener(row, first) == (Listener(second, second, "continue"),)


def test_taking_out_what_is_not_there_is_no_error() -> None:
    assert without_listener((), first) == ()
