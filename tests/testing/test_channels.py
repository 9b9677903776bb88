"""BroadcastChannel and app.clients in a TestClient."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import BroadcastChannel, FetchEvent, Response, ServiceWorker, WebSocketMessageEvent
from holdfast.testing import TestClient
from tests.testing.runner import in_loop

# As in an application: at module level, so the objects are those of the whole process.
posting = BroadcastChannel("lobby")
listening = BroadcastChannel("lobby")
heard: list[object] = []


@listening.on("message")
async def hear(event: object) -> None:
    await asyncio.sleep(0)
    heard.append(getattr(event, "data", None))


@pytest.fixture(autouse=True)
def _silence() -> None:
    heard.clear()


def lobby_app() -> ServiceWorker:
    """Everybody is in the lobby; what anyone says is posted there."""
    app = ServiceWorker()

    @app.on("websocketupgrade")
    def join(event: object) -> None:
        event.accept().subscribe("lobby")  # type: ignore[attr-defined]

    @app.on("websocketmessage")
    def say(event: WebSocketMessageEvent) -> None:
        if event.data == "others":
            posting.post_message("to others", exclude=event.source)
        else:
            posting.post_message(event.data)

    @app.on("fetch")
    async def fetch(event: FetchEvent) -> Response:
        match event.request.path:
            case "/post":
                posting.post_message({"from": "fetch"})
            case "/count":
                return Response(str(len(await app.clients.match_all(channel="lobby"))))
            case path:
                found = await app.clients.get(path.removeprefix("/"))
                if found is not None:
                    found.send("found you")
                return Response("gone" if found is None else found.url)
        return Response("posted")

    return app


@in_loop
async def test_publication_reaches_subscribed_connections_and_listening_channels() -> None:
    async with (
        TestClient(lobby_app()) as client,
        client.connect("/") as one,
        client.connect("/") as other,
    ):
        await one.send("hello")
        assert [await ws.receive() for ws in (one, other)] == ["hello", "hello"]
        await one.send("others")
        assert await other.receive() == "to others"
        await client.fetch("/post")
        assert [await ws.receive_json() for ws in (one, other)] == [{"from": "fetch"}] * 2
        await client.settle()
        assert heard == ["hello", "to others", {"from": "fetch"}]


@in_loop
async def test_channel_hears_each_publication_once_after_crash_and_reload() -> None:
    async with TestClient(lobby_app()) as client:
        await client.crash_worker()
        await client.fetch("/post")
        await client.reload(lobby_app())
        await client.fetch("/post")
        await client.hibernate()
        await client.fetch("/post")
        await client.settle()
        assert heard == [{"from": "fetch"}] * 3


@in_loop
async def test_channel_hears_each_publication_once_while_old_code_leaves() -> None:
    old = lobby_app()
    gate = asyncio.Event()

    @old.on("fetch")
    async def wait(event: FetchEvent) -> None:
        await gate.wait()

    async with TestClient(old) as client:
        fetching = asyncio.create_task(client.fetch("/post"))
        await asyncio.sleep(0)
        await client.reload(lobby_app(), wait=False)
        await client.fetch("/post")
        gate.set()
        await fetching
        await client.settle()
        assert heard == [{"from": "fetch"}] * 2


@in_loop
async def test_channel_that_posts_does_not_hear_itself_while_old_code_leaves() -> None:
    gate = asyncio.Event()
    old = ServiceWorker()

    @old.on("fetch")
    async def post(event: FetchEvent) -> Response:
        await gate.wait()
        listening.post_message("by the one that listens")
        return Response("posted")

    async with TestClient(old) as client:
        fetching = asyncio.create_task(client.fetch("/"))
        await asyncio.sleep(0)
        await client.reload(lobby_app(), wait=False)
        gate.set()
        await fetching
        await client.settle()
    assert heard == []


@in_loop
async def test_clients_do_not_hear_each_other() -> None:
    app = lobby_app()
    async with (
        TestClient(app) as one,
        TestClient(app) as other,
        one.connect("/") as here,
        other.connect("/") as there,
    ):
        await here.send("hello")
        assert await here.receive() == "hello"
        await one.settle()
        await other.settle()
        with pytest.raises(TimeoutError):
            await there.receive(timeout=0)
        assert heard == ["hello"]


@in_loop
async def test_connections_are_found_by_id_and_by_channel() -> None:
    async with TestClient(lobby_app()) as client:
        async with client.connect("/ws") as ws, client.connect("/ws"):
            assert await (await client.fetch("/count")).text() == "2"
            response = await client.fetch(f"/{ws.id}")
            assert await response.text() == "http://testserver/ws"
            assert await ws.receive() == "found you"
            id = ws.id
        assert await (await client.fetch(f"/{id}")).text() == "gone"


@in_loop
async def test_error_of_a_channel_listener_is_noted() -> None:
    channel = BroadcastChannel("errors")

    @channel.on("message")
    def fail(event: object) -> None:
        raise KeyError

    app = ServiceWorker()

    @app.on("fetch")
    def fetch(_: FetchEvent) -> Response:
        BroadcastChannel("errors").post_message("x")
        return Response("posted")

    async with TestClient(app) as client:
        await client.fetch("/")
        await client.settle()
        assert [type(error) for error in client.errors] == [KeyError]
    channel.close()
