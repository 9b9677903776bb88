"""The application of the tests of refused handshakes: each path is one way to get no connection."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import (
    BroadcastChannel,
    Connection,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketUpgradeEvent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = ServiceWorker()
news = BroadcastChannel("news")

JOURNAL = Path(os.environ.get("JOURNAL", os.devnull))
BINARY = bytes(range(256))


class Unprintable(Exception):
    """Fails once more when somebody wants to know what it is."""

    def __str__(self) -> str:
        raise RuntimeError("secret detail of the error")


def note(line: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(line + "\n")


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    match event.request.path:
        case "/":
            return Response(str(os.getpid()))
        case "/members":
            members = await app.clients.match_all(channel="news")
            return Response(str(len(members)))
        case "/publish":
            news.post_message("for those who are here")
            return Response("published")
    return None


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    match event.request.path:
        case "/member":
            event.accept().subscribe("news")
        case "/later":
            connection = event.accept()
            connection.send("at once")
            event.wait_until(say_later(connection))
        case "/cookies":
            event.set_cookie("a", "1")
            response = Response("no", status=403)
            response.set_cookie("b", "2")
            response.set_cookie("c", "3", path="/x")
            event.reject(response)
        case "/binary":
            event.reject(Response(BINARY, status=403))
        case "/status/204" | "/status/304" as path:
            event.reject(Response(status=int(path[8:])))
        case "/status/422" | "/status/499" as path:
            event.reject(Response("no", status=int(path[8:])))
        case "/endless":
            event.reject(Response(endless(), status=403))
        case "/large":
            event.reject(Response(b"x" * 4_000_000, status=403))
        case "/framing":
            # As a proxy has it that passes on what somebody else answered.
            headers = {
                "Connection": "keep-alive",
                "Keep-Alive": "timeout=5",
                "Content-Encoding": "gzip",
                "Transfer-Encoding": "chunked",
            }
            event.reject(Response("passed on", status=403, headers=headers))
        case "/stream-too-short":
            event.reject(Response(short(), status=403, headers={"Content-Length": "500"}))
        case "/stream-too-long":
            event.reject(Response(short(), status=403, headers={"Content-Length": "3"}))
        case "/too-long":
            event.reject(Response("short", status=403, headers={"Content-Length": "500"}))
        case "/too-short":
            event.reject(Response("longer", status=403, headers={"Content-Length": "3"}))
        case "/raise":
            event.accept().subscribe("news")
            raise RuntimeError("secret detail")
        case "/unprintable":
            event.accept().subscribe("news")
            raise Unprintable
        case "/bad-cookie":
            event.accept().subscribe("news")
            event.set_cookie("a", "1", path="/\r\nX-Injected: 1")
        case "/bad-header":
            event.accept(headers={"X-One": "1\r\nX-Injected: 1"}).subscribe("news")
        case "/reject-after":
            event.accept().subscribe("news")
            event.reject(Response("too late", status=403))


async def short() -> AsyncIterator[bytes]:
    yield b"short"


async def endless() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"no " * 1000
    finally:
        note("endless has ended")


async def say_later(connection: Connection) -> None:
    await asyncio.sleep(0.05)
    connection.send("later")


@app.on("websocketclose")
def close(event: WebSocketCloseEvent) -> None:
    note(f"close {event.source.url.rpartition('/')[2]} {event.code}")


@app.on("error")
def fail_too(_: object) -> None:
    raise RuntimeError("secret detail of the error listener")
