"""What the suite talks to: every message comes back as it came, text as text, binary as binary."""

from __future__ import annotations

from holdfast import ServiceWorker, WebSocketMessageEvent, WebSocketUpgradeEvent

app = ServiceWorker()


@app.on("websocketupgrade")
def connect(event: WebSocketUpgradeEvent) -> None:
    event.accept()


@app.on("websocketmessage")
def echo(event: WebSocketMessageEvent) -> None:
    event.source.send(event.data)
