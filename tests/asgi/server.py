"""An ASGI server in memory: its side of the protocol, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from types import TracebackType

    Message = MutableMapping[str, Any]

__all__ = ["ALL_THERE_IS", "Server", "Socket"]

TIMEOUT = 5.0  # seconds

# A server that can do everything.
ALL_THERE_IS: dict[str, Any] = {
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "extensions": {"websocket.http.response": {}},
}


class Exchange:
    """What goes to and fro in one call of the application."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.received = 0
        self.task: asyncio.Task[None] | None = None
        # What `send` waits for; what it raises.
        self.is_writable = asyncio.Event()
        self.is_writable.set()
        self.broken: Exception | None = None
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Event()

    def tell(self, **message: Any) -> None:
        self._queue.put_nowait(message)

    async def receive(self) -> Message:
        message = await self._queue.get()
        self.received += 1
        self._changed.set()
        return message

    async def send(self, message: Message) -> None:
        await self.is_writable.wait()
        if self.broken is not None:
            raise self.broken
        self.sent.append(message)
        self._changed.set()

    async def until(self, fact: Callable[[], Any]) -> Any:
        async with asyncio.timeout(TIMEOUT):
            while not (found := fact()):
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                # Not everything that tests wait for is said here.
                await asyncio.wait([waiting], timeout=0.02)
                waiting.cancel()
        return found

    async def ended(self) -> None:
        """Return when the application has returned; raise what it raised."""
        assert self.task is not None
        async with asyncio.timeout(TIMEOUT):
            await self.task


class Socket(Exchange):
    """One WebSocket handshake, and what becomes of it."""

    def say(self, data: str | bytes) -> None:
        key = "text" if isinstance(data, str) else "bytes"
        self.tell(type="websocket.receive", **{key: data})

    def leave(self, code: int | None = 1000, **more: Any) -> None:
        self.tell(type="websocket.disconnect", code=code, **more)

    @property
    def messages(self) -> list[str | bytes]:
        """What the client got."""
        sent = [message for message in self.sent if message["type"] == "websocket.send"]
        return [message.get("text", message.get("bytes")) for message in sent]

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.sent if message["type"] == f"websocket.{kind}"]


class Server:
    """Runs an application from its startup to its shutdown.

    Args:
        has_lifespan: whether it knows the lifespan.
    """

    def __init__(self, app: Callable[..., Any], *, has_lifespan: bool = True) -> None:
        self._app = app
        self._lifespan = Exchange() if has_lifespan else None

    async def __aenter__(self) -> Server:
        if self._lifespan is not None:
            self._run({"type": "lifespan", "state": {}}, self._lifespan)
            self._lifespan.tell(type="lifespan.startup")
            answer = await self._lifespan.until(lambda: self._lifespan and self._lifespan.sent)
            if answer[0]["type"] != "lifespan.startup.complete":
                raise RuntimeError(answer[0]["message"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lifespan is not None:
            self._lifespan.tell(type="lifespan.shutdown")
            await self._lifespan.ended()

    @property
    def said(self) -> list[Message]:
        """What the application said to the lifespan."""
        assert self._lifespan is not None
        return self._lifespan.sent

    async def fetch(self, path: str, **scope: Any) -> tuple[int, bytes]:
        exchange = Exchange()
        exchange.tell(type="http.request", body=b"", more_body=False)
        self._run({"type": "http", "method": "GET", **_scope(path), **scope}, exchange)
        await exchange.ended()
        start, *bodies = exchange.sent
        return start["status"], b"".join(body["body"] for body in bodies)

    def knock(self, path: str, **scope: Any) -> Socket:
        """Begin a handshake."""
        socket = Socket()
        self._run({"type": "websocket", "subprotocols": [], **_scope(path), **scope}, socket)
        socket.tell(type="websocket.connect")
        return socket

    async def connect(self, path: str, **scope: Any) -> Socket:
        """Begin a handshake; return when it is answered."""
        socket = self.knock(path, **ALL_THERE_IS | scope)
        await socket.until(lambda: socket.sent)
        return socket

    def _run(self, scope: dict[str, Any], exchange: Exchange) -> None:
        exchange.task = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))


def _scope(path: str) -> dict[str, Any]:
    return {
        "http_version": "1.1",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"example.org")],
    }
