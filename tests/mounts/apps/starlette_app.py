"""What Starlette's documentation shows: requests, streams, events, background tasks, lifespan."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

done: list[str] = []


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"pool": "open"}


asked = asyncio.Event()
"""Set by each request for `hello`; a stream waits for one."""


async def hello(request: Request) -> Response:
    asked.set()
    return JSONResponse({"hello": "world"})


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers.get("content-type"))


async def lengths(request: Request) -> Response:
    """Read the body as it comes."""
    return JSONResponse([len(part) async for part in request.stream() if part])


async def stream(request: Request) -> Response:
    async def count() -> AsyncIterator[str]:
        asked.clear()
        yield "0\n"
        await asked.wait()
        yield "1\n"

    return StreamingResponse(count(), media_type="text/plain")


async def events(request: Request) -> Response:
    async def tick() -> AsyncIterator[str]:
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            done.append("events")

    return StreamingResponse(tick(), media_type="text/event-stream")


async def url(request: Request) -> Response:
    return PlainTextResponse(str(request.url_for("hello")))


async def background(request: Request) -> Response:
    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append("background")

    return PlainTextResponse("ok", background=BackgroundTask(work))


async def finished(request: Request) -> Response:
    return JSONResponse(done)


async def state(request: Request) -> Response:
    return PlainTextResponse(request.state.pool)


async def user(request: Request) -> Response:
    return PlainTextResponse(f"{request.path_params['name']} {request.query_params.get('q')}")


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert not isinstance(file, str)
        return JSONResponse({"name": file.filename, "size": len(await file.read())})


async def cookie(request: Request) -> Response:
    response = PlainTextResponse(request.cookies.get("seen", "new"))
    response.set_cookie("seen", "before", httponly=True)
    return response


async def leave(request: Request) -> Response:
    return RedirectResponse("/hello")


async def source(request: Request) -> Response:
    return FileResponse(__file__)


async def broken(request: Request) -> Response:
    raise ValueError("broken on purpose")


async def broken_stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "begun"
        raise ValueError("broken in the middle")

    return StreamingResponse(parts())


async def missing(request: Request) -> Response:
    raise HTTPException(410, "gone", {"x-why": "sold"})


async def large(request: Request) -> Response:
    return PlainTextResponse("x" * 100_000)


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text}!")


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/echo", echo, methods=["POST", "PUT"]),
        Route("/lengths", lengths, methods=["POST"]),
        Route("/stream", stream),
        Route("/events", events),
        Route("/url", url),
        Route("/background", background),
        Route("/done", finished),
        Route("/state", state),
        Mount("/users", routes=[Route("/{name}", user)]),
        Route("/upload", upload, methods=["POST"]),
        Route("/cookie", cookie),
        Route("/leave", leave),
        Route("/source", source),
        Route("/broken", broken),
        Route("/broken-stream", broken_stream),
        Route("/missing", missing),
        Route("/large", large),
        WebSocketRoute("/ws", ws),
    ],
    middleware=[Middleware(GZipMiddleware)],
    lifespan=lifespan,
)
