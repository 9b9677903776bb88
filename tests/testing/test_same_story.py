"""The same story in a TestClient and on a real server: a client cannot tell them apart."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed as RealConnectionClosed
from websockets.exceptions import InvalidStatus

from holdfast.testing import ConnectionClosed, Server, TestClient, UpgradeRefused
from tests.testing.apps import rooms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from websockets.asyncio.client import ClientConnection
    from websockets.typing import Subprotocol

    from holdfast.testing import WebSocket

APP = Path(rooms.__file__)

WAIT = 10.0  # seconds: a real server may be slow on a busy machine


class Socket(Protocol):
    @property
    def subprotocol(self) -> str | None: ...
    async def send(self, message: str | bytes) -> None: ...
    async def receive(self) -> object: ...
    async def close(self, code: int, reason: str) -> None: ...


class Stage(Protocol):
    """Where the story is played."""

    async def fetch(self, path: str, body: bytes | None = None) -> object: ...
    def connect(self, path: str) -> AbstractAsyncContextManager[Socket]: ...
    async def refused(self, path: str) -> int: ...
    async def lose_worker(self) -> None: ...
    async def reload(self) -> None: ...


async def story(stage: Stage) -> list[object]:
    """Return everything that the clients saw."""
    seen: list[object] = []
    seen.append(await stage.fetch("/hello"))
    seen.append(await stage.fetch("/echo", b'{"a": [1, null]}'))
    seen.append(await stage.fetch("/nowhere"))
    seen += [await stage.refused("/secret"), await stage.refused("/nowhere")]
    async with stage.connect("/rooms") as one, stage.connect("/rooms") as other:
        seen += [one.subprotocol, await one.receive(), await other.receive()]
        for message in ("count", "text é", b"\x00bytes", "raise", "count", "later"):
            await one.send(message)
        seen += [await one.receive() for _ in range(5)]
        for change in (stage.lose_worker, stage.reload):
            await change()
            await one.send("count")
            seen.append(await one.receive())
        await one.send("all")
        await one.send("others")
        await one.send("done")
        seen += [await one.receive(), await other.receive()]
        seen += [await one.receive(), await other.receive()]
        await other.close(4000, "enough")
        seen.append(await one.receive())
        seen.append(await stage.fetch("/publish"))
        seen.append(await one.receive())
        await one.send("close")
        seen += [await one.receive(), await one.receive()]
    return seen


# --- in memory ------------------------------------------------------------------------------------


class Rehearsal:
    def __init__(self, client: TestClient) -> None:
        self._client = client

    async def fetch(self, path: str, body: bytes | None = None) -> object:
        method = "GET" if body is None else "POST"
        response = await self._client.fetch(path, method=method, body=body)
        seen = (response.headers.get("x-kind"), response.headers.get("set-cookie"))
        return response.status, await response.text(), *seen

    @asynccontextmanager
    async def connect(self, path: str) -> AsyncIterator[Socket]:
        async with self._client.connect(path, subprotocols=["rooms.v1"]) as ws:
            yield RehearsalSocket(ws)

    async def refused(self, path: str) -> int:
        try:
            async with self._client.connect(path, subprotocols=["rooms.v1"]):
                return 101
        except UpgradeRefused as refused:
            return refused.response.status

    async def lose_worker(self) -> None:
        await self._client.crash_worker()

    async def reload(self) -> None:
        await self._client.reload(rooms.app)


class RehearsalSocket:
    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self.subprotocol = ws.subprotocol

    async def send(self, message: str | bytes) -> None:
        await self._ws.send(message)

    async def receive(self) -> object:
        try:
            return await self._ws.receive(WAIT)
        except ConnectionClosed as closed:
            return closed.code, closed.reason

    async def close(self, code: int, reason: str) -> None:
        await self._ws.close(code, reason)


# --- on a real server -----------------------------------------------------------------------------


class Performance:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def fetch(self, path: str, body: bytes | None = None) -> object:
        return await asyncio.to_thread(self._fetch, path, body)

    def _fetch(self, path: str, body: bytes | None) -> object:
        try:
            response: Any = urllib.request.urlopen(self._server.url + path, data=body, timeout=WAIT)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            seen = (response.headers["x-kind"], response.headers["set-cookie"])
            return response.status, response.read().decode(), *seen

    @asynccontextmanager
    async def connect(self, path: str) -> AsyncIterator[Socket]:
        offers: list[Subprotocol] = ["rooms.v1"]  # type: ignore[list-item]
        async with connect(self._server.ws_url + path, subprotocols=offers) as ws:
            yield PerformanceSocket(ws)

    async def refused(self, path: str) -> int:
        try:
            async with self.connect(path):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async def lose_worker(self) -> None:
        await asyncio.to_thread(self._server.kill_worker)

    async def reload(self) -> None:
        await asyncio.to_thread(self._server.reload)


class PerformanceSocket:
    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self.subprotocol: str | None = ws.subprotocol

    async def send(self, message: str | bytes) -> None:
        await self._ws.send(message)

    async def receive(self) -> object:
        try:
            return await asyncio.wait_for(self._ws.recv(), WAIT)
        except RealConnectionClosed as closed:
            return closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)

    async def close(self, code: int, reason: str) -> None:
        await self._ws.close(code, reason)


def test_clients_of_the_test_kit_and_of_a_real_server_see_the_same() -> None:
    # The double of the server speaks the protocol of the server.
    async def rehearse() -> list[object]:
        async with TestClient(rooms.app) as client:
            return await story(Rehearsal(client))

    async def perform(server: Server) -> list[object]:
        return await story(Performance(server))

    rehearsed = asyncio.run(rehearse())
    with Server.start(APP, workers=1) as server:
        performed = asyncio.run(perform(server))
    assert rehearsed == performed
    assert rehearsed[-1] == (4002, "as you wish")
    counts = [json.loads(str(s))["count"] for s in rehearsed if str(s).startswith('{"count')]
    assert counts == [1, 2, 3, 4], "the story was a story"
