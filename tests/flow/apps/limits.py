"""The application of the tests of limits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()
lobby = BroadcastChannel("lobby")
released = asyncio.Event()

JOURNAL = Path(os.environ["JOURNAL"])
PIECE = "x" * 65536


@app.on("fetch")
async def release(event: FetchEvent) -> Response:
    """Let those go that hang."""
    released.set()
    return Response("released")


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    path = event.request.path
    connection = event.accept(data=path)
    if path == "/lobby":
        connection.subscribe("lobby")
    if path == "/greet":
        lobby.post_message("somebody came")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    match event.source.data:
        case "/hang":
            await released.wait()
            event.source.send(event.data)
        case "/flood":
            for _ in range(int(event.data)):
                event.source.send(PIECE)
        case "/lobby":
            lobby.post_message(PIECE)
        case _:
            event.source.send(event.data)


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{event.source.data} {event.code} {event.reason}\n")
