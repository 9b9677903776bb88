from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from holdfast.core.ports import current_outbox
from holdfast.errors import NotInsideHoldfast
from holdfast.web.host import host_for
from tests.core.fakes import FakeHost, message_event, outbox_of


def test_there_is_no_current_outbox_unless_a_host_sets_one() -> None:
    with pytest.raises(LookupError):
        copy_context().run(current_outbox.get)


def test_the_current_outbox_of_one_event_is_unknown_to_the_next() -> None:
    one, other = copy_context(), copy_context()
    outbox = FakeHost().new_outbox()
    one.run(current_outbox.set, outbox)
    assert one.run(current_outbox.get) is outbox
    with pytest.raises(LookupError):
        other.run(current_outbox.get)


def test_an_event_and_its_connection_share_one_outbox() -> None:
    event = message_event(FakeHost())
    event.source.send("during")
    assert outbox_of(event).seal() == [("send", 5, "during")]


def test_a_handle_that_outlives_its_event_still_works() -> None:
    host = FakeHost()
    event = message_event(host)
    outbox_of(event).seal()
    event.source.send("after")
    assert host.leaving == [("send", 5, "after")]


def test_the_host_is_that_of_the_event_that_runs() -> None:
    async def find(host: FakeHost) -> bool:
        current_outbox.set(host.new_outbox())
        return host_for("this") is host

    assert asyncio.run(find(FakeHost()))
    with pytest.raises(NotInsideHoldfast, match=r"^this needs"):
        host_for("this")
