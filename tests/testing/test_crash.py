"""A worker is lost, as with kill -9: connections stay, nothing is lost, doubled or reordered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.testing import ApplicationError, ConnectionClosed, TestClient
from tests.testing.runner import accepting, echo_app, in_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.testing import WebSocket

# What a listener did, by data and attempt.
Log = list[tuple[object, int]]


class Gate:
    """Lets a test wait until listeners are at a point, and the listeners until they may go on."""

    def __init__(self) -> None:
        self._arrived = asyncio.Semaphore(0)
        self._opened = asyncio.Event()

    async def pass_through(self) -> None:
        self._arrived.release()
        await self._opened.wait()

    async def wait_for_listener(self) -> None:
        await self._arrived.acquire()

    def open(self) -> None:
        self._opened.set()


def waiting_app(gate: Gate, log: Log) -> ServiceWorker:
    """Sends before it waits, at the gate, and after; notes what it begins."""
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        log.append((event.data, event.attempt))
        event.source.send(f"began {event.data}")
        if event.data == "wait":
            await gate.pass_through()
        event.source.send(f"ended {event.data} at attempt {event.attempt}")

    return app


async def received(ws: WebSocket, client: TestClient) -> list[str | bytes]:
    """Everything that is there when nothing more comes."""
    await client.settle()
    messages = []
    while True:
        try:
            messages.append(await ws.receive(timeout=0))
        except TimeoutError:
            return messages


@in_loop
async def test_message_in_hand_is_delivered_again_and_sends_nothing_twice() -> None:
    gate, log = Gate(), Log()
    async with TestClient(waiting_app(gate, log)) as client, client.connect("/") as ws:
        await ws.send("wait")
        await gate.wait_for_listener()
        await client.crash_worker()
        await gate.wait_for_listener()
        gate.open()
        assert await received(ws, client) == ["began wait", "ended wait at attempt 2"]
        assert log == [("wait", 1), ("wait", 2)]
        assert client.errors == [], "to be killed is no failure of a listener"


@in_loop
async def test_messages_behind_the_one_in_hand_come_once_and_in_order() -> None:
    gate, log = Gate(), Log()
    async with TestClient(waiting_app(gate, log)) as client, client.connect("/") as ws:
        for data in ("a", "wait", "b", "c"):
            await ws.send(data)
        await gate.wait_for_listener()
        await client.crash_worker()
        gate.open()
        messages = await received(ws, client)
        assert messages[::2] == ["began a", "began wait", "began b", "began c"]
        # All but "a" were with the lost worker, which may have begun them.
        assert messages[1] == "ended a at attempt 1"
        assert messages[3::2] == [f"ended {data} at attempt 2" for data in ("wait", "b", "c")]
        assert log == [("a", 1), ("wait", 1), ("wait", 2), ("b", 2), ("c", 2)]


@in_loop
async def test_message_that_was_acknowledged_is_never_delivered_again() -> None:
    gate, log = Gate(), Log()
    async with TestClient(waiting_app(gate, log)) as client, client.connect("/") as ws:
        await ws.send("a")
        await client.settle()
        await client.crash_worker()
        assert await received(ws, client) == ["began a", "ended a at attempt 1"]
        assert log == [("a", 1)]


@in_loop
async def test_what_was_flushed_before_the_crash_comes_again() -> None:
    app = accepting()
    gate = Gate()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        event.source.send(f"flushed at attempt {event.attempt}")
        await event.flush()
        await gate.pass_through()

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("x")
        await gate.wait_for_listener()
        assert await ws.receive() == "flushed at attempt 1"
        await client.crash_worker()
        assert await ws.receive() == "flushed at attempt 2"
        gate.open()


@in_loop
async def test_attachment_and_subscriptions_survive() -> None:
    app = ServiceWorker()

    @app.on("websocketupgrade")
    def upgrade(event: WebSocketUpgradeEvent) -> None:
        event.accept(data={"count": 0}).subscribe("lobby")

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.data["count"] += 1
        event.source.send(f"{event.source.data['count']} {sorted(event.source.channels)}")

    async with TestClient(app) as client, client.connect("/") as ws:
        for expected in "123":
            await ws.send("count")
            assert await ws.receive() == f"{expected} ['lobby']"
            await client.crash_worker()


@in_loop
async def test_close_event_in_hand_is_delivered_again() -> None:
    app = accepting()
    gate = Gate()
    log: list[tuple[int, int]] = []

    @app.on("websocketclose")
    async def close(event: WebSocketCloseEvent) -> None:
        await gate.pass_through()
        log.append((event.code, event.attempt))

    async with TestClient(app) as client, client.connect("/") as ws:
        closing = asyncio.create_task(ws.close(4000))
        await gate.wait_for_listener()
        await client.crash_worker()
        gate.open()
        await closing
        assert log == [(4000, 2)]


@in_loop
async def test_new_worker_runs_startup_and_nothing_else() -> None:
    app = ServiceWorker()
    log: list[str] = []
    for kind in ("install", "activate", "startup", "shutdown"):
        app.add_event_listener(kind, lambda event: log.append(event.type))
    async with TestClient(app) as client:
        before = app.registration
        await client.crash_worker()
        assert app.registration is not before
        assert app.registration.state == "activated"
    assert log == ["install", "activate", "startup", "startup", "shutdown"]


@in_loop
async def test_request_in_hand_fails_and_the_next_is_answered() -> None:
    app = ServiceWorker()
    gate = Gate()

    @app.on("fetch")
    async def fetch(event: FetchEvent) -> Response:
        if event.request.path == "/slow":
            await gate.pass_through()
        return Response("answered")

    async with TestClient(app) as client:
        slow = asyncio.create_task(client.fetch("/slow"))
        await gate.wait_for_listener()
        await client.crash_worker()
        with pytest.raises(ConnectionResetError, match=r"worker was lost .* GET /slow"):
            await slow
        assert await (await client.fetch("/")).text() == "answered"


@in_loop
async def test_handshake_in_hand_fails() -> None:
    app = ServiceWorker()
    gate = Gate()

    @app.on("websocketupgrade")
    async def upgrade(event: WebSocketUpgradeEvent) -> None:
        event.accept().send("never seen")
        await gate.pass_through()

    async with TestClient(app) as client:
        connecting = asyncio.create_task(client.connect("/").__aenter__())
        await gate.wait_for_listener()
        await client.crash_worker()
        with pytest.raises(ConnectionResetError, match="worker was lost"):
            await connecting
        assert client.connections == 0


@in_loop
async def test_connection_that_the_lost_worker_had_given_without_its_record_is_lost() -> None:
    app = ServiceWorker()

    def crash_at_once() -> None:
        crashing = client.crash_worker()
        crashing.send(None)  # As far as it goes without waiting: the record is not sent any more.
        crashing.close()

    @app.on("websocketupgrade")
    def upgrade(event: WebSocketUpgradeEvent) -> None:
        event.accept()
        asyncio.get_running_loop().call_soon(crash_at_once)

    client = TestClient(app)
    async with client:
        with pytest.raises(ConnectionResetError, match="handshake"):
            async with client.connect("/"):
                pass
        await client.settle()
        assert client.connections == 0


@in_loop
async def test_nothing_that_the_lost_worker_does_has_an_effect() -> None:
    app = accepting()
    gate, log = Gate(), Log()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            # Nobody should, but it happens.
            log.append((event.data, event.attempt))
        event.source.send(f"{event.data} at attempt {event.attempt}")

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("a")
        await ws.send("b")
        await gate.wait_for_listener()
        await client.crash_worker()
        gate.open()
        assert await received(ws, client) == ["a at attempt 2", "b at attempt 2"]
        assert log == [("a", 1)], "b was never begun by the lost worker"


@in_loop
async def test_tasks_that_listeners_started_on_their_own_end_too() -> None:
    app = accepting()
    started: list[asyncio.Task[None]] = []

    async def go_on(event: WebSocketMessageEvent) -> None:
        while True:
            await asyncio.sleep(0)
            event.source.send("tick")

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        started.append(asyncio.create_task(go_on(event)))
        event.wait_until(asyncio.sleep(3600))

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("start")
        assert await ws.receive() == "tick"
        await client.crash_worker()
        assert started[0].cancelled()
        await received(ws, client)
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)


def crash_by(client_of: Callable[[], TestClient]) -> ServiceWorker:
    """An application whose listener crashes its worker over the message "poison"."""
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        if event.data == "poison":
            await client_of().crash_worker()
        event.source.send(event.data)

    return app


@in_loop
async def test_message_that_kills_every_worker_is_put_aside_and_closes_with_1011() -> None:
    app = crash_by(lambda: client)
    attempts: list[int] = []

    @app.on("startup")
    def note(_: object) -> None:
        attempts.append(1)

    client = TestClient(app)
    async with client, client.connect("/") as ws, client.connect("/") as other:
        await ws.send("poison")
        with pytest.raises(ConnectionClosed, match="1011"):
            await ws.receive()
        await client.settle()
        assert len(attempts) == 1 + 3, "three workers died of it"
        await other.send("still here")
        assert await other.receive() == "still here"


@in_loop
async def test_crashes_one_after_the_other_lose_nothing() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        crashing: list[Awaitable[None]] = []
        for number in range(30):
            await ws.send(str(number))
            if number % 10 == 5:
                crashing.append(asyncio.create_task(client.crash_worker()))
        await asyncio.gather(*crashing)
        assert await received(ws, client) == [str(number) for number in range(30)]


@in_loop
async def test_new_worker_that_does_not_start_raises_and_the_next_may() -> None:
    app = echo_app()
    broken = False

    @app.on("startup")
    def start(_: object) -> None:
        if broken:
            raise KeyError

    async with TestClient(app) as client, client.connect("/") as ws:
        broken = True
        with pytest.raises(ApplicationError, match="startup raised KeyError"):
            await client.crash_worker()
        with pytest.raises(ApplicationError):
            await client.fetch("/")
        await ws.send("x")
        with pytest.raises(TimeoutError, match="starting a worker raised ApplicationError"):
            await ws.receive(timeout=0.05)
        broken = False
        await ws.send("y")
        assert [await ws.receive(), await ws.receive()] == ["x", "y"]


@in_loop
async def test_new_worker_that_does_not_start_is_not_tried_twice_for_what_waits() -> None:
    gate, log = Gate(), Log()
    app = waiting_app(gate, log)
    starts: list[None] = []

    @app.on("startup")
    def start(_: object) -> None:
        starts.append(None)
        if len(starts) == 2:
            raise KeyError

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("wait")
        await gate.wait_for_listener()
        with pytest.raises(ApplicationError):
            await client.crash_worker()
        with pytest.raises(TimeoutError):
            await client.settle(timeout=0.05)
        assert len(starts) == 2
        gate.open()
        await client.fetch("/")
        assert await ws.receive() == "began wait"
        assert len(starts) == 3


@in_loop
async def test_crash_while_new_code_starts_needs_no_other_worker() -> None:
    log: list[str] = []
    gate = Gate()
    new = ServiceWorker()

    @new.on("startup")
    async def start(_: object) -> None:
        log.append("new")
        await gate.pass_through()

    old = ServiceWorker()
    old.add_event_listener("startup", lambda event: log.append("old"))
    async with TestClient(old) as client:
        reloading = asyncio.create_task(client.reload(new))
        await gate.wait_for_listener()
        crashing = asyncio.create_task(client.crash_worker())
        await asyncio.sleep(0)
        gate.open()
        await reloading
        await crashing
    assert log == ["old", "new"]


@in_loop
async def test_listeners_of_the_error_event_do_not_hear_of_a_crash() -> None:
    gate, log, heard = Gate(), Log(), list[object]()
    app = waiting_app(gate, log)
    app.add_event_listener("error", lambda event: heard.append(event.error))
    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("wait")
        await gate.wait_for_listener()
        await client.crash_worker()
        gate.open()
        await client.settle()
    assert heard == []


@in_loop
async def test_no_worker_to_crash_is_an_error() -> None:
    async with TestClient(echo_app()) as client:
        await client.hibernate()
        with pytest.raises(RuntimeError, match="hibernates"):
            await client.crash_worker()
