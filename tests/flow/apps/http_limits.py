"""The application of the tests of HTTP's limits: it notes what reached it, and waits if told to."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.app import ServiceWorker
from holdfast.web.http_errors import ClientLeft
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.core.request_events import FetchEvent, WebSocketUpgradeEvent
    from holdfast.web.request import Request

app = ServiceWorker()

JOURNAL = Path(os.environ["JOURNAL"])
GATE = JOURNAL.with_name("gate")  # exists: those who wait may go


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(line + "\n")


async def gate() -> None:
    while not GATE.exists():
        await asyncio.sleep(0.01)


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    request = event.request
    note(f"{request.method} {request.path}")
    match request.path.split("/")[1]:
        case "hello":
            return Response("hello")
        case "body":
            try:
                return Response(await request.bytes())
            except ClientLeft:
                note(f"{request.path} was not complete")
                raise
        case "seen":
            await request.bytes()
            return Response(json.dumps([str(request.url), request.headers.items()]))
        case "who":
            assert request.client is not None
            return Response(f"{request.client.host} {request.client.port} {request.url.protocol}")
        case "wait":
            note(f"{request.path} waits")
            await gate()
            return Response("waited")
        case "big":
            return Response(b"x" * 20_000_000)
        case "endless":
            return Response(endless(request))
        case "events":
            return Response(events(request))
        case "upper":
            return Response(upper(request))
    return None


async def endless(request: Request) -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"x" * 10_000
    finally:
        note(f"{request.path} ended")


async def events(request: Request) -> AsyncIterator[bytes]:
    """Say hello, and something else when the gate opens."""
    try:
        yield b"data: hello\n\n"
        await gate()
        yield b"data: still here\n\n"
    finally:
        note(f"{request.path} ended")


async def upper(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk.upper()
    finally:
        note(f"{request.path} ended")


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    path = event.request.path
    note(f"upgrade {path}")
    if path.startswith("/wait"):
        note(f"{path} waits")
        await gate()
    event.accept().send("hello")
