"""A Litestar application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Response, Stream

done: list[str] = []


asked = asyncio.Event()
"""Set by each request for `hello`; a stream waits for one."""


@get("/hello", name="hello")
async def hello() -> dict[str, str]:
    asked.set()
    return {"hello": "world"}


@post("/echo", status_code=200)
async def echo(request: Request) -> bytes:  # type: ignore[type-arg]
    return await request.body()


@get("/stream")
async def stream() -> Stream:
    async def count() -> AsyncIterator[str]:
        asked.clear()
        yield "0\n"
        await asked.wait()
        yield "1\n"

    return Stream(count())


@get("/url")
async def url(request: Request) -> str:  # type: ignore[type-arg]
    return str(request.url_for("hello"))


async def work() -> None:
    done.append("background")


@get("/background")
async def background() -> Response[str]:
    return Response("ok", background=BackgroundTask(work))


@get("/done")
async def finished() -> list[str]:
    return done


@get("/broken")
async def broken() -> None:
    raise ValueError("broken on purpose")


@websocket("/ws")
async def ws(socket: WebSocket) -> None:  # type: ignore[type-arg]
    await socket.accept()
    try:
        while True:
            await socket.send_text(f"{await socket.receive_text()}!")
    except WebSocketDisconnect:
        pass


app = Litestar([hello, echo, stream, url, background, finished, broken, ws])
