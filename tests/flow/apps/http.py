"""The application of the HTTP flow tests: each path is one situation."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from holdfast.app import ServiceWorker
from holdfast.web.forms import File
from holdfast.web.http_errors import Forbidden, HTTPError, ServiceUnavailable, Unauthorized
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.core.events import ErrorEvent, WebSocketMessageEvent
    from holdfast.core.request_events import FetchEvent, WebSocketUpgradeEvent
    from holdfast.web.request import Request

app = ServiceWorker()

JOURNAL = Path(os.environ["JOURNAL"])
FILES = Path(os.environ["FILES"])


def note(line: str) -> None:
    """Write a line that survives whatever becomes of this process."""
    with JOURNAL.open("a") as journal:
        journal.write(line + "\n")


@app.on("install")
async def install(_: object) -> None:
    note(f"install {await (await app.fetch('/hello')).text()}")


@app.on("activate")
async def activate(_: object) -> None:
    note(f"activate {(await app.fetch('/nothing')).status}")


@app.on("error")
def error(event: ErrorEvent) -> None:
    note(f"error {event.error}")


@app.on("fetch")
async def bodies(event: FetchEvent) -> Response | None:
    request = event.request
    match request.path:
        case "/hello":
            return Response("hello")
        case "/bytes":
            return Response(b"\x00\xff")
        case "/json":
            return Response.json(await request.json())
        case "/html":
            return Response.html("<p>hello")
        case "/redirect":
            return Response.redirect("/hello", 303)
        case "/empty":
            return Response()
        case "/204" | "/205" | "/304" as path:
            return Response(status=int(path[1:]))
        case "/cookies":
            response = Response(f"{sorted(request.cookies.items())}")
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            event.set_cookie("c", "3")
            return response
        case "/size":
            return Response(str(len(await request.bytes())))
        case "/unread":
            return Response("unread")
        case "/form":
            return Response(await describe_form(request))
        case "/who":
            client = request.client
            assert client is not None
            return Response(f"{client.host} {client.port} {request.url}")
    return None


async def describe_form(request: Request) -> str:
    lines = []
    for name, value in (await request.form()).items():
        if isinstance(value, File):
            value = f"{value.name} {value.type} {len(await value.bytes())}"
        lines.append(f"{name}: {value}")
    return "\n".join(lines)


@app.on("fetch")
async def failures(event: FetchEvent) -> Response | None:
    match event.request.path:
        case "/401":
            event.set_cookie("never", "1")
            raise Unauthorized("who are you?", headers={"www-authenticate": "Basic"})
        case "/503":
            raise ServiceUnavailable("secret detail")
        case "/raise":
            event.set_cookie("never", "1")
            raise RuntimeError("secret detail")
        case "/wait":
            try:
                await asyncio.Event().wait()
            finally:
                note("wait ended")
        case "/stubborn":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return Response("too late")
    return None


@app.on("fetch")
async def streams(event: FetchEvent) -> Response | None:
    name = event.request.url.search[1:]
    match event.request.path:
        case "/stream":
            return Response(count(3))
        case "/events":
            event.wait_until(other_work(name))
            return Response(quiet(name), headers={"content-type": "text/event-stream"})
        case "/endless":
            return Response(endless(name))
        case "/upper":
            return Response(upper(event.request))
        case "/broken-early":
            return Response(broken(0))
        case "/broken-late":
            return Response(broken(2))
        case "/broken-length":
            return Response(broken(2), headers={"content-length": "100"})
    return None


async def count(to: int) -> AsyncIterator[str]:
    for number in range(to):
        await asyncio.sleep(0)
        yield f"{number} "


async def quiet(name: str) -> AsyncIterator[str]:
    """Events that never come."""
    try:
        yield "data: hello\n\n"
        await asyncio.Event().wait()
    finally:
        note(f"events {name} ended")


async def other_work(name: str) -> None:
    while f"events {name} ended" not in JOURNAL.read_text():
        await asyncio.sleep(0.01)
    note(f"other work {name} goes on")


async def endless(name: str) -> AsyncIterator[bytes]:
    """Never wait."""
    try:
        while True:
            yield b"x" * 1000
    finally:
        note(f"endless {name} ended")


async def upper(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk.upper()


async def broken(chunks: int) -> AsyncIterator[str]:
    for _ in range(chunks):
        yield "chunk"
        await asyncio.sleep(0)
    raise RuntimeError(f"broken after {chunks}")


@app.on("fetch")
async def others(event: FetchEvent) -> Response | None:
    path = event.request.path
    if path.startswith("/files/"):
        return Response.file(unquote(path.removeprefix("/files/")), root=FILES)
    match path:
        case "/itself":
            inner = await app.fetch("/cookies", headers={"cookie": "x=y"})
            cookies = len(inner.headers.get_set_cookie())
            return Response(f"{inner.status} {await inner.text()} {cookies}")
        case "/itself-file":
            return Response(await (await app.fetch("/files/small.txt")).text())
        case "/itself-refused":
            return Response(str((await app.fetch("/401")).status))
        case "/itself-upgraded":
            await app.fetch("/upgrade")
        case "/itself-for-ever":
            return await app.fetch("/itself-for-ever")
        case "/upgrade":
            event.upgrade_websocket()
    return None


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    match event.request.path:
        case "/ws":
            event.accept().send(event.request.url.href)
        case "/ws-403":
            event.set_cookie("never", "1")
            event.accept().send("never")
            raise Forbidden("not yours", headers={"x-why": "because"})
        case "/ws-418":
            raise HTTPError(418)
        case "/ws-stubborn":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                event.accept().send("never")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    response = await app.fetch(str(event.data))
    event.source.send(f"{response.status} {await response.text()} {event.source.url}")
