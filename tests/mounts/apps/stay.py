"""Endpoints that are begun again, and one ServiceWorker that they are mounted in.

`JOURNAL` names a file to which lines are added, `VERSION` one with the version of the code.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from holdfast import ServiceWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from holdfast import WebSocketMessageEvent, WebSocketUpgradeEvent

VERSION = Path(os.environ["VERSION"]).read_text()


def note(line: str) -> None:
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(f"{line}\n")


def about(ws: WebSocket) -> dict[str, Any]:
    extension: dict[str, Any] = ws.scope["extensions"]["holdfast"]
    return extension


async def echo(ws: WebSocket) -> None:
    """Say what came, which version this is, and how often it was begun again."""
    await ws.accept()
    while True:
        message = await ws.receive_text()
        await ws.send_text(f"{message} v{VERSION} r{about(ws)['resumed']}")


async def count(ws: WebSocket) -> None:
    """Count messages, in the data that stays."""
    await ws.accept()
    data = about(ws)["data"]
    while True:
        await ws.receive_text()
        data["n"] = data.get("n", 0) + 1
        await ws.send_text(str(data["n"]))


async def scope(ws: WebSocket) -> None:
    await ws.accept(subprotocol="chat" if VERSION == "1" else "other")
    while True:
        await ws.receive_text()
        shown = {key: ws.scope[key] for key in ("path", "raw_path", "root_path", "headers")}
        shown |= {key: ws.scope[key] for key in ("query_string", "subprotocols", "client")}
        await ws.send_text(f"{shown!r} {about(ws)['connection'].id}")


async def slow(ws: WebSocket) -> None:
    """Take as long for a message as it says."""
    await ws.accept()
    while True:
        seconds = await ws.receive_text()
        note(f"begins {seconds}")
        await asyncio.sleep(float(seconds))
        await ws.send_text(f"{seconds} v{VERSION}")


async def dies(ws: WebSocket) -> None:
    """Kill the worker in the middle of a message, as often as it says."""
    await ws.accept()
    while True:
        message = await ws.receive_text()
        note(f"received {message}")
        times = int(message)
        await ws.send_text(f"about to die {about(ws)['resumed']}")
        if about(ws)["resumed"] < times:
            await asyncio.sleep(0.05)
            os._exit(1)
        await ws.send_text("alive")


async def dies_at_begin(ws: WebSocket) -> None:
    """Kill the worker whenever it is begun again."""
    if about(ws)["resumed"]:
        note(f"dies {about(ws)['resumed']}")
        os._exit(1)
    await echo(ws)


async def leaves(ws: WebSocket) -> None:
    """Say how it comes to an end."""
    await ws.accept()
    try:
        while True:
            await ws.receive_text()
    except WebSocketDisconnect as error:
        note(f"disconnected {error.code}")
    except asyncio.CancelledError:
        note("cancelled")
        raise
    finally:
        note("finally")
        try:
            await ws.send_text("goodbye")
            await ws.close()
        except WebSocketDisconnect:
            pass


async def ticks(ws: WebSocket) -> None:
    """Send, and never receive."""
    await ws.accept()
    while True:
        await ws.send_text(f"tick v{VERSION} r{about(ws)['resumed']}")
        await asyncio.sleep(0.02)


async def pours(ws: WebSocket) -> None:
    """Send as much as is taken."""
    await ws.accept()
    while True:
        await ws.send_text(f"v{VERSION} " + "x" * 50_000)
        note(f"sent {VERSION}")


async def expires(ws: WebSocket) -> None:
    """Not be willing to go on when begun again."""
    if about(ws)["resumed"]:
        kind = ws.query_params["how"]
        if kind == "close":
            await ws.close(4401, "expired")
        elif kind == "deny":
            await ws.send_denial_response(PlainTextResponse("expired", status_code=401))
        elif kind == "raise":
            raise ValueError("cannot go on")
        return
    await echo(ws)


async def resists(ws: WebSocket) -> None:
    """Go on when it is cancelled."""
    await ws.accept()
    if about(ws)["resumed"]:
        await ws.send_text("begun again")
    while True:
        try:
            await ws.receive_text()
            note("busy")
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            note("cancelled")


async def lingers(ws: WebSocket) -> None:
    """Take too long when the connection has ended."""
    await ws.accept()
    try:
        await ws.receive_text()
    except WebSocketDisconnect:
        note("lingers")
        await asyncio.sleep(3600)


async def keeps_nonsense(ws: WebSocket) -> None:
    await ws.accept()
    about(ws)["data"]["socket"] = ws
    await ws.receive_text()


async def version(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{VERSION} {request.state.version}")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    note(f"up {VERSION}")
    yield {"version": VERSION}
    note(f"down {VERSION}")


ENDPOINTS = (
    echo, count, scope, slow, dies, dies_at_begin, leaves, ticks, expires, resists, lingers,
    keeps_nonsense, pours,
)  # fmt: skip

api = Starlette(
    routes=[
        Route("/version", version),
        *(WebSocketRoute(f"/{each.__name__}", each) for each in ENDPOINTS),
        *(WebSocketRoute(f"/closing/{each.__name__}", each) for each in ENDPOINTS),
    ],
    lifespan=lifespan,
)

app = ServiceWorker()
app.mount(api, "/api", on_worker_exit={"/closing": "close"})


@app.on("websocketupgrade")
def accept(event: WebSocketUpgradeEvent) -> None:
    if event.request.path == "/events":
        event.accept()


@app.on("websocketmessage")
def answer(event: WebSocketMessageEvent) -> None:
    event.source.send(f"{event.data!s} v{VERSION}")
