"""An application that runs in a TestClient and on a real server, and behaves the same on both."""

from __future__ import annotations

import asyncio

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
rooms = BroadcastChannel("rooms")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    match event.request.path:
        case "/hello":
            event.set_cookie("seen", "yes")
            return Response("hello", headers={"x-kind": "greeting"})
        case "/echo":
            return Response.json(await event.request.json(), status=201)
        case "/publish":
            rooms.post_message("from fetch")
            return Response("published")
    return None


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    await asyncio.sleep(0)
    if event.request.path == "/secret":
        event.reject(Response("who are you?", status=401))
    elif event.request.path == "/rooms":
        connection = event.accept(data={"count": 0}, subprotocol="rooms.v1")
        connection.subscribe("rooms")
        connection.send("welcome")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    source = event.source
    match event.data:
        case "count":
            source.data["count"] += 1
            source.send_json(source.data)
        case "all":
            rooms.post_message({"to": "all"})
        case "others":
            rooms.post_message("to others", exclude=source)
        case "raise":
            source.send("never seen")
            raise RuntimeError("on purpose")
        case "later":
            event.wait_until(say_later(event))
        case "close":
            source.send("bye")
            source.close(4002, "as you wish")
        case data:
            source.send(data)


async def say_later(event: WebSocketMessageEvent) -> None:
    await asyncio.sleep(0.01)
    event.source.send("later")


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    rooms.post_message(f"left: {event.code} {event.reason}")
