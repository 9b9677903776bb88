from __future__ import annotations

import asyncio
from inspect import CORO_CLOSED, getcoroutinestate
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.core.channel import BroadcastChannel, GapEvent, MessageEvent
from holdfast.core.events import (
    ActivateEvent,
    ErrorEvent,
    ExtendableEvent,
    InstallEvent,
    ShutdownEvent,
    StartupEvent,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
)
from holdfast.core.request_events import FetchEvent, WebSocketUpgradeEvent
from holdfast.errors import (
    AttachmentError,
    EventSettled,
)
from holdfast.web.response import Response
from holdfast.wire.codec import encode_plain
from tests.core.fakes import (
    URL,
    FakeHost,
    Late,
    close_event,
    fetch_event,
    message_event,
    outbox_of,
    run,
    suspend,
    upgrade_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable


LOBBY = BroadcastChannel("lobby")


def install_event(host: FakeHost) -> InstallEvent:
    return InstallEvent(host.new_outbox())


def error_event(host: FakeHost) -> ErrorEvent:
    return ErrorEvent(host.new_outbox(), OSError(), install_event(host))


async def respond() -> Response:
    return Response("hi")


EVENTS: list[tuple[type[ExtendableEvent], str, Callable[[FakeHost], ExtendableEvent]]] = [
    (InstallEvent, "install", install_event),
    (ActivateEvent, "activate", lambda host: ActivateEvent(host.new_outbox())),
    (StartupEvent, "startup", lambda host: StartupEvent(host.new_outbox())),
    (ShutdownEvent, "shutdown", lambda host: ShutdownEvent(host.new_outbox())),
    (ErrorEvent, "error", error_event),
    (FetchEvent, "fetch", lambda host: fetch_event()),
    (MessageEvent, "message", lambda host: MessageEvent(host.new_outbox(), LOBBY, "hello")),
    (GapEvent, "gap", lambda host: GapEvent(host.new_outbox(), LOBBY, 2)),
    (WebSocketUpgradeEvent, "websocketupgrade", lambda host: upgrade_event()),
    (WebSocketMessageEvent, "websocketmessage", message_event),
    (WebSocketCloseEvent, "websocketclose", close_event),
]  # fmt: skip


# -- every event


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_is_of_its_type_and_open(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    event = make(FakeHost())
    assert isinstance(event, kind)
    assert event.type == type
    assert repr(event) == f"<{kind.__name__} open>"


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_without_work_settles_when_its_listeners_have_returned(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    event = make(FakeHost())
    assert not event.is_settled
    outbox_of(event).seal()
    assert event.is_settled
    assert repr(event) == f"<{kind.__name__} settled>"


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_a_settled_event_cannot_be_extended(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    event = make(FakeHost())
    outbox_of(event).seal()
    with pytest.raises(EventSettled, match=f"^this {type} event is over"):
        event.wait_until(Late())


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_has_room_for_nothing_else(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    assert not hasattr(make(FakeHost()), "__dict__")


def test_actions_after_listeners_leave_at_once() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.send("during")
    host.commit(outbox_of(event))
    event.source.send("after")
    assert host.commits == [[("send", 5, "during")]]
    assert host.leaving == [("send", 5, "after")]


# -- wait_until


def test_work_runs_beside_the_event() -> None:
    host, steps = FakeHost(), []
    event = install_event(host)

    async def work() -> None:
        steps.append("worked")

    event.wait_until(work())
    assert steps == []
    assert len(host.spawned) == 1
    host.run_spawned()
    assert steps == ["worked"]


def test_an_event_stays_open_until_all_its_work_has_ended() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    event.wait_until(Late())
    outbox_of(event).seal()
    run(host.spawned.pop())
    assert not event.is_settled
    run(host.spawned.pop())
    assert event.is_settled


def test_work_counts_from_the_call_and_not_from_its_first_step() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    assert not event.is_settled
    host.run_spawned()


def test_an_event_whose_work_ended_early_is_open_while_listeners_run() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    host.run_spawned()
    assert not event.is_settled
    event.wait_until(Late())
    host.run_spawned()


def test_pending_work_may_extend_the_event_further() -> None:
    host, steps = FakeHost(), []
    event = install_event(host)

    async def inner() -> None:
        steps.append("inner")

    async def outer() -> None:
        event.wait_until(inner())

    event.wait_until(outer())
    outbox_of(event).seal()
    assert host.run_spawned() == []
    assert steps == ["inner"]
    assert event.is_settled


def test_an_event_whose_work_has_ended_cannot_be_extended_again() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    host.run_spawned()
    with pytest.raises(EventSettled):
        event.wait_until(Late())


def test_failed_work_is_kept_for_host() -> None:
    host, error = FakeHost(), OSError("no database")
    event = install_event(host)
    assert event.failures == []

    async def work() -> None:
        await suspend()
        raise error

    event.wait_until(work())
    outbox_of(event).seal()
    assert host.run_spawned() == [error]
    assert event.failures == [error]
    assert event.is_settled


def test_work_that_is_cancelled_ends_the_event_too() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    work = host.spawned.pop()
    work.send(None)
    with pytest.raises(asyncio.CancelledError):
        work.throw(asyncio.CancelledError())
    assert event.is_settled
    assert event.failures == []


def test_a_task_is_work_too() -> None:
    async def main() -> bool:
        host = FakeHost()
        event = install_event(host)
        event.wait_until(asyncio.create_task(asyncio.sleep(0)))
        outbox_of(event).seal()
        await host.spawned.pop()
        return event.is_settled

    assert asyncio.run(main())


@pytest.mark.parametrize("work", [None, 5, "work", respond, [Late()]])
def test_what_cannot_be_awaited_is_no_work(work: Any) -> None:
    host = FakeHost()
    event = install_event(host)
    with pytest.raises(TypeError, match=f"takes an awaitable, not {type(work).__name__}$"):
        event.wait_until(work)
    assert host.spawned == []
    outbox_of(event).seal()
    assert event.is_settled


def test_work_that_came_too_late_is_closed() -> None:
    # Or Python would warn that it was never awaited, far from here. A12 is different: there, the
    # host hears of all work, also of that which is refused.
    host = FakeHost()
    event, work = install_event(host), respond()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.wait_until(work)
    assert getcoroutinestate(work) == CORO_CLOSED
    assert host.spawned == []


def test_work_sends_with_or_after_its_event() -> None:
    host = FakeHost()
    event = message_event(host)

    async def work() -> None:
        event.source.send("during")
        await suspend()
        event.source.send("after")

    event.wait_until(work())
    steps = host.spawned.pop()
    steps.send(None)
    assert outbox_of(event).seal() == [("send", 5, "during")]
    with pytest.raises(StopIteration):
        steps.send(None)
    assert host.leaving == [("send", 5, "after")]


def test_fetch_event_has_only_its_request() -> None:
    # The model differs: the URL is that of the request, and a request of no page has no client.
    event = fetch_event()
    assert event.request.url.href == URL
    names = ("url", "client_id", "resulting_client_id", "handled", "preload_response")
    assert not any(hasattr(event, name) for name in names)


# -- messages


def test_a_message_event_says_what_came_from_whom() -> None:
    event = message_event(FakeHost(), b"\x00\xff", attachment=encode_plain({"n": 1}), attempt=2)
    assert event.data == b"\x00\xff"
    assert (event.number, event.attempt) == (7, 2)
    assert (event.source.id, event.source.data) == ("id-5", {"n": 1})
    assert not event.source.closed


@pytest.mark.parametrize("attempt", [1, 2])
def test_the_id_of_a_message_is_the_same_on_each_attempt(attempt: int) -> None:
    assert message_event(FakeHost(), attempt=attempt).id == "id-5-7"


@pytest.mark.parametrize("data", ['{"a": [1, null]}', b'{"a": [1, null]}'])
def test_a_message_can_be_parsed_as_json(data: str | bytes) -> None:
    assert message_event(FakeHost(), data).json() == {"a": [1, None]}


@pytest.mark.parametrize("data", ["NaN", '{"a": [Infinity]}', b"-Infinity"])
def test_numbers_that_only_python_calls_json_are_refused(data: str | bytes) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        message_event(FakeHost(), data).json()


def test_an_event_of_a_channel_says_what_happened_where() -> None:
    host = FakeHost()
    message = MessageEvent(host.new_outbox(), LOBBY, {"n": 1})
    gap = GapEvent(host.new_outbox(), LOBBY, 2)
    assert (message.channel, message.data) == (LOBBY, {"n": 1})
    assert (gap.channel, gap.lost) == (LOBBY, 2)


@pytest.mark.parametrize("data", ["", "{", "'a'", b"\xff", b"\x00", "[" * 100_000, b"[" * 100_000])
def test_a_message_that_is_not_json_is_a_value_error(data: str | bytes) -> None:
    event = message_event(FakeHost(), data)
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the json module
        event.json()


def test_a_flush_sends_what_was_collected_so_far() -> None:
    host = FakeHost()
    event = message_event(host, attempt=2)
    event.source.send("a")
    run(event.flush())
    event.source.send("b")
    assert host.flushes == [[("send", 5, "a")]]
    assert outbox_of(event).entries == [("send", 5, "b")]


def test_a_flush_commits_changed_data() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.data = record = {"n": 1}
    run(event.flush())
    assert host.flushes == [[("attach", 5, encode_plain({"n": 1}))]]
    record["n"] = 2
    event.source.commit()
    assert outbox_of(event).entries == [("attach", 5, encode_plain({"n": 2}))]


def test_flush_of_invalid_data_sends_nothing() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.send("a")
    event.source.data = {1, 2}
    with pytest.raises(AttachmentError):
        run(event.flush())
    assert host.flushes == []
    assert outbox_of(event).entries == [("send", 5, "a")]


def test_a_flush_after_the_listeners_is_an_error() -> None:
    host = FakeHost()
    event = message_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        run(event.flush())
    assert host.flushes == []
    host.run_spawned()


# -- closes, errors


def test_a_close_event_says_what_closed_and_why() -> None:
    event = close_event(FakeHost(), 4000, "bye")
    assert (event.code, event.reason, event.number, event.attempt) == (4000, "bye", 8, 1)
    assert event.id == "id-5-8"


@pytest.mark.parametrize(
    ("code", "was_clean"), [(1000, True), (1001, True), (1005, True), (1006, False), (4999, True)]
)
def test_only_1006_is_not_clean(code: int, was_clean: bool) -> None:
    assert close_event(FakeHost(), code).was_clean is was_clean


def test_the_connection_of_a_close_event_is_closed() -> None:
    event = close_event(FakeHost())
    assert event.source.closed
    event.source.send("too late")
    assert outbox_of(event).entries == []


def test_an_error_event_reports_what_raised_and_where() -> None:
    host, error = FakeHost(), OSError("no database")
    failed = message_event(host)
    event = ErrorEvent(host.new_outbox(), error, failed)
    assert (event.error, event.event) == (error, failed)
