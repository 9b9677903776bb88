"""The code is replaced, or the worker goes to sleep: connections stay, work in hand is finished."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import FetchEvent, Response, ServiceWorker, WebSocketMessageEvent
from holdfast.testing import ApplicationError, TestClient
from tests.testing.runner import accepting, echo_app, in_loop

LIFE = ("install", "activate", "startup", "shutdown")


def version(name: str, log: list[str], gate: asyncio.Event | None = None) -> ServiceWorker:
    """One version of an application: it says which, notes its life, and may be slow."""
    app = accepting()
    for kind in LIFE:
        app.add_event_listener(kind, lambda event: log.append(f"{name} {event.type}"))

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        if event.data == "wait" and gate is not None:
            await gate.wait()
        event.source.send(f"{name} {event.data}")

    @app.on("fetch")
    async def fetch(event: FetchEvent) -> Response:
        if event.request.path == "/wait" and gate is not None:
            await gate.wait()
        return Response(name)

    return app


@in_loop
async def test_new_code_gets_everything_and_connections_stay() -> None:
    log: list[str] = []
    async with TestClient(version("old", log)) as client, client.connect("/") as ws:
        await ws.send("x")
        assert await ws.receive() == "old x"
        await client.reload(version("new", log))
        assert log == [
            *("old install", "old activate", "old startup"),
            *("new install", "new activate", "new startup", "old shutdown"),
        ]
        await ws.send("x")
        assert await ws.receive() == "new x"
        assert await (await client.fetch("/")).text() == "new"
        assert client.connections == 1
    assert log[-1] == "new shutdown"


@in_loop
async def test_old_code_finishes_what_it_has_in_hand_and_the_new_waits_for_it() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    async with (
        TestClient(version("old", log, gate)) as client,
        client.connect("/") as ws,
        client.connect("/") as other,
    ):
        for data in ("a", "wait", "b"):
            await ws.send(data)
        assert await ws.receive() == "old a"
        fetching = asyncio.create_task(client.fetch("/wait"))
        await asyncio.sleep(0)
        await client.reload(version("new", log), wait=False)
        await ws.send("c")
        await other.send("other")
        assert await other.receive() == "new other", "nobody else waits"
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)
        gate.set()
        # "b" was already with the old worker; nothing of the new one comes before its end.
        assert [await ws.receive() for _ in range(3)] == ["old wait", "old b", "new c"]
        assert await (await fetching).text() == "old"
        await client.settle()
        assert log[-1] == "old shutdown"


@in_loop
async def test_reload_under_traffic_loses_nothing_and_keeps_order() -> None:
    count = 300
    async with TestClient(echo_app()) as client, client.connect("/") as ws:

        async def send() -> None:
            for number in range(count):
                await ws.send(str(number))
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        for _ in range(5):
            await client.reload(echo_app())
        await sending
        assert [await ws.receive() for _ in range(count)] == [str(n) for n in range(count)]


@pytest.mark.parametrize("kind", ["install", "activate", "startup"])
def test_new_code_that_does_not_start_raises_and_the_old_goes_on(kind: str) -> None:
    @in_loop
    async def story() -> None:
        log: list[str] = []
        new = version("new", log)

        def fail(_: object) -> None:
            raise KeyError("missing")

        new.add_event_listener(kind, fail)
        old = version("old", log)
        async with TestClient(old) as client, client.connect("/") as ws:
            with pytest.raises(ApplicationError, match=kind) as caught:
                await client.reload(new)
            assert isinstance(caught.value.__cause__, KeyError)
            await ws.send("x")
            assert await ws.receive() == "old x"
            assert old.registration.state == "activated"
            await client.reload(version("better", log))
            assert await (await client.fetch("/")).text() == "better"
        assert "new shutdown" not in log

    story()


@in_loop
async def test_the_same_application_object_may_be_reloaded() -> None:
    log: list[str] = []
    app = version("same", log)
    async with TestClient(app) as client:
        await client.reload(app)
        assert app.registration.state == "activated"

        def fail(_: object) -> None:
            raise KeyError

        app.add_event_listener("install", fail)
        with pytest.raises(ApplicationError):
            await client.reload(app)
        assert app.registration.state == "activated", "that of the one that goes on"


@in_loop
async def test_old_code_that_does_not_finish_is_cancelled_and_its_message_goes_to_the_new() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    old = version("old", log, gate)
    async with TestClient(old, timeout=0.1) as client, client.connect("/path") as ws:
        await ws.send("wait")
        with pytest.raises(TimeoutError, match="/path, a message in flight"):
            await client.reload(version("new", log))
        assert await ws.receive() == "new wait"


@in_loop
async def test_reload_waits_for_wait_until_work_of_the_old_code() -> None:
    log: list[str] = []
    old = version("old", log)

    async def work() -> None:
        await asyncio.sleep(0.01)
        log.append("old work")

    old.add_event_listener("websocketmessage", lambda event: event.wait_until(work()))
    async with TestClient(old) as client, client.connect("/") as ws:
        await ws.send("x")
        await ws.receive()
        await client.reload(version("new", log))
        assert log[-2:] == ["old work", "old shutdown"]


# --- hibernation ----------------------------------------------------------------------------------


@in_loop
async def test_hibernating_worker_is_gone_and_a_message_starts_another() -> None:
    log: list[str] = []
    async with TestClient(version("app", log)) as client, client.connect("/") as ws:
        await client.hibernate()
        assert log == ["app install", "app activate", "app startup", "app shutdown"]
        assert client.connections == 1
        await client.hibernate()  # Again does nothing.
        await ws.send("x")
        assert await ws.receive() == "app x"
        assert log[4:] == ["app startup"]


@in_loop
async def test_request_and_handshake_start_a_worker_too() -> None:
    log: list[str] = []
    async with TestClient(version("app", log)) as client:
        await client.hibernate()
        assert await (await client.fetch("/")).text() == "app"
        await client.hibernate()
        async with client.connect("/") as ws:
            await ws.send("x")
            assert await ws.receive() == "app x"
        assert log.count("app startup") == 3
        assert log.count("app install") == 1


@in_loop
async def test_close_event_wakes_a_worker() -> None:
    app = accepting()
    log: list[int] = []
    app.add_event_listener("websocketclose", lambda event: log.append(event.code))
    async with TestClient(app) as client, client.connect("/") as ws:
        await client.hibernate()
        await ws.close(4000)
        assert log == [4000]


@in_loop
async def test_close_events_of_the_end_wake_a_worker() -> None:
    app = accepting()
    log: list[int] = []
    app.add_event_listener("websocketclose", lambda event: log.append(event.code))
    async with TestClient(app) as client:
        connecting = client.connect("/")
        ws = await connecting.__aenter__()
        await client.hibernate()
    assert (ws.close_code, log) == (1001, [1001])
    await connecting.__aexit__(None, None, None)


@in_loop
async def test_message_that_comes_while_the_worker_leaves_gets_a_new_one() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    async with (
        TestClient(version("app", log, gate)) as client,
        client.connect("/") as ws,
        client.connect("/") as other,
    ):
        await ws.send("wait")
        await asyncio.sleep(0)
        hibernating = asyncio.create_task(client.hibernate())
        await asyncio.sleep(0)
        await other.send("x")
        assert await other.receive() == "app x"
        gate.set()
        await hibernating
        assert await ws.receive() == "app wait"


@in_loop
async def test_what_a_leaving_worker_did_not_take_wakes_another() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    count = 40  # More than a worker is given of one connection at a time.
    async with TestClient(version("app", log, gate)) as client, client.connect("/") as ws:
        await ws.send("wait")
        for number in range(count):
            await ws.send(str(number))
        await asyncio.sleep(0)
        hibernating = asyncio.create_task(client.hibernate())
        await asyncio.sleep(0)
        gate.set()
        await hibernating
        expected = ["app wait", *(f"app {number}" for number in range(count))]
        assert [await ws.receive() for _ in expected] == expected
        assert log.count("app startup") == 2
