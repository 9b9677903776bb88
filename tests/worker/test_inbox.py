"""Deliveries → events → acknowledgements, on a real loop with a link that records."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import (
    ErrorEvent,
    EventSettled,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
)
from holdfast.core.ports import Metadata
from holdfast.wire.codec import decode_plain, encode_metadata, encode_plain
from holdfast.wire.messages import (
    Ack,
    Act,
    Attach,
    Close,
    DeliverClose,
    DeliverText,
    SendText,
    Subscribe,
    Unsubscribe,
)
from holdfast.worker.host import WorkerHost
from holdfast.worker.inbox import Inbox
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec

    from holdfast import Connection
    from holdfast.wire.messages import Action
    from holdfast.worker.stream_link import StreamLink

ABOUT = encode_metadata(Metadata("http://localhost/", None, frozenset()))

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Link:
    """Records what is sent."""

    def __init__(self) -> None:
        self.sent: list[msgspec.Struct] = []
        self.flushed: list[int] = []  # how many had been sent at each flush of something new

    def send(self, message: msgspec.Struct) -> None:
        self.sent.append(message)

    def collect(self, message: msgspec.Struct) -> None:
        self.sent.append(message)

    def flush(self) -> None:
        if self.sent and self.flushed[-1:] != [len(self.sent)]:
            self.flushed.append(len(self.sent))

    async def drain(self) -> None: ...

    def acks(self, connection: int = 1) -> list[Ack]:
        return [m for m in self.sent if isinstance(m, Ack) and m.connection == connection]

    def texts(self, connection: int = 1) -> list[str]:
        """What the connection was sent, in order."""
        actions = [action for ack in self.acks(connection) for action in ack.actions]
        return [action.data for action in actions if isinstance(action, SendText)]


def text(
    data: str, number: int = 1, *, connection: int = 1, attachment: bytes = b"", seen: int = 0
) -> DeliverText:
    return DeliverText(connection, number, 1, data, ABOUT, attachment, seen)


def run(
    app: ServiceWorker,
    *batches: Sequence[DeliverText | DeliverClose],
    link: Link | None = None,
    event_timeout: float = 0.0,
) -> Link:
    """Put the batches in, each when all before is acknowledged; return what was sent."""

    link = link or Link()

    async def main() -> Link:
        loop = asyncio.get_running_loop()
        host = WorkerHost(1, cast("StreamLink", link), loop)
        host.be_named(b"12345", b"k" * 32)
        inbox = Inbox(app, host, cast("StreamLink", link), loop, event_timeout=event_timeout)
        expected = 0
        for batch in batches:
            inbox.put_all(batch)
            expected += len(batch)
            async with asyncio.timeout(100):
                while (
                    sum(message.count for message in link.sent if isinstance(message, Ack))
                    < expected
                ):
                    await asyncio.sleep(0.001)
                await host.finish_works()
        return link

    return jumping.run(main())


def app_with(listener: Callable[[WebSocketMessageEvent], object]) -> ServiceWorker:
    app = ServiceWorker()
    app.add_event_listener("websocketmessage", listener)
    return app


def test_acknowledgement_carries_all_that_the_listener_asked_for() -> None:
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.send("a")
        event.source.subscribe("lobby")
        event.source.unsubscribe("lobby")
        event.source.data = 7
        event.source.close(4000)

    link = run(app_with(listener), [text("x", 3)])
    actions: list[Action] = [
        SendText(1, "a"),
        Subscribe(1, "lobby"),
        Unsubscribe(1, "lobby"),
        Close(1, 4000, ""),
        Attach(1, encode_plain(7)),
    ]
    assert link.sent == [Ack(1, 3, 1, actions, 1)]


def test_deliveries_of_one_connection_run_one_after_the_other() -> None:
    # A46 is different: there, what comes after an await may interleave. A45: what an async
    # listener returns is waited for.
    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01 if event.data == "slow" else 0)
        event.source.send(str(event.data))

    link = run(app_with(listener), [text("slow", 1), text("a", 2), text("b", 3)])
    assert link.texts() == ["slow", "a", "b"]


def test_listener_that_waits_delays_no_other_connection() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        if event.data == "slow":
            await asyncio.sleep(0.05)

    link = run(app_with(listener), [text("slow"), text("fast", connection=2)])
    assert [ack.connection for ack in link.sent if isinstance(ack, Ack)] == [2, 1]


def test_events_of_one_connection_that_end_in_one_turn_are_acknowledged_together() -> None:
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.send(str(event.data))

    link = run(app_with(listener), [text("a", 1), text("b", 2), text("c", 1, connection=2)])
    assert link.sent == [
        Ack(1, 2, 1, [SendText(1, "a"), SendText(1, "b")], 2),
        Ack(2, 1, 1, [SendText(2, "c")], 1),
    ]


def test_event_that_waits_is_acknowledged_behind_those_before_it() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        if event.data == "wait":
            await asyncio.sleep(0)
        event.source.send(str(event.data))

    batch = [text("a", 1), text("b", 2), text("wait", 3), text("c", 4)]
    acks = run(app_with(listener), batch).acks()
    assert [(ack.number, ack.count) for ack in acks] == [(2, 2), (3, 1), (4, 1)]
    assert [len(ack.actions) for ack in acks] == [2, 1, 1]


def test_acknowledgement_does_not_wait_for_the_next_event_of_its_connection() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0)
        if event.data == "second":
            assert link.flushed == [1], "the first one has left"

    app = app_with(listener)
    link = Link()
    run(app, [text("first", 1), text("second", 2)], link=link)
    assert len(link.acks()) == 2


def test_delivery_behind_another_sees_what_that_one_changed() -> None:
    # After it had waited.
    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0)
        event.source.data = (event.source.data or 0) + 1
        event.source.send(str(event.source.data))

    assert run(app_with(listener), [text("a", 1), text("b", 2)]).texts() == ["1", "2"]


def test_delivery_sent_before_the_last_acknowledgement_was_seen_is_not_believed() -> None:
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.data = (event.source.data or 0) + 1
        event.source.send(str(event.source.data))

    # The keeper had seen none of our acknowledgements when it sent the second one.
    link = run(app_with(listener), [text("a", 1)], [text("b", 2, seen=0)])
    assert link.texts() == ["1", "2"]


def test_delivery_sent_after_the_last_acknowledgement_was_seen_is_believed() -> None:
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.data = (event.source.data or 0) + 1
        event.source.send(str(event.source.data))

    later = text("b", 2, seen=1, attachment=encode_plain(10))
    assert run(app_with(listener), [text("a", 1)], [later]).texts() == ["1", "11"]


def test_event_that_fails_sends_nothing_and_changes_nothing() -> None:
    # And the next one runs.
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.send(f"{event.source.data} {sorted(event.source.channels)}")
        if event.data == "bad":
            event.source.data = "changed"
            event.source.subscribe("x")
            raise RuntimeError

    link = run(app_with(listener), [text("bad", 1), text("good", 2)])
    assert [ack.actions for ack in link.acks()] == [[], [SendText(1, "None []")]]


def test_failure_closes_the_connection_where_the_listener_was_registered_so() -> None:
    def listener(_: WebSocketMessageEvent) -> None:
        raise RuntimeError

    app = ServiceWorker()
    app.add_event_listener("websocketmessage", listener, on_error="close")
    assert run(app, [text("x")]).acks()[0].actions == [Close(1, 1011, "")]


def test_data_that_cannot_be_kept_fails_the_event() -> None:
    # The model differs: there, null is kept, with a warning.
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.send("never")
        event.source.data = {"bad": object()}

    assert run(app_with(listener), [text("x")]).acks()[0].actions == []


def test_data_that_cannot_be_read_is_the_failure_of_who_reads_it() -> None:
    # Which connection it is does not hang on its data, nor do its other events.
    app, seen = ServiceWorker(), []

    @app.on("websocketmessage")
    def listen(event: WebSocketMessageEvent) -> None:
        if event.data == "read":
            event.source.send(str(event.source.data))
        event.source.send(str(event.data))

    @app.on("websocketclose")
    def close(event: WebSocketCloseEvent) -> None:
        seen.append((event.source.id, event.code))

    broken = b"\xc1"
    closing = DeliverClose(1, 3, 1, 4000, "bye", ABOUT, broken, 0)
    messages = [text("read", 1, attachment=broken), text("go on", 2, attachment=broken)]
    link = run(app, [*messages, closing])
    assert link.texts() == ["go on"]
    assert sum(ack.count for ack in link.acks()) == 3
    assert [code for _, code in seen] == [4000]


def test_variable_set_by_one_event_is_not_seen_by_the_next() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        event.source.send(variable.get())
        variable.set(str(event.data))

    batch = [text("a", 1), text("b", 2), text("c", connection=2)]
    link = run(app_with(listener), batch)
    assert link.texts() + link.texts(2) == ["unset"] * 3


def test_variable_is_still_set_after_the_listener_has_waited() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        variable.set("mine")
        await asyncio.sleep(0)
        event.source.send(variable.get())

    assert run(app_with(listener), [text("a")]).texts() == ["mine"]


def test_timeouts_and_task_groups_work_in_a_listener() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        try:
            async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(10))
        except TimeoutError:
            event.source.send(f"{event.data} timed out")

    batch = [text("a"), text("b", connection=2)]
    link = run(app_with(listener), batch)
    assert link.texts() + link.texts(2) == ["a timed out", "b timed out"]


def test_listener_whose_helper_is_cancelled_fails_and_the_connection_goes_on() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        if event.data == "bad":
            helper = asyncio.create_task(asyncio.sleep(10))
            asyncio.get_running_loop().call_later(0.01, helper.cancel)
            await helper
        event.source.send("good")

    link = run(app_with(listener), [text("bad", 1), text("good", 2)])
    assert [ack.actions for ack in link.acks()] == [[], [SendText(1, "good")]]


def test_event_timeout_cancels_the_listener(caplog: pytest.LogCaptureFixture) -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        event.source.send(str(event.data))
        if event.data == "hangs":
            await asyncio.Event().wait()

    link = run(app_with(listener), [text("hangs", 1), text("next", 2)], event_timeout=10)
    assert [ack.actions for ack in link.acks()] == [[], [SendText(1, "next")]]
    assert "TimeoutError: the listeners took longer than 10 s" in caplog.text


def test_event_timeout_cancels_again_what_goes_on() -> None:
    cancelled: list[float] = []

    async def listener(event: WebSocketMessageEvent) -> None:
        loop = asyncio.get_running_loop()
        while len(cancelled) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(loop.time())

    run(app_with(listener), [text("stubborn")], event_timeout=10)
    assert [round(since / 10) for since in cancelled] == [1, 2, 3]


def test_listener_within_the_event_timeout_is_left_alone() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(8)
        event.source.send("done")

    link = run(app_with(listener), [text("a", 1), text("b", 2)], event_timeout=10)
    assert link.texts() == ["done", "done"]


def test_flush_sends_at_once_and_the_rest_comes_with_the_acknowledgement() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        event.source.data = 1
        event.source.send("early")
        await event.flush()
        event.source.send("late")

    link = run(app_with(listener), [text("x")])
    early, late = link.sent
    assert early == Act([SendText(1, "early"), Attach(1, encode_plain(1))])
    assert late == Ack(1, 1, 1, [SendText(1, "late")], 1)


def test_what_was_flushed_before_a_failure_is_kept() -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        if event.data == "bad":
            event.source.data = 1
            await event.flush()
            raise RuntimeError
        event.source.send(str(event.source.data))

    assert run(app_with(listener), [text("bad", 1), text("good", 2)]).texts() == ["1"]


def test_work_delays_neither_its_acknowledgement_nor_the_next_message() -> None:
    # A47 is different: there, it is waited for first.
    order: list[str] = []

    async def listener(event: WebSocketMessageEvent) -> None:
        order.append(f"{event.data} begins")
        if event.data == "first":
            event.wait_until(work(event))
        else:
            release.set()

    async def work(event: WebSocketMessageEvent) -> None:
        await release.wait()
        order.append(f"work of {event.data} ends")

    release = asyncio.Event()
    link = run(app_with(listener), [text("first", 1), text("second", 2)])
    assert [ack.count for ack in link.acks()] == [2]
    assert order == ["first begins", "second begins", "work of first ends"]


def test_work_that_raises_is_logged_and_the_next_message_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        raise RuntimeError("the work")

    async def listener(event: WebSocketMessageEvent) -> None:
        if event.data == "bad":
            event.wait_until(work())
        event.source.send(str(event.data))

    assert run(app_with(listener), [text("bad", 1)], [text("good", 2)]).texts() == ["bad", "good"]
    assert [record.message for record in caplog.records] == [
        "work passed to wait_until raised RuntimeError"
    ]


def test_failure_is_logged_with_what_the_listener_was_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("secret detail")

    run(app_with(listener), [text("x", 7)])
    (record,) = caplog.records
    words = "a websocketmessage listener, message 7, attempt 1, raised RuntimeError"
    assert record.message == words
    assert record.exc_info is not None


async def raises(_: WebSocketMessageEvent) -> None:
    raise LookupError


async def waits_and_raises(_: WebSocketMessageEvent) -> None:
    await asyncio.sleep(0)
    raise LookupError


async def leaves_what_cannot_be_kept(event: WebSocketMessageEvent) -> None:
    event.source.data = object()


@pytest.mark.parametrize("listener", [raises, waits_and_raises, leaves_what_cannot_be_kept])
def test_event_that_failed_leaves_nothing_to_the_garbage_collector(
    listener: Callable[[WebSocketMessageEvent], object], caplog: pytest.LogCaptureFixture
) -> None:
    # What is logged is kept by pytest.
    caplog.set_level(logging.CRITICAL + 1, logger="holdfast")
    # A client that sends nonsense to a listener that raises must not make the worker stop for it.
    app = app_with(listener)

    @app.on("error")
    async def fails(_: ErrorEvent) -> None:
        raise RuntimeError

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run(app, [text("x")])
        gc.collect()
        events = [each for each in gc.garbage if isinstance(each, WebSocketMessageEvent)]
        assert not events
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_what_a_plain_listener_leaves_to_the_loop_comes_too_late_for_its_event() -> None:
    # An async listener keeps its event open instead (A17, A36).
    extended = asyncio.Event()

    def listener(event: WebSocketMessageEvent) -> object:
        if event.data == "second":
            return extended.wait()
        return asyncio.get_running_loop().call_soon(extend, event)

    def extend(event: WebSocketMessageEvent) -> None:
        event.source.send("at once")
        with pytest.raises(EventSettled):
            event.wait_until(asyncio.sleep(0))
        extended.set()

    link = run(app_with(listener), [text("first", 1)], [text("second", 2)])
    first, late, second = link.sent
    assert first == Ack(1, 1, 1, [], 1)
    assert late == Act([SendText(1, "at once")])
    assert second == Ack(1, 2, 1, [], 1)


def test_each_event_has_a_handle_of_its_own_on_the_same_connection() -> None:
    # The model differs: there, it is one object as long as its process lives. A42: what stays the
    # same is the id.
    sources: list[Connection] = []
    run(app_with(lambda event: sources.append(event.source)), [text("a", 1), text("b", 2)])
    one, other = sources
    assert one is not other
    assert one.id == other.id


def test_handle_that_was_kept_still_sends_after_its_event() -> None:
    # It keeps nothing alive, and nothing of it is lost.
    kept: list[Connection] = []

    def listener(event: WebSocketMessageEvent) -> None:
        if kept:
            kept[0].send(f"kept, during {event.data}")
        kept.append(event.source)

    link = run(app_with(listener), [text("a", 1)], [text("b", 2)])
    acks = [message for message in link.sent if isinstance(message, Ack)]
    assert [ack.actions for ack in acks] == [[], []]
    assert Act([SendText(1, "kept, during b")]) in link.sent


def test_what_wait_until_work_sends_leaves_at_once_after_the_acknowledgement() -> None:
    async def later(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01)
        event.source.send("later")

    link = run(app_with(lambda event: event.wait_until(later(event))), [text("x")])
    assert link.sent == [Ack(1, 1, 1, [], 1), Act([SendText(1, "later")])]


def test_wait_until_work_delays_no_acknowledgement() -> None:
    async def later(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01)
        event.source.send("later")

    async def listener(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01)
        event.wait_until(later(event))

    link = run(app_with(listener), [text("x")])
    assert link.sent == [Ack(1, 1, 1, [], 1), Act([SendText(1, "later")])]


def test_close_event_is_dispatched_with_code_reason_and_data() -> None:
    seen: list[object] = []
    app = ServiceWorker()

    @app.on("websocketclose")
    def close(event: object) -> None:
        seen.append(event)

    closing = DeliverClose(1, 2, 1, 4000, "bye", ABOUT, encode_plain("data"), 0)
    run(app, [closing])
    (event,) = seen
    assert (event.code, event.reason, event.source.data) == (4000, "bye", "data")  # type: ignore[attr-defined]


def test_attachment_of_the_acknowledgement_is_what_the_listener_left() -> None:
    def listener(event: WebSocketMessageEvent) -> None:
        event.source.data["n"] += 1

    batch = [text("x", attachment=encode_plain({"n": 1}))]
    (ack,) = run(app_with(listener), batch).acks()
    (action,) = ack.actions
    assert isinstance(action, Attach)
    assert decode_plain(action.attachment) == {"n": 2}


# What a listener does with its message: returns, waits for its release, raises, or both.
deeds = st.sampled_from(["return", "wait", "raise", "wait, raise"])
connections = st.integers(1, 3)
steps = st.one_of(
    st.lists(st.tuples(connections, deeds), min_size=1, max_size=6),
    connections,  # whose event is released
    st.none(),  # a turn of the loop
)


class Play:
    """A listener that does what its messages say; and what was delivered and begun."""

    def __init__(self) -> None:
        self.delivered: list[DeliverText] = []
        self.begun: list[tuple[int, int]] = []
        self.running: dict[int, asyncio.Event] = {}

    async def listen(self, event: WebSocketMessageEvent) -> None:
        serial, deed = event.source.serial, str(event.data)
        assert serial not in self.running
        self.running[serial] = asyncio.Event()
        self.begun.append((serial, event.number))
        event.source.send(f"{event.number}")
        try:
            if "wait" in deed:
                await self.running[serial].wait()
            if "raise" in deed:
                raise LookupError
        finally:
            del self.running[serial]

    def of(self, connection: int) -> list[DeliverText]:
        return [each for each in self.delivered if each.connection == connection]

    def batch(self, deeds: list[tuple[int, str]]) -> list[DeliverText]:
        before = len(self.delivered)
        for connection, deed in deeds:
            number = len(self.of(connection)) + 1
            self.delivered.append(text(deed, number, connection=connection))
        return self.delivered[before:]

    async def go_on(self, inbox: Inbox, step: list[tuple[int, str]] | int | None) -> None:
        if isinstance(step, list):
            inbox.put_all(self.batch(step))
            assert not inbox.is_idle
        elif step is None:
            await asyncio.sleep(0)
        elif step in self.running:
            self.running[step].set()

    async def finish(self, inbox: Inbox) -> None:
        async with asyncio.timeout(5):
            while not inbox.is_idle:
                for waiting in self.running.values():
                    waiting.set()
                await asyncio.sleep(0)


@given(st.lists(steps, max_size=12))
def test_whatever_waits_each_connection_has_its_events_in_order_and_one_at_a_time(
    steps: list[list[tuple[int, str]] | int | None],
) -> None:
    play, link = Play(), Link()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        host = WorkerHost(1, cast("StreamLink", link), loop)
        host.be_named(b"12345", b"k" * 32)
        inbox = Inbox(app_with(play.listen), host, cast("StreamLink", link), loop)
        for step in steps:
            await play.go_on(inbox, step)
        await play.finish(inbox)
        assert inbox.handled == len(play.delivered)

    jumping.run(main())
    for connection in range(1, 4):
        mine = play.of(connection)
        numbers = [number for serial, number in play.begun if serial == connection]
        assert numbers == [each.number for each in mine]
        # Each is acknowledged once, alone or with those just before it.
        last = 0
        for ack in link.acks(connection):
            last += ack.count
            assert ack.number == last
        assert last == len(mine)
        well = [str(each.number) for each in mine if "raise" not in each.data]
        assert link.texts(connection) == well
    # Nothing is left for a flush that nobody promised.
    assert link.flushed[-1:] == ([len(link.sent)] if link.sent else [])
