"""The application of `benchmarks/hostile`: what its clients, good and bad, ask for."""

from __future__ import annotations

import asyncio

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    NotFound,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()
lobby = BroadcastChannel("lobby")

# More than the kernel keeps for a client with a small buffer that does not read.
LARGE = b"x" * (1024 * 1024)


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    match event.request.path:
        case "/":
            return Response("Hello, world!")
        case "/large":
            return Response(LARGE)
        case "/body":
            return Response(f"{len(await event.request.bytes())} bytes")
        case path:
            # With the client's words in it: it gets into the log.
            raise NotFound(f"there is no {path}")


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    match event.request.path:
        case "/count":
            event.accept(data=0)
        case "/lobby":
            event.accept(data="/lobby").subscribe("lobby")
        case "/slow":
            await asyncio.sleep(0.05)
            event.accept(data="/echo")
        case "/echo" | "/post" | "/close" as path:
            event.accept(data=path)


@app.on("websocketmessage")
async def answer(event: WebSocketMessageEvent) -> None:
    source = event.source
    match source.data:
        case int(count):
            # Handled once and in order: number and count are the same.
            source.data = count + 1
            source.send(f"{event.data!s}:{count + 1}")
        case "/echo":
            source.send(event.data)
        case "/post":
            lobby.post_message(event.data)
        case "/close":
            source.close(4000, "as you wish")
