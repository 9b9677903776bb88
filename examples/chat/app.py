"""A chat with names and rooms.

    holdfast serve examples/chat/app.py:app

Open http://127.0.0.1:7777/ in two windows, choose two names, and talk. Then, without a pause:

    holdfast status           shows the workers: kill -9 one of them, or all
    holdfast reload           after a change in this file: GREETING, for instance

and watch nothing happen: both pages stay connected, and what was typed in the meantime arrives.
"""

from __future__ import annotations

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

GREETING = "Welcome! Say something nice."
LONGEST_NAME = 30  # characters
LONGEST_TEXT = 2000  # characters
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

app = ServiceWorker()


def tell(room: str, kind: str, sender: str, name: str, text: str = "") -> None:
    """Tell everybody in the room; the worker's pid is there to show that workers come and go."""
    BroadcastChannel(room).post_message(
        {"kind": kind, "from": sender, "name": name, "text": text, "worker": os.getpid()}
    )


@app.on("fetch")
async def show_page(event: FetchEvent) -> Response:
    if event.request.path != "/":
        return Response("Not Found", status=404)
    return Response.html(PAGE)


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    query = event.request.url.search_params
    name = query.get("name", "").strip()[:LONGEST_NAME]
    room = query.get("room", "").strip()[:LONGEST_NAME] or "lobby"
    if not name:
        event.reject(Response("Who are you? Join with ?name=…", status=400))
        return
    connection = event.accept(data={"name": name, "room": room})
    connection.subscribe(room)
    connection.send_json({"kind": "welcome", "you": connection.id, "text": GREETING})
    tell(room, "join", connection.id, name)


@app.on("websocketmessage")
async def say(event: WebSocketMessageEvent) -> None:
    member = event.source.data
    if isinstance(event.data, str) and (text := event.data.strip()[:LONGEST_TEXT]):
        tell(member["room"], "say", event.source.id, member["name"], text)


@app.on("websocketclose")
async def leave(event: WebSocketCloseEvent) -> None:
    member = event.source.data
    tell(member["room"], "leave", event.source.id, member["name"])
