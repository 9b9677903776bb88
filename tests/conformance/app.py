"""The application of all stories: each path is one situation, each message of /orders one order.

What it notes goes into the file JOURNAL names; where it waits, it waits for a file in GATES.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = ServiceWorker()
heard = BroadcastChannel("heard")

JOURNAL = Path(os.environ["JOURNAL"])
GATES = Path(os.environ["GATES"])


def note(line: str) -> None:
    """Write a line that survives whatever becomes of this process."""
    with JOURNAL.open("a") as journal:
        journal.write(f"{line}\n")


async def gate(name: str) -> None:
    """Wait until the test opens it."""
    while not (GATES / name).exists():
        await asyncio.sleep(0.01)


@app.on("install")
async def install(_: object) -> None:
    note("install")
    if (GATES / "bad install").exists():
        raise RuntimeError("this version does not install")


@app.on("activate")
async def activate(_: object) -> None:
    note("activate")


@app.on("startup")
async def startup(_: object) -> None:
    note("startup")


@app.on("shutdown")
async def shutdown(_: object) -> None:
    note("shutdown")


@heard.on("message")
async def hear(event: Any) -> None:
    note(f"{event.data['by']} was heard in {os.getpid()}")


# --- requests -----------------------------------------------------------------------------------


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    request = event.request
    match request.path:
        case "/":
            return Response(f"served by {os.getpid()}")
        case "/details":
            event.set_cookie("seen", "yes")
            url = request.url
            about = {"path": request.path, "query": url.search, "cookies": dict(request.cookies)}
            return Response.json(about, status=201, headers={"x-extra": "1"})
        case "/upper":
            return Response((await request.text()).upper())
        case "/size":
            return Response(str(len(await request.bytes())))
        case "/stream":
            return Response(stream())
        case "/raise":
            raise RuntimeError("secret detail")
        case "/publish":
            BroadcastChannel("news").post_message("from a fetch")
            return Response("published")
        case "/by-fetch":
            event.upgrade_websocket().send("upgraded by fetch")
        case "/page":
            return Response("an ordinary page", headers={"x-kind": "page"})
    return None


async def stream() -> AsyncIterator[str]:
    yield "first "
    await gate("stream")
    yield "second"


# --- handshakes ---------------------------------------------------------------------------------


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:  # noqa: C901 - a table
    request = event.request
    name = request.url.search_params.get("name", "somebody")
    match request.path:
        case "/echo":
            event.accept()
        case "/orders":
            event.accept(data={"name": name, "count": 0})
        case "/greet":
            event.accept().send("welcome")
        case "/close":
            connection = event.accept(data={"name": name})
            connection.send("bye")
            connection.close(4001, "not today")
        case "/reject":
            await asyncio.sleep(0)  # It asks somebody else.
            event.reject(Response("who are you?", status=401, headers={"x-why": "no cookie"}))
        case "/raise-upgrade":
            raise RuntimeError("secret detail")
        case "/raise-after-accept":
            event.accept(data={"name": name}).send("never seen")
            raise RuntimeError("secret detail")
        case "/protocol":
            event.accept(subprotocol="chat.v2")
        case "/headers":
            event.set_cookie("seen", "yes")
            event.set_cookie("twice", "yes")
            event.accept(headers={"x-extra": "1"})
        case "/cookie":
            event.accept().send(request.cookies.get("who", "nobody"))
        case "/slow":
            note(f"{name} knocks")
            await gate("door")
            event.accept(data={"name": name})


# --- messages -----------------------------------------------------------------------------------


@app.on("websocketmessage", on_error="close")
async def fail(event: WebSocketMessageEvent) -> None:
    if event.data == "raise and close":
        raise RuntimeError("secret detail")


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    if event.source.data is None:
        event.source.send(event.data)
    elif event.source.url.endswith("strict"):
        await obey_strictly(event)
    else:
        await obey(event)


async def obey_strictly(event: WebSocketMessageEvent) -> None:
    """Count, in the time it takes: whoever came in between would be seen."""
    source = event.source
    count = source.data["count"]
    await asyncio.sleep(0.002)
    source.data["count"] = count + 1
    source.send(f"{count}: {event.data!s}")


async def obey(event: WebSocketMessageEvent) -> None:  # noqa: C901, PLR0915 - a table
    order, source = event.json(), event.source
    match order["do"]:
        case "say":
            source.send(order["what"])
        case "count":
            source.data["count"] += 1
            source.send(str(source.data["count"]))
        case "raise":
            source.send("must never be seen")
            source.data["count"] = 100
            raise RuntimeError("secret detail")
        case "raise and close":
            raise RuntimeError("secret detail")
        case "close":
            # The first one counts.
            source.close(order["code"], order["reason"])
            source.close(4999, "again")
            source.send("must never be seen")
        case "wait":
            note(f"{source.data['name']} waits")
            await gate(order["gate"])
            source.send("waited")
        case "say slowly":
            await asyncio.sleep(0.2)
            source.send(order["what"])
        case "say later":
            event.wait_until(say_later(event, order["gate"]))
            source.send("now")
        case "flush":
            source.send("before")
            await event.flush()
            await gate(order["gate"])
            source.send("after")
        case "subscribe":
            source.subscribe(order["channel"])
            source.send("subscribed")
        case "unsubscribe":
            source.unsubscribe(order["channel"])
            source.send("unsubscribed")
        case "publish":
            exclude = source if order.get("exclude") else None
            BroadcastChannel(order["channel"]).post_message(order["what"], exclude=exclude)
        case "flood":
            for _ in range(order["count"]):
                BroadcastChannel(order["channel"]).post_message("x" * order["size"])
        case "be heard":
            BroadcastChannel("heard").post_message({"by": source.data["name"]})
        case "who is there":
            everyone = await app.clients.match_all()
            myself = await app.clients.get(source.id)
            assert myself is not None
            source.send_json([sorted(each.data["name"] for each in everyone if each.data),
                              myself.data["name"]])  # fmt: skip
        case "call":
            for each in await app.clients.match_all():
                if each.data and each.data["name"] == order["name"]:
                    each.send(order["what"])
        case "pid":
            source.send(str(os.getpid()))
        case "die" if event.attempt == 1:
            source.send("must never be seen")
            os.kill(os.getpid(), 9)
        case "die":
            source.send(f"attempt {event.attempt}")


async def say_later(event: WebSocketMessageEvent, name: str) -> None:
    await gate(name)
    event.source.send("later")


# --- another application, below this one --------------------------------------------------------


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Plain ASGI."""
    if scope["type"] == "http":
        body = f"{scope['root_path']} {scope['path']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"][::-1]})
        note(f"the endpoint saw {message['code']}")
    else:
        raise NotImplementedError(scope["type"])


app.mount(mounted, "/mounted")


@app.on("websocketclose")
async def close(event: WebSocketCloseEvent) -> None:
    source = event.source
    if source.data is not None:
        how = "cleanly" if event.was_clean else "somehow"
        note(f"{source.data['name']} closes {event.code} {event.reason!r} {how}")
        BroadcastChannel("news").post_message(f"{source.data['name']} has left")
