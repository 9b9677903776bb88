from __future__ import annotations

import pytest

from holdfast.core.dispatch import Listener
from holdfast.core.ports import Metadata
from holdfast.wire.codec import encode_metadata
from tests.core.fakes import (
    URL,
    FakeHost,
    Late,
    close_event,
    handshake,
    listener,
    message_event,
    outbox_of,
    run,
    suspend,
)


def test_an_outbox_keeps_entries_in_order() -> None:
    outbox = FakeHost().new_outbox()
    outbox.send(1, "a")
    outbox.attach(1, b"x")
    outbox.subscribe(1, "lobby")
    outbox.unsubscribe(1, "lobby")
    outbox.publish("lobby", b"b", 0, 0)
    outbox.close(1, 1000, "bye")
    assert outbox.entries == [
        ("send", 1, "a"),
        ("attach", 1, b"x"),
        ("subscribe", 1, "lobby"),
        ("unsubscribe", 1, "lobby"),
        ("publish", "lobby", b"b", 0, 0),
        ("close", 1, 1000, "bye"),
    ]


def test_taking_from_an_outbox_empties_it() -> None:
    outbox = FakeHost().new_outbox()
    outbox.send(1, "a")
    assert outbox.take() == [("send", 1, "a")]
    assert outbox.entries == []


def test_sealed_outbox_sends_at_once() -> None:
    host = FakeHost()
    outbox = host.new_outbox()
    outbox.send(1, "during")
    assert outbox.seal() == [("send", 1, "during")]
    outbox.send(1, "after")
    assert host.leaving == [("send", 1, "after")]


def test_a_host_runs_what_was_spawned_when_told_to() -> None:
    host, steps = FakeHost(), []

    async def work(name: str) -> None:
        steps.append(name)
        await suspend()
        steps.append(name)

    host.spawn(work("a"))
    host.spawn(work("b"))
    assert steps == []
    assert host.run_spawned() == []
    assert steps == ["a", "a", "b", "b"]


def test_a_host_returns_what_spawned_work_raised_and_runs_the_rest() -> None:
    host, error, done = FakeHost(), RuntimeError(), []

    async def fail() -> None:
        raise error

    async def work() -> None:
        done.append(1)

    host.spawn(fail())
    host.spawn(work())
    assert host.run_spawned() == [error]
    assert done == [1]


def test_a_host_also_runs_what_spawned_work_spawns() -> None:
    host, done = FakeHost(), []

    async def inner() -> None:
        done.append("inner")

    async def outer() -> None:
        host.spawn(inner())

    host.spawn(outer())
    host.run_spawned()
    assert done == ["inner"]


def test_a_host_never_gives_the_same_serial_twice() -> None:
    host = FakeHost()
    assert [host.new_serial(), host.new_serial()] == [1, 2]
    assert host.connection_id(2) == "id-2"


def test_a_host_encodes_and_notes_what_it_decodes() -> None:
    host, about = FakeHost(), Metadata(URL, "chat", frozenset({"lobby"}))
    assert host.decode(host.encode({"a": [1, b"x"]})) == {"a": [1, b"x"]}
    assert host.about(encode_metadata(about)) == about
    assert host.decoded == [host.encode({"a": [1, b"x"]}), encode_metadata(about)]


def test_a_flush_is_noted_and_empties_the_outbox() -> None:
    host = FakeHost()
    outbox = host.new_outbox()
    outbox.send(5, "a")
    run(host.flush(outbox))
    assert host.flushes == [[("send", 5, "a")]]
    assert outbox.entries == []
    assert not outbox.is_sealed


def test_a_commit_seals_the_outbox_and_is_noted() -> None:
    host = FakeHost()
    outbox = host.new_outbox()
    outbox.send(5, "a")
    host.commit(outbox)
    assert outbox.is_sealed
    assert host.commits == [[("send", 5, "a")]]


def test_what_is_discarded_is_not_noted_anywhere() -> None:
    host = FakeHost()
    outbox = host.new_outbox()
    outbox.send(5, "a")
    host.discard(outbox)
    assert outbox.is_sealed
    assert host.commits == []
    assert host.leaving == []


def test_running_gives_the_result_however_often_the_work_waits() -> None:
    async def work() -> int:
        await suspend()
        await suspend()
        return 3

    assert run(work()) == 3


def test_the_driver_sees_the_label_of_a_suspension_and_answers_it() -> None:
    async def work() -> object:
        return await suspend("question")

    steps = work()
    assert steps.send(None) == "question"
    with pytest.raises(StopIteration, match="answer"):
        steps.send("answer")


def test_something_late_waits_once() -> None:
    steps = Late("result").__await__()
    assert next(steps) is None
    with pytest.raises(StopIteration, match="result"):
        next(steps)


def test_a_listener_continues_after_an_error_unless_told_otherwise() -> None:
    assert listener(print) == Listener(print, print, "continue")
    assert listener(print, "close").on_error == "close"


def test_a_handshake_has_the_headers_that_ask_for_it() -> None:
    request = handshake(sec_websocket_protocol="chat")
    assert dict(request.headers) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-protocol": "chat",
    }
    assert request.url.href == URL


def test_a_message_event_is_message_seven_of_connection_five() -> None:
    event = message_event(FakeHost(), "hi", attachment=b"\x01", attempt=2)
    assert (event.source.serial, event.number, event.attempt, event.data) == (5, 7, 2, "hi")
    assert event.source.data == 1


def test_a_close_event_comes_after_seven_messages() -> None:
    event = close_event(FakeHost(), 1001, "bye")
    assert (event.source.serial, event.number, event.code, event.reason) == (5, 8, 1001, "bye")


def test_the_outbox_of_an_event_is_the_one_its_host_made() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.send("a")
    assert outbox_of(event).host is host
    assert outbox_of(event).entries == [("send", 5, "a")]
