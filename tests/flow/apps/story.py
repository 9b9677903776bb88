"""The application of the flow tests: each path is one situation. Its version is in the file VERSION
names, so that a reload changes what it answers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()

VERSION = Path(os.environ["VERSION"]).read_text() if "VERSION" in os.environ else "1"
JOURNAL = Path(os.environ.get("JOURNAL", os.devnull))

if VERSION == "broken":
    raise RuntimeError("this version does not import")


def note(line: str) -> None:
    """Write a line that survives whatever becomes of this process."""
    with JOURNAL.open("a") as journal:
        journal.write(line + "\n")


@app.on("install")
async def install(_: object) -> None:
    note(f"install {VERSION}")
    if VERSION == "bad install":
        raise RuntimeError("this version does not install")


@app.on("activate")
async def activate(_: object) -> None:
    note(f"activate {VERSION}")


@app.on("startup")
async def startup(_: object) -> None:
    note(f"startup {VERSION}")


@app.on("shutdown")
async def shutdown(_: object) -> None:
    note(f"shutdown {VERSION}")
    if VERSION == "bad shutdown":
        raise RuntimeError("this version does not shut down")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    match event.request.path:
        case "/":
            return Response(f"version {VERSION} from {os.getpid()}")
        case "/slow":
            note("slow has begun")
            await asyncio.sleep(0.5)
            return Response("slow but sure")
    return None


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    match event.request.path:
        case "/greet":
            event.accept().send("welcome")
        case "/slow-upgrade":
            note("slow-upgrade has begun")
            await asyncio.sleep(0.5)
            event.accept()
        case "/echo" | "/version" | "/die" | "/close-me" as path:
            event.accept(data=path)
        case "/counter":
            event.accept(data={"count": 0})


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    source = event.source
    match source.data:
        case {"count": count}:
            source.data["count"] = count + 1
            source.send(f"{count + 1}:{event.data}" if event.data != "incr" else str(count + 1))
        case "/echo":
            source.send(event.data)
        case "/version":
            source.send(VERSION)
        case "/die" if event.data == "die" and event.attempt == 1:
            source.send("must never be seen")
            os.kill(os.getpid(), 9)
        case "/die" if event.data == "poison":
            os.kill(os.getpid(), 9)
        case "/die":
            source.send(f"{event.data} at attempt {event.attempt}")
        case "/close-me":
            source.close(4002, "as you wish")
        case _:
            source.send(event.data)


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    note(f"close {event.source.url.rpartition('/')[2]} {event.code} {event.reason}")
