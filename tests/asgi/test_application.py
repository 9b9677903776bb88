"""An application under an ASGI server, one behaviour each; the stories are in tests/conformance."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.core.channels import channels
from tests import jumping
from tests.asgi.server import ALL_THERE_IS, Server, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MIB = 1024 * 1024


def run(story: Coroutine[Any, Any, None]) -> None:
    jumping.run(story)


class Noting:
    """An application that notes what happens to it, and echoes."""

    def __init__(self) -> None:
        self.app = app = ServiceWorker()
        self.notes: list[str] = []
        self.gate = asyncio.Event()
        for kind in ("install", "activate", "startup", "shutdown"):
            app.add_event_listener(kind, self._note(kind))
        app.add_event_listener("fetch", self.fetch)
        app.add_event_listener("websocketupgrade", self.upgrade)
        app.add_event_listener("websocketmessage", self.message)
        app.add_event_listener("websocketclose", self.close)

    def _note(self, what: str) -> Callable[[object], None]:
        return lambda _: self.notes.append(what)

    def fetch(self, event: FetchEvent) -> Response:
        return Response(f"{event.request.path} of {event.request.url.href}")

    def upgrade(self, event: WebSocketUpgradeEvent) -> None:
        match event.request.path:
            case "/reject":
                event.reject(Response("no", status=401, headers={"x-why": "x"}))
            case "/headers":
                event.set_cookie("a", "b")
                event.set_cookie("c", "d")
                event.accept(headers={"x-extra": "1"})
            case "/protocol":
                event.accept(subprotocol="b")
            case _:
                event.accept().send("welcome")

    async def message(self, event: WebSocketMessageEvent) -> None:
        match event.data:
            case "wait":
                await self.gate.wait()
            case "work":
                event.wait_until(self.gate.wait())
            case "close":
                event.source.close(4000, "enough")
            case "who":
                event.source.send(str(len(await self.app.clients.match_all())))
            case "flood":
                event.source.send("x" * MIB)
            case data:
                event.source.send(data)

    def close(self, event: WebSocketCloseEvent) -> None:
        self.notes.append(f"close {event.code} {event.reason}".strip())


# --- starting and stopping ----------------------------------------------------------------------


def test_lifespan_runs_the_lifecycle() -> None:
    # The model differs: there, a server is given a pool, or a function attaches to it and
    # returns its clean-up. Here it is given an ASGI application, whose lifespan is the clean-up.
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            assert noting.notes == ["install", "activate", "startup"]
            assert noting.app.registration.state == "activated"
        assert noting.notes == ["install", "activate", "startup", "shutdown"]
        assert noting.app.registration.state == "redundant"
        assert server.said[-1] == {"type": "lifespan.shutdown.complete"}

    run(story())


def test_application_that_cannot_start_says_so_with_its_own_lines() -> None:
    app = ServiceWorker()

    @app.on("install")
    def install(_: object) -> None:
        raise RuntimeError("no database")

    async def story() -> None:
        with pytest.raises(RuntimeError) as failure:
            await Server(app).__aenter__()
        message = str(failure.value)
        assert message.startswith("install raised RuntimeError: no database\n")
        assert __file__ in message
        assert "loader.py" not in message

    run(story())


def test_shutdown_listener_that_raises_is_a_failed_shutdown() -> None:
    # It is answered all the same.
    app = ServiceWorker()

    @app.on("shutdown")
    def shutdown(_: object) -> None:
        raise RuntimeError("no goodbye")

    async def story() -> None:
        async with Server(app) as server:
            pass
        assert server.said[-1]["type"] == "lifespan.shutdown.failed"
        assert "no goodbye" in server.said[-1]["message"]

    run(story())


def test_server_without_lifespan_starts_it_once_with_the_first_request() -> None:
    # However many come at once.
    noting = Noting()

    async def story() -> None:
        server = Server(noting.app, has_lifespan=False)
        answers = await asyncio.gather(*(server.fetch("/x") for _ in range(5)))
        assert [status for status, _ in answers] == [200] * 5
        assert noting.notes == ["install", "activate", "startup"]

    run(story())


def test_application_that_could_not_start_fails_each_request_and_is_shown_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = ServiceWorker()
    starts = []

    @app.on("startup")
    def startup(_: object) -> None:
        starts.append(1)
        raise RuntimeError("no database")

    async def story() -> None:
        server = Server(app, has_lifespan=False)
        for _ in range(2):
            with pytest.raises(Exception, match="no database"):
                await server.fetch("/x")
        assert len(starts) == 1

    run(story())
    shown = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message.count("no database") for record in shown] == [3]


def test_application_that_could_not_start_tries_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A database that is not there yet must not fail the server for ever.
    monkeypatch.setattr("holdfast.asgi.application.PAUSE", 0.0)
    noting = Noting()
    failures = [RuntimeError("no database")]

    @noting.app.on("startup")
    def startup(_: object) -> None:
        if failures:
            raise failures.pop()

    async def story() -> None:
        server = Server(noting.app, has_lifespan=False)
        with pytest.raises(Exception, match="no database"):
            await server.fetch("/x")
        for _ in range(2):
            assert (await server.fetch("/x"))[0] == 200

    run(story())
    assert noting.notes == ["install", "activate", "startup"] * 2


def test_application_starts_anew_in_another_event_loop() -> None:
    # As test clients of other frameworks have it: a loop per test, one application object.
    noting = Noting()

    async def story() -> None:
        assert (await Server(noting.app, has_lifespan=False).fetch("/x"))[0] == 200

    run(story())
    run(story())
    assert noting.notes == ["install", "activate", "startup"] * 2


def test_event_loop_that_was_closed_without_a_shutdown_is_forgotten() -> None:
    noting = Noting()

    async def story() -> None:
        assert (await Server(noting.app, has_lifespan=False).fetch("/x"))[0] == 200

    before = len(channels._hosts)
    run(story())
    assert len(channels._hosts) == before


def test_application_starts_again_after_a_shutdown() -> None:
    noting = Noting()

    async def story() -> None:
        for _ in range(2):
            async with Server(noting.app) as server:
                assert (await server.fetch("/x"))[0] == 200

    run(story())
    assert noting.notes == ["install", "activate", "startup", "shutdown"] * 2


def test_unknown_kind_of_scope_is_refused() -> None:
    async def story() -> None:
        with pytest.raises(ValueError, match="'smtp'"):
            await ServiceWorker()({"type": "smtp"}, Socket().receive, Socket().send)

    run(story())


def test_stop_closes_what_is_open_and_waits_for_work() -> None:
    # Connections are closed with 1001, and settle.
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            socket.say("work")
            socket.say("x")
            await socket.until(lambda: "x" in socket.messages)
            asyncio.get_running_loop().call_later(0.05, noting.gate.set)
        assert socket.of_type("close") == [{"type": "websocket.close", "code": 1001, "reason": ""}]
        assert noting.gate.is_set()
        assert noting.notes[-2:] == ["close 1001", "shutdown"]

    run(story())


def test_stop_waits_no_longer_than_it_may(caplog: pytest.LogCaptureFixture) -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app.asgi(drain_timeout=0.05)) as server:
            socket = await server.connect("/")
            socket.say("work")
            socket.say("x")
            await socket.until(lambda: "x" in socket.messages)
        assert noting.notes[-1] == "shutdown"

    run(story())
    assert "drain_timeout is 0.05 s" in caplog.text


def test_two_applications_of_one_process_do_not_see_each_others_connections() -> None:
    one, two = Noting(), Noting()

    async def story() -> None:
        async with Server(one.app) as first, Server(two.app) as second:
            mine, yours = await first.connect("/"), await second.connect("/")
            mine.say("who")
            assert await mine.until(lambda: mine.messages[1:]) == ["1"]
            assert yours.messages == ["welcome"]

    run(story())


# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "answer"),
    [
        ({"path": "/a b"}, b"/a%20b of http://example.org/a%20b"),
        ({"path": "/a", "raw_path": b"/a", "scheme": "https"}, b"/a of https://example.org/a"),
        # Mounted below another application; or behind a proxy that takes the root off.
        ({"path": "/chat/a", "root_path": "/chat"}, b"/a of http://example.org/chat/a"),
        ({"path": "/a", "root_path": "/chat"}, b"/a of http://example.org/a"),
    ],
)
def test_path_is_below_the_root_and_the_url_has_all(scope: dict[str, Any], answer: bytes) -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            assert await server.fetch(**scope) == (200, answer)

    run(story())


def test_client_without_an_address_is_none() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", lambda event: Response(repr(event.request.client)))

    async def story() -> None:
        async with Server(app) as server:
            assert await server.fetch("/", client=None) == (200, b"None")

    run(story())


# --- handshakes ---------------------------------------------------------------------------------


def test_accept_has_what_the_listener_chose() -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            socket = await server.connect("/protocol", subprotocols=["a", "b"])
            assert socket.sent[0] == {"type": "websocket.accept", "subprotocol": "b"}
            socket = await server.connect("/headers")
            headers = [(name, value[:3]) for name, value in socket.sent[0]["headers"]]
            assert headers == [(b"x-extra", b"1"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]

    run(story())


def test_server_that_cannot_send_headers_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            for _ in range(2):
                socket = await server.connect("/headers", asgi={"spec_version": "2.0"})
                assert "headers" not in socket.sent[0]

    run(story())
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert ["cannot send headers" in r.message for r in warnings] == [True]


def test_rejection_is_a_response_where_the_server_can() -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            socket = await server.connect("/reject")
            await socket.ended()
            start, body = socket.sent
            assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
            assert (b"x-why", b"x") in start["headers"]
            assert body == {"type": "websocket.http.response.body", "body": b"no"}

    run(story())


def test_rejection_is_a_403_and_one_warning_where_it_cannot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            nothing: list[dict[str, Any] | None] = [{}, None]
            for extensions in nothing:
                socket = await server.connect("/reject", extensions=extensions)
                await socket.ended()
                assert socket.sent == [{"type": "websocket.close", "code": 1000}]

    run(story())
    warnings = [r for r in caplog.records if "gets a 403" in r.message]
    assert len(warnings) == 1


def test_client_that_has_left_before_the_accept_leaves_a_connection_that_closes() -> None:
    # There is one close event, for there was a connection.
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = server.knock("/", **ALL_THERE_IS)
            socket.broken = OSError("gone")
            await socket.ended()
            assert noting.notes[-1] == "close 1006"

    run(story())


def test_client_that_has_left_before_anything_is_no_event() -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = Socket()
            socket.leave(1006)
            await noting.app({"type": "websocket"}, socket.receive, socket.send)
            assert socket.sent == []
            assert (await server.fetch("/"))[0] == 200

    run(story())


# --- connections --------------------------------------------------------------------------------


def test_greeting_comes_behind_the_accept_and_before_the_echo() -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            socket = server.knock("/", **ALL_THERE_IS)
            socket.say("x")
            socket.say(b"y")
            await socket.until(lambda: len(socket.messages) == 3)
            assert [message["type"] for message in socket.sent[:2]] == [
                "websocket.accept",
                "websocket.send",
            ]
            assert socket.messages == ["welcome", "x", b"y"]

    run(story())


@pytest.mark.parametrize(
    ("told", "noted"),
    [
        ({"code": 4321, "reason": "why"}, "close 4321 why"),
        ({"code": 1001}, "close 1001"),
        ({"code": None}, "close 1005"),
        ({"code": 1005, "reason": ""}, "close 1005"),
        # uvicorn, of a client that has vanished.
        ({"code": 1005}, "close 1006"),
    ],
)
def test_close_event_says_what_the_server_tells(told: dict[str, Any], noted: str) -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            socket.leave(**told)
            await socket.ended()
            assert noting.notes[3:] == [noted]

    run(story())


def test_server_that_tells_no_reasons_is_believed_when_it_says_1005() -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/", asgi={"spec_version": "2.3"})
            socket.leave(1005)
            await socket.ended()
            assert noting.notes[3:] == ["close 1005"]

    run(story())


@pytest.mark.parametrize("told", [1000, 1005, 4000])
def test_close_of_the_application_is_its_own_whatever_the_server_tells(told: int) -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            socket.say("close")
            await socket.until(lambda: socket.of_type("close"))
            socket.leave(told)
            await socket.ended()
            assert socket.of_type("close")[0]["code"] == 4000
            assert noting.notes[3:] == ["close 4000 enough"]

    run(story())


def test_code_that_the_server_refuses_to_send_is_another_code() -> None:
    # Autobahn, in Daphne, refuses codes from 1001 to 2999.
    noting = Noting()

    class Picky(Socket):
        async def send(self, message: Any) -> None:
            if message.get("code", 1000) != 1000:
                raise ValueError("invalid close code")
            await super().send(message)

    async def story() -> None:
        async with Server(noting.app):
            socket = Picky()
            socket.tell(type="websocket.connect")
            socket.say("close")
            scope = {"path": "/", "headers": [], "query_string": b"", **ALL_THERE_IS}
            await noting.app({"type": "websocket", **scope}, socket.receive, socket.send)
            assert socket.of_type("close") == [{"type": "websocket.close"}]
            assert noting.notes[3:] == ["close 4000 enough"]

    run(story())


def test_error_of_the_server_is_a_client_that_vanished() -> None:
    noting = Noting()

    class Broken(Socket):
        async def receive(self) -> Any:
            if self.received:
                raise RuntimeError("the server is confused")
            return await super().receive()

    async def story() -> None:
        async with Server(noting.app):
            socket = Broken()
            socket.tell(type="websocket.connect")
            scope = {"path": "/", "headers": [], "query_string": b"", **ALL_THERE_IS}
            await noting.app({"type": "websocket", **scope}, socket.receive, socket.send)
            assert noting.notes[3:] == ["close 1006"]

    run(story())


def test_task_that_the_server_cancels_is_a_client_that_vanished() -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            assert socket.task is not None
            socket.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await socket.ended()
            await socket.until(lambda: noting.notes[3:])
            assert noting.notes[3:] == ["close 1006"]

    run(story())


def test_client_whose_messages_wait_is_not_received_from() -> None:
    # Nothing is buffered without bound.
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            socket.say("wait")
            for number in range(500):
                socket.say(str(number))
            await socket.until(lambda: socket.received > 60)
            before = socket.received
            for _ in range(20):
                await asyncio.sleep(0)
            assert socket.received == before < 100
            noting.gate.set()
            await socket.until(lambda: len(socket.messages) == 501)
            assert socket.messages[1:] == [str(number) for number in range(500)]

    run(story())


def test_client_that_does_not_read_is_closed_with_1008() -> None:
    # No more waits for it than may.
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            other = await server.connect("/")
            await socket.until(lambda: socket.messages == ["welcome"])
            socket.is_writable.clear()

            def is_closed() -> bool:
                socket.say("flood")
                return noting.notes[3:] == ["close 1008 slow consumer"]

            await socket.until(is_closed)
            other.say("not delayed")
            await other.until(lambda: other.messages == ["welcome", "not delayed"])
            socket.is_writable.set()
            await socket.ended()
            assert socket.messages == ["welcome"]
            assert [message["code"] for message in socket.of_type("close")] == [1008]

    run(story())


def test_burst_that_the_server_takes_is_no_reason_to_close() -> None:
    app = ServiceWorker()
    app.add_event_listener("websocketupgrade", lambda event: event.accept().send("x" * 3 * MIB))

    async def story() -> None:
        async with Server(app) as server:
            socket = await server.connect("/")
            await socket.until(lambda: socket.messages)
            assert not socket.of_type("close")

    run(story())


@pytest.mark.parametrize("message", ["x" * (MIB + 1), b"x" * (MIB + 1), "é" * (MIB // 2 + 1)])
def test_message_over_the_limit_closes_with_1009(message: str | bytes) -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            socket.say(message)
            await socket.ended()
            assert socket.of_type("close")[0]["code"] == 1009
            assert noting.notes[3:] == ["close 1009 the message is too big"]

    run(story())


def test_slow_client_that_has_broken_a_rule_is_closed_for_one_of_both() -> None:
    noting = Noting()

    async def story() -> None:
        async with Server(noting.app) as server:
            socket = await server.connect("/")
            await socket.until(lambda: socket.messages == ["welcome"])
            socket.is_writable.clear()
            for _ in range(5):
                socket.say("flood")
                socket.say("wait")
            socket.say("x" * (MIB + 1))
            await socket.until(lambda: socket.received == 12)
            noting.gate.set()
            await socket.until(lambda: noting.notes[3:])
            socket.is_writable.set()
            await socket.ended()
            assert len(noting.notes[3:]) == len(socket.of_type("close")) == 1

    run(story())


def test_limits_are_what_the_application_was_told() -> None:
    app = Noting().app

    async def story() -> None:
        async with Server(app.asgi(max_message=5, allow_origins=["https://a.example"])) as server:
            foreign = [(b"host", b"example.org"), (b"origin", b"https://a.example")]
            socket = await server.connect("/", headers=foreign)
            socket.say("five!")
            socket.say("six...")
            await socket.ended()
            assert socket.messages == ["welcome", "five!"]
            assert socket.of_type("close")[0]["code"] == 1009

    run(story())


def test_handshake_from_a_foreign_page_is_refused() -> None:
    async def story() -> None:
        async with Server(Noting().app) as server:
            foreign = [(b"host", b"example.org"), (b"origin", b"https://evil.example")]
            socket = await server.connect("/", headers=foreign)
            assert socket.sent[0]["status"] == 403

    run(story())


def test_channel_objects_hear_what_is_posted_in_this_process() -> None:
    app = ServiceWorker()
    heard: list[object] = []
    ear, mouth = BroadcastChannel("asgi test"), BroadcastChannel("asgi test")
    ear.add_event_listener("message", lambda event: heard.append(event.data))
    app.add_event_listener("websocketupgrade", lambda event: event.accept() and None)
    app.add_event_listener("websocketmessage", lambda event: mouth.post_message(event.data))

    async def story() -> None:
        async with Server(app) as server:
            socket = await server.connect("/")
            socket.say("hello")
            await socket.until(lambda: heard == ["hello"])

    try:
        run(story())
    finally:
        ear.close()


def test_variables_of_a_listener_that_flushes_are_seen_by_nobody_else() -> None:
    # What follows from a flush is run within it, but in a context of its own.
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    app = ServiceWorker()
    seen: list[str] = []
    ear, mouth = BroadcastChannel("context test"), BroadcastChannel("context test")
    ear.add_event_listener("message", lambda _: seen.append(variable.get()))
    app.add_event_listener("websocketupgrade", lambda event: event.accept() and None)

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        variable.set("set")
        mouth.post_message("x")
        await event.flush()

    async def story() -> None:
        async with Server(app) as server:
            socket = await server.connect("/")
            socket.say("x")
            await socket.until(lambda: seen == ["unset"])

    try:
        run(story())
    finally:
        ear.close()
