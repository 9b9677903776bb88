"""The application of the crash matrix: it kills its own worker at the boundary named in a file.

The boundary is taken from the file CRASH, once: whoever crashes removes the file first. Boundaries
inside of holdfast are reached by wrapping the function at that place; nothing else is changed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import (
    BroadcastChannel,
    FetchEvent,
    InstallEvent,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.wire.messages import Ack, Handover
from holdfast.worker import handover, stream_link
from holdfast.worker.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

app = ServiceWorker()
room = BroadcastChannel("room")
CRASH = Path(os.environ["CRASH"])
JOURNAL = Path(os.environ["JOURNAL"])


def crash_if(boundary: str) -> None:
    """Kill this process, if this is the boundary and nobody was here before."""
    if is_at(boundary):
        die()


def is_at(boundary: str) -> bool:
    """True once, for the process that is to crash here."""
    try:
        if CRASH.read_text() != boundary:
            return False
        CRASH.unlink()
    except FileNotFoundError:
        return False
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# -- boundaries inside of holdfast


def wrap(owner: Any, name: str, before: Callable[..., None]) -> None:
    """Have `before` called with the arguments of a method, first."""
    method = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(self, *args)
        return method(self, *args, **kwargs)

    setattr(owner, name, wrapped)


def has(messages: list[Any], kind: type) -> bool:
    return any(type(message) is kind for message in messages)


wrap(Inbox, "_handle", lambda *_: crash_if("before the dispatch"))


def before_flush(link: Any) -> None:
    if has(link._messages, Ack):
        crash_if("before the ack is written")
    if has(link._messages, Handover):
        crash_if("after the descriptor, before the record")
    link.has_ack = has(link._messages, Ack)
    link.has_record = has(link._messages, Handover)


wrap(stream_link.StreamLink, "flush", before_flush)
wrap(handover.HandoverLink, "give_descriptor", lambda *_: crash_if("before the descriptor"))

write = os.write


def write_and_die(fd: int, data: Any) -> int:
    link = links.get(fd)
    if link is not None and link.has_ack and is_at("with half an ack written"):
        write(fd, bytes(data)[: len(data) // 2])
        die()
    written = write(fd, data)
    if link is not None and link.has_ack:
        crash_if("after the ack is written")
    if link is not None and link.has_record:
        crash_if("after the record")
    return written


links: dict[int, Any] = {}
wrap(stream_link.StreamLink, "_write", lambda link: links.update({link._fd: link}))


class PatchedOs:
    """`os`, as far as the stream link uses it, with another `write`."""

    write = staticmethod(write_and_die)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


setattr(stream_link, "os", PatchedOs())  # noqa: B010 - mypy would not have it otherwise


# -- the application


@app.on("install")
async def install(_: InstallEvent) -> None:
    if CRASH.exists() and CRASH.read_text() == "in every install":
        die()
    crash_if("in the install")


@app.on("fetch")
def page(_: FetchEvent) -> Response:
    return Response("here")


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    crash_if("in the upgrade listener")
    connection = event.accept(data={"count": 0})
    connection.subscribe("room")
    connection.send("welcome")


@app.on("websocketmessage")
async def count(event: WebSocketMessageEvent) -> None:
    source = event.source
    source.data["count"] += 1
    source.send(f"{event.data}: {source.data['count']}")
    room.post_message(f"all hear {event.data}")
    if event.data == "7":
        await crash_in_the_middle(event)


async def crash_in_the_middle(event: WebSocketMessageEvent) -> None:
    crash_if("in the listener")
    await asyncio.sleep(0)
    crash_if("in the listener, after an await")
    if CRASH.exists() and CRASH.read_text() == "after a flush":
        await event.flush()
        crash_if("after a flush")
    event.wait_until(later(event))


async def later(event: WebSocketMessageEvent) -> None:
    crash_if("in wait_until, at once")
    await asyncio.sleep(0.05)
    crash_if("in wait_until")


@app.on("websocketclose")
async def leave(event: WebSocketCloseEvent) -> None:
    crash_if("in the close listener")
    with JOURNAL.open("a") as journal:
        journal.write(f"closed {event.code} after {event.source.data['count']}\n")
