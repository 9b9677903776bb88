"""The reference application for black-box tools: hello, echo, counter, room, pub."""

from __future__ import annotations

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()
room = BroadcastChannel("room")

PATHS = {"/echo", "/counter", "/room", "/pub"}


@app.on("fetch")
async def hello(event: FetchEvent) -> Response:
    if event.request.path == "/":
        return Response("Hello, world!")
    return Response("Not Found", status=404)


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    path = event.request.path
    if path in PATHS:
        connection = event.accept(data={"path": path, "count": 0})
        if path == "/room":
            connection.subscribe("room")


@app.on("websocketmessage")
async def answer(event: WebSocketMessageEvent) -> None:
    source = event.source
    match source.data["path"]:
        case "/echo":
            source.send(event.data)
        case "/counter" if event.data == "incr":
            source.data["count"] += 1
            source.send(str(source.data["count"]))
        case "/pub":
            room.post_message(event.data)
