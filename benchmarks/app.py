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


@app.on("fetch")
async def hello(event: FetchEvent) -> Response:
    if event.request.path == "/":
        return Response("Hello, world!")
    return Response("Not Found", status=404)


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    match event.request.path:
        case "/counter":
            event.accept(data=0)
        case "/echo":
            event.accept()
        case "/pub":
            event.accept(data="/pub")
        case "/room":
            event.accept(data="/room").subscribe("room")


@app.on("websocketmessage")
async def answer(event: WebSocketMessageEvent) -> None:
    source = event.source
    match source.data:
        case None:
            source.send(event.data)
        case "/pub":
            room.post_message(event.data)
        case int(count) if event.data == "incr":
            source.data = count + 1
            source.send(str(count + 1))
