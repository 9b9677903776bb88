"""uvicorn + Starlette: what its documentation shows, with the same paths as app.py."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

room: set[WebSocket] = set()


async def hello(request):
    return PlainTextResponse("Hello, world!")


async def echo(ws):
    await ws.accept()
    try:
        while True:
            await ws.send_text(await ws.receive_text())
    except WebSocketDisconnect:
        pass


async def subscribe(ws):
    await ws.accept()
    room.add(ws)
    try:
        while True:
            await ws.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        room.discard(ws)


app = Starlette(
    routes=[
        Route("/", hello),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/room", subscribe),
    ]
)
