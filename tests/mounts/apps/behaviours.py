"""One ASGI application whose WebSocket endpoints show how a server behaves, one per path.

An endpoint notes what it sees; `GET /notes/<path>?<run>` returns that as JSON, when it has ended or
was noted that it will not. Clients name their run, so that one server serves many tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

NOTES: dict[str, list[Any]] = {}
ENDED: dict[str, asyncio.Event] = {}

ENDPOINTS: dict[str, Any] = {}

ACCEPT = {"type": "websocket.accept"}


class Ws:
    """One endpoint's `receive` and `send`, and what it noted."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.run = scope["query_string"].decode()
        self.notes: list[Any] = NOTES.setdefault(self.run, [])

    def note(self, value: Any) -> None:
        self.notes.append(value)

    async def note_received(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.receive()
        shown = {k: v for k, v in message.items() if v is not None}
        if message["type"] == "websocket.disconnect":
            # Whether there is a reason if there is none, servers do not agree on.
            shown.setdefault("reason", "")
        if "bytes" in shown:
            shown["bytes"] = shown["bytes"].decode("latin-1")
        self.note(shown)
        return message

    async def note_sent(self, message: dict[str, Any]) -> None:
        """Send, and note what that raises."""
        try:
            await self.send(message)
        except OSError:
            self.note(f"{message['type']}: OSError")
        except RuntimeError:
            self.note(f"{message['type']}: RuntimeError")
        except Exception:
            self.note(f"{message['type']}: an error")
        else:
            self.note(f"{message['type']}: sent")

    async def open(self, **options: Any) -> None:
        assert (await self.receive())["type"] == "websocket.connect"
        await self.send({**ACCEPT, **options})

    async def text(self, text: str) -> None:
        await self.send({"type": "websocket.send", "text": text})

    async def until_gone(self) -> None:
        while (await self.note_received())["type"] != "websocket.disconnect":
            pass


def endpoint(function: Any) -> Any:
    ENDPOINTS["/" + function.__name__] = function
    return function


# --- the scope and the handshake ----------------------------------------------------------------


@endpoint
async def scope(ws: Ws) -> None:
    shown = dict(ws.scope)
    shown["headers"] = sorted(
        (name.decode(), value.decode("latin-1"))
        for name, value in shown["headers"]
        if name in (b"x-one", b"cookie", b"sec-websocket-protocol", b"sec-websocket-version")
    )
    shown["raw_path"] = shown["raw_path"].decode()
    shown["query_string"] = "" if shown["query_string"] else "none"
    shown["extensions"] = {k: v for k, v in shown["extensions"].items() if k != "holdfast"}
    shown["server"] = [type(shown["server"]).__name__, shown["server"][0]]
    shown["client"] = [type(shown["client"]).__name__, shown["client"][0]]
    await ws.open()
    await ws.text(json.dumps(shown, sort_keys=True))
    await ws.until_gone()


@endpoint
async def accept(ws: Ws) -> None:
    await ws.note_received()
    await ws.note_sent(ACCEPT)
    await ws.until_gone()


@endpoint
async def accept_with_more(ws: Ws) -> None:
    await ws.open(
        subprotocol="json",
        headers=[(b"X-Room", b"lobby"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
    )
    await ws.until_gone()


@endpoint
async def accept_without_subprotocol(ws: Ws) -> None:
    await ws.open(subprotocol=None, headers=[])
    await ws.until_gone()


@endpoint
async def close_at_once(ws: Ws) -> None:
    await ws.receive()
    await ws.note_sent({"type": "websocket.close", "code": 4000, "reason": "no"})
    await ws.note_received()
    await ws.note_sent(ACCEPT)


@endpoint
async def deny(ws: Ws) -> None:
    await ws.receive()
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"unknown")]
    start = {"type": "websocket.http.response.start", "status": 401, "headers": headers}
    await ws.note_sent(start)
    await ws.note_sent({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await ws.note_sent({"type": "websocket.http.response.body", "body": b"are you?"})
    await ws.note_received()


@endpoint
async def deny_with_length(ws: Ws) -> None:
    await ws.receive()
    headers = [(b"content-length", b"2")]
    await ws.send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
    await ws.send({"type": "websocket.http.response.body", "body": b"no"})


@endpoint
async def raise_at_once(ws: Ws) -> None:
    raise ValueError("before the handshake was answered")


@endpoint
async def raise_after_connect(ws: Ws) -> None:
    await ws.receive()
    raise ValueError("before the handshake was answered")


@endpoint
async def return_at_once(ws: Ws) -> None:
    await ws.receive()


@endpoint
async def exit_at_once(ws: Ws) -> None:
    sys.exit(3)


@endpoint
async def never_answer(ws: Ws) -> None:
    ws.note(await ws.receive())
    await ws.note_received()
    await ws.note_sent(ACCEPT)


@endpoint
async def send_before_accept(ws: Ws) -> None:
    await ws.receive()
    await ws.note_sent({"type": "websocket.send", "text": "too early"})
    await ws.note_sent(ACCEPT)
    await ws.until_gone()


@endpoint
async def accept_twice(ws: Ws) -> None:
    await ws.open()
    await ws.note_sent(ACCEPT)
    await ws.until_gone()


@endpoint
async def slow_accept(ws: Ws) -> None:
    await ws.receive()
    await asyncio.sleep(0.05)
    await ws.send(ACCEPT)
    await ws.until_gone()


# --- messages -----------------------------------------------------------------------------------


@endpoint
async def echo(ws: Ws) -> None:
    await ws.open()
    while (message := await ws.receive())["type"] == "websocket.receive":
        sent = {k: v for k, v in message.items() if k != "type"}
        await ws.send({"type": "websocket.send", **sent})


@endpoint
async def notes(ws: Ws) -> None:
    await ws.open()
    await ws.until_gone()


@endpoint
async def send_nothing(ws: Ws) -> None:
    await ws.open()
    await ws.note_sent({"type": "websocket.send"})
    await ws.text("something")
    await ws.until_gone()


@endpoint
async def send_nonsense(ws: Ws) -> None:
    await ws.open()
    await ws.note_sent({"type": "websocket.send", "text": 1})
    await ws.note_sent({"type": "websocket.nonsense"})
    await ws.note_sent({"type": "websocket.send", "text": "\ud800"})
    await ws.text("still here")
    await ws.until_gone()


@endpoint
async def send_from_two_tasks(ws: Ws) -> None:
    await ws.open()

    async def tick() -> None:
        for number in range(3):
            await asyncio.sleep(0.01)
            await ws.text(f"tick {number}")

    ticking = asyncio.create_task(tick())
    message = await ws.receive()
    await ws.text(message["text"])
    await ticking
    await ws.until_gone()


@endpoint
async def give_up_waiting(ws: Ws) -> None:
    await ws.open()
    for _ in range(3):
        try:
            async with asyncio.timeout(0.02):
                await ws.receive()
        except TimeoutError:
            ws.note("nothing")
    await ws.text("now")
    await ws.until_gone()


@endpoint
async def much(ws: Ws) -> None:
    await ws.open()
    for number in range(200):
        await ws.text(f"{number:05}" * 10_000)
        ws.note(number)
    await ws.until_gone()


@endpoint
async def how_much(ws: Ws) -> None:
    """Tell how far another run has come."""
    await ws.open()
    while (message := await ws.receive())["type"] == "websocket.receive":
        await ws.text(str(len(NOTES.get(message["text"], ()))))


# --- the end ------------------------------------------------------------------------------------


@endpoint
async def close(ws: Ws) -> None:
    await ws.open()
    await ws.note_sent({"type": "websocket.close", "code": 4321, "reason": "enough"})
    await ws.note_received()


@endpoint
async def close_plainly(ws: Ws) -> None:
    await ws.open()
    await ws.send({"type": "websocket.close"})
    await ws.note_received()


@endpoint
async def close_badly(ws: Ws) -> None:
    await ws.open()
    await ws.note_sent({"type": "websocket.close", "code": 1005})
    await ws.note_sent({"type": "websocket.close", "code": 99})


@endpoint
async def send_after_close(ws: Ws) -> None:
    await ws.open()
    await ws.send({"type": "websocket.close"})
    await ws.note_sent({"type": "websocket.send", "text": "too late"})
    await ws.note_sent({"type": "websocket.close"})


@endpoint
async def receive_after_disconnect(ws: Ws) -> None:
    await ws.open()
    await ws.until_gone()
    assert (await ws.note_received())["type"] == "websocket.disconnect"
    try:
        async with asyncio.timeout(0.1):
            await ws.note_received()
    except TimeoutError:
        ws.note("and nothing more")


@endpoint
async def send_after_disconnect(ws: Ws) -> None:
    await ws.open()
    await ws.until_gone()
    await asyncio.sleep(0.1)
    await ws.note_sent({"type": "websocket.send", "text": "anybody?"})
    await ws.note_sent({"type": "websocket.close"})
    # Not caught: no error of the application.
    await ws.text("anybody?")


@endpoint
async def send_until_gone(ws: Ws) -> None:
    await ws.open()
    while True:
        await ws.text("tick")
        await asyncio.sleep(0.01)


@endpoint
async def raise_later(ws: Ws) -> None:
    await ws.open()
    await ws.receive()
    await ws.text("last words")
    raise ValueError("in the middle")


@endpoint
async def raise_after_disconnect(ws: Ws) -> None:
    await ws.open()
    await ws.until_gone()
    raise ValueError("after the end")


@endpoint
async def return_later(ws: Ws) -> None:
    await ws.open()
    await ws.receive()
    await ws.text("last words")


@endpoint
async def work_after_close(ws: Ws) -> None:
    await ws.open()
    await ws.send({"type": "websocket.close"})
    await asyncio.sleep(0.2)
    ws.note("worked on")


# --- the application ----------------------------------------------------------------------------


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(scope, receive, send)
    elif scope["type"] == "http":
        await show_notes(scope, send)
    else:
        ws = Ws(scope, receive, send)
        ended = ENDED.setdefault(ws.run, asyncio.Event())
        try:
            await ENDPOINTS[scope["path"].removeprefix(scope["root_path"])](ws)
        finally:
            ended.set()


async def live(scope: Any, receive: Any, send: Any) -> None:
    scope["state"]["pool"] = "the pool"
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


async def show_notes(scope: Any, send: Any) -> None:
    run = scope["query_string"].decode()
    status = 200
    try:
        async with asyncio.timeout(5):
            await ENDED.setdefault(run, asyncio.Event()).wait()
    except TimeoutError:
        status = 504
    body = json.dumps(NOTES.get(run, [])).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
