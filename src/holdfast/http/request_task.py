"""One request that is being answered: the task of its application, with ASGI's two functions.

Shell. The body of a request waits here, as it came, until the application asks for it; while much
of it waits, the connection is not read. The response goes out as `http/response.py` encodes it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from holdfast.http.response import Framing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from typing import Any, TypeAlias

    from holdfast.http.response import ResponseEncoder

    Scope: TypeAlias = MutableMapping[str, Any]
    Message: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Message]]
    Send: TypeAlias = Callable[[Message], Awaitable[None]]
    Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]

log = logging.getLogger("holdfast.worker")

# How much of a body may wait before its connection is not read any more. asyncio lets as much wait
# in the other direction.
HIGH_WATER = 64 * 1024  # bytes

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

TEXT = (b"content-type", b"text/plain; charset=utf-8")
FAILED = b"Internal Server Error"
FAILED_FIELDS = (TEXT, (b"content-length", b"%d" % len(FAILED)), (b"connection", b"close"))


class Line(Protocol):
    """What a request needs of its connection; `http/protocol.py:HttpProtocol`."""

    transport: asyncio.Transport
    writable: asyncio.Event | None
    """Set when the client has taken enough of what was written; None while it does."""

    @property
    def date_field(self) -> bytes:
        """A line for the head of each response (RFC 9110 section 6.6.1)."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def end_response(self, request: RequestTask) -> None:
        """The response is complete."""

    def end_task(self, request: RequestTask) -> None:
        """The application has returned."""

    def cut(self, *, abruptly: bool) -> None:
        """End the connection in the middle of a response.

        Args:
            abruptly: the client takes a proper end for the end of the response.
        """


class RequestTask:
    """One request.

    Args:
        response: what encodes the response to it.
        awaits_continue: the client does not send the body before it is told to go on (RFC 9110
            section 10.1.1).
    """

    # What is as here in nearly every request costs nothing per request.
    has_whole_body = False
    has_left = False
    """True when nobody is there who would read the response."""
    _is_told = False  # of the end of the body
    _chunks: list[bytes] | None = None
    _unread = 0  # bytes
    # Set when there may be something to receive; None until somebody waits for that.
    _news: asyncio.Event | None = None

    def __init__(
        self, line: Line, scope: Scope, response: ResponseEncoder, *, awaits_continue: bool
    ) -> None:
        self._line = line
        # Until the task begins: something in there may refer to this.
        self.scope: Scope | None = scope
        self.response = response
        self.awaits_continue = awaits_continue
        self.task: asyncio.Task[None] | None = None

    # --- the connection calls -------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A part of the body came."""
        if self._chunks is None:
            self._chunks = []
        self._chunks.append(data)
        self._unread += len(data)
        if self._unread > HIGH_WATER:
            self._line.pause_reading()
        self._wake()

    def end_body(self) -> None:
        """All of the body has come."""
        self.has_whole_body = True
        self.awaits_continue = False
        self._wake()

    def leave(self) -> None:
        """The client has left, or cannot be answered any more."""
        self.has_left = True
        self.awaits_continue = False
        self.scope = None
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    # --- the application ------------------------------------------------------------------------

    def start(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        """Have the application answer the request."""
        scope, self.scope = self.scope, None
        assert scope is not None
        self.task = loop.create_task(self._run(app, scope))

    async def _run(self, app: Application, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
            if self.response.framing is None and not self.has_left:
                log.error("ASGI callable returned without starting response.")
        except BaseException as error:
            # A mounted application must not end the worker, whatever it raises. What a listener
            # raises does not come here.
            log.error("Exception in ASGI application", exc_info=error)
        finally:
            if not (self.response.is_complete or self.has_left):
                self._fail()
            self._line.end_task(self)

    def _fail(self) -> None:
        """End a response that the application has not ended."""
        if self.response.framing is None:
            self._line.transport.write(self._start(500, FAILED_FIELDS))
            self._go_on(FAILED, more=False)
        else:
            # The client must not take what it got for all there is.
            self._line.cut(abruptly=self.response.framing is Framing.CLOSE)

    async def receive(self) -> Message:
        line, response = self._line, self.response
        if self.awaits_continue:
            self.awaits_continue = False
            line.transport.write(CONTINUE)
        line.resume_reading()
        while not (self._has_body_to_tell or self.has_left or response.is_complete):
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
            self._news.clear()
        if self.has_left or response.is_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._chunks or ())
        self._chunks, self._unread = None, 0
        self._is_told = self.has_whole_body
        return {"type": "http.request", "body": body, "more_body": not self._is_told}

    @property
    def _has_body_to_tell(self) -> bool:
        return self._chunks is not None or (self.has_whole_body and not self._is_told)

    async def send(self, message: Message) -> None:
        writable = self._line.writable
        if writable is not None and not self.has_left:
            await writable.wait()
        if self.has_left:
            return
        kind, response = message["type"], self.response
        has_started = response.framing is not None
        if kind == "http.response.start" and not has_started:
            head = self._start(message["status"], message.get("headers", ()))
            self._line.transport.write(head)
        elif kind == "http.response.body" and has_started and not response.is_complete:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def respond(self, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a response that is all there, for what ASGI's two messages would cost.

        Returns:
            False if it was not sent: it has to wait, as `send` does.
        """
        line = self._line
        if self.has_left or line.writable is not None:
            return self.has_left
        head = self._start(status, fields)
        line.transport.writelines((head, self.response.go_on(body, more=False)))
        self._end(line)
        return True

    def _start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the head of the response."""
        response = self.response
        if self.awaits_continue:
            # Whether the body will come or not, nobody knows: the next request could be taken for
            # it, or it for the next request.
            response.closes = True
        head = response.start(status, fields, self._line.date_field)
        self.awaits_continue = False
        return head

    def _go_on(self, data: bytes, *, more: bool) -> None:
        line = self._line
        line.transport.write(self.response.go_on(data, more=more))
        if not more:
            self._end(line)

    def _end(self, line: Line) -> None:
        if self._news is not None:
            self._news.set()
        line.end_response(self)
