"""The application of the tests of channels and clients."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    MessageEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = ServiceWorker()
lobby = BroadcastChannel("lobby")
# A second object of the name in the same process: it hears what the first one posts.
ears = BroadcastChannel("lobby")
JOURNAL = Path(os.environ["JOURNAL"])


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{os.getpid()} {line}\n")


@lobby.on("message")
async def heard_by_poster(event: MessageEvent) -> None:
    note(f"lobby {json.dumps(event.data)}")


@ears.on("message")
async def heard(event: MessageEvent) -> None:
    note(f"ears {json.dumps(event.data)}")


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    connection = event.accept(data={"name": event.request.path[1:]})
    connection.subscribe("lobby")
    connection.send(connection.id)


@app.on("websocketmessage")
async def say(event: WebSocketMessageEvent) -> None:
    message = event.json()
    match message["do"]:
        case "post":
            lobby.post_message(message["what"])
        case "post bytes":
            lobby.post_message(bytes(message["what"]))
        case "send to":
            other = await app.clients.get(message["id"])
            if other is None:
                event.source.send("nobody")
            else:
                other.send(f"from {event.source.data['name']} to {other.data['name']}")
        case "find later":
            event.wait_until(find_later(event))


async def find_later(event: WebSocketMessageEvent) -> None:
    found = await app.clients.match_all()
    event.source.send(f"found {len(found)}")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    match event.request.path:
        case "/events":
            return Response(stream(), headers={"content-type": "text/event-stream"})
        case "/clients":
            query = event.request.url.search_params
            limit = query.get("limit")
            found = await app.clients.match_all(
                channel=query.get("channel"), limit=int(limit) if limit else None
            )
            return Response.json([connection.data["name"] for connection in found])
        case "/kick":
            for connection in await app.clients.match_all(channel="lobby"):
                connection.close(4000, "the lobby is closed")
    return Response(str(os.getpid()))


async def stream() -> AsyncIterator[str]:
    try:
        with BroadcastChannel("lobby") as channel:
            messages = aiter(channel)
            yield "data: listening\n\n"
            async for message in messages:
                yield f"data: {message}\n\n"
    finally:
        note("stream ended")
