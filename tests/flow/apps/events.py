"""The application of the tests of events: what an event may do, and when it comes.

What it notes goes into the file JOURNAL names; where it waits, it waits for a file in GATES.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast import (
    ActivateEvent,
    BroadcastChannel,
    FetchEvent,
    InstallEvent,
    Response,
    ServiceWorker,
    StartupEvent,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()
JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{os.getpid()} {line}\n")


async def gate(name: str) -> None:
    """Wait until the test opens it."""
    while not (GATES / name).exists():
        await asyncio.sleep(0.01)


note(f"import {app.registration.state}")


@app.on("install")
async def install(event: InstallEvent) -> None:
    note(f"install {app.registration.state}")
    event.wait_until(gate("install"))


@app.on("activate")
async def activate(_: ActivateEvent) -> None:
    note(f"activate {app.registration.state}")


@app.on("startup")
async def startup(_: StartupEvent) -> None:
    note(f"startup {app.registration.state}")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    if event.request.path == "/publish-later":
        event.wait_until(publish_later("from a fetch"))
    note(f"fetch {app.registration.state}")
    return Response(app.registration.state)


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    if event.request.path == "/private":
        await asyncio.sleep(0)  # It asks somebody else.
        if event.request.cookies.get("token") != "right":
            event.reject(Response("who are you?", status=401))
            return
    connection = event.accept(data=event.request.path[1:])
    await asyncio.sleep(0)
    connection.subscribe("everyone")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    order, source = event.json(), event.source
    match order["do"]:
        case "say":
            source.send(order["what"])
        case "say id":
            source.send(source.id)
        case "say channels":
            source.send_json(sorted(source.channels))
        case "count":
            source.send(str(len(await app.clients.match_all())))
        case "subscribe":
            source.subscribe(order["channel"])
        case "unsubscribe":
            source.unsubscribe(order["channel"])
        case "publish":
            BroadcastChannel(order["channel"]).post_message(order["what"])
        case "publish later":
            event.wait_until(publish_later("from a message"))
        case "close":
            # The first one counts.
            for code in (4000, 4001, 4002):
                source.close(code, "bye")
        case "note":
            note(f"{source.data} says {order['what']}")


async def publish_later(what: str) -> None:
    await gate("work")
    BroadcastChannel("everyone").post_message(what)


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    name = event.source.data
    note(f"{name} closes {event.code} {'cleanly' if event.was_clean else 'somehow'}")
    BroadcastChannel("everyone").post_message(f"{name} has left")
    if name == "hanging":
        await gate("close")
        note("hanging has closed")
