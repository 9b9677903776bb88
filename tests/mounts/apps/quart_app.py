"""A Quart application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quart import Quart, request, url_for, websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = Quart(__name__)
done: list[str] = []


asked = asyncio.Event()
"""Set by each request for `hello`; a stream waits for one."""


@app.get("/hello")
async def hello() -> dict[str, str]:
    asked.set()
    return {"hello": "world"}


@app.post("/echo")
async def echo() -> str | bytes:
    return await request.get_data()


@app.get("/stream")
async def stream() -> AsyncIterator[str]:
    async def count() -> AsyncIterator[str]:
        asked.clear()
        yield "0\n"
        await asked.wait()
        yield "1\n"

    return count()


@app.get("/url")
async def url() -> str:
    return url_for("hello", _external=True)


@app.get("/background")
async def background() -> str:
    async def work() -> None:
        done.append("background")

    app.add_background_task(work)
    return "ok"


@app.get("/done")
async def finished() -> list[str]:
    return done


@app.get("/broken")
async def broken() -> str:
    raise ValueError("broken on purpose")


@app.websocket("/ws")
async def ws() -> None:
    while True:
        await websocket.send(f"{await websocket.receive()!s}!")
