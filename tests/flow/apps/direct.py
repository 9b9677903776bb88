"""The application of the tests of direct mode: it can stand in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

from holdfast import Response, ServiceWorker, WebSocketMessageEvent, WebSocketUpgradeEvent

app = ServiceWorker()

if os.environ.get("BROKEN"):
    raise RuntimeError("this version does not import")


@app.on("fetch")
def fetch(_: object) -> Response:
    return Response(str(os.getpid()))


@app.on("websocketupgrade")
def upgrade(event: WebSocketUpgradeEvent) -> None:
    event.accept()


@app.on("websocketmessage")
def message(event: WebSocketMessageEvent) -> None:
    if event.data == "block":
        Path(os.environ["BLOCKED"]).touch()
        while True:
            time.sleep(0.01)
    event.source.send(event.data)
