"""The client's side of a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.testing import ConnectionClosed, TestClient, UpgradeRefused
from tests.testing.runner import accepting, echo_app, in_loop

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE = 1024 * 1024  # bytes, the server's default


def closing_app(log: list[object]) -> ServiceWorker:
    """An echo that notes how its connections end."""
    app = echo_app()

    @app.on("websocketclose")
    async def close(event: WebSocketCloseEvent) -> None:
        await asyncio.sleep(0.01)
        log.append((event.code, event.reason, event.was_clean))

    return app


def app_that_accepts_with(accept: Callable[[WebSocketUpgradeEvent], object]) -> ServiceWorker:
    app = ServiceWorker()
    app.add_event_listener("websocketupgrade", accept)
    return app


# --- the handshake --------------------------------------------------------------------------------


@in_loop
async def test_connection_has_the_id_that_its_events_have() -> None:
    app = accepting()

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send(event.source.id)

    async with TestClient(app) as client, client.connect("/ws?x=1") as ws:
        await ws.send("who am I?")
        assert await ws.receive() == ws.id
        assert repr(ws) == "<WebSocket /ws open>"


@in_loop
async def test_greeting_in_the_upgrade_comes_first() -> None:
    def accept(event: WebSocketUpgradeEvent) -> None:
        event.accept().send(f"welcome to {event.request.url.href}")

    async with TestClient(app_that_accepts_with(accept)) as client, client.connect("/a?b=c") as ws:
        assert await ws.receive() == "welcome to http://testserver/a?b=c"


@in_loop
async def test_connection_closed_in_the_upgrade_says_goodbye_first() -> None:
    def accept(event: WebSocketUpgradeEvent) -> None:
        connection = event.accept()
        connection.send("bye")
        connection.close(4001, "not today")

    async with TestClient(app_that_accepts_with(accept)) as client, client.connect("/") as ws:
        assert await ws.receive() == "bye"
        with pytest.raises(ConnectionClosed, match="4001 'not today'") as caught:
            await ws.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "not today")
        assert (ws.closed, ws.close_code, ws.close_reason) == (True, 4001, "not today")


@in_loop
async def test_headers_cookies_and_subprotocol_of_the_answer_are_there() -> None:
    def accept(event: WebSocketUpgradeEvent) -> None:
        assert event.request.cookies["session"] == "abc"
        event.set_cookie("seen", "yes")
        event.accept(subprotocol="chat.v2", headers={"x-extra": "1"})

    app = app_that_accepts_with(accept)
    async with (
        TestClient(app) as client,
        client.connect(
            "/", headers={"cookie": "session=abc"}, subprotocols=["chat.v1", "chat.v2"]
        ) as ws,
    ):
        assert ws.subprotocol == "chat.v2"
        assert ws.headers["x-extra"] == "1"
        assert ws.headers.get_set_cookie()[0].startswith("seen=yes")


@in_loop
async def test_no_subprotocol_is_none() -> None:
    async with TestClient(accepting()) as client, client.connect("/") as ws:
        assert ws.subprotocol is None


@in_loop
async def test_refused_handshake_raises_with_the_response() -> None:
    def reject(event: WebSocketUpgradeEvent) -> None:
        event.reject(Response("who are you?", status=401, headers={"x-why": "no cookie"}))

    async with TestClient(app_that_accepts_with(reject)) as client:
        with pytest.raises(UpgradeRefused, match="401") as caught:
            async with client.connect("/"):
                pass
        response = caught.value.response
        assert str(caught.value) == "the handshake was answered with 401, not with 101"
        assert (response.status, response.headers["x-why"]) == (401, "no cookie")
        assert await response.text() == "who are you?"


@in_loop
async def test_handshake_that_nobody_decided_is_refused_with_426() -> None:
    async with TestClient(ServiceWorker()) as client:
        with pytest.raises(UpgradeRefused) as caught:
            async with client.connect("/"):
                pass
        assert caught.value.response.status == 426
        assert str(caught.value) == (
            "the handshake was answered with 426, not with 101: no listener accepted or rejected it"
        )


@in_loop
async def test_malformed_handshake_is_refused_before_listeners_run() -> None:
    async with TestClient(accepting()) as client:
        with pytest.raises(UpgradeRefused) as caught:
            async with client.connect("/", headers={"sec-websocket-version": "12"}):
                pass
        assert caught.value.response.headers["sec-websocket-version"] == "13"


@in_loop
async def test_fetch_listener_may_upgrade_too() -> None:
    app = ServiceWorker()

    @app.on("fetch")
    def fetch(event: FetchEvent) -> None:
        event.upgrade_websocket().send("by fetch")

    async with TestClient(app) as client, client.connect("/") as ws:
        assert await ws.receive() == "by fetch"


@in_loop
async def test_handshake_that_is_not_answered_is_a_timeout() -> None:
    released = asyncio.Event()

    async def accept(event: WebSocketUpgradeEvent) -> None:
        await released.wait()
        event.accept()

    async with TestClient(app_that_accepts_with(accept)) as client:
        with pytest.raises(TimeoutError, match="no answer to the handshake of /slow"):
            async with client.connect("/slow", timeout=0.05):
                pass
        # Accepted too late: the client has left.
        released.set()
        await client.settle()
        assert client.connections == 0


def test_handshake_that_the_keeper_cannot_answer_is_refused_with_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise ValueError("no such header")

    # Only a bug of holdfast's own gets this far: applications are stopped earlier.
    monkeypatch.setattr("holdfast.keeper.switchboard.encode_response", refuse)

    @in_loop
    async def story() -> None:
        async with TestClient(accepting()) as client:
            with pytest.raises(UpgradeRefused, match="503"):
                async with client.connect("/"):
                    pass

    story()


# --- messages -------------------------------------------------------------------------------------


@in_loop
async def test_text_and_bytes_come_back_as_they_were() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        for message in ("", "text", "é€😀", b"", b"\x00\xff"):
            await ws.send(message)
            assert await ws.receive() == message


@in_loop
async def test_json_goes_both_ways() -> None:
    app = accepting()

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send_json({"got": event.json()})

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send_json([1, None])
        assert await ws.receive_json() == {"got": [1, None]}


@in_loop
async def test_what_is_no_message_raises_in_the_test() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        with pytest.raises(TypeError):
            await ws.send(cast("str", 5))
        with pytest.raises(ValueError, match="surrogate"):
            await ws.send("\ud800")


@in_loop
async def test_hundred_messages_sent_at_once_come_back_in_order() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        for number in range(100):
            await ws.send(str(number))
        assert [await ws.receive() for _ in range(100)] == [str(n) for n in range(100)]


@in_loop
async def test_all_that_is_left_is_received_when_everything_is_done() -> None:
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        event.source.send("at once")
        event.wait_until(later(event))

    async def later(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01)
        event.source.send(b"later")

    async with TestClient(app) as client, client.connect("/") as ws:
        assert await ws.receive_all() == []
        await ws.send("x")
        await ws.send("y")
        assert await ws.receive() == "at once"
        assert sorted(map(str, await ws.receive_all())) == ["at once", "b'later'", "b'later'"]
        assert await ws.receive_all() == []


@in_loop
async def test_all_that_is_left_of_a_closed_connection_is_what_came_before() -> None:
    app = accepting()

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send("bye")
        event.source.close(4000)

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("x")
        assert await ws.receive_all() == ["bye"]
        assert (ws.close_code, await ws.receive_all()) == (4000, [])


@in_loop
async def test_waiting_for_all_that_is_left_times_out_while_something_goes_on() -> None:
    app = accepting()
    done = asyncio.Event()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        await done.wait()
        event.source.send("done")

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("x")
        with pytest.raises(TimeoutError, match=r"not settled \(/: a message in flight\)"):
            await ws.receive_all(timeout=0)
        done.set()
        assert await ws.receive_all() == ["done"]


@in_loop
async def test_messages_of_one_connection_stay_in_order_when_listeners_wait() -> None:
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(0.01 if event.data == "0" else 0)
        event.source.send(event.data)

    async with TestClient(app) as client, client.connect("/") as ws:
        for number in range(20):
            await ws.send(str(number))
        assert [await ws.receive() for _ in range(20)] == [str(n) for n in range(20)]


@in_loop
async def test_attachment_goes_from_one_event_to_the_next() -> None:
    app = app_that_accepts_with(lambda event: event.accept(data={"count": 0}))

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.data["count"] += 1
        event.source.send(str(event.source.data["count"]))

    async with TestClient(app) as client, client.connect("/") as ws:
        for number in range(40):
            await ws.send("count")
            if number % 3 == 0:
                await ws.receive()
        await client.settle()
        assert [await ws.receive(0) for _ in range(26)][-1] == "40"


@in_loop
async def test_send_waits_while_the_application_is_far_behind() -> None:
    app = accepting()
    gate = asyncio.Event()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        await gate.wait()
        event.source.send(event.data)

    async with TestClient(app) as client, client.connect("/") as ws:
        for number in range(64):  # As many as a mailbox holds.
            await ws.send(str(number))
        with pytest.raises(TimeoutError, match="the server read nothing more from /"):
            await ws.send("too much", timeout=0.05)
        gate.set()
        await ws.send("at last")
        assert [await ws.receive() for _ in range(65)][-1] == "at last"


@in_loop
async def test_message_over_the_limit_closes_with_1009() -> None:
    log: list[object] = []
    async with TestClient(closing_app(log)) as client, client.connect("/") as ws:
        await ws.send("é" * (MAX_MESSAGE // 2))
        assert len(await ws.receive()) == MAX_MESSAGE // 2
        await ws.send(b"x" * (MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed, match="1009"):
            await ws.receive()
    assert log == [(1009, "the message is too big", True)]


def waiting_app(log: list[object], seconds: float) -> ServiceWorker:
    """An application that takes its time to echo."""
    app = closing_app(log)

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        await asyncio.sleep(seconds)
        event.source.send(f"late {event.data!s}")

    return app


@in_loop
async def test_message_before_one_over_the_limit_is_answered() -> None:
    log: list[object] = []
    async with TestClient(waiting_app(log, 0.2)) as client, client.connect("/") as ws:
        await ws.send("a")
        await ws.send("x" * (MAX_MESSAGE + 1))
        await ws.send("read by nobody")
        answers = [await ws.receive(), await ws.receive()]
        assert answers == ["a", "late a"]
        with pytest.raises(ConnectionClosed, match="1009"):
            await ws.receive()
    assert log == [(1009, "the message is too big", True)]


@in_loop
async def test_oversize_message_waits_five_seconds_for_answers() -> None:
    log: list[object] = []
    async with TestClient(waiting_app(log, 60)) as client, client.connect("/") as ws:
        await ws.send("a")
        await ws.send("x" * (MAX_MESSAGE + 1))
        await client.clock.advance(4)
        assert not ws.closed
        await client.clock.advance(2)
        assert ws.close_code == 1009
        await client.clock.advance(60)
        await client.settle()
    assert log == [(1009, "the message is too big", True)]


@in_loop
async def test_client_may_vanish_behind_an_oversize_message() -> None:
    log: list[object] = []
    async with TestClient(waiting_app(log, 0.05)) as client, client.connect("/") as ws:
        await ws.send("a")
        await ws.send("x" * (MAX_MESSAGE + 1))
        await ws.vanish()
        assert ws.close_code == 1006
    assert log == [(1009, "the message is too big", True)]


@in_loop
async def test_timeout_of_receive_quotes_what_listeners_raised_meanwhile() -> None:
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        if event.data == "fine":
            event.source.send("fine")
        else:
            raise KeyError(event.data)

    async with TestClient(app) as client, client.connect("/ws") as ws:
        await ws.send("first")
        await ws.send("fine")
        assert await ws.receive() == "fine"
        await ws.send("second")
        with pytest.raises(TimeoutError) as caught:
            await ws.receive(timeout=0.05)
        said = str(caught.value).splitlines()
        assert said[0] == "no message on /ws within 0.05 s"
        assert len(said) == 2, "the first one was before the last message"
        assert "message 3, attempt 1, raised KeyError: 'second'" in said[1]
        assert isinstance(caught.value.__cause__, KeyError)
        assert [error.args for error in client.errors] == [("first",), ("second",)]


# --- the end --------------------------------------------------------------------------------------


@in_loop
async def test_leaving_the_block_closes_normally_and_waits_for_the_close_event() -> None:
    log: list[object] = []
    async with TestClient(closing_app(log)) as client:
        async with client.connect("/") as ws:
            assert client.connections == 1
        assert log == [(1000, "", True)]
        assert (ws.close_code, client.connections) == (1000, 0)


@in_loop
async def test_code_and_reason_of_the_client_reach_the_close_event() -> None:
    log: list[object] = []
    async with TestClient(closing_app(log)) as client, client.connect("/") as ws:
        await ws.close(4000, "done here")
        assert log == [(4000, "done here", True)]
        await ws.close()  # Again does nothing.
        with pytest.raises(ConnectionClosed):
            await ws.send("x")
    assert log == [(4000, "done here", True)]


@in_loop
async def test_code_that_may_not_be_sent_raises_in_the_test() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        with pytest.raises(ValueError, match="1006"):
            await ws.close(1006)


@in_loop
async def test_client_that_vanishes_is_reported_as_1006_after_its_messages() -> None:
    log: list[object] = []
    app = closing_app(log)
    app.add_event_listener("websocketmessage", lambda event: log.append(event.data))
    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("last words")
        await ws.vanish()
        assert log == ["last words", (1006, "", False)]
        with pytest.raises(ConnectionClosed, match="1006"):
            await ws.receive()


@in_loop
async def test_messages_before_a_close_are_received_before_it_is_told() -> None:
    app = accepting()

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send("one")
        event.source.send("two")
        event.source.close(4002, "as you wish")

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("close me")
        await client.settle()
        assert [await ws.receive(), await ws.receive()] == ["one", "two"]
        with pytest.raises(ConnectionClosed, match="4002"):
            await ws.receive()


@in_loop
async def test_iteration_ends_with_a_normal_close_and_raises_for_another() -> None:
    app = accepting()

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send("a")
        event.source.send("b")
        event.source.close(int(event.data))

    async with TestClient(app) as client:
        async with client.connect("/") as ws:
            await ws.send("1001")
            assert [message async for message in ws] == ["a", "b"]
        async with client.connect("/") as ws:
            await ws.send("4000")
            with pytest.raises(ConnectionClosed, match="4000"):
                assert [message async for message in ws] == []


@in_loop
async def test_leaving_the_client_closes_connections_with_1001() -> None:
    log: list[object] = []
    async with TestClient(closing_app(log)) as client:
        connecting = client.connect("/")
        ws = await connecting.__aenter__()
    assert (ws.close_code, log) == (1001, [(1001, "", True)])
    await connecting.__aexit__(None, None, None)


@in_loop
async def test_close_event_that_is_not_handled_is_a_timeout() -> None:
    app = accepting()
    gate = asyncio.Event()

    @app.on("websocketclose")
    async def close(_: WebSocketCloseEvent) -> None:
        await gate.wait()

    async with TestClient(app) as client:
        with pytest.raises(TimeoutError, match="the close event of /ws was not handled"):
            async with client.connect("/ws") as ws:
                await ws.close(timeout=0.05)
        gate.set()


@in_loop
async def test_block_left_by_an_exception_closes_without_hiding_it() -> None:
    log: list[object] = []
    async with TestClient(closing_app(log)) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.connect("/"):
                raise ZeroDivisionError
        await client.settle()
    assert log == [(1000, "", True)]


@in_loop
async def test_close_listener_that_raises_leaves_nothing_of_the_connection() -> None:
    app = accepting()

    @app.on("websocketclose")
    def fail(_: WebSocketCloseEvent) -> None:
        raise KeyError

    @app.on("fetch")
    async def count(_: FetchEvent) -> Response:
        return Response(str(len(await app.clients.match_all())))

    async with TestClient(app) as client:
        async with client.connect("/"):
            assert await (await client.fetch("/")).text() == "1"
        await client.settle()
        assert [type(error) for error in client.errors] == [KeyError]
        assert await (await client.fetch("/")).text() == "0"


@in_loop
async def test_listener_that_raises_may_close_the_connection() -> None:
    app = accepting()

    def fail(_: WebSocketMessageEvent) -> None:
        raise KeyError

    app.add_event_listener("websocketmessage", fail, on_error="close")
    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("x")
        with pytest.raises(ConnectionClosed, match="1011"):
            await ws.receive()
