"""Mounted applications and their endpoints in a TestClient."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from holdfast import BroadcastChannel, ServiceWorker
from holdfast.testing import ConnectionClosed, TestClient, UpgradeRefused
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.websockets import WebSocket

lines: list[str] = []
gate = asyncio.Event()


async def count(ws: WebSocket) -> None:
    extension = ws.scope["extensions"]["holdfast"]
    await ws.accept()
    lines.append(f"begun {extension['resumed']}")
    try:
        while True:
            text = await ws.receive_text()
            extension["data"]["n"] = extension["data"].get("n", 0) + 1
            await ws.send_text(f"{text} {extension['data']['n']}")
    finally:
        lines.append("ended")


async def refuse(ws: WebSocket) -> None:
    raise WebSocketException(1008)


async def deny(ws: WebSocket) -> None:
    await ws.send_denial_response(PlainTextResponse("who are you?", status_code=401))


async def broken(ws: WebSocket) -> None:
    raise OSError("no database")


async def broken_later(ws: WebSocket) -> None:
    await ws.accept()
    await ws.receive_text()
    raise OSError("no database")


async def closes(ws: WebSocket) -> None:
    await ws.accept(subprotocol="chat")
    await ws.close(4000, "enough")


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def slow(ws: WebSocket) -> None:
    await gate.wait()
    await ws.accept()
    lines.append("accepted")
    try:
        while True:
            lines.append(await ws.receive_text())
    except WebSocketDisconnect:
        lines.append("left")


SOCKETS = (count, refuse, deny, broken, broken_later, closes, slow)


def application(on_worker_exit: Any = "resume") -> ServiceWorker:
    routes = [WebSocketRoute(f"/{each.__name__}", each) for each in SOCKETS]
    app = ServiceWorker()
    app.mount(
        Starlette(routes=[Route("/hello", hello), *routes]), "/api", on_worker_exit=on_worker_exit
    )
    return app


def play(story: Callable[[TestClient], Awaitable[None]], **options: Any) -> None:
    lines.clear()

    async def main() -> None:
        async with TestClient(application(**options)) as client:
            await story(client)

    jumping.run(main())


def test_requests_are_answered() -> None:
    async def story(client: TestClient) -> None:
        assert await (await client.fetch("/api/hello")).text() == "hello"
        assert (await client.fetch("/api/nothing")).status == 404

    play(story)


def test_an_endpoint_outlives_its_worker() -> None:
    async def story(client: TestClient) -> None:
        async with client.connect("/api/count") as ws:
            await ws.send("a")
            assert await ws.receive() == "a 1"
            await client.crash_worker()
            await ws.send("b")
            assert await ws.receive() == "b 2"
            await client.reload(application())
            await ws.send("c")
            assert await ws.receive() == "c 3"
            await client.settle()
            await client.hibernate()
            await ws.send("d")
            assert await ws.receive() == "d 4"
        assert client.errors == []

    play(story)
    assert [line for line in lines if line != "ended"] == [f"begun {n}" for n in range(4)]
    assert lines.count("ended") == 4


def test_an_endpoint_that_begins_again_slowly_hears_its_client_and_that_it_left() -> None:
    async def story(client: TestClient) -> None:
        async with client.connect("/api/slow") as ws:
            gate.clear()
            await client.crash_worker()
            await ws.send("bye")
            leaving = asyncio.create_task(ws.close())
            await client.fetch("/api/hello")  # The worker knows it all by now.
            gate.set()
            await leaving

    gate.set()
    play(story)
    assert lines == ["accepted", "accepted", "bye", "left"]


@pytest.mark.parametrize("raises", [False, True])
def test_an_endpoint_leaves_nothing_to_the_garbage_collector(raises: bool) -> None:
    attendants: list[weakref.ref[object]] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise RuntimeError("no lifespan")
        attendants.append(weakref.ref(receive.__self__))
        BroadcastChannel("news").post_message("here I am")
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        if raises:  # As most endpoints of FastAPI do.
            raise WebSocketDisconnect

    async def story() -> None:
        app = ServiceWorker()
        app.mount(endpoint)
        async with TestClient(app) as client:
            async with client.connect("/"):
                pass
            await client.settle()
            assert [endpoint_task() for endpoint_task in attendants] == [None]

    gc.collect()
    gc.disable()
    try:
        jumping.run(story())
    finally:
        gc.enable()


def test_endpoints_that_are_to_close_do_so() -> None:
    async def story(client: TestClient) -> None:
        async with client.connect("/api/count") as ws:
            reloading = asyncio.create_task(client.reload(application(), wait=False))
            await reloading
            await client.clock.advance(10)
            with pytest.raises(ConnectionClosed) as closed:
                await ws.receive()
            assert closed.value.code == 1012

    play(story, on_worker_exit="close")


def test_refusals_are_responses() -> None:
    async def story(client: TestClient) -> None:
        for path, status, body in (("refuse", 403, ""), ("deny", 401, "who are you?")):
            with pytest.raises(UpgradeRefused) as refused:
                async with client.connect(f"/api/{path}"):
                    pass
            assert refused.value.response.status == status
            assert await refused.value.response.text() == body

    play(story)


def test_what_an_endpoint_raises_before_it_has_answered_is_raised_in_the_test() -> None:
    async def story(client: TestClient) -> None:
        with pytest.raises(OSError, match="no database"):
            async with client.connect("/api/broken"):
                pass

    play(story)


def test_what_an_endpoint_raises_later_is_among_the_errors() -> None:
    async def story(client: TestClient) -> None:
        async with client.connect("/api/broken_later") as ws:
            await ws.send("a")
            with pytest.raises(ConnectionClosed) as closed:
                await ws.receive()
            assert closed.value.code == 1011
        assert [str(error) for error in client.errors] == ["no database"]

    play(story)


def test_code_reason_and_subprotocol_arrive() -> None:
    async def story(client: TestClient) -> None:
        async with client.connect("/api/closes", subprotocols=["chat"]) as ws:
            assert ws.subprotocol == "chat"
            with pytest.raises(ConnectionClosed) as closed:
                await ws.receive()
            assert (closed.value.code, closed.value.reason) == (4000, "enough")

    play(story)
