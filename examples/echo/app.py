"""Send back what comes in. The smallest thing that talks.

    holdfast serve examples/echo/app.py:app

Talk to it with the client that holdfast brought along, and leave that open:

    websockets ws://127.0.0.1:7777/

Then try to lose the connection:

    holdfast status           shows the workers: kill -9 one of them, or all
    holdfast reload           after a change in this file: SHOUT = True, for instance

The client notices neither. Only the answers change.
"""

from __future__ import annotations

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

SHOUT = False

app = ServiceWorker()


@app.on("fetch")
def explain(event: FetchEvent) -> Response:
    return Response("Connect with a WebSocket: whatever you send comes back.\n")


@app.on("websocketupgrade")
def connect(event: WebSocketUpgradeEvent) -> None:
    event.accept()


@app.on("websocketmessage")
def echo(event: WebSocketMessageEvent) -> None:
    event.source.send(event.data.upper() if SHOUT else event.data)
