"""The application of `benchmarks/chaos`: it counts, per connection, what it was sent."""

from __future__ import annotations

from holdfast import ServiceWorker, WebSocketMessageEvent, WebSocketUpgradeEvent

app = ServiceWorker()


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    event.accept(data=0)


@app.on("websocketmessage")
async def count(event: WebSocketMessageEvent) -> None:
    assert isinstance(event.data, str)
    event.source.data += 1
    event.source.send(f"{event.data}:{event.source.data}")
