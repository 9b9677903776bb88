"""The application of the tests of what becomes of workers: it says which one answers."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    MessageEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()
news = BroadcastChannel("news")
JOURNAL = Path(os.environ["JOURNAL"])


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{os.getpid()} {line}\n")


if "SLOW_IMPORT" in os.environ and (delay := Path(os.environ["SLOW_IMPORT"]).read_text()):
    time.sleep(float(delay))


@app.on("startup")
async def startup(_: object) -> None:
    note("startup")


@app.on("shutdown")
async def shutdown(_: object) -> None:
    note("shutdown")
    if "LAST_POST" in os.environ and Path(os.environ["LAST_POST"]).exists():
        Path(os.environ["LAST_POST"]).unlink()
        news.post_message("posted by the last to leave")


@news.on("message")
async def hear(event: MessageEvent) -> None:
    note(f"heard {event.data}")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    if event.request.path == "/slow":
        await asyncio.sleep(0.5)
    elif event.request.path == "/post":
        BroadcastChannel("news").post_message("a post")
    return Response(str(os.getpid()))


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    event.accept(data={"count": 0}).subscribe("news")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    source = event.source
    source.data["count"] += 1
    match event.data:
        case "pid":
            source.send(str(os.getpid()))
        case "count":
            source.send(str(source.data["count"]))
        case "hang":
            source.send("must never be seen")
            await asyncio.sleep(3600)
        case "hang on":
            await hang_on()
        case "block" if event.attempt == 1:
            note("blocks")
            time.sleep(3600)
        case "block":
            source.send(f"blocked no more, attempt {event.attempt}")
        case "block a second":
            time.sleep(1)
            source.send("unblocked")
        case "slow":
            await asyncio.sleep(1)
            source.send("slow")
        case "wait":
            await go_on.wait()
            source.send("waited")
        case "go on":
            go_on.set()
        case "eat":
            HOARD.append(bytearray(os.urandom(1024)) * 1024 * 40)
            source.send(str(os.getpid()))


go_on = asyncio.Event()
HOARD: list[bytearray] = []


async def hang_on() -> None:
    """Heed a cancellation only the second time."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note("cancelled once")
        await asyncio.sleep(3600)


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    note(f"closed {event.code}")
