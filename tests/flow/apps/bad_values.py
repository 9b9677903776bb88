"""The application of the tests of bad values: each makes one call that must be refused.

A call is named by the client, its error goes back as JSON: type and message. `BAD` says how each
must begin; the tests read it from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import (
    BroadcastChannel,
    ErrorEvent,
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

app = ServiceWorker()
lobby = BroadcastChannel("lobby")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


# In a message event: event → call, type of the error, how its message begins.
BAD: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "send nothing": (lambda e: e.source.send(None), "TypeError", "a message is str or bytes"),
    "send a number": (lambda e: e.source.send(5), "TypeError", "a message is str or bytes"),
    "send a surrogate": (lambda e: e.source.send("a\ud800"), "ValueError", "a message has a lone"),
    "send an object": (lambda e: e.source.send_json(object()), "TypeError", "Object of type obj"),
    "send a cycle": (lambda e: e.source.send_json(cyclic()), "ValueError", "Circular reference"),
    "send much": (lambda e: e.source.send_json(nested(50_000)), "ValueError", "the value is nest"),
    "close with 1005": (lambda e: e.source.close(1005), "ValueError", "close code 1005 may not"),
    "close with text": (lambda e: e.source.close("1000"), "TypeError", "a close code is an int"),
    "close at length": (
        lambda e: e.source.close(1000, "x" * 124), "ValueError", "a close reason has at most 123"),
    "close badly": (
        lambda e: e.source.close(1000, "\ud800"), "ValueError", "a close reason has a lone surr"),
    "subscribe to nothing": (
        lambda e: e.source.subscribe(""), "ValueError", "a channel name has at least one"),
    "subscribe to bytes": (
        lambda e: e.source.subscribe(b"lobby"), "TypeError", "a channel name is a str, not bytes"),
    "unsubscribe from a surrogate": (
        lambda e: e.source.unsubscribe("\ud800"), "ValueError", "a channel name has a lone surr"),
    "post an object": (
        lambda e: lobby.post_message({"a": object()}), "TypeError", "Object of type object"),
    "post a number as a key": (
        lambda e: lobby.post_message({1: 2}), "TypeError", "a key of the message is a int"),
    "post a cycle": (
        lambda e: lobby.post_message(cyclic()), "ValueError", "the message[0][0]"),
    "post a surrogate": (
        lambda e: lobby.post_message({"a": "\ud800"}), "ValueError", "a message has a lone surr"),
    "post to all but a name": (
        lambda e: lobby.post_message("hi", exclude=e), "TypeError", "exclude is a Connection, not"),
    "make a channel of nothing": (
        lambda e: BroadcastChannel(None), "TypeError", "a channel name is a str, not NoneType"),  # type: ignore[arg-type]
    "listen to nonsense": (
        lambda e: lobby.add_event_listener("close", print), "ValueError", "there is no event 'cl"),
    "listen with nothing": (
        lambda e: lobby.add_event_listener("message", None), "TypeError", "a listener is callable"),
    "find a number": (lambda e: app.clients.get(5), "TypeError", "a connection id is a str"),  # type: ignore[arg-type]
    "find less than one": (
        lambda e: app.clients.match_all(limit=0), "ValueError", "limit is at least 1, not 0"),
    "wait for nothing": (lambda e: e.wait_until(None), "TypeError", "wait_until takes an awaitab"),
    "respond with text": (lambda e: Response(5), "TypeError", "a body is str, bytes or an"),  # type: ignore[arg-type]
}  # fmt: skip

# In an upgrade event: the rest of a proper handshake must still be possible.
BAD_UPGRADES: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "subprotocol": (
        lambda e: e.accept(subprotocol="mqtt"), "ValueError", "the client did not offer the sub"),
    "surrogate": (
        lambda e: e.accept(subprotocol="\ud800"), "ValueError", "the client did not offer the s"),
    "header": (
        lambda e: e.accept(headers={"x": "1\r\ny: 2"}), "ValueError", "the value of header 'x'"),
    "nul": (lambda e: e.accept(headers={"x": "\0"}), "ValueError", "the value of header 'x' con"),
    "handshake": (
        lambda e: e.accept(headers={"Upgrade": "h2c"}), "ValueError", "the header 'upgrade' of a"),
    "number": (lambda e: e.accept(headers=5), "TypeError", "headers are a mapping, or pairs"),
    "cookie": (lambda e: e.set_cookie("a", "x" * 4096), "ValueError", "cookie 'a' has 4097 byt"),
    "name": (lambda e: e.set_cookie("a\0", "1"), "ValueError", "'a\\x00' is not a cookie name"),
    "rejection": (lambda e: e.reject("no"), "TypeError", "a response is a Response or an awaitab"),
}  # fmt: skip

# What fails only when its event ends.
BAD_DATA: dict[str, tuple[object, str]] = {
    "object": (object(), "data is a object; only plain data"),
    "surrogate": ({"a": "\ud800"}, "data['a'] has a lone surrogate"),
    "cycle": (cyclic(), "data[0][0]"),
    "much": ("x" * 16 * 1024, "data has 16387 bytes, over the limit of 16384"),
}


async def refused(call: Callable[[Any], object], event: object) -> list[str]:
    try:
        outcome = call(event)
        if hasattr(outcome, "__await__"):
            await wait_for(outcome)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["nothing", "was raised"]


async def wait_for(outcome: Awaitable[object]) -> None:
    await outcome


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    name = event.request.path[1:]
    bad = BAD_UPGRADES.get(name)
    error = None if bad is None else await refused(bad[0], event)
    connection = event.accept(data={"name": name})
    connection.subscribe("lobby")
    if error is not None:
        connection.send_json(error)


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    match str(event.data).partition(": "):
        case ("call", _, name):
            event.source.send_json(await refused(BAD[name][0], event))
        case ("data", _, name):
            event.source.send("this is discarded")
            event.source.data = BAD_DATA[name][0]
        case ("all", _, _):
            found = await app.clients.match_all(limit=2**64 - 1)
            event.source.send(str(len(found)))
        case (text, _, _):
            event.source.send(f"{text} from {event.source.data['name']}")


@app.on("error")
async def report(event: ErrorEvent) -> None:
    failed = event.event
    if isinstance(failed, WebSocketMessageEvent):
        # Its own outbox is sealed: this leaves at once.
        failed.source.send_json([type(event.error).__name__, str(event.error)])


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    error = await refused(lambda event: event.upgrade_websocket(), event)
    return Response.json(error)
