"""A FastAPI application with what people use it for: dependencies, models, background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()
done: list[str] = []


async def session() -> AsyncIterator[str]:
    yield "a session"
    done.append("session closed")


def token(authorization: Annotated[str | None, Header()] = None) -> str:
    if authorization is None:
        raise HTTPException(401, "who are you?")
    return authorization.removeprefix("Bearer ")


async def socket_token(websocket: WebSocket, token: str | None = None) -> str:
    if token is None:
        raise WebSocketException(1008, "who are you?")
    return token


class Item(BaseModel):
    name: str
    price: float


asked = asyncio.Event()
"""Set by each request for `hello`; a stream waits for one."""


@app.get("/hello")
async def hello() -> dict[str, str]:
    asked.set()
    return {"hello": "world"}


@app.post("/echo")
async def echo(request: Request) -> StreamingResponse:
    body = await request.body()
    return StreamingResponse(iter([body]))


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def count() -> AsyncIterator[str]:
        asked.clear()
        yield "0\n"
        await asked.wait()
        yield "1\n"

    return StreamingResponse(count(), media_type="text/plain")


@app.get("/url", name="url")
async def url(request: Request) -> str:
    return str(request.url_for("hello"))


@app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(done.append, "background")
    return "ok"


@app.get("/done")
async def finished() -> list[str]:
    return done


@app.get("/me")
async def me(
    token: Annotated[str, Depends(token)], session: Annotated[str, Depends(session)]
) -> str:
    return f"{token} with {session}"


@app.post("/items")
def create(item: Item) -> Item:
    """Run in a thread, as FastAPI does with plain functions."""
    return Item(name=item.name.title(), price=item.price * 2)


@app.get("/broken")
async def broken() -> None:
    raise ValueError("broken on purpose")


@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(f"{await websocket.receive_text()}!")


@app.websocket("/private")
async def private(
    websocket: WebSocket,
    token: Annotated[str, Depends(socket_token)],
    session: Annotated[str, Depends(session)],
) -> None:
    await websocket.accept()
    try:
        while True:
            text = await websocket.receive_text()
            await websocket.send_text(f"{token} with {session}: {text}")
    except WebSocketDisconnect:
        done.append(f"{token} left")
